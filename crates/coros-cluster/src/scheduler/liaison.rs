//! What speaks with the desk of one node for the scheduler: opens it, sends the program, and carries
//! messages both ways in order, until the desk or the scheduler is done with it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use coros_core::{Address, Context, Exit};
use coros_net::{Location, Node, SendFile, SendFileError};
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use super::core::HostId;
use super::lines::{self, Printer, ToLines};
use super::{Command, Event};
use crate::blocking::blocking;
use crate::computation::{Cargo, Computation};
use crate::daemon::leases::Terms;
use crate::daemon::protocol::{FromDesk, NodeState, Opening, ToDaemon, ToDesk, sent_as};
use crate::hash::ContentHash;
use crate::pack;
use crate::placement::NodeView;
use crate::protocol::ToScheduler;

/// How long a desk may take to hear that the scheduler leaves.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);
/// How long a daemon may take to open a desk.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How often it is told that a file is on its way.
const PROGRESS: Duration = Duration::from_millis(100);
/// How long the end of a worker is not told because lines of it are not printed yet.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a liaison's mailbox takes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLiaison {
    /// The desk says.
    Desk(FromDesk),
    /// The scheduler has something to say to it.
    #[serde(skip)]
    Order(ToDesk),
    /// What the desk asked for has been sent, or why not.
    #[serde(skip)]
    Sent(Result<(), Gone>),
    /// The desk has ended, or cannot be reached any more.
    #[serde(skip)]
    Ended(Gone),
}

/// Why a node is of no use any more.
#[derive(Debug)]
pub(crate) enum Gone {
    /// It has ended all that ran there.
    Ended,
    /// It is there, and cannot be used for this program: why.
    Unfit(String),
    /// It cannot be reached any more: why.
    Lost(String),
}

impl Gone {
    /// By how what served there has ended.
    pub(crate) fn of(exit: &Exit) -> Self {
        match exit {
            Exit::Finished => Gone::Ended,
            exit => Gone::Lost(exit.to_string()),
        }
    }

    /// When the node had said that of itself.
    pub(crate) fn when(self, state: NodeState) -> Self {
        match (self, state) {
            (Gone::Lost(why), NodeState::Draining) => {
                Gone::Lost(format!("{why}, when it was about to end"))
            }
            (gone, _) => gone,
        }
    }

    /// As it is told of a worker there.
    pub(super) fn of_worker(&self) -> String {
        match self {
            Gone::Ended => "its node has ended all that ran there".to_owned(),
            Gone::Unfit(why) => format!("its node is of no use: {why}"),
            Gone::Lost(why) => format!("its node was lost: {why}"),
        }
    }

    /// What is told of it.
    pub(crate) fn event(&self, node: Arc<NodeView>) -> Event {
        match self {
            Gone::Ended => Event::NodeEnded { node },
            Gone::Unfit(reason) => Event::NodeUnfit {
                node,
                reason: reason.clone(),
            },
            Gone::Lost(reason) => Event::NodeLost {
                node,
                reason: reason.clone(),
            },
        }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gone::Ended => "it has ended all that ran there for this program",
            Gone::Unfit(why) | Gone::Lost(why) => why,
        })
    }
}

/// What it needs to know.
pub(super) struct Liaison {
    pub(super) host: HostId,
    /// Whose computation it is.
    pub(super) id: NodeId,
    /// The client's node on the network of the daemons.
    pub(super) node: Node,
    /// The daemon and its node.
    pub(super) daemon: Address<ToDaemon>,
    pub(super) at: Location,
    pub(super) terms: Terms,
    pub(super) computation: Computation,
    /// What it is made of.
    pub(super) cargo: Arc<Cargo>,
    pub(super) scheduler: Address<ToScheduler>,
    /// Takes what workers write to standard error.
    pub(super) printer: Printer,
}

impl Liaison {
    /// Runs until all is over, and says so.
    pub(super) async fn run(self, mut me: Context<ToLiaison>) {
        let lines = lines::take(Arc::clone(&self.at.name), self.printer.clone());
        let gone = self.serve(&mut me, &lines).await;
        self.tell(Command::HostGone(self.host, gone));
        let _ = lines.send(ToLines::End);
    }

    async fn serve(&self, me: &mut Context<ToLiaison>, lines: &Address<ToLines>) -> Gone {
        let opening = Opening {
            client: me.address(),
            sender: None,
            lines: lines.clone(),
            from: self.node.location(),
            scheduler: self.id,
            terms: self.terms,
            computation: self.computation.clone(),
        };
        let opened = self
            .daemon
            .ask_timeout(OPEN_LIMIT, |reply| ToDaemon::Open(Box::new(opening), reply));
        let desk = match opened.await {
            Ok(Ok(desk)) => desk,
            Ok(Err(closed)) => return Gone::Unfit(closed.to_string()),
            Err(error) => return Gone::Lost(error.to_string()),
        };
        me.monitor(&desk, |exit| ToLiaison::Ended(Gone::of(&exit)));
        // If it has not closed, nobody else would end what runs there.
        me.monitor(&self.scheduler, |exit| {
            ToLiaison::Ended(Gone::Lost(format!("its scheduler has ended: {exit}")))
        });
        let mut sending = None;
        while let Some(message) = me.receive().await {
            match message {
                ToLiaison::Desk(FromDesk::Send(content)) => {
                    let cargo = Arc::clone(&self.cargo);
                    let path = match blocking(move || cargo.source(content)).await {
                        Some(Ok(path)) => path,
                        other => {
                            let _ = desk.feed(ToDesk::Leave).await;
                            return Gone::Unfit(match other {
                                Some(Err(why)) => format!("the program cannot be copied: {why}"),
                                _ => format!(
                                    "it asks for {content}, which is no part of the program"
                                ),
                            });
                        }
                    };
                    sending = Some(self.send_content(me, content, path));
                }
                ToLiaison::Desk(FromDesk::Pack(contents)) => {
                    sending = Some(self.send_pack(me, desk.clone(), contents));
                }
                ToLiaison::Desk(FromDesk::Coming) => self.tell(Command::Progress(self.host)),
                ToLiaison::Desk(ended @ FromDesk::Ended { .. }) => {
                    // Whatever it wrote has come before.
                    let (lines, scheduler) = (lines.clone(), self.scheduler.clone());
                    let host = self.host;
                    tokio::spawn(async move {
                        let _ = lines.ask_timeout(LAST_WORDS, ToLines::Printed).await;
                        let ended = Command::Desk(host, ended);
                        let _ = scheduler.send(ToScheduler::Command(ended));
                    });
                }
                ToLiaison::Desk(message) => self.tell(Command::Desk(self.host, message)),
                ToLiaison::Order(ToDesk::Leave) => {
                    // Nobody waits for more than that it is there, and for one that does not hear it not long.
                    let _ = desk.deliver_timeout(FAREWELL, ToDesk::Leave).await;
                    return Gone::Ended;
                }
                ToLiaison::Order(order) => {
                    // The monitor tells when it cannot be reached.
                    let _ = desk.feed(order).await;
                }
                ToLiaison::Sent(Ok(())) => {
                    let _ = desk.feed(ToDesk::Sent).await;
                }
                ToLiaison::Sent(Err(gone)) => {
                    let _ = desk.feed(ToDesk::Leave).await;
                    return gone;
                }
                ToLiaison::Ended(gone) => return gone,
            }
        }
        drop(sending);
        Gone::Lost("the scheduler has ended".into())
    }

    /// The transfer ends when this is dropped.
    fn send_content(
        &self,
        me: &Context<ToLiaison>,
        content: ContentHash,
        path: PathBuf,
    ) -> AbortOnDropHandle<()> {
        let (node, to) = (self.node.clone(), self.at.clone());
        let (name, me) = (sent_as(content), me.address());
        let (host, scheduler) = (self.host, self.scheduler.clone());
        let mut told = Instant::now();
        let progress = move |_| {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let progress = Command::Progress(host);
                let _ = scheduler.send(ToScheduler::Command(progress));
            }
        };
        let options = SendFile::new().name(name).progress(progress);
        let sending = async move {
            let sent = node.send_file(&to, &path, options).await;
            let sent = sent.map(drop).map_err(|error| match error {
                SendFileError::Unreachable { .. }
                | SendFileError::Lost { .. }
                | SendFileError::Closed => Gone::Lost(error.to_string()),
                error => Gone::Unfit(error.to_string()),
            });
            let _ = me.send(ToLiaison::Sent(sent));
        };
        AbortOnDropHandle::new(tokio::spawn(sending))
    }

    /// Likewise.
    fn send_pack(
        &self,
        me: &Context<ToLiaison>,
        desk: Address<ToDesk>,
        contents: Vec<ContentHash>,
    ) -> AbortOnDropHandle<()> {
        let (cargo, me) = (Arc::clone(&self.cargo), me.address());
        self.tell(Command::Progress(self.host));
        AbortOnDropHandle::new(tokio::spawn(async move {
            match blocking(move || pack::read(&cargo, &contents)).await {
                Ok(pack) => drop(desk.feed(ToDesk::Packed(pack.into())).await),
                Err(why) => drop(me.send(ToLiaison::Sent(Err(Gone::Unfit(why.to_string()))))),
            }
        }))
    }

    fn tell(&self, command: Command) {
        let _ = self.scheduler.send(ToScheduler::Command(command));
    }
}
