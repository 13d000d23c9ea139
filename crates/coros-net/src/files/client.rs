//! The side that asks: dials, or takes up an idle connection, and sends, fetches or deletes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use coros_core::remote::Location;

use super::disk::blocking;
use super::error::{DeleteFileError, FetchFileError, SendFileError, Trouble};
use super::incoming::{Announced, prepare};
use super::line::{Line, Lost, while_valid};
use super::name::FileName;
use super::options::{FetchFile, SendFile, Transferred};
use super::outgoing::{Outgoing, Unreadable};
use super::refusal::Refusal;
use super::room;
use super::store::Place;
use super::transfer::{Arrived, Failed, Taker, give, take};
use super::turns::Entered;
use super::wire::{Heard, Say};
use super::{CROWDED, IDLE};
use crate::greeting;
use crate::node::{Inner, Node};

impl Node {
    /// Sends a file to a peer that has a [`Folder`](crate::Folder) for files.
    ///
    /// It is in its place when this returns, compared by blake3, or it is not there at all. A file
    /// of that name with the same content is left as it is and nothing is sent; with another
    /// content it is replaced only by [`SendFile::replace`]. What an attempt has brought over
    /// before it was cut is not sent again.
    ///
    /// It is read once, and hashed on the way, unless the receiver has a file of that name and size
    /// already. Memory use does not depend on its size. At most 8 operations on files of one peer
    /// go on at a time; others wait for their turn.
    ///
    /// # Errors
    /// [`SendFileError`]: the file cannot be read or changes meanwhile, the peer cannot be
    /// reached, refuses it, is silent for as long as [`Builder::silence`](crate::Builder::silence),
    /// says for longer than any disk takes that it is at work, or has a certificate that expires
    /// meanwhile. A turn there is waited for at most 12 hours.
    ///
    /// # Cancel safety
    /// Dropping the future stops the transfer; the next one goes on from there.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    /// # let [inbox, home] = [folders[0].path(), folders[1].path()];
    /// use coros_net::{FetchFile, Folder, Node, Secret, SendFile};
    ///
    /// let secret = Secret::random();
    /// let folder = Folder::new(inbox).allow_fetch();
    /// let farm = Node::builder().secret(secret.clone()).files(folder).build().await?;
    /// let desk = Node::builder().secret(secret).build().await?;
    ///
    /// let path = home.join("numbers");
    /// std::fs::write(&path, "1 2 3")?;
    /// let options = SendFile::new()
    ///     .name("today/numbers")
    ///     .progress(|at| println!("{} of {} bytes", at.done, at.total));
    /// let sent = desk.send_file(&farm.location(), &path, options).await?;
    /// assert_eq!((sent.size, sent.moved), (5, 5));
    ///
    /// let copy = home.join("copy");
    /// desk.fetch_file(&farm.location(), "today/numbers", &copy, FetchFile::new()).await?;
    /// assert_eq!(std::fs::read(copy)?, b"1 2 3");
    /// # desk.close().await; farm.close().await;
    /// # Ok(()) }
    /// ```
    pub async fn send_file(
        &self,
        peer: &Location,
        path: impl AsRef<Path>,
        options: SendFile,
    ) -> Result<Transferred, SendFileError> {
        let path = path.as_ref();
        tokio::select! {
            biased;
            () = self.inner().leaving.cancelled() => Err(SendFileError::Closed),
            sent = send(self.inner(), peer, path, options) => sent,
        }
    }

    /// Fetches a file of a peer whose [`Folder`](crate::Folder) allows it, and puts it at `path`,
    /// in a folder that exists.
    ///
    /// All else is as with [`send_file`](Node::send_file), with the two sides exchanged.
    ///
    /// # Errors
    /// [`FetchFileError`]: the peer cannot be reached, refuses, or keeps this node waiting as in
    /// [`send_file`](Node::send_file); the file cannot be put there.
    ///
    /// # Cancel safety
    /// Dropping the future stops the transfer; the next one goes on from there.
    pub async fn fetch_file(
        &self,
        peer: &Location,
        name: &str,
        path: impl AsRef<Path>,
        options: FetchFile,
    ) -> Result<Transferred, FetchFileError> {
        let path = path.as_ref();
        tokio::select! {
            biased;
            () = self.inner().leaving.cancelled() => Err(FetchFileError::Closed),
            fetched = fetch(self.inner(), peer, name, path, options) => fetched,
        }
    }

    /// Deletes a file at a peer whose [`Folder`](crate::Folder) allows it. Folders stay.
    ///
    /// # Errors
    /// [`DeleteFileError`]: the peer cannot be reached, refuses, or keeps this node waiting as in
    /// [`send_file`](Node::send_file).
    ///
    /// # Cancel safety
    /// When the future is dropped, the file may be deleted or not.
    pub async fn delete_file(&self, peer: &Location, name: &str) -> Result<(), DeleteFileError> {
        FileName::new(name)?;
        tokio::select! {
            biased;
            () = self.inner().leaving.cancelled() => Err(DeleteFileError::Closed),
            deleted = delete(self.inner(), peer, name) => {
                deleted.map_err(|e| DeleteFileError::of(e, name, &peer.to_string()))
            }
        }
    }
}

async fn send(
    node: &Arc<Inner>,
    peer: &Location,
    path: &Path,
    options: SendFile,
) -> Result<Transferred, SendFileError> {
    let name = match &options.name {
        Some(name) => name.clone(),
        // What is lost of a name that is not UTF-8 makes a worse name, but none that is unsafe.
        None => path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    FileName::new(&name)?;
    let entered = enter(node, peer);
    let _turn = node.files.asked.turn(&entered).await;
    let to = peer.to_string();
    let unreadable = |why| match why {
        Unreadable::NotAFile => SendFileError::NotAFile { path: path.into() },
        Unreadable::Changed => SendFileError::Changed {
            path: path.into(),
            peer: to.clone(),
        },
        Unreadable::Io(why) => SendFileError::Read {
            path: path.into(),
            why,
        },
    };
    let opened = open(path.to_owned()).await;
    let file = opened.map_err(unreadable)?;
    let size = file.size();
    let reached = reach(node, peer).await;
    let mut line = reached.map_err(|e| SendFileError::of(e, &name, &to))?;
    let sent = while_valid(line.until, async {
        let offer = Say::Send {
            replace: options.replace,
            size,
            stamp: file.stamp(),
            name: name.clone(),
        };
        line.say(&offer).await?;
        let allowance = line.allowance(size).longer(CROWDED);
        let (given, line) = give(line, file, &name, allowance, options.report).await;
        keep(node, peer, line);
        given
    });
    match sent.await.map_err(Failed::Lost).flatten() {
        Ok(arrived) => Ok(transferred(size, arrived)),
        Err(Failed::Unreadable(why)) => Err(unreadable(why)),
        Err(Failed::There(why) | Failed::Here(why)) => {
            Err(SendFileError::of(Trouble::Refused(why), &name, &to))
        }
        Err(Failed::Lost(lost)) => Err(SendFileError::of(Trouble::Lost(lost), &name, &to)),
    }
}

async fn open(path: PathBuf) -> Result<Outgoing, Unreadable> {
    blocking(move |_| {
        // A pipe would keep the open waiting.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(Unreadable::NotAFile);
        }
        Outgoing::new(File::open(path)?)
    })
    .await
}

async fn fetch(
    node: &Arc<Inner>,
    peer: &Location,
    name: &str,
    path: &Path,
    options: FetchFile,
) -> Result<Transferred, FetchFileError> {
    FileName::new(name)?;
    let entered = enter(node, peer);
    let _turn = node.files.asked.turn(&entered).await;
    let from = peer.to_string();
    let trouble = |trouble| FetchFileError::of(trouble, name, &from);
    let failed = |failed| match failed {
        Failed::Lost(lost) => trouble(Trouble::Lost(lost)),
        Failed::There(why) => trouble(Trouble::Refused(why)),
        Failed::Here(why) => FetchFileError::Write {
            name: name.into(),
            peer: from.clone(),
            path: path.into(),
            why,
        },
        Failed::Unreadable(why) => trouble(Trouble::Refused(why.refusal(name))),
    };
    let line = reach(node, peer).await.map_err(trouble)?;
    let fetched = while_valid(line.until, async {
        let (mut line, size, stamp) = offer(node, peer, line, name).await.map_err(trouble)?;
        if let Some(largest) = options.largest.filter(|largest| size > *largest) {
            let why = Refusal::TooLarge { largest };
            let told = line.say(&Say::Refused(why.clone())).await.is_ok();
            keep(node, peer, told.then_some(line));
            return Err(failed(Failed::Here(why)));
        }
        let announced = Announced {
            size,
            stamp,
            replace: options.replace,
            durable: options.durable,
        };
        let path = path.to_owned();
        let prepare = move |differs, cancelled: &_| {
            let place = place(&path)?;
            let here = (place.folder.try_clone(), Arc::clone(&place.label));
            prepare(place, announced, differs, cancelled, |bytes| {
                let folder = here.0.map_err(|e| Refusal::io(&e))?;
                room::check(bytes, 0, (&folder, &here.1)).map(|()| None)
            })
        };
        let taker = Taker {
            size,
            patience: 2 * node.config.timing.silence,
            prepare: Arc::new(prepare),
            report: options.report,
        };
        let (taken, line) = take(line, taker).await;
        keep(node, peer, line);
        taken
            .map(|(arrived, _)| transferred(size, arrived))
            .map_err(failed)
    });
    fetched.await.map_err(|lost| trouble(Trouble::Lost(lost)))?
}

/// Asks for a file: its size and stamp.
async fn offer(
    node: &Arc<Inner>,
    peer: &Location,
    mut line: Line,
    name: &str,
) -> Result<(Line, u64, u64), Trouble> {
    line.say(&Say::Fetch { name: name.into() }).await?;
    match line.hear(line.allowance(0).longer(CROWDED)).await? {
        Heard::Say(Say::Offer { size, stamp }) => Ok((line, size, stamp)),
        heard => Err(refused(node, peer, line, &heard)),
    }
}

/// A place here, in a folder that whoever fetches has chosen.
fn place(path: &Path) -> Result<Place, Refusal> {
    let not_a_name = || Refusal::Name(format!("{} has no file name in UTF-8", path.display()));
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(not_a_name)?.to_owned();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let opened = Dir::open_ambient_dir(folder, ambient_authority());
    Ok(Place {
        label: folder.to_string_lossy().into(),
        folder: opened.map_err(|e| Refusal::Disk(format!("its folder: {e}")))?,
        name,
        _made: None,
    })
}

async fn delete(node: &Arc<Inner>, peer: &Location, name: &str) -> Result<(), Trouble> {
    let entered = enter(node, peer);
    let _turn = node.files.asked.turn(&entered).await;
    let mut line = reach(node, peer).await?;
    let deleted = while_valid(line.until, async {
        line.say(&Say::Delete { name: name.into() }).await?;
        match line.hear(line.allowance(0).longer(CROWDED)).await? {
            Heard::Say(Say::Done) => {
                keep(node, peer, Some(line));
                Ok(())
            }
            heard => Err(refused(node, peer, line, &heard)),
        }
    });
    deleted.await?
}

fn refused(node: &Arc<Inner>, peer: &Location, line: Line, heard: &Heard) -> Trouble {
    match heard {
        Heard::Say(Say::Refused(why)) => {
            keep(node, peer, Some(line));
            Trouble::Refused(why.clone())
        }
        _ => Trouble::Lost(Lost("it broke the protocol".into())),
    }
}

fn transferred(size: u64, arrived: Arrived) -> Transferred {
    Transferred {
        size,
        moved: arrived.moved(size),
        already: arrived.was_there(),
    }
}

fn enter(node: &Inner, peer: &Location) -> Entered {
    let entered = node.files.asked.enter(peer.node, usize::MAX);
    entered.expect("there is no limit")
}

/// A connection to a peer: one that is idle, or a new one.
async fn reach(node: &Arc<Inner>, peer: &Location) -> Result<Line, Trouble> {
    while let Some(mut line) = node.files.take_idle(peer.node) {
        if line.is_alive().await {
            return Ok(line);
        }
    }
    let stream = greeting::dial_files(node, peer).await;
    let (stream, until) = stream.map_err(Trouble::Unreachable)?;
    Ok(Line::new(stream, until, node.config.timing))
}

/// Keeps a connection for the next operation, for a while.
fn keep(node: &Arc<Inner>, peer: &Location, line: Option<Line>) {
    let peer = peer.node;
    let Some(number) = line.and_then(|line| node.files.keep_idle(peer, line)) else {
        return;
    };
    let weary = Arc::clone(node);
    let close = async move {
        tokio::select! {
            () = weary.leaving.cancelled() => {}
            () = tokio::time::sleep(IDLE) => {}
        }
        weary.files.drop_idle(peer, number);
    };
    node.tasks.spawn_on(close, &node.runtime);
}
