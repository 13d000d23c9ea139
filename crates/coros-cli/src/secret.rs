//! `coros secret`: who belongs to a network.

mod report;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use coros::net::{Authority, NodeCertificate, Secret, SecretError};

use self::report::{AuthorityOf, CertificateFolder, Made, SecretFile};
use crate::flags::secret::{
    IssueFlags, NewCaFlags, NewFlags, SecretCommand, SecretFlags, ShowFlags,
};
use crate::terminal::{Name, say, status};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Does what `coros secret` was asked for and gives the exit status.
pub(crate) async fn run(flags: SecretFlags) -> ExitCode {
    // Files, and the stretching of a passphrase.
    let done = tokio::task::spawn_blocking(move || match flags.command {
        SecretCommand::Show(flags) => show(flags),
        SecretCommand::New(flags) => new(&flags),
        SecretCommand::NewCa(flags) => new_ca(&flags),
        SecretCommand::Issue(flags) => issue(&flags),
    });
    match done.await {
        Ok(done) => status("secret", done.map(|()| true)),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn show(flags: ShowFlags) -> anyhow::Result<()> {
    if let Some(folder) = flags.path.as_deref().filter(|path| path.is_dir()) {
        if flags.reveal {
            bail!("--reveal is for secrets, and {} is a folder", Name(folder));
        }
        return report::print(&describe(folder)?, flags.json);
    }
    let (path, from) = match flags.path {
        Some(path) => (path, "argument"),
        None if env::var_os(Secret::VARIABLE).is_some() => {
            (Secret::path_of_user()?, Secret::VARIABLE)
        }
        None => (Secret::path_of_user()?, "configuration"),
    };
    if let Some(folder) = folder_of_certificate(&path) {
        let [path, folder] = [Name(&path), Name(folder)];
        bail!(
            "{path} belongs to a certificate, and is no secret: `coros secret show {folder}` shows \
             what is in the folder"
        );
    }
    let secret = Secret::load(&path).map_err(|error| explain(error, from))?;
    let authority = Authority::derive(&secret, &flags.network)?;
    let shown = SecretFile {
        kind: if secret.is_random() {
            "random"
        } else {
            "passphrase"
        },
        path: Name(&path).to_string(),
        from,
        fingerprint: secret.fingerprint()?,
        network: flags.network,
        authority: AuthorityOf::whole(&authority),
        valid: authority.validity(),
        secret: flags.reveal.then(|| secret.reveal().to_owned()),
    };
    report::print(&shown, flags.json)
}

/// The folder of what `new-ca` or `issue` has made, if the file is a part of that.
fn folder_of_certificate(path: &Path) -> Option<&Path> {
    let name = path.file_name()?.to_str()?;
    let part = ["ca.key", "ca.pem", "node.key", "node.pem"].contains(&name);
    let folder = path.parent().filter(|_| part && path.exists())?;
    Some(match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    })
}

/// That there is no secret is not always a mistake. What to do is said in terms of this program.
fn explain(error: SecretError, from: &str) -> anyhow::Error {
    let missing = is_missing(&error);
    let error = anyhow::Error::new(error);
    match from {
        "configuration" if missing => error.context(
            "there is no secret yet: the first node that starts makes one, and so does \
             `coros secret new`",
        ),
        Secret::VARIABLE if missing => error
            .context("COROS_SECRET_FILE names a file that is not there: no node starts with it"),
        _ => error,
    }
}

/// Whether what was to be read is not there.
fn is_missing(error: &SecretError) -> bool {
    matches!(error, SecretError::Read { why, .. } if why.kind() == io::ErrorKind::NotFound)
}

fn describe(folder: &Path) -> anyhow::Result<CertificateFolder> {
    let has = |file| folder.join(file).exists();
    match (has("ca.pem"), has("node.pem")) {
        (true, false) => Ok(CertificateFolder::authority(
            folder,
            &Authority::load(folder)?,
        )),
        (false, true) => Ok(CertificateFolder::node(
            folder,
            &NodeCertificate::load(folder)?,
        )),
        (true, true) => bail!(
            "{} holds both an authority and a node's certificate: keep them apart, for the key of \
             the authority belongs on no node",
            Name(folder)
        ),
        (false, false) => bail!(
            "{} holds neither an authority (ca.pem), as `coros secret new-ca` makes, nor a node's \
             certificate (node.pem), as `coros secret issue` does",
            Name(folder)
        ),
    }
}

fn new(flags: &NewFlags) -> anyhow::Result<()> {
    let path: PathBuf = match &flags.path {
        Some(path) => path.clone(),
        None => Secret::path_of_user()?,
    };
    let secret = Secret::random();
    let replaced = flags.force && path.symlink_metadata().is_ok();
    if flags.force {
        secret.replace(&path)?;
    } else {
        match secret.save(&path) {
            Err(error @ SecretError::Exists { .. }) => {
                return Err(error).context(
                    "no new secret was made: `coros secret show` says how to take the one that is \
                     there to another machine, and --force replaces it, after which nodes with \
                     the old one and nodes with the new one cannot link",
                );
            }
            saved => saved?,
        }
    }
    let made = Made {
        path: Name(&path).to_string(),
        fingerprint: secret.fingerprint()?,
        replaced,
    };
    report::print(&made, flags.json)
}

fn new_ca(flags: &NewCaFlags) -> anyhow::Result<()> {
    let authority = Authority::generate(&flags.network, DAY * flags.valid)?;
    authority.save(&flags.folder)?;
    let made = CertificateFolder::authority(&flags.folder, &authority);
    report::print(&made, flags.json)
}

fn issue(flags: &IssueFlags) -> anyhow::Result<()> {
    let authority = Authority::load(&flags.ca)?;
    let wanted = SystemTime::now() + DAY * flags.valid;
    let certificate = authority.certify(&flags.name, DAY * flags.valid)?;
    certificate.save(&flags.out)?;
    if authority.validity().until() < wanted {
        say(&format!(
            "coros secret: the certificate is not valid for {} days, but only as long as its \
             authority: {}",
            flags.valid,
            certificate.validity()
        ));
    }
    let made = CertificateFolder::node(&flags.out, &certificate);
    report::print(&made, flags.json)
}
