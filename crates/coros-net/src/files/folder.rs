//! What a node lets its peers do with files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::Location;

use super::name::HIDDEN;
use super::refusal::Refusal;
use super::store::Store;
use super::verified::Verified;
use crate::NodeError;

/// The folder in which a node keeps the files that its peers send it, and what they may do there.
///
/// Without one a node refuses all files; see [`Builder::files`](crate::Builder::files). Peers may
/// put files into it, and folders, and replace the files if they ask for that; they may fetch and
/// delete only what [`allow_fetch`](Folder::allow_fetch) and
/// [`allow_delete`](Folder::allow_delete) let them. Nothing outside of it can be reached by any
/// name, and no link in it is followed.
///
/// What is still incomplete lies beside its place under a hidden name that begins with
/// `.coros-part-`, and stays there for the next attempt when a transfer is cut. When it has not
/// been gone on with for a week, it is removed, see [`keep_partial`](Folder::keep_partial).
///
/// A node works at 8 operations of a peer at a time, and 64 of all peers together; others wait for
/// their turn, at most 12 hours. Who has its turn and moves less than 2 KiB a second
/// on average, when it has had some five minutes, loses it.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?; let folder = folder.path();
/// use coros_net::{Folder, Node, Secret};
///
/// let inbox = Folder::new(folder).largest(1 << 30).total(20 << 30).allow_fetch();
/// let node = Node::builder().secret(Secret::random()).files(inbox).build().await?;
/// # node.close().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a folder is for `Builder::files`"]
pub struct Folder {
    path: PathBuf,
    limits: Limits,
    told: Told<Received>,
    refused: Told<NotReceived>,
}

/// A file that a peer has sent is in its place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Who sent it.
    pub from: Location,
    /// Its name in the folder.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes of it that crossed the network this time; none when it was there already.
    pub moved: u64,
    /// Whether it was there already, with the same content.
    pub already: bool,
    /// The hash of what has come; none when it was there already.
    pub verified: Option<Verified>,
}

/// A file that a peer wanted to send has not been taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NotReceived {
    /// Who wanted to send it.
    pub from: Location,
    /// What its name would be, in the words of the peer.
    pub name: String,
    /// Why it was refused, as the peer has been told.
    pub why: Refusal,
}

/// Whom to tell of files.
pub(super) struct Told<T>(Option<Arc<dyn Fn(T) + Send + Sync>>);

impl<T> Told<T> {
    fn new(f: impl Fn(T) + Send + Sync + 'static) -> Self {
        Told(Some(Arc::new(f)))
    }

    pub(super) fn of(&self, file: T) {
        if let Some(f) = &self.0 {
            f(file);
        }
    }
}

impl<T> Clone for Told<T> {
    fn clone(&self) -> Self {
        Told(self.0.clone())
    }
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Told(None)
    }
}

impl<T> fmt::Debug for Told<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "set" } else { "nobody" })
    }
}

/// How long what is incomplete is kept, unless told otherwise.
const KEEP_PARTIAL: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) largest: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) fetch: bool,
    pub(super) delete: bool,
    pub(super) durable: bool,
    pub(super) keep_partial: Duration,
}

impl Folder {
    /// What the names of incomplete files begin with.
    pub const PARTIAL: &str = HIDDEN;

    /// A folder that exists, and that this process may write to; with
    /// [`allow_fetch`](Folder::allow_fetch), reading is enough. It has no limits but the disk's,
    /// and nothing in it can be fetched or deleted.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Folder {
            path: path.into(),
            limits: Limits {
                largest: None,
                total: None,
                fetch: false,
                delete: false,
                durable: false,
                keep_partial: KEEP_PARTIAL,
            },
            told: Told::default(),
            refused: Told::default(),
        }
    }

    /// The most bytes that a file may have. What counts is the bytes that come, not what was
    /// announced.
    pub fn largest(mut self, bytes: u64) -> Self {
        self.limits.largest = Some(bytes);
        self
    }

    /// The most bytes that all files in the folder may have together, incomplete ones too. The
    /// folder is measured for each file that is sent to it: not for folders of many thousands.
    pub fn total(mut self, bytes: u64) -> Self {
        self.limits.total = Some(bytes);
        self
    }

    /// Lets peers fetch whatever is in the folder, whoever put it there.
    pub fn allow_fetch(mut self) -> Self {
        self.limits.fetch = true;
        self
    }

    /// Lets peers delete whatever is in the folder, whoever put it there.
    pub fn allow_delete(mut self) -> Self {
        self.limits.delete = true;
        self
    }

    /// A file counts as sent only when it and its name are on the disk, so that a power cut cannot
    /// take it. By default it is with the operating system then, which writes it within some
    /// seconds; that is several times faster.
    pub fn durable(mut self) -> Self {
        self.limits.durable = true;
        self
    }

    /// How long what was left incomplete is kept for another attempt, 7 days by default. What is
    /// older is removed when the node starts, and once a day.
    pub fn keep_partial(mut self, age: Duration) -> Self {
        self.limits.keep_partial = age;
        self
    }

    /// Calls `f` for each file that a peer has sent, when it is in its place and the peer has been
    /// told so; also for one that was there already.
    ///
    /// `f` runs on a task of the node and holds up that peer's next file: it must not block.
    pub fn on_received(mut self, f: impl Fn(Received) + Send + Sync + 'static) -> Self {
        self.told = Told::new(f);
        self
    }

    /// Calls `f` for each file that a peer wanted to send and that was not taken: it is too large, the
    /// disk is full, the folder cannot be written to, …
    ///
    /// Of `f` holds what does of that of [`on_received`](Folder::on_received).
    pub fn on_refused(mut self, f: impl Fn(NotReceived) + Send + Sync + 'static) -> Self {
        self.refused = Told::new(f);
        self
    }

    pub(crate) fn open(self) -> Result<Store, NodeError> {
        let opened = Store::open(&self.path, self.limits, self.told, self.refused);
        opened.map_err(|why| NodeError::Folder {
            path: self.path,
            why,
        })
    }
}
