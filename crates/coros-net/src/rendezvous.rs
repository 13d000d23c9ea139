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
//! A node that has a link and is greeted on another has missed that the peer lost the first: the
//! peer would not dial otherwise, and it has proved who it is. The new link takes the place of
//! the old.
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

    /// The peer has greeted on a connection that it dialled.
    pub(crate) fn greeted(&mut self, ticket: Ticket) -> Answer {
        match self.state {
            State::Dialling(Some(_)) if self.smaller => Answer::Duplicate,
            State::Linked(_) => Answer::Replace,
            _ => {
                self.state = State::Linked(ticket);
                Answer::Welcome
            }
        }
    }

    /// The peer has welcomed a dial that greeted: whether its connection is the link now.
    pub(crate) fn welcomed(&mut self, ticket: Ticket) -> bool {
        let ours = self.state == State::Dialling(Some(ticket));
        if ours {
            self.state = State::Linked(ticket);
        }
        ours
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

    /// What is on its way on the connection that one side dialled.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Wire {
        NotGreeted,
        Greeted,
        Welcomed,
        Refused,
        Done,
    }

    /// Two nodes that dial each other, stepped in any order.
    struct World {
        nodes: [Rendezvous; 2],
        /// Of the connection that node 0 dialled, and of that which node 1 dialled.
        wires: [Wire; 2],
    }

    impl World {
        /// Lets one thing happen on the connection that `dialler` dialled; false if none can.
        fn step(&mut self, dialler: usize) -> bool {
            let ticket = Ticket(dialler as u64);
            let other = 1 - dialler;
            self.wires[dialler] = match self.wires[dialler] {
                Wire::NotGreeted => match self.nodes[dialler].greet(ticket) {
                    Greet::Go => Wire::Greeted,
                    Greet::Wait => Wire::Done,
                    Greet::Linked | Greet::Stop => {
                        self.nodes[dialler].finish(ticket);
                        Wire::Done
                    }
                },
                Wire::Greeted => match self.nodes[other].greeted(ticket) {
                    Answer::Welcome => Wire::Welcomed,
                    Answer::Replace => panic!("no link is lost here"),
                    Answer::Duplicate => Wire::Refused,
                },
                Wire::Welcomed => {
                    self.nodes[dialler].welcomed(ticket);
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
    }

    proptest! {
        #[test]
        fn crossing_dials_make_one_link(order in prop::collection::vec(0..2_usize, 0..12)) {
            let mut world = World {
                nodes: [Rendezvous::new(true), Rendezvous::new(false)],
                wires: [Wire::NotGreeted; 2],
            };
            world.nodes.iter_mut().for_each(Rendezvous::start);
            for dialler in order.into_iter().chain([0; 4]).chain([1; 4]).chain([0; 4]) {
                world.step(dialler);
            }
            prop_assert!(!world.step(0) && !world.step(1));
            let link = |node: &Rendezvous| [0, 1].map(|ticket| node.is_link(Ticket(ticket)));
            prop_assert!(world.nodes[0].is_linked());
            prop_assert_eq!(link(&world.nodes[0]), link(&world.nodes[1]));
        }
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
    fn a_new_link_of_the_peer_replaces_the_old() {
        let mut node = Rendezvous::new(true);
        assert_eq!(node.greeted(Ticket(1)), Answer::Welcome);
        assert_eq!(node.greeted(Ticket(2)), Answer::Replace);
        assert!(node.is_link(Ticket(1)));
        node.lost();
        assert_eq!(node.greeted(Ticket(2)), Answer::Welcome);
        assert!(node.is_link(Ticket(2)));
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
