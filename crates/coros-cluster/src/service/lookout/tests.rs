//! Nodes as they are seen, one look after the other.

use coros_core::{Address, Context};

use super::*;
use crate::daemon::protocol::ToDaemon;
use crate::machine::{Load, Machine};

struct World {
    lookout: Lookout,
    daemon: Address<ToDaemon>,
}

impl World {
    fn new() -> Self {
        let daemon = coros_core::build().daemon();
        let daemon = daemon.spawn(async |me: Context<ToDaemon>| drop(me));
        World {
            lookout: Lookout::default(),
            daemon: daemon.address(),
        }
    }

    /// Looks at a node: what is told.
    fn look(&mut self, node: u128, state: NodeState, lent: usize) -> Vec<String> {
        let found = Found {
            at: at(node),
            daemon: self.daemon.clone(),
            view: View {
                machine: Machine::look([]),
                load: Load::default(),
                slots: 2,
                lent,
                state,
            },
        };
        let name = |event: &Event| match event {
            Event::NodeFound { node, .. } => format!("{} found", node.name),
            Event::NodeReturned { node, .. } => format!("{} returned", node.name),
            event => event.to_string(),
        };
        self.lookout.seen(&found).iter().map(name).collect()
    }

    fn gone(&mut self, node: u128, exit: &Exit) -> Option<String> {
        let gone = self.lookout.gone(NodeId(node), exit);
        gone.map(|event| event.to_string())
    }
}

fn at(node: u128) -> Location {
    Location {
        node: NodeId(node),
        name: "farm".into(),
        endpoint: None,
    }
}

#[tokio::test]
async fn each_change_is_told_once() {
    use NodeState::{Draining, Open, Suspended};

    let mut world = World::new();
    assert!(world.lookout.is_new(NodeId(1)));
    assert_eq!(world.look(1, Open, 0), ["farm found"]);
    assert!(!world.lookout.is_new(NodeId(1)));
    assert!(world.look(1, Open, 2).is_empty());
    assert_eq!(world.lookout.status()[0].lent, 2);
    assert_eq!(world.look(1, Suspended, 2), ["node farm is suspended"]);
    assert!(world.look(1, Suspended, 0).is_empty());
    assert_eq!(world.look(1, Open, 0), ["node farm lends again"]);
    assert_eq!(world.look(1, Draining, 1), ["node farm is about to end"]);
    assert!(world.lookout.status()[0].draining);
    assert_eq!(world.look(1, Draining, 0), ["node farm runs nothing more"]);
    assert!(world.look(1, Draining, 0).is_empty());
    let ended = "node farm has ended all that ran there";
    assert_eq!(world.gone(1, &Exit::Finished).as_deref(), Some(ended));
    assert_eq!(world.gone(1, &Exit::Finished), None);
    assert!(world.lookout.status().is_empty());
}

#[tokio::test]
async fn one_that_was_lost_returns_be_it_another_run_of_it() {
    let mut world = World::new();
    world.look(1, NodeState::Open, 0);
    let lost = world.gone(1, &Exit::Disconnected);
    assert_eq!(lost.as_deref(), Some("node farm was lost: disconnected"));
    let back = ["farm returned", "node farm is suspended"];
    assert_eq!(world.look(2, NodeState::Suspended, 0), back);
    world.look(2, NodeState::Draining, 0);
    let lost = world.gone(2, &Exit::Disconnected);
    let why = "node farm was lost: disconnected, when it was about to end";
    assert_eq!(lost.as_deref(), Some(why));
}

#[tokio::test]
async fn of_two_lost_ones_that_share_a_name_each_returns() {
    let mut world = World::new();
    for node in [1, 2] {
        assert_eq!(world.look(node, NodeState::Open, 0), ["farm found"]);
    }
    for node in [1, 2] {
        world.gone(node, &Exit::Disconnected).unwrap();
    }
    for node in [2, 3] {
        assert_eq!(world.look(node, NodeState::Open, 0), ["farm returned"]);
    }
    assert_eq!(world.look(4, NodeState::Open, 0), ["farm found"]);
}

#[tokio::test]
async fn one_that_cannot_be_looked_at_is_told_of_once_until_it_can() {
    let mut world = World::new();
    let silent = |world: &mut World| {
        let event = world.lookout.not_used(at(1), "it is silent".into());
        event.map(|event| event.to_string())
    };
    let told = Some("node farm is not used: it is silent".to_owned());
    assert_eq!(silent(&mut world), told);
    assert_eq!(silent(&mut world), None);
    assert_eq!(world.look(1, NodeState::Open, 0), ["farm found"]);
    assert_eq!(silent(&mut world), told);
}

#[tokio::test]
async fn of_two_that_share_a_name_each_is_told_of() {
    let mut world = World::new();
    let mut silent = |port| {
        let endpoint = Some(([10, 0, 0, 1], port).into());
        let at = Location { endpoint, ..at(1) };
        world.lookout.not_used(at, "it is silent".into()).is_some()
    };
    let told = [silent(1), silent(2), silent(1), silent(2)];
    assert_eq!(told, [true, true, false, false]);
}
