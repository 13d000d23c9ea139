//! How a client's program and files come to be there: they are taken from the store, or the client sends
//! them.
//!
//! Of several clients with the same content one sends it, and the others find it in the store. One that has its
//! turn and does not send loses it, or sends so slowly that others had better do it.
//!
//! Programs and large files come one after the other; small files come in [packs](crate::pack).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use coros_core::readable;
use coros_core::remote::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::protocol::sent_as;
use crate::computation::Dependency;
use crate::content::Content;
use crate::hash::ContentHash;
use crate::isolation::amount;
use crate::lock::lock;
use crate::pack;
use crate::store::{Kind, Pin, PinError, Store, counted};

/// So long nothing may come of what a client is to send: as long as others usually wait for it. A slow link
/// still brings something.
const SILENCE: Duration = Duration::from_secs(60);

/// No program that has a scheduler is so small: with all that a runtime and links take it has some of it.
const LEAST_ROOM: u64 = 1 << 20;

/// So many bytes have to come in that time while others wait for the turn: else whoever sends one byte a minute would have
/// it for ever. A link that brings less is of no use for programs.
const LEAST: u64 = 1 << 20;

/// How often whoever waits for another one to send something is told that it comes, if it does.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How much one program or file may have, if so much is wanted, where all of them may take so much.
///
/// # Errors
/// Why that makes no sense, and what would.
pub(crate) fn largest(one: Option<u64>, all: u64) -> Result<u64, String> {
    let too_small = |what, bytes| {
        let (bytes, least) = (amount(bytes), amount(LEAST_ROOM));
        Err(format!(
            "{what} cannot be {bytes}: no program is that small, {least} is the least"
        ))
    };
    match one {
        _ if all < LEAST_ROOM => too_small("the room for all programs and files (--cache)", all),
        Some(one) if one < LEAST_ROOM => {
            too_small("the most that one of them may have (--max-file-size)", one)
        }
        Some(one) if one > all => Err(format!(
            "one program or file cannot have {} (--max-file-size) where there is room for {} (--cache)",
            amount(one),
            amount(all)
        )),
        one => Ok(one.unwrap_or(all)),
    }
}

/// Who has the turn to send a content: one at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<ContentHash, Weak<Turn>>>>);

type Turn = tokio::sync::Mutex<()>;

impl Turns {
    fn of(&self, hash: ContentHash) -> Arc<Turn> {
        let mut turns = lock(&self.0);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = turns.get(&hash).and_then(Weak::upgrade);
        turn.unwrap_or_else(|| {
            let turn = Arc::new(Turn::default());
            turns.insert(hash, Arc::downgrade(&turn));
            turn
        })
    }
}

/// Whether others than the one that has it want it too.
fn is_waited_for(turn: &Arc<Turn>) -> bool {
    Arc::strong_count(turn) > 1
}

/// What is wanted.
pub(crate) struct Fetching {
    pub(crate) store: Store,
    pub(crate) turns: Turns,
    /// The most bytes that one program or file may have.
    pub(crate) largest: u64,
    pub(crate) program: Content,
    /// The same for other targets.
    pub(crate) also: Vec<Content>,
    pub(crate) files: Vec<Dependency>,
    pub(crate) client: Box<dyn Sender>,
}

/// Who has what is wanted.
pub(crate) trait Sender: Send + Sync {
    /// Has it send this.
    fn send(&self, content: ContentHash) -> BoxFuture<()>;
    /// Has it send these files together.
    fn pack(&self, contents: Vec<ContentHash>) -> BoxFuture<()>;
    /// Somebody else sends it, and more of it has come: for one that does not wait for ever.
    fn coming(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
    /// It has, so many bytes.
    fn received(&self, kind: Kind, bytes: u64);
}

/// What a client was asked for is there.
#[derive(Debug)]
pub(crate) enum Came {
    /// As a file, where the store receives them.
    File,
    /// All of a pack.
    Pack(Bytes),
}

/// Why a program cannot be had, or run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Unfit {
    pub(crate) why: String,
    /// When it is tried again, that may have passed.
    pub(crate) passes: bool,
}

impl Unfit {
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub(crate) fn for_now(why: impl ToString) -> Self {
        let (why, passes) = (why.to_string(), true);
        Unfit { why, passes }
    }

    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub(crate) fn for_good(why: impl ToString) -> Self {
        let (why, passes) = (why.to_string(), false);
        Unfit { why, passes }
    }
}

/// What there is; it stays as long as this does.
#[derive(Debug)]
pub(crate) struct Fetched {
    program: ContentHash,
    files: Vec<Dependency>,
    pins: Pins,
}

type Pins = BTreeMap<ContentHash, Pin>;

impl Fetched {
    /// Where the program is.
    pub(crate) fn program(&self) -> PathBuf {
        self.pins[&self.program].path()
    }

    /// The files, and where the content of each is.
    pub(crate) fn files(&self) -> impl Iterator<Item = (Dependency, PathBuf)> {
        let path = |file: &Dependency| self.pins[&file.content.hash].path();
        self.files
            .iter()
            .map(move |file| (file.clone(), path(file)))
    }

    /// What copies of all files count for, whatever the client says of their lengths.
    pub(crate) fn copied(&self) -> u64 {
        let counted = |file: &Dependency| self.pins[&file.content.hash].counted();
        self.files.iter().map(counted).fold(0, u64::saturating_add)
    }

    /// Where each content is.
    pub(crate) fn sources(&self) -> BTreeMap<ContentHash, PathBuf> {
        let pins = self.pins.iter();
        pins.map(|(hash, pin)| (*hash, pin.path())).collect()
    }
}

/// What comes together, and nobody else is to send meanwhile.
#[derive(Default)]
struct Pack {
    contents: Vec<Content>,
    bytes: u64,
    turns: Vec<OwnedMutexGuard<()>>,
}

impl Pack {
    fn has_room(&self, content: Content) -> bool {
        self.contents.len() < pack::MOST && self.bytes + content.length <= pack::MOST_BYTES
    }

    fn add(&mut self, content: Content, turn: OwnedMutexGuard<()>) {
        self.contents.push(content);
        self.bytes += content.length;
        self.turns.push(turn);
    }
}

impl Fetching {
    /// Starts; `done` is called with the outcome. Whoever knows that the client has sent something says so to the first
    /// value, which has room for what was asked for; the second ends all this when dropped.
    pub(crate) fn start(
        self,
        done: impl FnOnce(Result<Fetched, Unfit>) + Send + 'static,
    ) -> (mpsc::Sender<Came>, AbortOnDropHandle<()>) {
        let (sender, mut came) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            done(self.run(&mut came).await);
        });
        (sender, AbortOnDropHandle::new(task))
    }

    async fn run(self, came: &mut mpsc::Receiver<Came>) -> Result<Fetched, Unfit> {
        let mut pins = Pins::new();
        let programs = std::iter::once(self.program).chain(self.also.iter().copied());
        for content in programs {
            let pin = self.one(content, Kind::Program, came).await?;
            pins.insert(content.hash, pin);
        }
        let files = self.files.iter().map(|it| (it.content.hash, it.content));
        // Each once, and in an order that all clients have.
        let files: BTreeMap<_, _> = files.filter(|(hash, _)| !pins.contains_key(hash)).collect();
        let is_small = |content: &Content| content.length <= self.largest.min(pack::MOST_BYTES);
        let (small, large): (Vec<_>, Vec<_>) = files.into_values().partition(is_small);
        for content in large {
            let pin = self.one(content, Kind::File, came).await?;
            pins.insert(content.hash, pin);
        }
        self.many(small, came, &mut pins).await?;
        Ok(Fetched {
            program: self.program.hash,
            files: self.files,
            pins,
        })
    }

    /// Small files.
    async fn many(
        &self,
        small: Vec<Content>,
        came: &mut mpsc::Receiver<Came>,
        pins: &mut Pins,
    ) -> Result<(), Unfit> {
        let mut pack = Pack::default();
        for content in small {
            if !pack.has_room(content) {
                self.fill(std::mem::take(&mut pack), came, pins).await?;
            }
            let turn = self.turns.of(content.hash);
            let turn = match Arc::clone(&turn).try_lock_owned() {
                Ok(turn) => turn,
                Err(_) => {
                    // Two that wait for each other would do so for ever.
                    self.fill(std::mem::take(&mut pack), came, pins).await?;
                    self.turn(turn.lock_owned(), &sent_as(content.hash)).await
                }
            };
            match self.pinned(content.hash, Kind::File).await? {
                Some(pin) => drop(pins.insert(content.hash, pin)),
                None => pack.add(content, turn),
            }
        }
        self.fill(pack, came, pins).await
    }

    /// Has the client send a pack.
    async fn fill(
        &self,
        pack: Pack,
        came: &mut mpsc::Receiver<Came>,
        pins: &mut Pins,
    ) -> Result<(), Unfit> {
        let Pack {
            contents, turns, ..
        } = pack;
        if contents.is_empty() {
            return Ok(());
        }
        let room = contents.iter().map(|it| counted(it.length)).sum();
        let room = self.store.set_aside(room).await;
        let room = room.map_err(Unfit::for_now)?;
        let asked = contents.iter().map(|it| it.hash).collect();
        let packed = timeout(SILENCE, async {
            self.client.pack(asked).await;
            loop {
                match came.recv().await {
                    Some(Came::Pack(packed)) => return packed,
                    Some(Came::File) => {}
                    // This is about to be dropped.
                    None => std::future::pending().await,
                }
            }
        });
        let packed = packed.await.map_err(|_| Unfit::for_now(too_silent()))?;
        let wanted = contents.iter().map(|it| (it.hash, it.length)).collect();
        let kept = self.store.keep(wanted, packed, room).await;
        for pin in kept.map_err(Unfit::for_now)? {
            pins.insert(pin.hash(), pin);
        }
        for content in contents {
            self.client.received(Kind::File, content.length);
        }
        drop(turns);
        Ok(())
    }

    async fn one(
        &self,
        Content { hash, length }: Content,
        kind: Kind,
        came: &mut mpsc::Receiver<Came>,
    ) -> Result<Pin, Unfit> {
        if let Some(pin) = self.pinned(hash, kind).await? {
            return Ok(pin);
        }
        if length > self.largest {
            return Err(Unfit::for_good(format!(
                "{} has {}, and this node takes no more than {} at a time; whoever runs it may \
                 allow more (--max-file-size, and --cache)",
                self.called(hash, kind),
                amount(length),
                amount(self.largest)
            )));
        }
        let name = sent_as(hash);
        let turn = self.turns.of(hash);
        let _turn = self.turn(turn.lock(), &name).await;
        // Somebody else may have sent it meanwhile.
        if let Some(pin) = self.pinned(hash, kind).await? {
            return Ok(pin);
        }
        let room = self.store.make_room(&name, length).await;
        let room = room.map_err(Unfit::for_now)?;
        let sending = async {
            self.client.send(hash).await;
            while let Some(Came::Pack(_)) = came.recv().await {}
        };
        self.comes(&name, &turn, sending).await?;
        let adopted = self.store.adopt(hash, kind, room).await;
        let pin = adopted.map_err(Unfit::for_now)?;
        self.client.received(kind, length);
        Ok(pin)
    }

    /// What a content is to whoever sends it.
    fn called(&self, hash: ContentHash, kind: Kind) -> String {
        let file = self.files.iter().find(|file| file.content.hash == hash);
        match (kind, file) {
            (Kind::File, Some(file)) => format!("its file {}", readable(&file.name)),
            (Kind::Program | Kind::File, _) => "it".into(),
        }
    }

    /// Waits for its turn. Whoever has it now may take long, and meanwhile sends for all.
    async fn turn<T>(&self, lock: impl Future<Output = T>, name: &str) -> T {
        let mut lock = pin!(lock);
        let mut before = None;
        loop {
            tokio::select! {
                biased;
                turn = &mut lock => return turn,
                () = tokio::time::sleep(TOLD_EVERY) => {}
            }
            let now = self.store.received(name).await;
            if before.replace(now).is_some_and(|before| before < now) {
                self.client.coming().await;
            }
        }
    }

    /// Waits until something has been sent, as long as it comes, and fast enough for those who wait for the turn.
    async fn comes(
        &self,
        name: &str,
        turn: &Arc<Turn>,
        sending: impl Future<Output = ()>,
    ) -> Result<(), Unfit> {
        let mut sending = pin!(sending);
        let mut before = self.store.received(name).await;
        loop {
            let waited_for = is_waited_for(turn);
            tokio::select! {
                () = &mut sending => return Ok(()),
                () = tokio::time::sleep(SILENCE) => {}
            }
            let now = self.store.received(name).await;
            let came = now.saturating_sub(before);
            if came == 0 {
                return Err(Unfit::for_now(too_silent()));
            }
            if came < LEAST && waited_for && is_waited_for(turn) {
                let why = "others wait for what this node has asked for, of which came in";
                return Err(Unfit::for_now(format!(
                    "{why} {SILENCE:?} only {came} bytes"
                )));
            }
            before = now;
        }
    }

    async fn pinned(&self, hash: ContentHash, kind: Kind) -> Result<Option<Pin>, Unfit> {
        match self.store.pin(hash, kind).await {
            Ok(pin) => Ok(Some(pin)),
            Err(PinError::Missing(_) | PinError::Damaged(_)) => Ok(None),
            Err(PinError::Disk(why)) => Err(Unfit::for_now(why)),
        }
    }
}

fn too_silent() -> String {
    format!("nothing more of what this node has asked for has come for {SILENCE:?}")
}

#[cfg(test)]
mod tests;
