//! What happens at a daemon, for whoever wants to know.

use std::fmt;

use coros_net::Location;

/// Something that happened at a daemon. Events come in order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonEvent {
    /// A client came, with a program.
    ClientCame {
        /// Its number, never used twice.
        id: u64,
        /// Its node.
        from: Location,
        /// It wants to be alone.
        exclusive: bool,
    },
    /// A client has sent its program, which was not here.
    ProgramReceived {
        /// The client's number.
        id: u64,
        /// How large the program is.
        bytes: u64,
    },
    /// A client has sent a file that its program needs, and that was not here.
    FileReceived {
        /// The client's number.
        id: u64,
        /// How large the file is.
        bytes: u64,
    },
    /// A client left, or is gone, and nothing of it runs any more.
    ClientLeft {
        /// Its number.
        id: u64,
        /// Its node.
        from: Location,
    },
    /// There are more slots or fewer, or more of them are lent or fewer.
    Slots {
        /// How many there are: none while the node is suspended or drained.
        slots: usize,
        /// How many are lent; more than there are while some are asked back.
        lent: usize,
    },
    /// No slot is lent any more, and those that are lent are asked back.
    Suspended,
    /// Slots are lent again.
    Resumed,
    /// No client may come any more, and all slots are asked back.
    Draining,
    /// Nothing runs any more.
    Drained,
}

impl fmt::Display for DaemonEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonEvent::ClientCame {
                id,
                from,
                exclusive,
            } => {
                write!(f, "client {id} ({from}) has come")?;
                match exclusive {
                    true => f.write_str(", and wants to be alone"),
                    false => Ok(()),
                }
            }
            DaemonEvent::ProgramReceived { id, bytes } => {
                write!(f, "client {id} has sent its program, {bytes} bytes")
            }
            DaemonEvent::FileReceived { id, bytes } => {
                write!(f, "client {id} has sent a file, {bytes} bytes")
            }
            DaemonEvent::ClientLeft { id, from } => write!(f, "client {id} ({from}) has left"),
            DaemonEvent::Slots { slots, lent } => write!(f, "{lent} of {slots} slots are lent"),
            DaemonEvent::Suspended => f.write_str("suspended: no call begins here"),
            DaemonEvent::Resumed => f.write_str("resumed: calls may begin here"),
            DaemonEvent::Draining => {
                f.write_str("draining: no client may come, and running calls go on to their end")
            }
            DaemonEvent::Drained => f.write_str("drained: nothing runs here any more"),
        }
    }
}
