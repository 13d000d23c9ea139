//! The secret that the nodes of a network share.
//!
//! Whoever knows it can join the network, so it is treated like a private key: never printed,
//! never logged, wiped from memory when dropped, and kept only in files that nobody else can
//! read. [`Secret::of_user`] gives every program of one user the same secret without any
//! configuration, as Erlang's cookie does.
//!
//! A secret is a text, so that it can be copied between machines. One made by
//! [`Secret::random`] is `coros1-` and 64 hexadecimal digits, 256 random bits. A text that begins
//! otherwise is taken for a passphrase that a person made up, and is stretched before use (see
//! [`Authority`](crate::Authority)).

pub(crate) mod file;

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use zeroize::{Zeroize, Zeroizing};

use self::file::Made;
use crate::hex;
use crate::identity::{self, IdentityError};

const PREFIX: &str = "coros1-";
/// What begins so is a key or a certificate, which somebody has taken for a secret.
const PEM: &str = "-----BEGIN ";
const RANDOM_BYTES: usize = 32;
/// Shorter passphrases fall to guessing even after stretching.
const MIN_PASSPHRASE: usize = 12;

/// What the nodes of a network share and nobody else knows.
///
/// ```
/// use coros_net::Secret;
///
/// let here = Secret::random();
/// let there = Secret::from_text(here.reveal())?;
/// assert!(here == there);
/// assert_eq!(format!("{here:?}"), "Secret(..)");
/// # Ok::<(), coros_net::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
}

impl Secret {
    /// Makes a secret of 256 random bits.
    ///
    /// # Panics
    /// When the operating system has no random numbers, which no supported one does.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = Zeroizing::new([0; RANDOM_BYTES]);
        getrandom::fill(&mut *bytes).expect("the operating system gives random numbers");
        let digits = Zeroizing::new(hex::encode(&*bytes));
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + digits.len()));
        text.push_str(PREFIX);
        text.push_str(&digits);
        Secret { text }
    }

    /// Takes a text: what [`reveal`](Secret::reveal) gave elsewhere, or a passphrase.
    ///
    /// White space around it does not count.
    ///
    /// # Errors
    /// [`SecretError::Empty`]; for fewer than 12 characters [`SecretError::Short`]; for what is left of a
    /// random secret [`SecretError::Damaged`]; for a key or a certificate [`SecretError::Pem`].
    pub fn from_text(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        match text.chars().count() {
            _ if text.starts_with(PEM) => Err(SecretError::Pem),
            0 => Err(SecretError::Empty),
            length if length < MIN_PASSPHRASE => Err(SecretError::Short { length }),
            _ => {
                let secret = Secret {
                    text: Zeroizing::new(text.to_owned()),
                };
                // Taken for a passphrase, it would open another network than the whole one.
                match text.starts_with(PREFIX) && !secret.is_random() {
                    true => Err(SecretError::Damaged),
                    false => Ok(secret),
                }
            }
        }
    }

    /// Reads the secret in a file; makes the file with a random secret if there is none.
    ///
    /// The file appears with its contents or not at all, so processes that start at the same
    /// time agree on one secret. It is made with mode 0600, missing folders with 0700.
    ///
    /// On Unix a file is believed only if nobody but its owner can read or change it, the owner is
    /// the user who runs this program or root, and the same is so for who can change the folder
    /// that it is in. A symbolic link is followed, and what it leads to is looked at.
    ///
    /// # Errors
    /// When the file cannot be read or made, is no regular file, is at the mercy of others, or
    /// holds no usable secret.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        match Secret::load(path) {
            Err(SecretError::Read { why, .. }) if why.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        file::create(path, Secret::random().reveal(), file::PRIVATE)?;
        // Read back rather than returned: another process may have been first.
        Secret::load(path)
    }

    /// Reads the secret in a file.
    ///
    /// # Errors
    /// As [`load_or_create`](Secret::load_or_create), and when there is no such file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let text = file::read(path)?;
        Secret::from_text(&text).map_err(|why| why.in_file(path))
    }

    /// Writes the secret to a new file, as [`load_or_create`](Secret::load_or_create) does.
    ///
    /// # Errors
    /// [`SecretError::Exists`] when there is something already; when the file cannot be made; when
    /// its folder is at the mercy of others.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), SecretError> {
        let path = path.as_ref();
        match file::create(path, self.reveal(), file::PRIVATE)? {
            Made::New => Ok(()),
            Made::WasThere => Err(SecretError::Exists {
                path: path.to_owned(),
            }),
        }
    }

    /// Writes the secret to a file, in the place of the one that is there.
    ///
    /// In one step: whoever reads the file reads the old secret or the new one.
    ///
    /// # Errors
    /// As [`save`](Secret::save), but for `Exists`.
    pub fn replace(&self, path: impl AsRef<Path>) -> Result<(), SecretError> {
        file::replace(path.as_ref(), self.reveal())
    }

    /// The secret of the user who runs this program, made at first use.
    ///
    /// It is in the user's configuration folder: `$XDG_CONFIG_HOME/coros/secret`, by default
    /// `~/.config/coros/secret` (on Windows in `%APPDATA%\coros`). The environment variable
    /// [`COROS_SECRET_FILE`](Secret::VARIABLE) can name another file, which has to be there. (A
    /// variable with the secret itself would be handed down to every child process.)
    ///
    /// # Errors
    /// As [`load_or_create`](Secret::load_or_create), and when the user has no home folder, or the
    /// variable is empty.
    pub fn of_user() -> Result<Self, SecretError> {
        let path = Secret::path_of_user()?;
        let named = env::var_os(Secret::VARIABLE).is_some();
        // One that is named and not there is a mistake: a new one would be shared with nobody.
        let secret = match named {
            true => Secret::load(path),
            false => Secret::load_or_create(path),
        };
        secret.map_err(|why| match named {
            true => SecretError::Named { why: Box::new(why) },
            false => SecretError::OfUser { why: Box::new(why) },
        })
    }

    /// As [`of_user`](Secret::of_user), but makes none.
    pub(crate) fn of_user_if_made() -> Result<Option<Self>, SecretError> {
        let named = env::var_os(Secret::VARIABLE).is_some();
        match Secret::path_of_user()?.try_exists() {
            Ok(false) if !named => Ok(None),
            _ => Secret::of_user().map(Some),
        }
    }

    /// The environment variable that names the file of the user's secret.
    pub const VARIABLE: &str = "COROS_SECRET_FILE";

    /// Where [`of_user`](Secret::of_user) looks.
    ///
    /// # Errors
    /// [`SecretError::NoHome`] when the user has no home folder; [`SecretError::NoName`] when the
    /// variable is empty.
    pub fn path_of_user() -> Result<PathBuf, SecretError> {
        match env::var_os(Secret::VARIABLE) {
            Some(path) if path.is_empty() => return Err(SecretError::NoName),
            Some(path) => return Ok(path.into()),
            None => {}
        }
        let folders = etcetera::choose_base_strategy().map_err(|_| SecretError::NoHome)?;
        Ok(folders.config_dir().join("coros").join("secret"))
    }

    /// Sixteen hexadecimal digits that differ when the secrets do, for people to compare.
    ///
    /// It does not lead back to the secret, and helps those who guess a passphrase no more than
    /// what a node of the network shows to everybody: each guess costs the same tenth of a second.
    /// Takes as long itself for a passphrase: in async code call it by `spawn_blocking`.
    ///
    /// # Errors
    /// [`IdentityError::Derive`] when a passphrase cannot be stretched for lack of memory.
    pub fn fingerprint(&self) -> Result<String, IdentityError> {
        // No network has an empty name, so this gives nothing away of any network's key.
        let seed = identity::stretched(self, "")?;
        let hash = blake3::derive_key("coros 1 fingerprint of a secret", &*seed);
        Ok(hex::encode(&hash[..8]))
    }

    /// The secret itself, to be shown to its owner or written to a protected file.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Whether it was made by [`Secret::random`]; if not, it is a passphrase.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.random_bits().is_some()
    }

    /// The 256 bits of a secret that was made by [`Secret::random`]; `None` for a passphrase.
    pub(crate) fn random_bits(&self) -> Option<Zeroizing<[u8; RANDOM_BYTES]>> {
        let mut digits = hex::decode(self.text.strip_prefix(PREFIX)?)?;
        let bits = <[u8; RANDOM_BYTES]>::try_from(digits.as_slice()).ok();
        digits.zeroize();
        bits.map(Zeroizing::new)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // Of hashes, so that the time taken tells nothing about the texts.
        blake3::hash(self.text.as_bytes()) == blake3::hash(other.text.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no [`Secret`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Nothing but white space.
    #[error("the secret is empty")]
    Empty,
    /// Too short to withstand guessing; [`Secret::random`] is not.
    #[error(
        "a secret of {length} characters is too short: take at least {MIN_PASSPHRASE}, \
         or a random one"
    )]
    Short {
        /// Characters it has.
        length: usize,
    },
    /// It begins as one of [`Secret::random`] does, and is none.
    #[error(
        "the secret begins with {PREFIX} as random ones do, but not with the 64 digits from 0 to f \
         that have to follow: it was cut or changed when it was copied"
    )]
    Damaged,
    /// It is a key or a certificate.
    #[error("it is a key or a certificate in PEM, and no secret")]
    Pem,
    /// It is no text.
    #[error("it is no text in UTF-8")]
    NotText,
    /// It is too long for a secret.
    #[error("it is longer than {} bytes", file::MAX_LENGTH)]
    TooLong,
    /// A file holds no usable secret.
    #[error("no usable secret in {}: {why}; {}", path.display(), advice_on_file(path, why))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with what is in it.
        why: Box<SecretError>,
    },
    /// The file that [`COROS_SECRET_FILE`](Secret::VARIABLE) names is of no use.
    #[error(
        "{} names a file that cannot be used: {why}{}",
        Secret::VARIABLE,
        advice_on(why, true)
    )]
    Named {
        /// What is wrong with it.
        why: Box<SecretError>,
    },
    /// The file in the user's configuration folder is of no use.
    #[error(
        "the secret of this user cannot be used: {why}{}",
        advice_on(why, false)
    )]
    OfUser {
        /// What is wrong with it.
        why: Box<SecretError>,
    },
    /// [`COROS_SECRET_FILE`](Secret::VARIABLE) is empty.
    #[error(
        "{} is empty: let it name the file with the secret, or unset it",
        Secret::VARIABLE
    )]
    NoName,
    /// Other users could have read the secret.
    #[error(
        "{} can be read by other users (mode {mode:03o}): run `chmod 600 {}`, \
         and make a new one if others may have seen it",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user has the file or its folder.
    #[error(
        "{} belongs to another user (id {owner}), who could read or replace it: \
         keep it in a file and a folder of your own", path.display()
    )]
    Foreign {
        /// The file, or the folder that it is in.
        path: PathBuf,
        /// The user's number.
        owner: u32,
    },
    /// Other users could put another file in the place of the secret's.
    #[error(
        "{} can be changed by other users (mode {mode:03o}), who could replace what is in it: \
         run `chmod go-w {}`", folder.display(), folder.display()
    )]
    OpenFolder {
        /// The folder that the file is in.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is something that is not a file.
    #[error(
        "{} is {what}, not a regular file: remove it, or name a file that holds the secret",
        path.display()
    )]
    NotAFile {
        /// Where the file should be.
        path: PathBuf,
        /// What is there instead.
        what: &'static str,
    },
    /// There is something that is not a folder.
    #[error("{} is not a folder: name one, or one that is to be made", path.display())]
    NotAFolder {
        /// Where a folder should be, or be made.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// The file cannot be made.
    #[error("cannot make {}: {why}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// There is a file already, perhaps one that nodes use.
    #[error("{} is there already, and is left as it is", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is no folder for the user's secret.
    #[error(
        "there is no home folder to keep the secret in: set HOME, XDG_CONFIG_HOME, \
         or COROS_SECRET_FILE to a file that holds it"
    )]
    NoHome,
}

impl SecretError {
    pub(crate) fn in_file(self, path: &Path) -> Self {
        SecretError::File {
            path: path.to_owned(),
            why: Box::new(self),
        }
    }
}

/// What to do about a file with something else than a secret.
fn advice_on_file(path: &Path, why: &SecretError) -> String {
    match why {
        // Nothing is to be put in its place.
        SecretError::Pem => "what `coros secret issue` has made is used as a whole folder, by \
                             --certificate or `Builder::certificate`"
            .into(),
        _ => format!(
            "copy that of the network there, or have a random one put in its place by \
             `coros secret new {} --force`",
            path.display()
        ),
    }
}

/// What to do about the file of the user's secret, where that does not say so itself.
fn advice_on(why: &SecretError, named: bool) -> &'static str {
    match why {
        SecretError::Read { why, .. } if why.kind() == io::ErrorKind::NotFound => {
            "; copy the secret of the network there, or make one by `coros secret new`"
        }
        SecretError::Read { .. } | SecretError::Create { .. } if !named => {
            "; COROS_SECRET_FILE can name another file"
        }
        _ => "",
    }
}
