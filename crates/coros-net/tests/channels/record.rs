//! What was sent and what came, held against what is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::common::seeds::Notes;

/// What has surely arrived if nothing was in the way.
const ON_THE_WAY: Duration = Duration::from_secs(2);

/// A node: its place, and which of its lives.
pub(crate) type Who = (usize, u32);

#[derive(Clone)]
pub(crate) struct Record(Arc<Mutex<State>>);

struct State {
    notes: Notes,
    senders: Vec<Sender>,
    subscribers: Vec<Subscriber>,
    deliveries: Vec<Delivery>,
    dead: BTreeMap<Who, Instant>,
}

struct Sender {
    at: Who,
    posts: Vec<Post>,
}

struct Post {
    at: Instant,
    loud: bool,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// Not yet, or not by the one who was asked.
    Refused,
    /// It comes in its turn, or never.
    Open,
    /// Its sender has given up: it may come at any time, or never.
    Late,
    /// It comes to everybody.
    Taken,
}

struct Subscriber {
    /// The nodes that a message for it passes, its own the last.
    way: Vec<Who>,
    /// It may miss messages: what comes to it directly is not kept until there is room.
    is_loose: bool,
    /// When it was known to have subscribed.
    since: Option<Instant>,
    /// When it has unsubscribed, or ended.
    until: Option<Instant>,
    /// When it was ended from outside.
    killed: Option<Instant>,
    got: Vec<(usize, usize)>,
    has_ended: bool,
}

struct Delivery {
    sender: usize,
    number: usize,
    wanted: usize,
    limit: Duration,
    began: Instant,
    ended: Instant,
    reached: usize,
}

impl Record {
    pub(crate) fn new() -> Self {
        Record(Arc::new(Mutex::new(State {
            notes: Notes::new(),
            senders: Vec::new(),
            subscribers: Vec::new(),
            deliveries: Vec::new(),
            dead: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, what: impl fmt::Display) {
        self.lock().notes.note(what);
    }

    pub(crate) fn wrong(&self, what: impl fmt::Display) {
        self.lock().notes.wrong(what);
    }

    pub(crate) fn add_sender(&self, at: Who) -> usize {
        let mut state = self.lock();
        let posts = Vec::new();
        state.senders.push(Sender { at, posts });
        state.senders.len() - 1
    }

    /// Whether the node of a sender has died.
    pub(crate) fn is_dead(&self, sender: usize) -> bool {
        let state = self.lock();
        state.dead.contains_key(&state.senders[sender].at)
    }

    pub(crate) fn add_subscriber(&self, way: Vec<Who>, is_loose: bool) -> usize {
        let mut state = self.lock();
        let number = state.subscribers.len();
        state.notes.note(format_args!(
            "subscriber {number} by {way:?}, loose: {is_loose}"
        ));
        state.subscribers.push(Subscriber {
            way,
            is_loose,
            since: None,
            until: None,
            killed: None,
            got: Vec::new(),
            has_ended: false,
        });
        number
    }

    /// A sender begins with a message; its number.
    pub(crate) fn begins(&self, sender: usize, loud: bool, how: impl fmt::Display) -> usize {
        let mut state = self.lock();
        let posts = &mut state.senders[sender].posts;
        let number = posts.len();
        posts.push(Post {
            at: Instant::now(),
            loud,
            fate: Fate::Refused,
        });
        state
            .notes
            .note(format_args!("sender {sender} begins {number}: {how}"));
        number
    }

    /// The message is with the channel, or on its way there.
    pub(crate) fn taken(&self, sender: usize, number: usize) {
        self.lock().senders[sender].posts[number].fate = Fate::Taken;
    }

    /// The channel may get it, or not.
    pub(crate) fn may_come(&self, sender: usize, number: usize) {
        self.lock().senders[sender].posts[number].fate = Fate::Open;
    }

    /// There was no answer in time.
    pub(crate) fn timed_out(&self, sender: usize, number: usize) {
        let mut state = self.lock();
        state
            .notes
            .note(format_args!("{number} of {sender} has timed out"));
        state.senders[sender].posts[number].fate = Fate::Late;
    }

    /// A delivery has an answer, `reached`.
    pub(crate) fn delivered(
        &self,
        (sender, number): (usize, usize),
        (wanted, limit): (usize, Duration),
        reached: usize,
    ) {
        let mut state = self.lock();
        let ended = Instant::now();
        let post = &mut state.senders[sender].posts[number];
        let began = post.at;
        // A coroutine that has not confirmed in time may have it or not.
        let in_time = ended - began < limit - answers(limit);
        post.fate = if in_time { Fate::Taken } else { Fate::Open };
        state.notes.note(format_args!(
            "{number} of {sender} has reached {reached} of {wanted} within {limit:?}"
        ));
        state.deliveries.push(Delivery {
            sender,
            number,
            wanted,
            limit,
            began,
            ended,
            reached,
        });
    }

    /// A subscriber got a message, after it has passed the transform so many times.
    pub(crate) fn got(&self, subscriber: usize, sender: usize, number: usize, passed: u32) {
        let mut state = self.lock();
        state
            .notes
            .note(format_args!("{subscriber} has {number} of {sender}"));
        if passed != 1 {
            state.notes.wrong(format_args!(
                "{number} of {sender} passed {passed} times, {subscriber} has it"
            ));
        }
        let it = &state.subscribers[subscriber];
        let posts = &state.senders[sender].posts;
        let in_turn = |number: &usize| posts[*number].fate != Fate::Late;
        let before = it.got.iter().filter(|got| got.0 == sender);
        let last = before.map(|got| got.1).filter(in_turn).max();
        let in_turn = in_turn(&number);
        if it.got.contains(&(sender, number)) {
            state.notes.wrong(format_args!(
                "{number} of {sender} came to {subscriber} twice"
            ));
        } else if in_turn && last.is_some_and(|last| last > number) {
            state.notes.wrong(format_args!(
                "{number} of {sender} came to {subscriber} after {last:?}"
            ));
        }
        state.subscribers[subscriber].got.push((sender, number));
    }

    /// From now on it misses nothing.
    pub(crate) fn has_subscribed(&self, subscriber: usize) {
        let mut state = self.lock();
        state
            .notes
            .note(format_args!("{subscriber} is known to have subscribed"));
        state.subscribers[subscriber].since = Some(Instant::now());
    }

    /// From now on it may miss everything.
    pub(crate) fn lets_go(&self, subscriber: usize) {
        let mut state = self.lock();
        state.notes.note(format_args!("{subscriber} unsubscribes"));
        state.subscribers[subscriber]
            .until
            .get_or_insert_with(Instant::now);
    }

    pub(crate) fn killed(&self, subscriber: usize) {
        let mut state = self.lock();
        state.notes.note(format_args!("{subscriber} is ended"));
        let it = &mut state.subscribers[subscriber];
        let now = Instant::now();
        it.until.get_or_insert(now);
        it.killed.get_or_insert(now);
    }

    /// A subscriber has ended by itself: nobody knows it any more.
    pub(crate) fn ended(&self, subscriber: usize) {
        let mut state = self.lock();
        state.notes.note(format_args!("{subscriber} was released"));
        state.subscribers[subscriber].has_ended = true;
    }

    pub(crate) fn has_ended(&self, subscriber: usize) -> bool {
        self.lock().subscribers[subscriber].has_ended
    }

    pub(crate) fn node_died(&self, who: Who) {
        let mut state = self.lock();
        state.notes.note(format_args!("{who:?} dies"));
        let now = Instant::now();
        state.dead.insert(who, now);
        for it in &mut state.subscribers {
            if it.way.contains(&who) {
                it.until.get_or_insert(now);
            }
            if it.way.last() == Some(&who) {
                it.killed.get_or_insert(now);
            }
        }
    }

    /// When all is over: everything that went wrong, and everything that happened.
    pub(crate) fn finish(&self) -> Notes {
        let mut state = self.lock();
        let missed = state.missed();
        let miscounted = state.miscounted();
        for what in missed.into_iter().chain(miscounted) {
            state.notes.wrong(what);
        }
        std::mem::replace(&mut state.notes, Notes::new())
    }
}

/// What a delivery keeps of its time for answers.
fn answers(limit: Duration) -> Duration {
    // Of this node's home once, and of that its home's once more.
    (limit / 8).min(Duration::from_secs(1)) * 2
}

impl State {
    /// What has not come that had to, and what has come that must not.
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for (subscriber, it) in self.subscribers.iter().enumerate() {
            for (from, sender) in self.senders.iter().enumerate() {
                let got: BTreeSet<usize> = it
                    .got
                    .iter()
                    .filter(|got| got.0 == from)
                    .map(|got| got.1)
                    .collect();
                for &number in &got {
                    let post = &sender.posts[number];
                    if !post.loud && post.fate != Fate::Refused {
                        continue;
                    }
                    let (loud, fate) = (post.loud, post.fate);
                    missed.push(format!(
                        "{subscriber} got {number} of {from}, loud {loud}, {fate:?}"
                    ));
                }
                if it.is_loose || self.dead.contains_key(&sender.at) {
                    continue;
                }
                let range = got.first().zip(got.last());
                for (number, post) in sender.posts.iter().enumerate() {
                    let between =
                        range.is_some_and(|(first, last)| (*first..=*last).contains(&number));
                    let due = post.fate == Fate::Taken
                        && !post.loud
                        && (between || it.has_to_get(post.at));
                    if due && !got.contains(&number) {
                        missed.push(format!("{subscriber} has missed {number} of {from}"));
                    }
                }
            }
        }
        missed
    }

    /// Deliveries whose number is not right.
    fn miscounted(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for it in &self.deliveries {
            let (sender, number, reached) = (it.sender, it.number, it.reached);
            let has = |at: &&Subscriber| at.got.contains(&(sender, number));
            let came = self.subscribers.iter().filter(has).count();
            // It may have been in the mailbox of who was ended before it looked; and what has
            // arrived at a node that died may not have been confirmed.
            let killed = |at: &&Subscriber| at.killed.is_some_and(|at| at >= it.began);
            let unsaid = |at: &&Subscriber| {
                let dead = |who: &Who| self.dead.get(who).is_some_and(|at| *at >= it.began);
                at.way.iter().any(dead) || killed(at)
            };
            let at_most = came
                + self
                    .subscribers
                    .iter()
                    .filter(|it| killed(it) && !has(it))
                    .count();
            let took = it.ended - it.began;
            let in_time = took < it.limit - answers(it.limit);
            let unsaid = self
                .subscribers
                .iter()
                .filter(|it| unsaid(it) && has(it))
                .count();
            let at_least = if in_time { came - unsaid } else { 0 };
            let what = format!(
                "{number} of {sender} has reached {reached} in {took:?}, {came} have it, \
                 {} were wanted",
                it.wanted
            );
            if self.senders[sender].posts[number].loud {
                if reached > 0 {
                    wrong.push(format!("{what}; it was to be dropped"));
                }
            } else if !(at_least..=at_most).contains(&reached) {
                wrong.push(format!("{what}; not {at_least} to {at_most}"));
            } else if reached < it.wanted && in_time && !self.anybody_left(it) {
                wrong.push(format!("{what}; it did not wait"));
            }
        }
        wrong
    }

    /// Whether somebody who was counted when a delivery began may not have been there any more.
    fn anybody_left(&self, delivery: &Delivery) -> bool {
        let mut until = self.subscribers.iter().filter_map(|it| it.until);
        until.any(|at| at + ON_THE_WAY >= delivery.began && at <= delivery.ended)
    }
}

impl Subscriber {
    /// What was sent at that time, by somebody to whom nothing happened.
    fn has_to_get(&self, sent: Instant) -> bool {
        self.since.is_some_and(|since| since < sent) && self.until.is_none()
    }
}
