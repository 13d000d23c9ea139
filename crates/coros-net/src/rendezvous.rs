//! How two nodes that may dial each other at the same moment end up with one link.
//!
//! A dialler that has shaken hands greets (sends its hello); the dialled side answers with its
//! own hello, which makes the link, or says that there is another one. From the moment a node has
//! greeted, the link between the two is up to the peer's answer, and only two greetings that cross can
//! clash. Then the one of the node with the smaller id counts:
//!
//! - the smaller node answers the greeting of the larger with `Duplicate`, and the larger waits
//!   for the greeting of the smaller, which is on its way;
//! - the larger node welcomes the smaller, and its own greeting will be refused as above.
//!
//! A node that has a link may be greeted on another connection for two reasons. Either the greeting
//! was sent before the peer made the link, and crossed it: then it is refused. Or the peer has lost
//! the link, or never got to know of it, and this node has not noticed: then the new connection takes
//! the place of the old. To tell which, every hello, greeting or answer, carries a number that grows
//! with each hello of its sender. A node greets on one connection at a time, so a greeting counts
//! only if its number is higher than that of any other hello that the peer has made a link with: a
//! lower one was given up by its sender, and comes late.
//!
//! Sans-io: [`Rendezvous`] only decides. Every dial and every connection has a [`Ticket`].

/// Names one attempt to make a link, and the link if it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct Rendezvous {
    /// Whether our id is smaller than the peer's.
    smaller: bool,
    state: State,
    /// The highest number of a hello of the peer that a link was made with.
    heard: Option<u64>,
    /// Dials under way that may still greet, have greeted, or wait for the peer's greeting.
    dials: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Somebody dials; perhaps one of them has greeted.
    Dialling(Option<Ticket>),
    /// Our greeting was refused in favour of the peer's, which has not come yet.
    Awaiting,
    Linked(Ticket),
}

/// What a dialler that could greet has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greet {
    /// Greet.
    Go,
    /// Drop the connection and wait for what becomes of the other attempt.
    Wait,
    /// Drop the connection: there is a link.
    Linked,
    /// Drop the connection: nobody wants it any more.
    Stop,
}

/// How to answer a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Welcome; the connection is the link now.
    Welcome,
    /// Welcome, but there is an old link to be ended first. Nothing has changed: ask again then.
    Replace,
    /// Ours counts.
    Duplicate,
}

impl Rendezvous {
    pub(crate) fn new(smaller: bool) -> Self {
        Rendezvous {
            smaller,
            state: State::Idle,
            heard: None,
            dials: 0,
        }
    }

    /// A dial begins. Balanced by [`finish`](Rendezvous::finish), whatever becomes of it, unless
    /// [`greet`](Rendezvous::greet) says to wait.
    pub(crate) fn start(&mut self) {
        self.dials += 1;
        if self.state == State::Idle {
            self.state = State::Dialling(None);
        }
    }

    /// A dial has shaken hands and could greet.
    pub(crate) fn greet(&mut self, ticket: Ticket) -> Greet {
        match self.state {
            State::Dialling(None) => {
                self.state = State::Dialling(Some(ticket));
                Greet::Go
            }
            State::Dialling(Some(_)) | State::Awaiting => {
                self.dials -= 1;
                Greet::Wait
            }
            State::Linked(_) => Greet::Linked,
            State::Idle => Greet::Stop,
        }
    }

    /// The peer has greeted, with this number, on a connection that it dialled.
    pub(crate) fn greeted(&mut self, ticket: Ticket, number: u64) -> Answer {
        match self.state {
            _ if self.heard >= Some(number) => Answer::Duplicate,
            State::Dialling(Some(_)) if self.smaller => Answer::Duplicate,
            State::Linked(_) => Answer::Replace,
            _ => {
                self.link(ticket, number);
                Answer::Welcome
            }
        }
    }

    /// The peer has welcomed a dial that greeted, with this number: whether the connection is the
    /// link now.
    pub(crate) fn welcomed(&mut self, ticket: Ticket, number: u64) -> bool {
        let ours = self.state == State::Dialling(Some(ticket));
        if ours {
            self.link(ticket, number);
        }
        ours
    }

    fn link(&mut self, ticket: Ticket, number: u64) {
        self.heard = self.heard.max(Some(number));
        self.state = State::Linked(ticket);
    }

    /// The peer has refused a dial that greeted, in favour of its own.
    pub(crate) fn duplicate(&mut self, ticket: Ticket) {
        if self.state == State::Dialling(Some(ticket)) {
            self.state = State::Awaiting;
        }
    }

    /// A dial is over: whether there is neither a link now nor an attempt to make one.
    pub(crate) fn finish(&mut self, ticket: Ticket) -> bool {
        self.dials -= 1;
        match self.state {
            State::Idle | State::Linked(_) => return false,
            _ if self.dials == 0 => {
                self.state = State::Idle;
                return true;
            }
            State::Dialling(Some(greeted)) if greeted == ticket => {
                self.state = State::Dialling(None);
            }
            State::Dialling(_) | State::Awaiting => {}
        }
        false
    }

    /// The link is gone, if there is one.
    pub(crate) fn lost(&mut self) {
        if self.is_linked() {
            self.state = State::Idle;
        }
    }

    pub(crate) fn is_link(&self, ticket: Ticket) -> bool {
        self.state == State::Linked(ticket)
    }

    pub(crate) fn is_linked(&self) -> bool {
        matches!(self.state, State::Linked(_))
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is on its way on a connection, with the number of the hello.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Wire {
        NotGreeted,
        Greeted(u64),
        Welcomed(u64),
        Refused,
        Done,
    }

    /// Two nodes that dial each other, stepped in any order.
    struct World {
        nodes: [Rendezvous; 2],
        /// Who dialled each connection, and how far it is. Its index is its ticket less 10.
        wires: Vec<(usize, Wire)>,
        hellos: u64,
    }

    impl World {
        fn new() -> Self {
            World {
                nodes: [Rendezvous::new(true), Rendezvous::new(false)],
                wires: Vec::new(),
                hellos: 0,
            }
        }

        fn dial(&mut self, dialler: usize) {
            self.nodes[dialler].start();
            self.wires.push((dialler, Wire::NotGreeted));
        }

        /// Lets one thing happen on a connection; false if none can.
        fn step(&mut self, connection: usize) -> bool {
            let ticket = Ticket(connection as u64 + 10);
            let (dialler, wire) = self.wires[connection];
            let other = 1 - dialler;
            self.hellos += 1;
            let hello = self.hellos;
            self.wires[connection].1 = match wire {
                Wire::NotGreeted => match self.nodes[dialler].greet(ticket) {
                    Greet::Go => Wire::Greeted(hello),
                    Greet::Wait => Wire::Done,
                    Greet::Linked | Greet::Stop => {
                        self.nodes[dialler].finish(ticket);
                        Wire::Done
                    }
                },
                Wire::Greeted(number) => match self.nodes[other].greeted(ticket, number) {
                    Answer::Welcome => Wire::Welcomed(hello),
                    Answer::Replace => panic!("no link is lost here"),
                    Answer::Duplicate => Wire::Refused,
                },
                Wire::Welcomed(number) => {
                    self.nodes[dialler].welcomed(ticket, number);
                    self.nodes[dialler].finish(ticket);
                    Wire::Done
                }
                Wire::Refused => {
                    self.nodes[dialler].duplicate(ticket);
                    // The dial waits for the peer's greeting; it ends with that, or in time.
                    Wire::Done
                }
                Wire::Done => return false,
            };
            true
        }

        /// The link that both nodes agree on.
        fn link(&self) -> Option<usize> {
            let link = |node: &Rendezvous| {
                (0..self.wires.len()).find(|wire| node.is_link(Ticket(*wire as u64 + 10)))
            };
            let [near, far] = [&self.nodes[0], &self.nodes[1]].map(link);
            assert_eq!(near, far);
            near
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn crossing_dials_make_one_link(
            diallers in prop::collection::vec(0..2_usize, 1..5),
            order in prop::collection::vec(0..5_usize, 0..30),
        ) {
            let mut world = World::new();
            for dialler in &diallers {
                world.dial(*dialler);
            }
            for connection in order {
                if connection < diallers.len() {
                    world.step(connection);
                }
            }
            while (0..diallers.len()).any(|connection| world.step(connection)) {}
            prop_assert!(world.link().is_some());
        }
    }

    #[test]
    fn a_link_that_only_the_peer_has_lost_is_replaced() {
        for dialler in [0, 1] {
            let mut world = World::new();
            world.dial(0);
            while world.step(0) {}
            assert_eq!(world.link(), Some(0));
            world.nodes[dialler].lost();
            let number = world.hellos + 1;
            assert_eq!(
                world.nodes[1 - dialler].greeted(Ticket(11), number),
                Answer::Replace
            );
            world.nodes[1 - dialler].lost();
            world.dial(dialler);
            while world.step(1) {}
            assert_eq!(world.link(), Some(1));
        }
    }

    #[test]
    fn a_link_that_the_peer_gave_up_before_it_knew_of_it_is_replaced() {
        let mut world = World::new();
        world.dial(0);
        world.step(0);
        // Welcomed, which the dialler has not read when its time is over.
        world.step(0);
        assert!(world.nodes[0].finish(Ticket(10)));
        world.dial(0);
        world.step(1);
        let (_, Wire::Greeted(number)) = world.wires[1] else {
            panic!("it greets again");
        };
        assert_eq!(world.nodes[1].greeted(Ticket(11), number), Answer::Replace);
    }

    #[test]
    fn a_greeting_that_comes_late_counts_no_more_linked_or_not() {
        let mut world = World::new();
        world.dial(0);
        world.step(0);
        assert!(world.nodes[0].finish(Ticket(10)), "given up");
        world.dial(1);
        while world.step(1) {}
        let late = world.wires[0];
        world.step(0);
        assert_eq!(world.wires[0].1, Wire::Refused);
        world.wires[0] = late;
        world.nodes[1].lost();
        world.step(0);
        assert_eq!(world.wires[0].1, Wire::Refused);
        assert!(world.nodes[1].is_idle());
    }

    #[test]
    fn a_peer_that_has_forgotten_all_is_believed() {
        let mut node = Rendezvous::new(true);
        assert_eq!(node.greeted(Ticket(10), 7), Answer::Welcome);
        // It had forgotten this node's existence, and counts from its next ticket.
        assert_eq!(node.greeted(Ticket(11), 20), Answer::Replace);
        assert!(node.is_link(Ticket(10)), "nothing has changed yet");
    }

    #[test]
    fn a_failed_dial_ends_the_attempt_unless_another_goes_on() {
        let mut node = Rendezvous::new(true);
        node.start();
        node.start();
        assert_eq!(node.greet(Ticket(1)), Greet::Go);
        assert!(!node.finish(Ticket(1)), "another still tries");
        assert_eq!(node.greet(Ticket(2)), Greet::Go);
        assert!(node.finish(Ticket(2)));
        assert!(node.is_idle());
    }

    #[test]
    fn a_dial_that_waits_for_another_shares_its_fate() {
        let mut node = Rendezvous::new(true);
        node.start();
        node.start();
        assert_eq!(node.greet(Ticket(1)), Greet::Go);
        assert_eq!(node.greet(Ticket(2)), Greet::Wait);
        assert!(node.finish(Ticket(1)));
    }

    #[test]
    fn a_greeting_that_never_comes_fails_the_dial() {
        let mut node = Rendezvous::new(false);
        node.start();
        assert_eq!(node.greet(Ticket(1)), Greet::Go);
        node.duplicate(Ticket(1));
        assert!(node.finish(Ticket(1)) && node.is_idle());
    }
}
