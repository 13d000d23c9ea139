//! How a client's program and files come to be there: they are taken from the store, or the client sends
//! them.
//!
//! Of several clients with the same content one sends it, and the others find it in the store. One that has its
//! turn and does not send loses it, or sends so slowly that others had better do it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use coros_core::remote::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{MutexGuard, Notify};
use tokio_util::task::AbortOnDropHandle;

use super::protocol::sent_as;
use crate::computation::Dependency;
use crate::content::Content;
use crate::hash::ContentHash;
use crate::lock::lock;
use crate::store::{Kind, Pin, PinError, Store};

/// So long nothing may come of what a client is to send: as long as others usually wait for it. A slow link
/// still brings something.
const SILENCE: Duration = Duration::from_secs(60);

/// So many bytes have to come in that time while others wait for the turn: else whoever sends one byte a minute would have
/// it for ever. A link that brings less is of no use for programs.
const LEAST: u64 = 1 << 20;

/// How often whoever waits for another one to send something is told that it comes, if it does.
const TOLD_EVERY: Duration = Duration::from_secs(1);

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
    /// Somebody else sends it, and more of it has come: for one that does not wait for ever.
    fn coming(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
    /// It has, so many bytes.
    fn received(&self, kind: Kind, bytes: u64);
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
    pub(crate) program: Pin,
    also: Vec<Pin>,
    pub(crate) files: Vec<(Dependency, Pin)>,
}

impl Fetched {
    /// Where each content is.
    pub(crate) fn sources(&self) -> BTreeMap<ContentHash, PathBuf> {
        let programs = std::iter::once(&self.program).chain(&self.also);
        let pins = programs.chain(self.files.iter().map(|(_, pin)| pin));
        pins.map(|pin| (pin.hash(), pin.path())).collect()
    }
}

impl Fetching {
    /// Starts; `done` is called with the outcome. The first value is for whoever knows that the client
    /// has sent something, the second ends all this when dropped.
    pub(crate) fn start(
        self,
        done: impl FnOnce(Result<Fetched, Unfit>) + Send + 'static,
    ) -> (Arc<Notify>, AbortOnDropHandle<()>) {
        let sent = Arc::new(Notify::new());
        let told = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            done(self.run(&told).await);
        });
        (sent, AbortOnDropHandle::new(task))
    }

    async fn run(self, sent: &Notify) -> Result<Fetched, Unfit> {
        let program = self.one(self.program, Kind::Program, sent).await?;
        let mut also = Vec::new();
        for content in &self.also {
            also.push(self.one(*content, Kind::Program, sent).await?);
        }
        let mut files = Vec::new();
        for file in &self.files {
            let pin = self.one(file.content, Kind::File, sent).await?;
            files.push((file.clone(), pin));
        }
        Ok(Fetched {
            program,
            also,
            files,
        })
    }

    async fn one(
        &self,
        Content { hash, length }: Content,
        kind: Kind,
        sent: &Notify,
    ) -> Result<Pin, Unfit> {
        if let Some(pin) = self.pinned(hash, kind).await? {
            return Ok(pin);
        }
        if length > self.largest {
            return Err(Unfit::for_good(format!(
                "{} has {length} bytes, and this node takes no more than {} at a time; whoever runs it may \
                 allow more (--max-file-size, and --cache)",
                match kind {
                    Kind::Program => "it",
                    Kind::File => "a file that it needs",
                },
                self.largest
            )));
        }
        let name = sent_as(hash);
        let turn = self.turns.of(hash);
        let _turn = self.turn(&turn, &name).await;
        // Somebody else may have sent it meanwhile.
        if let Some(pin) = self.pinned(hash, kind).await? {
            return Ok(pin);
        }
        let room = self.store.make_room(&name, length).await;
        let room = room.map_err(Unfit::for_now)?;
        let sending = async {
            self.client.send(hash).await;
            sent.notified().await;
        };
        self.comes(&name, &turn, sending).await?;
        let adopted = self.store.adopt(hash, kind, room).await;
        let pin = adopted.map_err(Unfit::for_now)?;
        self.client.received(kind, length);
        Ok(pin)
    }

    /// Waits for its turn. Whoever has it now may take long, and meanwhile sends for all.
    async fn turn<'a>(&self, turn: &'a Turn, name: &str) -> MutexGuard<'a, ()> {
        let mut lock = pin!(turn.lock());
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
                let why = "nothing more of what this node has asked for has come for";
                return Err(Unfit::for_now(format!("{why} {SILENCE:?}")));
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

#[cfg(test)]
mod tests;
