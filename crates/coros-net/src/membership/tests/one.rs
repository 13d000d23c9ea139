//! One member, and what the test tells it.

use super::super::packet::Malformed;
use super::*;

struct One {
    now: Instant,
    member: Membership,
}

impl One {
    /// Node 1, which knows nodes 2 and 3, and has a link with 2.
    fn set() -> Self {
        let now = Instant::now();
        let member = Membership::new(now, place(1), Settings::default());
        let mut one = One { now, member };
        one.handle(Input::Linked(place(2)));
        one.hear(2, vec![Member::alive(id(3, 0))]);
        assert_eq!(one.members(), [2, 3]);
        one
    }

    fn handle(&mut self, input: Input<'_>) -> Vec<Output> {
        self.member.handle(self.now, input);
        std::iter::from_fn(|| self.member.poll()).collect()
    }

    fn hear(&mut self, from: u128, updates: Vec<Member<Id>>) -> Vec<Output> {
        let own = self.member.foca.identity().clone();
        self.packet(from, &Packet::gossip(id(from, 0), own, updates))
    }

    fn packet(&mut self, from: u128, packet: &Packet) -> Vec<Output> {
        let payload = &packet.encode();
        let from = NodeId(from);
        self.handle(Input::Notice { from, payload })
    }

    /// Time passes, and nobody says anything.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let until = self.now + time;
        let mut outputs = Vec::new();
        while self.deadline() <= until {
            self.now = self.deadline();
            outputs.extend(self.handle(Input::Timeout));
        }
        self.now = until;
        outputs
    }

    fn deadline(&self) -> Instant {
        self.member.deadline().expect("it has not left")
    }

    fn members(&self) -> Vec<u128> {
        self.member.members().map(|it| it.node.0).collect()
    }

    fn life(&self) -> u32 {
        self.member.foca.identity().life
    }

    fn sent(outputs: &[Output]) -> Vec<(u128, Message<Id>)> {
        let sent = outputs.iter().filter_map(|output| match output {
            Output::Send(to, packet) | Output::Tell(to, packet) => {
                let packet = Packet::parse(packet).expect("it writes what can be read");
                Some((to.node.0, packet.header.message))
            }
            _ => None,
        });
        sent.collect()
    }
}

#[test]
fn a_peer_speaks_for_itself_alone() {
    let mut one = One::set();
    let own = one.member.foca.identity().clone();
    let says_5 = Packet::gossip(id(5, 0), own.clone(), Vec::new());
    assert_eq!(one.packet(2, &says_5), []);
    let for_5 = Packet::gossip(id(2, 0), id(5, 0), vec![Member::alive(id(6, 0))]);
    assert_eq!(one.packet(2, &for_5), []);
    let says_1 = Packet::gossip(own.clone(), own, Vec::new());
    assert_eq!(one.packet(1, &says_1), []);
    let junk = Input::Notice {
        from: NodeId(2),
        payload: &[0xff; 64],
    };
    assert_eq!(one.handle(junk), []);
    assert_eq!(one.members(), [2, 3]);
    assert_eq!(Packet::parse(&[0xff; 64]), Err(Malformed::Undecodable));
}

#[test]
fn nobody_evicts_a_peer_with_a_live_link() {
    let mut one = One::set();
    one.handle(Input::Linked(place(3)));
    let outputs = one.hear(2, vec![Member::down(id(3, 0))]);
    assert_eq!(
        One::sent(&outputs),
        [(3, Message::TurnUndead)],
        "it is told"
    );
    assert_eq!(one.hear(2, vec![Member::down(id(3, 0))]), [], "once");
    assert_eq!(
        one.hear(2, vec![Member::alive(id(3, 8))]),
        [],
        "it speaks for itself"
    );
    assert_eq!(one.members(), [2, 3]);
    // It goes on under its next life, by its own word.
    let own = one.member.foca.identity().clone();
    let says = |life| Packet::gossip(id(3, life), own.clone(), Vec::new());
    one.packet(3, &says(2));
    assert_eq!(one.member.members[&NodeId(3)].life, 2);
    // It is said to have left, and to what is not said by it, it can say something.
    let outputs = one.hear(2, vec![Member::down(id(3, 3))]);
    assert_eq!(One::sent(&outputs), [(3, Message::Gossip)], "it is told");
    assert_eq!(one.hear(2, vec![Member::down(id(3, 3))]), [], "once");
    one.packet(3, &says(4));
    let goodbye = || Input::Unlinked {
        peer: NodeId(3),
        broken: false,
    };
    let outputs = one.handle(goodbye());
    assert!(!outputs.contains(&Output::Gone(place(3))), "it has not");
    assert_eq!(one.members(), [2, 3]);
    // Unless it says nothing, and says goodbye.
    one.handle(Input::Linked(place(3)));
    one.hear(2, vec![Member::down(id(3, 5))]);
    assert_eq!(one.members(), [2, 3]);
    let outputs = one.handle(goodbye());
    assert!(outputs.contains(&Output::Gone(place(3))), "{outputs:?}");
    assert_eq!(one.members(), [2]);
}

#[test]
fn a_suspect_with_a_live_link_is_down_only_when_that_has_broken() {
    let mut one = One::set();
    one.handle(Input::Linked(place(3)));
    one.hear(2, vec![Member::new(id(3, 0), 0, State::Suspect)]);
    let outputs = one.pass(120 * SECOND);
    let downs = outputs.iter().filter(|it| matches!(it, Output::Down(_)));
    assert_eq!(downs.count(), 0, "nobody has answered, and both are linked");
    assert_eq!(one.members(), [2, 3]);
    let outputs = one.handle(Input::Unlinked {
        peer: NodeId(3),
        broken: true,
    });
    assert!(!outputs.contains(&Output::Down(place(3))), "not at once");
    let outputs = one.pass(60 * SECOND);
    assert!(outputs.contains(&Output::Down(place(3))), "{outputs:?}");
    assert_eq!(one.members(), [2]);
}

#[test]
fn without_a_link_what_members_say_counts() {
    let mut one = One::set();
    let outputs = one.hear(2, vec![Member::down(id(3, 0))]);
    assert!(outputs.contains(&Output::Down(place(3))));
    assert_eq!(one.members(), [2]);
    let outputs = one.hear(2, vec![Member::alive(id(3, 0))]);
    assert!(!outputs.contains(&Output::Up(place(3))), "down is final");
    let outputs = one.hear(2, vec![Member::alive(id(3, 2))]);
    assert!(
        outputs.contains(&Output::Up(place(3))),
        "but for another life"
    );
}

#[test]
fn who_is_taken_for_down_goes_on_under_another_life() {
    let mut one = One::set();
    let outputs = one.hear(2, vec![Member::down(id(1, 0))]);
    assert_eq!(one.life(), 2);
    assert!(
        One::sent(&outputs).iter().any(|(to, _)| *to == 2),
        "and says so: {outputs:?}"
    );
    one.hear(2, vec![Member::down(id(1, 0))]);
    assert_eq!(one.life(), 2, "that is settled");
    one.hear(2, vec![Member::down(id(1, 2))]);
    assert_eq!(one.life(), 2, "once a period");
    one.pass(SECOND);
    let outputs = one.hear(2, vec![Member::alive(id(1, 20))]);
    assert_eq!(one.life(), 22, "an invention is outbid");
    assert!(One::sent(&outputs).iter().any(|(to, _)| *to == 2));
    for lives in [88, 154] {
        one.pass(SECOND);
        one.hear(2, vec![Member::down(id(1, u32::MAX))]);
        assert_eq!(one.life(), lives, "towards what is far ahead");
    }
    assert_eq!(one.members(), [2, 3]);
}

#[test]
fn there_are_no_more_members_than_the_limit() {
    let mut one = One::set();
    one.member.settings.limit = 100;
    for crowd in (10..5000_u128).collect::<Vec<_>>().chunks(300) {
        let crowd = crowd.iter().map(|node| Member::alive(id(*node, 0)));
        one.hear(2, crowd.collect());
        one.hear(2, vec![Member::down(id(crowd_first(&one), 0))]);
    }
    assert_eq!(one.member.foca.iter_membership_state().len(), 100);
    assert!(one.members().len() < 100, "some are down, and remembered");
    let outputs = one.hear(9999, Vec::new());
    assert_eq!(outputs, [], "a stranger finds no room");
    assert!(
        !one.hear(2, vec![Member::down(id(3, 0))]).is_empty(),
        "the known are known"
    );
    // In time those that are down make room.
    one.now += REMEMBERED + SEEK;
    one.handle(Input::Timeout);
    assert!(one.member.foca.iter_membership_state().len() < 100);
}

/// Some member but 2 and 3.
fn crowd_first(one: &One) -> u128 {
    one.members()
        .into_iter()
        .find(|node| *node > 3)
        .unwrap_or(3)
}

#[test]
fn a_process_that_stood_still_blames_nobody() {
    let mut one = One::set();
    // It suspects 3, which does not answer.
    let mut suspected = false;
    while !suspected {
        one.now = one.deadline();
        let outputs = one.handle(Input::Timeout);
        suspected = One::sent(&outputs).contains(&(3, Message::Gossip));
        let own = one.member.foca.identity().clone();
        let pings = One::sent(&outputs).into_iter().filter(|(to, _)| *to == 2);
        for (_, message) in pings {
            if let Message::Ping(number) = message {
                let mut ack = Packet::gossip(id(2, 0), own.clone(), Vec::new());
                ack.header.message = Message::Ack(number);
                one.packet(2, &ack);
            }
        }
    }
    one.now += Duration::from_secs(60);
    let outputs = one.handle(Input::Timeout);
    assert!(!outputs.contains(&Output::Down(place(3))), "{outputs:?}");
    // Nobody contradicts in the time that remains.
    let until = one.now + 10 * SECOND;
    let mut down = false;
    while one.deadline() <= until {
        one.now = one.deadline();
        down |= one.handle(Input::Timeout).contains(&Output::Down(place(3)));
    }
    assert!(down);
}
