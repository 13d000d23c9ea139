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
//! the link and this node has not noticed: then the new connection takes the place of the old. To
//! tell which, a greeting carries the number of the last link that its sender had made with the
//! receiver ([`Rendezvous::last`]), which grows with every link.
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
    /// The number of the last link, or one smaller than that of the first to come.
    last: u64,
    /// `last` as it was before the present link, on this side and on the peer's.
    before: [u64; 2],
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
    /// `number` is smaller than that of any ticket to come.
    pub(crate) fn new(smaller: bool, number: u64) -> Self {
        Rendezvous {
            smaller,
            state: State::Idle,
            last: number,
            before: [0; 2],
            dials: 0,
        }
    }

    /// What to say in a greeting, or in the answer to one.
    pub(crate) fn last(&self) -> u64 {
        if self.is_linked() {
            self.before[0]
        } else {
            self.last
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

    /// The peer has greeted on a connection that it dialled, and said what was its last link.
    pub(crate) fn greeted(&mut self, ticket: Ticket, their_last: u64) -> Answer {
        match self.state {
            State::Dialling(Some(_)) if self.smaller => Answer::Duplicate,
            State::Linked(_) if their_last <= self.before[1] => Answer::Duplicate,
            State::Linked(_) => Answer::Replace,
            _ => {
                self.link(ticket, their_last);
                Answer::Welcome
            }
        }
    }

    /// The peer has welcomed a dial that greeted, and said what was its last link: whether the
    /// connection is the link now.
    pub(crate) fn welcomed(&mut self, ticket: Ticket, their_last: u64) -> bool {
        let ours = self.state == State::Dialling(Some(ticket));
        if ours {
            self.link(ticket, their_last);
        }
        ours
    }

    fn link(&mut self, ticket: Ticket, their_last: u64) {
        self.before = [self.last, their_last];
        self.last = ticket.0;
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

    /// What is on its way on a connection, with what its sender said was its last link.
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
    }

    impl World {
        fn new() -> Self {
            World {
                nodes: [Rendezvous::new(true, 1), Rendezvous::new(false, 2)],
                wires: Vec::new(),
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
            let near = self.nodes[dialler].last();
            self.wires[connection].1 = match wire {
                Wire::NotGreeted => match self.nodes[dialler].greet(ticket) {
                    Greet::Go => Wire::Greeted(near),
                    Greet::Wait => Wire::Done,
                    Greet::Linked | Greet::Stop => {
                        self.nodes[dialler].finish(ticket);
                        Wire::Done
                    }
                },
                Wire::Greeted(last) => match self.nodes[other].greeted(ticket, last) {
                    Answer::Welcome => Wire::Welcomed(self.nodes[other].last()),
                    Answer::Replace => panic!("no link is lost here"),
                    Answer::Duplicate => Wire::Refused,
                },
                Wire::Welcomed(last) => {
                    self.nodes[dialler].welcomed(ticket, last);
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
            let last = world.nodes[dialler].last();
            assert_eq!(
                world.nodes[1 - dialler].greeted(Ticket(11), last),
                Answer::Replace
            );
            world.nodes[1 - dialler].lost();
            world.dial(dialler);
            while world.step(1) {}
            assert_eq!(world.link(), Some(1));
        }
    }

    #[test]
    fn a_peer_that_has_forgotten_all_is_believed() {
        let mut node = Rendezvous::new(true, 1);
        assert_eq!(node.greeted(Ticket(10), 7), Answer::Welcome);
        // It had forgotten this node's existence, and counts from its next ticket.
        assert_eq!(node.greeted(Ticket(11), 20), Answer::Replace);
        assert!(node.is_link(Ticket(10)), "nothing has changed yet");
    }

    #[test]
    fn a_failed_dial_ends_the_attempt_unless_another_goes_on() {
        let mut node = Rendezvous::new(true, 0);
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
        let mut node = Rendezvous::new(true, 0);
        node.start();
        node.start();
        assert_eq!(node.greet(Ticket(1)), Greet::Go);
        assert_eq!(node.greet(Ticket(2)), Greet::Wait);
        assert!(node.finish(Ticket(1)));
    }

    #[test]
    fn a_greeting_that_never_comes_fails_the_dial() {
        let mut node = Rendezvous::new(false, 0);
        node.start();
        assert_eq!(node.greet(Ticket(1)), Greet::Go);
        node.duplicate(Ticket(1));
        assert!(node.finish(Ticket(1)) && node.is_idle());
    }
}
