//! What a scheduler and its workers say to each other.
//!
//! These are ordinary messages between two coroutines, the scheduler's and the worker's, over the
//! link of their nodes: messages of one direction arrive in the order sent. Before there is a
//! link, a worker reads one [`Handover`] from its standard input.
//!
//! ```text
//! scheduler                              worker
//!    | -- starts the process, Handover --> |
//!    | <------------- link --------------- |
//!    | <----------- SettingUp ------------ |   when functions of the user's prepare it, or its node
//!    | <----------- NodeSetUp ------------ |   the last of one that prepares a node
//!    | <------------ Ready --------------- |
//!    | ------------- Run, Run -----------> |
//!    | <------------ Begun --------------- |   when somebody hears of it
//!    | <------------ Done ---------------- |   any number of times
//!    | ------------- Revoke -------------> |
//!    | <------- Returned or Kept --------- |   or nothing, when Done is on its way
//!    | <------- TimedOut or Stuck -------- |   for a call that has a time limit
//!    | -------------- Pause -------------> |   while nobody takes results
//!    | ------------- Goodbye ------------> |   or end of the worker's standard input
//!    | <-------- TearDownFailed ---------- |   when functions of the user's tidy up, and one fails
//! ```

use std::borrow::Cow;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use coros_core::Address;
use coros_core::remote::{Location, NodeId, told};
use coros_net::Credentials;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blob::Blob;
use crate::scheduler::Command;
use crate::scheduler::core::{CallId, WorkerId};
use crate::scheduler::pool::Purpose;
use crate::service::protocol::FromTenant;

/// What to do about arguments or a result that no message has room for: the end of the error.
pub(crate) const TOO_LARGE: &str =
    "; hand over the path of a file instead, or send pieces to an address among the arguments";

/// The node whose message is being read.
pub(crate) fn sender() -> Option<NodeId> {
    coros_core::remote::exchange()?.peer()
}

/// All that a worker process needs to join: comes on its standard input, whose end tells it that
/// its client is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// What the worker's node shows on its link. Holds a private key.
    pub(crate) credentials: Credentials,
    /// Where the node of its scheduler listens.
    pub(crate) home: Location,
    /// Where the client is, if not there.
    pub(crate) client: Option<Location>,
    /// Where others reach the worker's node, with 0 for whatever port there is; `None` for this
    /// machine alone.
    pub(crate) listen: Option<SocketAddr>,
    /// What travels with the program, by the name that it has for functions: the path, relative to
    /// where the worker begins.
    pub(crate) files: Vec<(String, PathBuf)>,
    /// What all workers of this scheduler on this machine share: a folder.
    pub(crate) shared: PathBuf,
    /// What it is there for.
    pub(crate) purpose: Purpose,
    /// What runs before and after all calls.
    pub(crate) duties: Duties,
    /// The address of the scheduler's coroutine, encoded by the client's node.
    pub(crate) scheduler: Blob,
    pub(crate) worker: WorkerId,
    /// How long linking may take.
    pub(crate) link_limit: Duration,
    /// How often the worker shows the client that it lives.
    pub(crate) heartbeat: Duration,
    /// What the worker logs to standard error: directives as of `EnvFilter`.
    pub(crate) log: String,
}

/// Functions that run in a worker before and after all calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Duties {
    /// For one that does nothing else, before all workers of a node.
    pub(crate) set_up_node: Option<Duty>,
    /// For the last of them, or one that does nothing else.
    pub(crate) tear_down_node: Option<Duty>,
    pub(crate) set_up: Option<Duty>,
    pub(crate) tear_down: Option<Duty>,
    /// What the node's setup gave.
    pub(crate) node_value: Option<Blob>,
}

/// A function, and its arguments, encoded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Duty {
    pub(crate) function: String,
    pub(crate) args: Blob,
}

/// How long a client may be silent to its workers. Its end they see at once, by that of their
/// standard input, so this is for a client that is frozen; it is long because a program may well
/// compute for some seconds where its node should run, above all with a single thread. The other
/// way it is short: see [`SchedulerBuilder::silence`](crate::scheduler::SchedulerBuilder::silence).
pub(crate) const CLIENT_SILENCE: Duration = Duration::from_secs(30);

/// Whatever claims to be larger is nothing that is handed over: that is a message to a node's daemon.
const LARGEST_FRAME: u32 = 16 << 20;

/// How large may be what a function is given that prepares a worker, and what that of a node gives: all
/// of them together have to go into a frame.
const LARGEST_PART: usize = 3 << 20;

/// Whether something is small enough to be handed over.
///
/// # Errors
/// How large it is, and what to do.
pub(crate) fn fits(what: &str, bytes: &[u8]) -> Result<(), String> {
    match bytes.len() {
        0..=LARGEST_PART => Ok(()),
        n => Err(format!(
            "{what} has {n} bytes, and may have {LARGEST_PART}: put it into a file that travels \
             along (`depends`), or into the shared folder"
        )),
    }
}

/// As it goes into a worker's standard input: its length in 4 bytes, little-endian, then itself in
/// postcard.
pub(crate) fn to_frame(value: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    let body = postcard::to_stdvec(value)?;
    let length = u32::try_from(body.len()).ok();
    let length = length.filter(|length| *length <= LARGEST_FRAME);
    let length = length.ok_or(postcard::Error::SerializeBufferFull)?;
    Ok([&length.to_le_bytes(), body.as_slice()].concat())
}

/// Reads what was written so, and not a byte more.
pub(crate) fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LARGEST_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    postcard::from_bytes(&body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// To a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// Run these calls: the io calls at once, of the others one at a time, by priority and then by
    /// number.
    Run(Vec<Run>),
    /// Give the call back if it has not begun. With `abort` its result is no longer wanted: drop
    /// it even then, and tell when that cannot be done.
    Revoke {
        call: CallId,
        attempt: u32,
        abort: bool,
    },
    /// Keep what comes of calls, because the client has no room for it; or not any more.
    Pause(bool),
    /// End. The last worker of a node may have that to see to.
    Goodbye { tear_down_node: bool },
    /// The link to the client was lost. The worker tells itself.
    #[serde(skip)]
    ClientLost,
}

/// One call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) call: CallId,
    pub(crate) attempt: u32,
    /// `None` for that of the call before it in the message.
    pub(crate) function: Option<Cow<'static, str>>,
    pub(crate) args: Blob,
    pub(crate) priority: i32,
    pub(crate) io: bool,
    pub(crate) limit: Option<Duration>,
    /// Somebody wants to know when it begins.
    pub(crate) watched: bool,
}

/// From a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// There is something to do before the worker takes calls.
    SettingUp,
    /// It has prepared the node, and ends: what that gave.
    NodeSetUp(Blob),
    /// It could not be prepared, and ends: why.
    SetupFailed(#[serde(deserialize_with = "told")] String),
    /// What was prepared could not be undone: which of it, and why.
    TearDownFailed(#[serde(deserialize_with = "told")] String),
    /// It has tidied up the node, however that went, and ends: one that was started for that.
    NodeTidiedUp,
    /// The worker takes calls.
    Ready {
        control: Address<ToWorker>,
        /// The number of its process.
        pid: u32,
    },
    /// A call that is watched begins.
    Begun { call: CallId, attempt: u32 },
    /// A call has ended.
    Done {
        call: CallId,
        attempt: u32,
        result: CallResult,
        /// How long it ran, if it is watched.
        ran: Option<Duration>,
    },
    /// Revoked: the call has not run, or was dropped half way as told.
    Returned { call: CallId, attempt: u32 },
    /// Not revoked: the call has begun and goes on.
    Kept { call: CallId, attempt: u32 },
    /// The call's time was over, and it has been dropped.
    TimedOut { call: CallId, attempt: u32 },
    /// The call was to be dropped, because nobody wants its result or its time was over, and that
    /// cannot be. The worker begins no other call but io calls.
    Stuck { call: CallId, attempt: u32 },
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CallResult {
    /// The function's value, encoded.
    Value(Blob),
    /// The text of the function's error.
    Failed(String),
    /// The text of its panic.
    Panicked(String),
    /// The worker could not run it, or could not send its result.
    Refused(String),
}

/// What the scheduler's mailbox takes: reports of workers, and commands of its own process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToScheduler {
    /// A worker says.
    Report(WorkerId, FromWorker),
    /// The tenant of a service says something to its client; the number is that of the opening.
    Service(u64, FromTenant),
    /// Somebody in this process wants something.
    #[serde(skip)]
    Command(Command),
}
