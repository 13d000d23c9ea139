//! What a service and its clients say to each other.
//!
//! A service is a coroutine that is [registered](NAME) on the network of the nodes. A client opens a
//! *computation* there, and gets a *tenant*: a coroutine that fetches the program and runs a scheduler for
//! it. The client and its workers have a network of their own, to which the tenant belongs too: so
//! workers report to the tenant, and exchange messages and files with the client without it.
//!
//! ```text
//! client                                  service
//!    | -------------- Open --------------> |   the tenant's address comes back
//!                                         tenant
//!    | <------------- Send --------------- |   for each content that is not there
//!    | == it, as a file =================> |
//!    | -------------- Sent --------------> |
//!    | <------------- Pack --------------- |   for small ones, many at a time
//!    | ------------- Packed -------------> |
//!    | <------------- Waits -------------- |   how many go before it, when that changes: see `queue`
//!    | <------------- Runs --------------- |   its turn has come
//!    | <------------- Judge -------------- |   for each node that is found, again and again
//!    | -------------- Judged ------------> |
//!    | <------------- Started ------------ |   there is a node, or there was none for long
//!    | ---------- Calls, Cancel ---------> |
//!    | <--------- Events, Ended ---------- |
//!    | -------------- Close -------------> |
//!    | <------------- Closed ------------- |   all workers have ended
//!    | -------------- Leave -------------> |
//! ```

use std::fmt;
use std::sync::Arc;

use coros_core::remote::NodeId;
use coros_core::{Address, Exit, Reply};
use coros_net::{Authority, IdentityError, Location, Secret, SecretError};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::queue::TenantId;
use crate::blob::Blob;
use crate::computation::{Manifest, TooLarge};
use crate::daemon::fetch::{Fetched, Unfit};
use crate::daemon::protocol as daemon;
use crate::hash::ContentHash;
use crate::placement::NodeView;
use crate::protocol::{ToScheduler, sender};
use crate::quota::{Quota, Spent};
use crate::scheduler::core::CallId;
use crate::scheduler::finder::Sight;
use crate::scheduler::judge::{Question, Verdict};
use crate::scheduler::lines::Written;
use crate::scheduler::plan::{Plan, Usage};
use crate::scheduler::remote::{Ended, RemoteCall};
use crate::scheduler::target::{Kind, Target};
use crate::scheduler::{Action, Event, JobError, Survey};

/// The name under which services are found on their network.
pub(crate) const NAME: &str = "coros.scheduler";

/// What the network of a client and its workers is called.
pub(crate) const OWN_NETWORK: &str = "local";

/// What a process may have at a service. All of them come to a node from the service, for which it keeps as much.
pub(super) const QUOTA: Quota = Quota {
    computations: 16,
    bytes: 32 << 20,
    in_all: daemon::QUOTA.bytes,
};

/// To a service.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToService {
    /// A client has a program to run.
    Open(Box<Opening>, Reply<Result<Address<ToTenant>, Closed>>),
    /// Something of its own process.
    #[serde(skip)]
    Own(Own),
}

/// Who comes, and with what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    pub(crate) client: Address<ToScheduler>,
    /// The node that this came from, whatever it says.
    #[serde(skip, default = "sender")]
    pub(crate) sender: Option<NodeId>,
    /// Takes what workers write to standard error.
    pub(crate) lines: Address<Written>,
    /// Which opening of the client it is; no two have the same number.
    pub(crate) epoch: u64,
    /// Its node on this network, for people.
    pub(crate) from: Location,
    /// Its node on the network of its workers.
    pub(crate) here: Location,
    /// What makes others members of that.
    pub(crate) key: Key,
    pub(crate) manifest: Manifest,
    pub(crate) plan: Plan,
    pub(crate) usage: Usage,
}

/// The secret of the network of a client and its workers. It is as old as the scheduler at the client: so
/// addresses that calls have taken along work also when another tenant runs them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Key(String);

impl Key {
    pub(crate) fn of(secret: &Secret) -> Self {
        Key(secret.reveal().to_owned())
    }

    pub(super) fn authority(&self) -> Result<Authority, KeyError> {
        let secret = Secret::from_text(&self.0)?;
        // A passphrase would take long to try, and be kept for ever.
        if !secret.is_random() {
            return Err(KeyError::Passphrase);
        }
        Ok(Authority::derive(&secret, OWN_NETWORK)?)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Why something is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("the key of a network of workers is no random secret")]
    Passphrase,
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why no computation is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Closed {
    /// It ends as soon as its clients are done.
    #[error("it takes no new computations, because it is about to end")]
    Draining,
    /// A process, or all of them, have as much as they may: each is kept, and has nodes asked for slots.
    #[error(transparent)]
    Spent(#[from] Spent),
    /// It would have to keep more of a computation than any client tells of.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// To a tenant.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToTenant {
    /// What was asked for has been sent.
    Sent,
    /// All of what was asked for [together](crate::pack).
    Packed(Blob),
    /// What the client says of a node.
    Judged(NodeId, Box<Verdict>),
    /// Run these.
    Calls(Vec<RemoteCall>),
    /// Nobody wants its result any more.
    Cancel(CallId),
    /// The client wants to know what happens.
    Listen,
    /// Which nodes, or workers, there are; the number is that of the answer.
    Targets(u64, Kind),
    /// Which workers there are when all have come that may; answered likewise.
    Muster(u64),
    /// Do this with a node or a worker.
    Control(u64, Target, Action),
    /// End all workers.
    Close,
    /// The client is done: all ends.
    Leave,
}

/// From a tenant, to its client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromTenant {
    /// This is not there: send it as a file.
    Send(ContentHash),
    /// These files are not there: send them [together](crate::pack).
    Pack(Vec<ContentHash>),
    /// The computation cannot be run, and why.
    Unfit(Unfit),
    /// So many others go before it, with those that run.
    Waits(usize),
    /// The scheduler runs.
    Runs,
    /// A node was found: is it to be used? With `true`, it is not used yet.
    Judge(NodeId, Box<NodeView>, bool),
    /// A node has the program; or none had for too long, and why.
    Started(Result<(), String>),
    Ended(Vec<Ended>),
    Events(Vec<Event>),
    Targets(u64, Vec<Target>),
    Controlled(u64, Result<(), JobError>),
    /// All workers have ended: those that had to be killed.
    Closed(Vec<Arc<str>>),
}

/// What a service is told by its own process.
#[derive(Debug)]
pub(crate) enum Own {
    /// The program of a tenant is there.
    Ready(TenantId),
    /// A tenant has ended; why, if its client has not left by itself.
    Left(TenantId, Option<String>),
    /// What was seen of a node.
    Sight(Box<Sight>),
    /// The daemon of a node has ended, and how.
    Gone(NodeId, Exit),
    /// Take no new computations, and say when the last one has ended.
    Drain(Reply<()>),
    /// How it stands.
    Status(Reply<super::Status>),
}

/// What a tenant is told by its own process.
#[derive(Debug)]
pub(crate) enum OwnTenant {
    /// The program and its files are there, or cannot be.
    Fetched(Result<Fetched, Unfit>),
    /// It is not there, and the client is to send it.
    Wanted(ContentHash),
    /// Likewise, together.
    PackWanted(Vec<ContentHash>),
    /// So many others go before it, with those that run.
    Waits(usize),
    /// Its turn has come.
    Turn,
    /// The scheduler has found a node.
    Asked(Box<Question>),
    /// The scheduler has a node that is of use; or has found none.
    Started(Result<(), String>),
    /// What has the client here?
    Survey(oneshot::Sender<Survey>),
    Targets(u64, Vec<Target>),
    Controlled(u64, Result<(), JobError>),
    Closed(Vec<Arc<str>>),
    /// The scheduler has ended, and how.
    Over(Exit),
    /// The client is gone.
    Gone(Exit),
    /// All ends, because the service does.
    End,
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::computation::{Build, Start};
    use crate::content::Content;
    use crate::machine;
    use crate::scheduler::plan::samples::{plan, usage};

    /// A small one; it runs nowhere.
    pub(crate) const PROGRAM: &[u8] = b"a program";

    pub(crate) fn opening(client: Address<ToScheduler>, from: Location) -> Opening {
        let lines = coros_core::build()
            .daemon()
            .spawn(async |me: coros_core::Context<_>| drop(me));
        let program = Build {
            target: machine::Target::of_this_program().unwrap(),
            content: Content::of(PROGRAM).unwrap(),
        };
        Opening {
            client,
            sender: None,
            lines: lines.address(),
            epoch: 1,
            from: from.clone(),
            here: from,
            key: Key::of(&Secret::random()),
            manifest: Manifest {
                program,
                also: Vec::new(),
                files: Vec::new(),
                start: Start::default(),
            },
            plan: plan(),
            usage: usage(),
        }
    }
}
