//! What a node's daemon and its clients say to each other.
//!
//! A daemon is a coroutine that is [registered](NAME) on the network of the nodes; a client opens a
//! *desk* there, a coroutine of its own, which starts and ends the client's workers. The workers
//! and their client have a network of their own, of which the daemon only passes on what a worker
//! needs to join it.
//!
//! ```text
//! client                                   daemon
//!    | ------------- Look -----------------> |
//!    | ------------- Open -----------------> |   the desk's address comes back
//!                                          desk
//!    | <------------ Send ------------------ |   for each content that is not there
//!    | == it, as a file ===================> |
//!    | ------------- Sent -----------------> |
//!    | <------------ Pack ------------------ |   for small ones, many at a time
//!    | ------------- Packed ---------------> |
//!    | <------------ Ready ----------------- |   the program can be started
//!    | ------------- Want -----------------> |
//!    | <------------ Grant ----------------- |   slots, of which each is a worker
//!    | ------------- Launch ---------------> |
//!    | ------------- Claim ----------------> |   what the next call of a worker takes besides cores, if it does
//!    | <------------ Claimed --------------- |   it may begin
//!    | <------------ Ended ----------------- |   for each worker
//!    | <------------ Reclaim --------------- |   when others are to have slots
//!    | ------------- GiveBack -------------> |
//! ```

use coros_core::remote::{NodeId, told};
use coros_core::{Address, Exit, Reply};
use coros_net::Location;
use serde::{Deserialize, Serialize};

use super::claims::Claim;
use super::fetch::Fetched;
use super::folder::Overfull;
use super::leases::{ClientId, Terms, Wish};
use crate::blob::Blob;
use crate::computation::{Computation, TooLarge};
use crate::hash::ContentHash;
use crate::machine::{Load, Machine};
use crate::process::End;
use crate::protocol::sender;
use crate::quota::{Quota, Spent};
use crate::resources::Resources;
use crate::scheduler::core::WorkerId;
use crate::scheduler::liaison::ToLiaison;
use crate::scheduler::lines::ToLines;
use crate::store::{Aside, Kind};

/// What a process may have at a node, where each computation has a desk. A service has those of all its tenants.
pub(crate) const QUOTA: Quota = Quota {
    computations: 1024,
    bytes: 128 << 20,
    in_all: usize::MAX,
};

/// The name under which daemons are found on their network.
pub(crate) const NAME: &str = "coros.node";

/// What a content is called when it is sent to a daemon: a file in a folder that is for it alone, also while it is
/// incomplete.
pub(crate) fn sent_as(content: ContentHash) -> String {
    format!("{content}/content")
}

/// To a daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToDaemon {
    /// What is there?
    Look(Reply<View>),
    /// A client wants to run its program here.
    Open(Box<Opening>, Reply<Result<Address<ToDesk>, Closed>>),
    /// Something of its own process.
    #[serde(skip)]
    Own(Own),
}

/// What a daemon shows of its node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) machine: Machine,
    pub(crate) load: Load,
    /// How many slots there are, for all clients together.
    pub(crate) slots: usize,
    /// How many of them are lent.
    pub(crate) lent: usize,
    /// Whether it lends any.
    pub(crate) state: NodeState,
}

/// Who opens a desk, and for what.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    pub(crate) client: Address<ToLiaison>,
    /// The node that this came from, whatever it says.
    #[serde(skip, default = "sender")]
    pub(crate) sender: Option<NodeId>,
    /// Where the lines go that workers write to standard error, each before its worker's end is told.
    pub(crate) lines: Address<ToLines>,
    /// For people.
    pub(crate) from: Location,
    /// Whose computation it is: the client's node on the network of its workers, however often a desk is opened for it,
    /// and by whichever service. Nobody outside of that network hears of it, who could pretend to be that client.
    pub(crate) scheduler: NodeId,
    pub(crate) terms: Terms,
    pub(crate) computation: Computation,
}

#[cfg(test)]
impl Opening {
    /// Of a client, whose scheduler is of that number, and whose program is empty.
    pub(crate) fn for_test(client: Address<ToLiaison>, scheduler: u128) -> Self {
        let lines = async |_me: coros_core::Context<ToLines>| {};
        let (hash, length) = ContentHash::of(b"".as_slice()).expect("it is there");
        Opening {
            client,
            sender: None,
            lines: coros_core::build().daemon().spawn(lines).address(),
            from: Location {
                node: NodeId(1),
                name: "desk".into(),
                endpoint: None,
            },
            scheduler: NodeId(scheduler),
            terms: Terms {
                exclusive: false,
                priority: 0,
            },
            computation: Computation {
                program: crate::content::Content { hash, length },
                files: Vec::new(),
                start: crate::computation::Start::default(),
            },
        }
    }
}

/// Why no desk is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Closed {
    /// It ends as soon as its clients are done.
    #[error("it takes no new clients, because it is about to end")]
    Draining,
    /// It takes no more than so many clients.
    #[error("it takes no more clients than those that it has had")]
    Served,
    /// A process has as much as it may.
    #[error(transparent)]
    Spent(#[from] Spent),
    /// It would have to keep more of a computation than any client tells of.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// To the desk of a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToDesk {
    /// What was asked for has been sent.
    Sent,
    /// All of what was asked for [together](crate::pack).
    Packed(Blob),
    /// How many slots the client has use for.
    Want(Wish),
    /// So many slots are free again.
    GiveBack(usize),
    /// Start a worker: its name, and what it reads from its standard input.
    Launch {
        worker: WorkerId,
        name: String,
        handover: Blob,
        /// Another worker has prepared what all of them share: this one may read it.
        prepared: bool,
    },
    /// A worker is to have so much of the node besides its slot, in place of what it has: its memory, and what has a
    /// name. The number is that of the claim.
    Claim {
        worker: WorkerId,
        number: u64,
        needs: Resources,
    },
    /// Kill a worker and all that it has started.
    Kill(WorkerId),
    /// The client is done: all ends.
    Leave,
    /// Something of its own process.
    #[serde(skip)]
    Own(OwnDesk),
}

/// From a desk, to its client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromDesk {
    /// This is not there: send it as a file, [under a name](sent_as) that its hash gives.
    Send(ContentHash),
    /// These files are not there: send them [together](crate::pack).
    Pack(Vec<ContentHash>),
    /// What is not there another client is sending, and more of it has come.
    Coming,
    /// All is there.
    Ready,
    /// The computation cannot be run here, and why.
    Unfit(#[serde(deserialize_with = "told")] String),
    /// The client has so many slots more.
    Grant(usize),
    /// So many of those that it has are to be given back, in all.
    Reclaim(usize),
    /// The node lends slots, or not.
    State(NodeState),
    /// A worker has what was claimed for it.
    Claimed { worker: WorkerId, number: u64 },
    /// A worker's process has ended, or could not be started; it has nothing any more.
    Ended { worker: WorkerId, end: End },
    /// All that runs here for the client is about to be ended.
    Ending,
}

/// Whether a node lends slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeState {
    /// As they are wanted; also again.
    Open,
    /// None at present.
    Suspended,
    /// None any more: it ends when those that are lent have come back.
    Draining,
}

/// What a daemon is told by its own process.
#[derive(Debug)]
pub(crate) enum Own {
    /// How many slots a client has use for.
    Want(ClientId, Wish),
    /// A client has given back so many.
    GiveBack(ClientId, usize),
    /// A worker claims so much.
    Claim(Claim, Resources),
    /// A desk has ended, and nothing of its client runs any more. Unless it has left, it may come back.
    Left { client: ClientId, lost: bool },
    /// A client has not come back.
    NotBack(ClientId),
    /// A client has sent its program, or a file, of so many bytes.
    Received(ClientId, Kind, u64),
    /// There are so many slots from now on.
    Resize(usize),
    /// None of them is lent from now on, or they are again.
    Suspend(bool),
    /// End all desks, and with them all workers.
    Evict,
    /// Say when as many clients as may come have come and left.
    Served(Reply<()>),
    /// Take no new clients, and say when nothing is lent any more.
    Drain(Reply<()>),
    /// How it stands.
    Status(Reply<super::Status>),
}

/// What a desk is told by its own process.
#[derive(Debug)]
pub(crate) enum OwnDesk {
    State(NodeState),
    Grant(usize),
    Reclaim(usize),
    Claimed(Claim),
    /// The program and its files are there, or cannot be.
    Fetched(Result<Fetched, String>),
    /// They are where workers find them, or cannot be.
    LaidOut(Result<(Fetched, Aside), String>),
    Ended {
        worker: WorkerId,
        end: End,
    },
    /// Workers have written more than they may.
    Overfull(Overfull),
    /// The client is gone.
    Gone(Exit),
    /// All ends, because the daemon does.
    End,
}
