//! How a file is to be sent or fetched, and what came of it.

use std::fmt;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that need not be sent any more: handed to the connection, or there from the start.
    pub done: u64,
    /// The file's size in bytes.
    pub total: u64,
}

/// What came of a transfer: the file is in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferred {
    /// The file's size in bytes.
    pub size: u64,
    /// The bytes of it that crossed the network this time: less than its size when an earlier
    /// attempt was continued, none when the same content was there already.
    pub moved: u64,
    /// The same content was there already, under that name.
    pub already: bool,
}

type Callback = Box<dyn FnMut(Progress) + Send>;

/// Whom to tell how far it is.
#[derive(Default)]
pub(super) struct Report(Option<Callback>);

impl Report {
    pub(super) fn at(&mut self, done: u64, total: u64) {
        if let Some(callback) = &mut self.0 {
            callback(Progress { done, total });
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "set" } else { "none" })
    }
}

/// How to send a file; see [`Node::send_file`](crate::Node::send_file).
#[derive(Debug, Default)]
#[must_use = "options are for `send_file`"]
pub struct SendFile {
    pub(super) name: Option<String>,
    pub(super) replace: bool,
    pub(super) report: Report,
}

impl SendFile {
    /// Under its own name, replacing nothing.
    pub fn new() -> Self {
        SendFile::default()
    }

    /// What it is to be called at the receiver: a relative path with `/` between its parts.
    /// Folders on the way are made. By default the file's own name, without its folders.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Replaces a file of that name which has another content. That is refused by default.
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Calls `f` when sending begins, and after each piece of at most 256 KiB.
    ///
    /// `f` runs between two pieces and holds up the transfer: it must not block.
    pub fn progress(mut self, f: impl FnMut(Progress) + Send + 'static) -> Self {
        self.report = Report(Some(Box::new(f)));
        self
    }
}

/// How to fetch a file; see [`Node::fetch_file`](crate::Node::fetch_file).
#[derive(Debug, Default)]
#[must_use = "options are for `fetch_file`"]
pub struct FetchFile {
    pub(super) replace: bool,
    pub(super) durable: bool,
    pub(super) largest: Option<u64>,
    pub(super) report: Report,
}

impl FetchFile {
    /// Whatever its size, replacing nothing.
    pub fn new() -> Self {
        FetchFile::default()
    }

    /// Replaces a file here which has another content. That is refused by default.
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Resolves only when the file and its name are on the disk; see
    /// [`Folder::durable`](crate::Folder::durable).
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// The most bytes that the file may have.
    pub fn largest(mut self, bytes: u64) -> Self {
        self.largest = Some(bytes);
        self
    }

    /// Calls `f` when the file begins to come, and after each piece of at most 256 KiB.
    ///
    /// `f` runs between two pieces and holds up the transfer: it must not block.
    pub fn progress(mut self, f: impl FnMut(Progress) + Send + 'static) -> Self {
        self.report = Report(Some(Box::new(f)));
        self
    }
}
