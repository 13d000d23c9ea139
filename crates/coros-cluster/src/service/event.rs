//! What happens at a service, for whoever wants to know.

use std::fmt;

use coros_net::Location;

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
    /// No client may come any more.
    Draining,
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
            ServiceEvent::Draining => f.write_str(
                "draining: no client may come, and those that are here go on to their end",
            ),
        }
    }
}
