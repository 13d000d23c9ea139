//! What happens at a service, for whoever wants to know.

use std::fmt;

use coros_net::Location;

use crate::scheduler::Event;

/// Something that happened at a service, each once and in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// A client has a program to run.
    ClientCame {
        /// Its number, never used twice.
        id: u64,
        /// Its node.
        from: Location,
        /// It wants all nodes for itself.
        exclusive: bool,
    },
    /// A client has sent its program.
    ProgramReceived {
        /// The client's number.
        id: u64,
        /// How large it is.
        bytes: u64,
    },
    /// A client has sent a file that its program needs.
    FileReceived {
        /// The client's number.
        id: u64,
        /// How large it is.
        bytes: u64,
    },
    /// The turn of a client has come: its calls run from now on.
    Begun {
        /// The client's number.
        id: u64,
    },
    /// A client has left, is gone, or was let go, and all that it had here has ended.
    ClientLeft {
        /// Its number.
        id: u64,
        /// Its node.
        from: Location,
        /// Why, if it has not left by itself.
        reason: Option<String>,
    },
    /// Something happened to a node, as a client would be told of it: it was found, has returned, is suspended, lends
    /// again, is about to end, is drained, has ended, was lost, or cannot be used. Nodes are looked at every two
    /// seconds. And it has the program of a client, is not used for one, or was closed by one.
    Node {
        /// The number of the client whose program that is about, if it is.
        client: Option<u64>,
        /// What.
        event: Event,
    },
    /// No client may come any more.
    Draining,
}

impl ServiceEvent {
    /// What the scheduler of a client says, as far as it is about nodes and not true for all.
    pub(super) fn of_client(client: u64, event: &Event) -> Option<Self> {
        match event {
            Event::NodeReady { .. }
            | Event::NodeNotUsed { .. }
            | Event::NodeUnfit { .. }
            | Event::NodeClosed { .. } => Some(ServiceEvent::Node {
                client: Some(client),
                event: event.clone(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for ServiceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceEvent::ClientCame {
                id,
                from,
                exclusive,
            } => {
                write!(f, "client {id} ({from}) has come")?;
                match exclusive {
                    true => f.write_str(", and wants all nodes for itself"),
                    false => Ok(()),
                }
            }
            ServiceEvent::ProgramReceived { id, bytes } => {
                write!(f, "client {id} has sent its program, {bytes} bytes")
            }
            ServiceEvent::FileReceived { id, bytes } => {
                write!(f, "client {id} has sent a file, {bytes} bytes")
            }
            ServiceEvent::Begun { id } => write!(f, "client {id} has its turn"),
            ServiceEvent::ClientLeft { id, from, reason } => {
                write!(f, "client {id} ({from}) has left")?;
                let mut reason = reason.iter();
                reason.try_for_each(|reason| write!(f, ": {reason}"))
            }
            ServiceEvent::Node { client, event } => match client {
                Some(id) => write!(f, "client {id}: {event}"),
                None => event.fmt(f),
            },
            ServiceEvent::Draining => f.write_str(
                "draining: no client may come, and those that are here go on to their end",
            ),
        }
    }
}
