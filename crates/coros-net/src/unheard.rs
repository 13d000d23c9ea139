//! Who cannot be linked with, on standard error, for programs that log nothing.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use coros_core::readable;

use crate::{HandshakeError, PeerEvent};

static PRINTED: AtomicBool = AtomicBool::new(false);

/// From now on, the nodes of this process print who cannot be linked with, and why, for as long as
/// nothing subscribes to `tracing`, where it is told as well.
pub fn print_unheard() {
    PRINTED.store(true, Relaxed);
}

/// Prints a line, if nobody hears otherwise of what it says.
pub(crate) fn say(line: &str) {
    if is_printed() {
        print(line);
    }
}

fn is_printed() -> bool {
    PRINTED.load(Relaxed) && !tracing::dispatcher::has_been_set()
}

fn print(line: &str) {
    // When it is closed, nobody wants to know.
    let _ = writeln!(io::stderr(), "coros: {}", readable(line));
}

/// What is not heard otherwise of one node.
#[derive(Default)]
pub(crate) struct Unheard {
    refused: Option<(IpAddr, HandshakeError)>,
}

impl Unheard {
    pub(crate) fn event(&mut self, event: &PeerEvent) {
        if is_printed()
            && let Some(line) = self.line(event)
        {
            print(&line);
        }
    }

    /// The line for it. Whoever tries again and again, from one port after the other, has one.
    fn line(&mut self, event: &PeerEvent) -> Option<String> {
        match event {
            PeerEvent::Refused(from, error) => {
                let refused = Some((from.ip(), error.clone()));
                let again = refused == self.refused;
                self.refused = refused;
                (!again).then(|| format!("{from} was refused: {error}"))
            }
            // Told when it is news.
            PeerEvent::Unreachable(_, why) => Some(format!("trying on: {why}")),
            // What was wrong may have been mended, and go wrong again.
            PeerEvent::Joined(_) | PeerEvent::Returned(_) => {
                self.refused = None;
                None
            }
            PeerEvent::Lost(..) | PeerEvent::Left(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use coros_core::remote::{Location, NodeId};

    use super::*;

    #[test]
    fn who_tries_again_and_again_is_told_of_once() {
        let mut unheard = Unheard::default();
        let mut told = |host, port| {
            let from = ([10, 0, 0, host], port).into();
            let event = PeerEvent::Refused(from, HandshakeError::OtherSecret);
            unheard.line(&event).is_some()
        };
        assert!(told(1, 1) && !told(1, 2) && told(2, 1) && told(1, 1));
        let friend = Location {
            node: NodeId(1),
            name: "friend".into(),
            endpoint: None,
        };
        assert_eq!(unheard.line(&PeerEvent::Joined(friend)), None);
        let from = ([10, 0, 0, 1], 1).into();
        let again = PeerEvent::Refused(from, HandshakeError::OtherSecret);
        let line = unheard.line(&again).expect("it is news");
        assert!(
            line.starts_with("10.0.0.1:1 was refused: the two"),
            "{line}"
        );
    }
}
