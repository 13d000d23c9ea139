//! Which nodes were lost, or have ended, and have not come back: plain state.
//!
//! Names are not unique, and a daemon that is started anew is another node. So a node is back when it is there itself; or
//! when another one of its name is at its address, and if several are missed there, the one that listened where that
//! one does.

use std::collections::VecDeque;
use std::net::IpAddr;

use coros_net::Location;

/// So many are known, those that were lost last. Peers choose their names.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Absent {
    nodes: VecDeque<Location>,
}

impl Absent {
    /// It is missed from now on.
    pub(crate) fn lost(&mut self, at: Location) {
        if self.nodes.len() == MOST {
            self.nodes.pop_front();
        }
        self.nodes.push_back(at);
    }

    /// A node was found: whether it is one of them, which is missed no more.
    pub(crate) fn is_back(&mut self, at: &Location) -> bool {
        let is_another_run = |it: &Location| it.name == at.name && address(it) == address(at);
        let place = self
            .position(|it| it == at)
            .or_else(|| self.position(|it| is_another_run(it) && it.endpoint == at.endpoint))
            .or_else(|| self.position(is_another_run));
        place.and_then(|place| self.nodes.remove(place)).is_some()
    }

    fn position(&self, is_meant: impl Fn(&Location) -> bool) -> Option<usize> {
        self.nodes.iter().position(is_meant)
    }
}

fn address(at: &Location) -> Option<IpAddr> {
    at.endpoint.map(|endpoint| endpoint.ip())
}

#[cfg(test)]
mod tests {
    use coros_core::remote::NodeId;

    use super::*;

    fn at(node: u128, host: u8, port: u16) -> Location {
        Location {
            node: NodeId(node),
            name: "farm".into(),
            endpoint: Some(([10, 0, 0, host], port).into()),
        }
    }

    #[test]
    fn a_node_is_back_once_itself_or_as_another_run_of_it() {
        let mut absent = Absent::default();
        assert!(!absent.is_back(&at(1, 1, 1)));
        absent.lost(at(1, 1, 1));
        assert!(absent.is_back(&at(1, 2, 2)));
        assert!(!absent.is_back(&at(1, 1, 1)));
        absent.lost(at(1, 1, 1));
        assert!(absent.is_back(&at(2, 1, 2)));
        assert!(!absent.is_back(&at(2, 1, 2)));
    }

    #[test]
    fn of_two_that_share_a_name_each_is_back_for_itself() {
        let mut absent = Absent::default();
        absent.lost(at(1, 1, 1));
        // On another machine.
        assert!(!absent.is_back(&at(2, 2, 1)));
        absent.lost(at(2, 2, 1));
        assert!(absent.is_back(&at(3, 2, 1)));
        assert!(absent.is_back(&at(4, 1, 1)));
        // On the same one.
        absent.lost(at(5, 1, 1));
        absent.lost(at(6, 1, 2));
        assert!(absent.is_back(&at(7, 1, 2)));
        assert!(absent.is_back(&at(5, 1, 1)));
    }

    #[test]
    fn those_that_were_lost_long_ago_are_forgotten() {
        let mut absent = Absent::default();
        for node in 0..=MOST as u128 {
            let other = Location {
                name: node.to_string().into(),
                ..at(node, 1, 1)
            };
            absent.lost(other);
        }
        assert_eq!(absent.nodes.len(), MOST);
        assert!(!absent.is_back(&at(0, 1, 1)));
        assert!(absent.is_back(&at(1, 1, 1)));
    }
}
