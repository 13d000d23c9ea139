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
        self.member.agrees_with_foca();
        std::iter::from_fn(|| self.member.poll()).collect()
    }

    fn hear(&mut self, from: u128, updates: Vec<Member<Id>>) -> Vec<Output> {
        let own = self.member.foca.identity().clone();
        self.packet(from, &Packet::gossip(id(from, 0), own, updates))
    }

    /// A peer speaks, in this life.
    fn says(&mut self, from: u128, life: u32) -> Vec<Output> {
        let own = self.member.foca.identity().clone();
        self.packet(from, &Packet::gossip(id(from, life), own, Vec::new()))
    }

    fn unlinked(&mut self, peer: u128, broken: bool) -> Vec<Output> {
        let peer = NodeId(peer);
        self.handle(Input::Unlinked { peer, broken })
    }

    /// What others have said, if that is all that it tells a peer.
    fn told(outputs: &[Output], peer: u128) -> Vec<Member<Id>> {
        let told = outputs.iter().filter_map(|output| match output {
            Output::Tell(to, packet) if to.node.0 == peer => Some(packet),
            _ => None,
        });
        let updates = told.map(|it| Packet::parse(it).expect("it can be read").updates);
        updates.flatten().collect()
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

    /// How many are, members or not.
    fn remembered(&self) -> usize {
        self.member.foca.iter_membership_state().len()
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
fn nobody_is_asked_for_another_whom_this_node_does_not_know() {
    let mut one = One::set();
    one.hear(2, vec![Member::down(id(4, 0))]);
    let known = [id(3, 0), id(4, 0)].map(|id| (id, 1));
    let others = (0..4).map(|life| id(1, life)).chain([id(9, 0)]);
    for (target, sent) in known.into_iter().chain(others.map(|id| (id, 0))) {
        let asks = [
            Message::PingReq {
                target: target.clone(),
                probe_number: 7,
            },
            Message::IndirectAck {
                target: target.clone(),
                probe_number: 7,
            },
        ];
        for message in asks {
            let own = one.member.foca.identity().clone();
            let mut packet = Packet::gossip(id(2, 0), own, Vec::new());
            packet.header.message = message;
            let outputs = one.packet(2, &packet);
            let to = One::sent(&outputs).into_iter().map(|(to, _)| to);
            let to: Vec<_> = to.filter(|to| *to == target.node().0).collect();
            assert_eq!(to.len(), sent, "{outputs:?}");
        }
    }
}

#[test]
fn nobody_evicts_a_peer_with_a_live_link() {
    let mut one = One::set();
    one.handle(Input::Linked(place(3)));
    let outputs = one.hear(2, vec![Member::down(id(3, 0))]);
    assert_eq!(One::sent(&outputs), [(3, Message::Gossip)], "it is told");
    assert_eq!(one.hear(2, vec![Member::down(id(3, 0))]), [], "once");
    assert_eq!(
        one.hear(2, vec![Member::alive(id(3, 8))]),
        [],
        "it speaks for itself"
    );
    assert_eq!(one.members(), [2, 3]);
    // It goes on under its next life, by its own word.
    one.says(3, 2);
    assert_eq!(one.member.members[&NodeId(3)].life, 2);
    // It is said to have left, and to what is not said by it, it can say something.
    let outputs = one.hear(2, vec![Member::down(id(3, 3))]);
    assert_eq!(One::sent(&outputs), [(3, Message::Gossip)], "it is told");
    assert_eq!(one.hear(2, vec![Member::down(id(3, 3))]), [], "once");
    one.says(3, 4);
    let outputs = one.unlinked(3, false);
    assert!(!outputs.contains(&Output::Gone(place(3))), "it has not");
    assert_eq!(one.members(), [2, 3]);
    // Unless it says nothing, and says goodbye.
    one.handle(Input::Linked(place(3)));
    one.hear(2, vec![Member::down(id(3, 5))]);
    one.hear(2, vec![Member::down(id(3, 6))]);
    assert_eq!(one.members(), [2, 3]);
    let outputs = one.unlinked(3, false);
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
    let outputs = one.unlinked(3, true);
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
fn whoever_is_heard_is_there_whatever_others_have_said() {
    // In this life, and in others.
    for said in [0, 1, 15] {
        let mut one = One::set();
        let down = Member::down(id(3, said));
        one.hear(2, vec![down.clone()]);
        assert_eq!(one.members(), [2]);
        // What comes when there is no link any more was sent before.
        assert_eq!(one.says(3, 0), []);
        assert_eq!(one.members(), [2]);
        one.handle(Input::Linked(place(3)));
        let outputs = one.says(3, 0);
        assert!(outputs.contains(&Output::Up(place(3))), "{outputs:?}");
        assert_eq!(One::told(&outputs, 3), [down], "it hears of it");
        assert_eq!(one.says(3, 0), [], "once");
        assert_eq!(one.member.members[&NodeId(3)].life, 0);
        let news = one.pass(SECOND / 10);
        let alive = Member::alive(id(3, 0));
        assert!(One::told(&news, 2).contains(&alive), "others hear of it");
    }
}

#[test]
fn a_later_life_that_others_have_made_up_is_no_event() {
    let mut one = One::set();
    one.hear(2, vec![Member::alive(id(3, 8))]);
    assert_eq!(one.member.members[&NodeId(3)].life, 8);
    one.handle(Input::Linked(place(3)));
    let outputs = one.says(3, 0);
    assert_eq!(One::told(&outputs, 3), [Member::alive(id(3, 8))]);
    assert_eq!(One::sent(&outputs), [(3, Message::Gossip)]);
    assert_eq!(outputs.len(), 1, "and no event");
    assert_eq!(one.member.members[&NodeId(3)].life, 0);
    assert_eq!(one.says(3, 0), [], "once");
    // One that knows nobody else.
    one.hear(2, vec![Member::down(id(2, 0))]);
    one.says(3, 8);
    let own = one.member.foca.identity().clone();
    let later = Packet::gossip(id(3, 8), own, vec![Member::alive(id(3, 10))]);
    one.packet(3, &later);
    one.says(3, 8);
    let outputs = one.pass(2 * SECOND);
    let probed = One::sent(&outputs);
    assert!(
        probed
            .iter()
            .any(|(to, it)| *to == 3 && matches!(it, Message::Ping(_)))
    );
}

/// Also who is no member, and is so far known from a time when it was one.
#[test]
fn a_suspicion_ends_with_a_word_of_the_suspect() {
    for said in [Member::down(id(3, 0)), Member::alive(id(3, 8))] {
        let mut one = One::set();
        one.handle(Input::Linked(place(3)));
        // It suspects 3.
        one.unlinked(3, true);
        one.hear(2, vec![said]);
        one.handle(Input::Linked(place(3)));
        one.says(3, 0);
        one.unlinked(3, false);
        let outputs = one.pass(5 * SECOND);
        assert!(!outputs.contains(&Output::Down(place(3))), "{outputs:?}");
        assert!(one.members().contains(&3));
    }
}

#[test]
fn of_a_stranger_no_life_is_believed_that_it_could_not_outbid() {
    let mut one = One::set();
    for life in [packet::JUMP, packet::JUMP + 1, packet::FIRST] {
        assert_eq!(one.hear(2, vec![Member::down(id(4, life))]), []);
    }
    one.hear(2, vec![Member::alive(id(4, packet::FIRST))]);
    assert_eq!(one.remembered(), 2);
    // One that is no more is not taken for there by those who hear of that late.
    one.hear(2, vec![Member::down(id(4, packet::JUMP - 1))]);
    one.hear(2, vec![Member::alive(id(4, 0))]);
    assert_eq!((one.members(), one.remembered()), (vec![2, 3], 3));
    one.hear(2, vec![Member::alive(id(4, packet::JUMP))]);
    one.hear(2, vec![Member::alive(id(5, packet::FIRST - 2))]);
    assert_eq!(one.members(), [2, 3, 4, 5]);
}

#[test]
fn others_are_believed_so_much_in_a_period() {
    let mut one = One::set();
    let life = |one: &One| one.member.members[&NodeId(3)].life;
    one.hear(2, vec![Member::down(id(3, packet::JUMP))]);
    assert_eq!(one.members(), [2, 3], "that could not be outbid");
    one.hear(2, vec![Member::alive(id(3, packet::MISSED + 2))]);
    assert_eq!(life(&one), 0, "so many it cannot have missed");
    one.hear(2, vec![Member::alive(id(3, packet::MISSED))]);
    assert_eq!(life(&one), packet::MISSED);
    one.hear(2, vec![Member::alive(id(3, packet::MISSED + 2))]);
    assert_eq!(life(&one), packet::MISSED, "in this period");
    let outputs = one.hear(2, vec![Member::down(id(3, packet::MISSED + 1))]);
    assert!(
        outputs.contains(&Output::Gone(place(3))),
        "it has left in the life that is known"
    );
    one.now += SECOND;
    let later = packet::MISSED + packet::JUMP;
    let outputs = one.hear(2, vec![Member::alive(id(3, later))]);
    assert!(outputs.contains(&Output::Up(place(3))), "{outputs:?}");
}

#[test]
fn whoever_says_too_little_of_one_that_is_down_hears_more() {
    let mut one = One::set();
    one.hear(2, vec![Member::down(id(3, 15))]);
    let outputs = one.hear(2, vec![Member::alive(id(3, 14))]);
    assert_eq!(One::told(&outputs, 2), [Member::down(id(3, 15))]);
    assert_eq!(one.hear(2, vec![Member::down(id(3, 14))]), []);
    let outputs = one.hear(2, vec![Member::alive(id(3, 16))]);
    assert!(outputs.contains(&Output::Up(place(3))));
}

#[test]
fn contradictions_fit_into_a_packet() {
    let mut one = One::set();
    let crowd = || 10..1000_u128;
    one.hear(2, crowd().map(|node| Member::alive(id(node, 0))).collect());
    one.hear(2, crowd().map(|node| Member::down(id(node, 1))).collect());
    let outputs = one.hear(2, crowd().map(|node| Member::alive(id(node, 0))).collect());
    let told = One::told(&outputs, 2);
    assert!((10..100).contains(&told.len()), "{}", told.len());
}

#[test]
fn what_a_launch_says_of_itself_finds_room() {
    let mut one = One::set();
    one.handle(Input::Linked(place(3)));
    one.member.settings.limit = 3;
    one.says(4, 0);
    one.hear(2, vec![Member::down(id(4, 1))]);
    one.handle(Input::Linked(place(4)));
    let crowd = (5..9).map(|node| Member::alive(id(node, 0)));
    let own = one.member.foca.identity().clone();
    one.packet(4, &Packet::gossip(id(4, 0), own, crowd.collect()));
    assert_eq!(one.members(), [2, 3, 4], "and no more than was there");
}

#[test]
fn all_who_have_a_link_hear_of_a_new_life_at_once() {
    let mut one = One::set();
    for peer in 3..20 {
        one.handle(Input::Linked(place(peer)));
        one.says(peer, 0);
    }
    // One of them counts as down, and does not know it.
    one.packet(19, &{
        let own = one.member.foca.identity().clone();
        Packet::gossip(id(19, 0), own, vec![Member::down(id(19, 0))])
    });
    let outputs = one.hear(2, vec![Member::down(id(1, 0))]);
    let sent = One::sent(&outputs);
    for peer in 2..19 {
        assert!(sent.contains(&(peer, Message::Gossip)), "{peer}: {sent:?}");
    }
    assert!(sent.contains(&(19, Message::Announce)), "{sent:?}");
}

#[test]
fn a_suspicion_that_cannot_be_contradicted_is_outbid() {
    let mut one = One::set();
    let suspect = |life, incarnation| Member::new(id(1, life), incarnation, State::Suspect);
    one.hear(2, vec![suspect(0, Incarnation::MAX - 2)]);
    assert_eq!(one.life(), 0, "one that can be is contradicted");
    one.hear(2, vec![suspect(0, Incarnation::MAX - 1)]);
    assert_eq!(one.life(), 2);
    for incarnation in [Incarnation::MAX, Incarnation::MAX - 1, 3] {
        one.hear(2, vec![suspect(2, incarnation)]);
    }
    assert_eq!(one.life(), 2, "once a period");
    one.pass(SECOND);
    assert_eq!(one.life(), 4);
    one.pass(3 * SECOND);
    assert_eq!(one.life(), 4, "once");
}

#[test]
fn who_takes_this_node_for_down_is_told_that_it_lives() {
    let mut one = One::set();
    let says = |life| turn_undead(id(2, 0), id(1, life));
    let outputs = one.packet(2, &says(0));
    assert_eq!(one.life(), 2);
    let sent = One::sent(&outputs);
    assert!(sent.iter().any(|(to, _)| *to == 2), "{outputs:?}");
    one.packet(2, &says(2));
    assert_eq!(one.life(), 2, "once a period");
    one.pass(SECOND);
    assert_eq!(one.life(), 4);
    one.pass(SECOND);
    // It does not know that life yet.
    let outputs = one.packet(2, &says(2));
    assert_eq!(One::sent(&outputs), [(2, Message::Announce)]);
    one.pass(SECOND);
    assert_eq!(one.life(), 4);
    let others_say = [
        Member::new(id(1, 4), 0, State::Suspect),
        Member::down(id(1, 4)),
    ];
    let announced = (2, Message::Announce);
    for said in others_say {
        let outputs = one.hear(2, vec![said]);
        assert!(One::sent(&outputs).contains(&announced), "{outputs:?}");
        one.pass(SECOND);
    }
    one.hear(3, vec![Member::down(id(1, 6))]);
    // It cannot take a new life yet.
    let outputs = one.hear(2, vec![Member::down(id(1, 8))]);
    assert!(One::sent(&outputs).contains(&announced), "{outputs:?}");
    assert_eq!(one.life(), 8);
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
    assert_eq!(one.life(), 4, "and when that is over");
    one.pass(SECOND);
    let outputs = one.hear(2, vec![Member::alive(id(1, 16))]);
    assert_eq!(one.life(), 18, "an invention is outbid");
    assert!(One::sent(&outputs).iter().any(|(to, _)| *to == 2));
    for lives in [34, 50] {
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
    assert_eq!(one.remembered(), 100);
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
    assert!(one.remembered() < 100);
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

#[test]
fn a_peer_hears_once_a_period_what_is_said_of_it_and_in_the_greatest_life() {
    let mut one = One::set();
    one.handle(Input::Linked(place(3)));
    one.says(3, 0);
    let lies = |lives: std::ops::Range<u32>| -> Vec<_> {
        lives.rev().map(|life| Member::down(id(3, life))).collect()
    };
    let outputs = one.hear(2, lies(0..1000));
    assert_eq!(One::told(&outputs, 3), [Member::down(id(3, 999))]);
    for life in [4, 2000, 7] {
        assert_eq!(one.hear(2, lies(0..life)), []);
    }
    let downs = |outputs: &[Output]| -> Vec<_> {
        let told = One::told(outputs, 3).into_iter();
        told.filter(|it| it.state() == State::Down).collect()
    };
    let outputs = one.pass(SECOND - MS);
    assert_eq!(downs(&outputs), [], "not yet");
    let outputs = one.pass(MS);
    assert_eq!(downs(&outputs), [Member::down(id(3, 1999))]);
    one.hear(2, lies(3..4));
    one.says(3, 4);
    let outputs = one.pass(SECOND);
    assert_eq!(downs(&outputs), [], "it has outbid that");
    // In a new life it hears at once what is left.
    let outputs = one.hear(2, lies(5..9));
    assert_eq!(downs(&outputs), [Member::down(id(3, 8))]);
    let outputs = one.pass(SECOND / 2);
    assert_eq!(downs(&outputs), []);
    assert_eq!(one.hear(2, lies(9..10)), []);
    one.says(3, 6);
    let outputs = one.hear(2, lies(7..8));
    assert_eq!(downs(&outputs), [Member::down(id(3, 9))]);
    assert_eq!(one.hear(2, lies(10..11)), []);
    let outputs = one.pass(SECOND / 2);
    assert_eq!(downs(&outputs), [Member::down(id(3, 10))]);
    let outputs = one.pass(3 * SECOND);
    assert_eq!(downs(&outputs), [], "nobody says more");
    let outputs = one.hear(2, lies(6..7));
    assert_eq!(downs(&outputs).len(), 1, "now they do");
}

#[test]
fn an_accuser_hears_once_a_period_that_this_node_lives() {
    let mut one = One::set();
    let announced = |outputs: &[Output]| {
        let sent = One::sent(outputs).into_iter();
        sent.filter(|it| it.1 == Message::Announce).count()
    };
    for _ in 0..3 {
        let mut answers = 0;
        for n in 0..100 {
            let own = one.life();
            answers += announced(&one.hear(2, vec![Member::down(id(1, own + n))]));
        }
        assert_eq!(answers, 1);
        one.pass(SECOND);
    }
}

/// In whatever packet it says so, also in one that is longer than foca takes, once the name of this node is put right;
/// which is no less of an answer, or of a probe.
#[test]
fn whoever_is_believed_to_be_there_is_looked_after() {
    let own = Id {
        location: Location {
            name: "n".into(),
            ..place(1)
        },
        life: 2,
    };
    let mut long = Packet::gossip(id(5, 0), own, Vec::new());
    long.header.message = Message::Ping(7);
    let more = |packet: &mut Packet, letters: usize| {
        let mut known = id(2, 0);
        known.location.name = "n".repeat(letters).into();
        packet.updates.push(Member::alive(known));
    };
    let empty = long.encode().len();
    more(&mut long, 2);
    let each = long.encode().len() - empty;
    for _ in 2..(packet::MAX_PACKET - empty) / each {
        more(&mut long, 2);
    }
    more(&mut long, 1);
    let room = packet::MAX_PACKET - long.encode().len();
    long.updates.pop();
    more(&mut long, 1 + room);
    assert_eq!(long.encode().len(), packet::MAX_PACKET);
    for said in [Member::alive(id(5, 4)), Member::down(id(5, 4))] {
        let mut one = One::set();
        one.hear(2, vec![said]);
        one.handle(Input::Linked(place(5)));
        let outputs = one.packet(5, &long);
        assert!(one.members().contains(&5));
        assert!(One::sent(&outputs).contains(&(5, Message::Ack(7))));
        one.unlinked(5, true);
        one.pass(60 * SECOND);
        assert!(!one.members().contains(&5), "{:?}", one.members());
    }
}

#[test]
fn only_the_end_of_a_link_is_a_sign_of_life() {
    let mut one = One::set();
    let mut waited = Duration::ZERO;
    // Nobody hears anything of 3, which has no link that could be closed.
    while one.members().contains(&3) {
        one.unlinked(3, false);
        one.pass(SECOND);
        waited += SECOND;
        assert!(waited < SECOND * (signs::FRESH + 20), "{waited:?}");
    }
}

/// Nor is it one of the opposite: that this node cannot dial a member is no evidence.
#[test]
fn who_cannot_be_dialled_is_not_suspected_for_that() {
    let mut one = One::set();
    one.hear(2, vec![Member::new(id(3, 0), 1, State::Alive)]);
    for _ in 0..signs::FRESH - 2 {
        // A session that had no link any more has found none.
        let mut outputs = one.unlinked(3, true);
        outputs.extend(one.pass(SECOND));
        let told = One::told(&outputs, 2).into_iter();
        let suspects: Vec<_> = told.filter(|it| it.state() == State::Suspect).collect();
        assert!(
            suspects.iter().all(|it| it.id().node().0 != 3),
            "{suspects:?}"
        );
        one.says(2, 0);
    }
}

#[test]
fn whoever_is_suspected_is_down_in_time_whatever_is_said_of_this_node() {
    let mut one = One::set();
    one.handle(Input::Linked(place(3)));
    one.says(3, 0);
    one.unlinked(3, true);
    let broke = one.now;
    let mut lives = BTreeSet::new();
    let mut outputs = Vec::new();
    while !outputs.contains(&Output::Down(place(3))) {
        let own = one.life();
        lives.insert(own);
        outputs = one.hear(2, vec![Member::down(id(1, own))]);
        outputs.extend(one.pass(SECOND / 4));
        let waited = one.now - broke;
        assert!(waited <= bound(3), "{waited:?}");
    }
    assert!(lives.len() > 2, "it renews all the time: {lives:?}");
}

#[test]
fn who_is_back_by_the_same_packet_is_not_sought() {
    let mut one = One::set();
    let outputs = one.hear(2, vec![Member::down(id(3, 0)), Member::alive(id(3, 2))]);
    assert_eq!(outputs, [Output::Down(place(3)), Output::Up(place(3))]);
    assert_eq!(one.members(), [2, 3]);
    assert!(one.member.past.is_empty());
}

/// Something that a peer may say, true or not.
fn anything(chance: &mut SmallRng, from: u128, own: u32) -> Packet {
    let any = |chance: &mut SmallRng| id(chance.random_range(1..8), chance.random_range(0..20));
    let incarnation = |chance: &mut SmallRng| [0, 1, Incarnation::MAX][chance.random_range(0..3)];
    let from = id(from, chance.random_range(0..10) * 2);
    let to = id(1, own.saturating_sub(chance.random_range(0..3)));
    let mut packet = Packet::gossip(from, to, Vec::new());
    packet.header.src_incarnation = incarnation(chance);
    let probe_number = chance.random();
    packet.header.message = match chance.random_range(0..8) {
        0 => Message::Ping(probe_number),
        1 => Message::Ack(probe_number),
        2 => Message::Announce,
        3 => Message::TurnUndead,
        4 => Message::Feed,
        5 => Message::PingReq {
            target: any(chance),
            probe_number,
        },
        6 => Message::ForwardedAck {
            origin: any(chance),
            probe_number,
        },
        _ => Message::Gossip,
    };
    for _ in 0..chance.random_range(0..4) {
        let state = [State::Alive, State::Suspect, State::Down][chance.random_range(0..3)];
        let about = any(chance);
        let about = match state {
            State::Down => about,
            _ => about.present(),
        };
        let update = Member::new(about, incarnation(chance), state);
        packet.updates.push(update);
    }
    packet
}

#[test]
fn whatever_was_said_whoever_is_silent_is_down_in_the_end() {
    for seed in 0..64 {
        let mut chance = SmallRng::seed_from_u64(seed);
        let mut one = One::set();
        if seed % 2 == 0 {
            one.member.settings.limit = 4;
        }
        for _ in 0..200 {
            let peer = chance.random_range(2..8);
            match chance.random_range(0..12) {
                0 => one.handle(Input::Linked(place(peer))),
                1 => one.unlinked(peer, chance.random()),
                2 => one.handle(Input::Refuse(chance.random())),
                3..5 => one.pass(MS * chance.random_range(0..2000)),
                _ => {
                    let packet = anything(&mut chance, peer, one.life());
                    one.packet(peer, &packet)
                }
            };
        }
        for peer in 2..8 {
            one.unlinked(peer, true);
        }
        one.pass(60 * SECOND);
        assert_eq!(one.members(), [], "seed {seed}");
    }
}

/// However often it has to go on under another life, and whether or not a clock or a packet wakes it.
#[test]
fn whoever_is_silent_is_down_in_time_whatever_is_said_of_this_node() {
    for asleep in [Duration::ZERO, MS] {
        let mut one = One::set();
        let mut waited = Duration::ZERO;
        while one.members().contains(&3) {
            let own = one.life();
            one.hear(2, vec![Member::down(id(1, own))]);
            one.pass(SECOND - asleep);
            one.now += asleep;
            waited += SECOND;
            assert!(waited < SECOND * (signs::FRESH + 20), "{waited:?}");
        }
        assert!(u64::from(one.life()) >= waited.as_secs(), "it renews");
    }
}
