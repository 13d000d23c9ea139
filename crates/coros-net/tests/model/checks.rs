//! What is promised, held against what happens.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coros_core::remote::NodeId;
use tokio::time::Instant;

use self::kept::{SLACK, Story};
use super::nature::{Nature, Place};
use crate::common::seeds::Notes;

pub(crate) const SILENCE: Duration = Duration::from_secs(2);
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// In some schedules, so that links are closed and made again all the time; which takes time.
pub(crate) const SHORT_IDLE: Duration = Duration::from_secs(4);
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(7);
pub(crate) const MAX_LATENCY: Duration = Duration::from_millis(200);

/// Who hears nothing from a peer gives up by then: what is on its way comes, then the silence and
/// a tenth, and the grace, which is more than the limit of a dial.
const DEAF: Duration = Duration::from_millis(2200 + 5000 + 200 + 5);
/// A letter or a question is through or lost by then whatever happens: links may break again and
/// again, but not for longer than the time between two steps of a schedule.
const EVER: Duration = Duration::from_secs(40);
/// What is no longer than this loses nothing: it is well again so early within the grace that
/// there is time for another link.
const SHORT: Duration = Duration::from_millis(3500);
/// After this the link is there again, so that what goes wrong then is another matter.
const RECOVERED: Duration = Duration::from_secs(4);

/// A session that may have ended for what went on longer has ended by then.
const CALM: Duration = Duration::from_secs(8);
/// A node: its place, and which of its lives.
pub(crate) type Who = (usize, u32);

#[derive(Clone)]
pub(crate) struct Checks {
    pub(crate) nature: Nature,
    state: Arc<Mutex<State>>,
}

struct State {
    notes: Notes,
    /// By sender and receiver: as many letters as were taken, and the last that came.
    sent: BTreeMap<(Who, Who), u32>,
    last: BTreeMap<(Who, Who), u32>,
    received: BTreeSet<(Who, Who, u32)>,
    /// Letters that nothing is promised of: they went to a node that cannot be dialled.
    shaky: BTreeSet<(Who, Who, u32)>,
    places: BTreeMap<Who, Place>,
    /// Who has a session with whom, as far as that is sure.
    met: BTreeSet<(Who, Who)>,
    /// When what disturbed two has ended.
    calm: BTreeMap<(usize, usize), Instant>,
    /// What a node has been told of its peers.
    stories: BTreeMap<(Who, NodeId), Story>,
    /// Coroutines that may be watched, by node, and how often they are.
    mortals: BTreeMap<Who, BTreeMap<u64, usize>>,
    /// Coroutines that live as long as somebody knows them.
    guests: BTreeMap<Who, usize>,
    /// Letters whose senders were told that they had come.
    confirmed: Vec<(Who, Who, u32)>,
    /// Who hears nothing from whom, and since when.
    deaf: BTreeMap<(usize, usize), Instant>,
    disturbed: BTreeSet<(usize, usize)>,
    /// What has gone wrong between two, the smaller first, and may have been too short to matter.
    troubles: BTreeMap<(usize, usize), Trouble>,
    /// Nothing has been wrong for long, so nothing may fail.
    well: bool,
    waits: BTreeMap<u64, Wait>,
    last_wait: u64,
    /// Coroutines that have ended, and when.
    ended: BTreeMap<u64, Instant>,
}

#[derive(Clone, Copy)]
struct Trouble {
    since: Instant,
    /// When it was over.
    until: Option<Instant>,
}

struct Wait {
    what: String,
    by: Who,
    on: Who,
    since: Instant,
    /// Of a monitor: the coroutine that it is for.
    watched: Option<u64>,
    /// Nothing is promised of it.
    shaky: bool,
}

impl Checks {
    pub(crate) fn new(nature: Nature) -> Self {
        let state = State {
            notes: Notes::new(),
            sent: BTreeMap::new(),
            last: BTreeMap::new(),
            received: BTreeSet::new(),
            shaky: BTreeSet::new(),
            places: BTreeMap::new(),
            met: BTreeSet::new(),
            calm: BTreeMap::new(),
            stories: BTreeMap::new(),
            mortals: BTreeMap::new(),
            guests: BTreeMap::new(),
            confirmed: Vec::new(),
            deaf: BTreeMap::new(),
            disturbed: BTreeSet::new(),
            troubles: BTreeMap::new(),
            well: false,
            waits: BTreeMap::new(),
            last_wait: 0,
            ended: BTreeMap::new(),
        };
        Checks {
            nature,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn note(&self, what: impl fmt::Display) {
        self.lock().notes.note(what);
    }

    pub(crate) fn starts(&self, who: Who, place: Place) {
        let mut state = self.lock();
        state.notes.note(format_args!("{who:?} starts, {place:?}"));
        state.places.insert(who, place);
    }

    /// The number of the next letter.
    pub(crate) fn number(&self, from: Who, to: Who) -> u32 {
        let mut state = self.lock();
        let sent = state.sent.entry((from, to)).or_default();
        *sent += 1;
        let number = *sent;
        if state.is_shaky(from, to) {
            state.shaky.insert((from, to, number));
        }
        number
    }

    /// A coroutine that may be watched has started.
    pub(crate) fn started(&self, who: Who, coroutine: u64) {
        let mut state = self.lock();
        let mortals = state.mortals.entry(who).or_default();
        mortals.insert(coroutine, 0);
    }

    /// A letter came to `here`.
    pub(crate) fn received(&self, here: Who, from: Who, to: Who, number: u32) {
        let mut state = self.lock();
        state
            .notes
            .note(format_args!("{here:?} has {number} from {from:?}"));
        if here != to {
            state
                .notes
                .wrong(format_args!("{here:?} got what {from:?} sent to {to:?}"));
        }
        let last = state.last.insert((from, to), number).unwrap_or(0);
        if number == last || state.received.contains(&(from, to, number)) {
            state
                .notes
                .wrong(format_args!("{number} from {from:?} came to {to:?} twice"));
        } else if number < last {
            state.notes.wrong(format_args!(
                "{number} from {from:?} came to {to:?} after {last}"
            ));
        }
        state.received.insert((from, to, number));
        let pair = ordered((from.0, to.0));
        state.look_at_troubles();
        // What is in trouble for long enough is never calm.
        if state.calm.get(&pair).is_none_or(|at| at.elapsed() > CALM) {
            state.met.insert((here, from));
        }
    }

    /// Somebody begins to wait for a peer.
    pub(crate) fn wait(&self, what: impl fmt::Display, by: Who, on: Who) -> u64 {
        self.begin(what, by, on, None)
    }

    pub(crate) fn watch(&self, by: Who, on: Who, coroutine: u64) -> u64 {
        let mut state = self.lock();
        let mortals = state.mortals.entry(on).or_default();
        *mortals.entry(coroutine).or_default() += 1;
        drop(state);
        let what = format_args!("monitor of {coroutine}");
        self.begin(what, by, on, Some(coroutine))
    }

    fn begin(&self, what: impl fmt::Display, by: Who, on: Who, watched: Option<u64>) -> u64 {
        let mut state = self.lock();
        state.last_wait += 1;
        let number = state.last_wait;
        let wait = Wait {
            what: what.to_string(),
            by,
            on,
            since: Instant::now(),
            watched,
            shaky: state.is_shaky(by, on),
        };
        state.waits.insert(number, wait);
        number
    }

    /// A letter is through, or lost.
    pub(crate) fn done(&self, wait: u64, arrived: Option<u32>, result: Result<(), String>) {
        let mut state = self.lock();
        let Some(wait) = state.over(wait, &result) else {
            return;
        };
        let (by, on) = (wait.by, wait.on);
        let undisturbed = !wait.shaky && state.is_undisturbed(by, on);
        match result {
            Ok(()) => {
                let confirmed = arrived.map(|number| (by, on, number));
                state.confirmed.extend(confirmed);
            }
            Err(why) if undisturbed => {
                state
                    .notes
                    .wrong(format_args!("{} failed for no reason: {why}", wait.what));
            }
            Err(_) => {}
        }
    }

    /// A monitor was told.
    pub(crate) fn exited(&self, wait: u64, finished: bool, exit: impl fmt::Display) {
        let mut state = self.lock();
        let Some(wait) = state.over(wait, &exit.to_string()) else {
            return;
        };
        let ended = wait.watched.and_then(|id| state.ended.get(&id)).is_some();
        if finished && !ended {
            state
                .notes
                .wrong(format_args!("{}: the coroutine lives", wait.what));
        }
        if !finished && !wait.shaky && state.is_undisturbed(wait.by, wait.on) {
            state
                .notes
                .wrong(format_args!("{}: {exit} for no reason", wait.what));
        }
    }

    /// A coroutine that may be watched has ended.
    pub(crate) fn ended(&self, coroutine: u64) {
        let mut state = self.lock();
        state.notes.note(format_args!("coroutine {coroutine} ends"));
        for mortals in state.mortals.values_mut() {
            mortals.remove(&coroutine);
        }
        state.ended.insert(coroutine, Instant::now());
    }

    /// Who hears nothing from whom now.
    pub(crate) fn deaf(&self, now_deaf: &BTreeSet<(usize, usize)>) {
        let mut state = self.lock();
        state.look_at_troubles();
        let pairs: BTreeSet<_> = now_deaf.iter().copied().map(ordered).collect();
        for &pair in &pairs {
            state.trouble(pair).until = None;
        }
        for (pair, trouble) in &mut state.troubles {
            if !pairs.contains(pair) {
                trouble.until.get_or_insert_with(Instant::now);
            }
        }
        state.deaf.retain(|pair, _| now_deaf.contains(pair));
        for &pair in now_deaf {
            state.deaf.entry(pair).or_insert_with(Instant::now);
        }
    }

    /// All connections between two are cut. Whatever else is wrong with them goes on.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        let mut state = self.lock();
        state.look_at_troubles();
        let trouble = state.trouble(ordered((one, other)));
        if trouble.until.is_some() {
            trouble.until = Some(Instant::now());
        }
    }

    /// Somebody cannot even begin to send a letter to a peer.
    pub(crate) fn refused(&self, from: Who, to: Who, number: u32, why: impl fmt::Display) {
        let mut state = self.lock();
        state.notes.note(format_args!("{from:?} cannot: {why}"));
        let is_new = state.shaky.insert((from, to, number));
        if is_new && state.is_undisturbed(from, to) {
            state
                .notes
                .wrong(format_args!("{from:?} cannot send to {to:?}: {why}"));
        }
    }

    /// There is no room for a letter, while this is kept for peers.
    pub(crate) fn full(&self, from: Who, to: Who, number: u32, length: usize, kept: usize) {
        let mut state = self.lock();
        state
            .notes
            .note(format_args!("{from:?} has no room, with {kept} bytes kept"));
        state.shaky.insert((from, to, number));
        let waits = |it: &Wait| it.by == from && it.on == to && it.watched.is_none();
        let waiting = state.waits.values().any(waits);
        if !waiting && kept + length + SLACK / 64 < self.nature.outbox {
            state
                .notes
                .wrong(format_args!("{from:?} has room for {to:?}"));
        }
    }

    /// From here on anything may get lost between two.
    pub(crate) fn disturb(&self, one: usize, other: usize) {
        let pairs = [(one, other), (other, one)];
        self.lock().disturbed.extend(pairs);
    }

    /// From here on nothing may get lost.
    pub(crate) fn all_is_well(&self) {
        self.lock().well = true;
    }

    /// When all is over: everything that went wrong, and everything that happened.
    pub(crate) fn finish(&self) -> Notes {
        let mut state = self.lock();
        state.look_at_troubles();
        for wait in std::mem::take(&mut state.waits).into_values() {
            let (by, on) = (wait.by, wait.on);
            state
                .notes
                .wrong(format_args!("{}: {by:?} waits for {on:?}", wait.what));
        }
        for (from, to, number) in std::mem::take(&mut state.confirmed) {
            if !state.received.contains(&(from, to, number)) {
                state.notes.wrong(format_args!(
                    "{number} from {from:?} was confirmed and has not come to {to:?}"
                ));
            }
        }
        for ((from, to), sent) in std::mem::take(&mut state.sent) {
            let of_pair = (from, to, 0)..=(from, to, u32::MAX);
            let came = state.received.range(of_pair.clone());
            let came = came.filter(|letter| !state.shaky.contains(letter)).count();
            let sent = sent as usize - state.shaky.range(of_pair).count();
            if !state.disturbed.contains(&(from.0, to.0)) && came != sent {
                state.notes.wrong(format_args!(
                    "nothing disturbed {from:?} and {to:?}, and {came} of {sent} letters came"
                ));
            }
        }
        std::mem::replace(&mut state.notes, Notes::new())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ordered((one, other): (usize, usize)) -> (usize, usize) {
    (one.min(other), one.max(other))
}

impl State {
    /// The trouble that two are in, from now on if they are not.
    fn trouble(&mut self, pair: (usize, usize)) -> &mut Trouble {
        let now = Instant::now();
        self.troubles.entry(pair).or_insert(Trouble {
            since: now,
            until: Some(now),
        })
    }

    /// What has lasted for too long may have lost something; what has been over for long is
    /// forgotten.
    fn look_at_troubles(&mut self) {
        let now = Instant::now();
        for (pair, trouble) in self.troubles.clone() {
            let until = trouble.until.unwrap_or(now);
            if until - trouble.since > SHORT {
                self.part(pair, until);
            }
        }
        self.troubles
            .retain(|_, trouble| trouble.until.is_none_or(|until| now - until < RECOVERED));
    }

    /// The session of two may be over.
    fn part(&mut self, (one, other): (usize, usize), at: Instant) {
        self.disturbed.extend([(one, other), (other, one)]);
        self.calm.insert((one, other), at);
        self.met
            .retain(|&(by, on)| ordered((by.0, on.0)) != (one, other));
    }

    /// Whether nothing is promised of what goes to a peer: it cannot be dialled, and is not known
    /// to have dialled.
    fn is_shaky(&mut self, by: Who, on: Who) -> bool {
        self.look_at_troubles();
        let is_dialled = self.places[&on] == Place::True;
        !is_dialled && !self.met.contains(&(by, on))
    }

    /// Whether nothing has happened between two by which anything may have got lost.
    fn is_undisturbed(&mut self, one: Who, other: Who) -> bool {
        self.look_at_troubles();
        self.well || !self.disturbed.contains(&(one.0, other.0))
    }

    /// A wait has ended: whether in time.
    fn over(&mut self, wait: u64, how: &impl fmt::Debug) -> Option<Wait> {
        let Some(wait) = self.waits.remove(&wait) else {
            self.notes.wrong("a wait ended twice");
            return None;
        };
        let now = Instant::now();
        let (by, on) = (wait.by, wait.on);
        self.notes
            .note(format_args!("{:?} has {}: {how:?}", by, wait.what));
        if let Some(&deaf) = self.deaf.get(&(by.0, on.0)) {
            let waited = now - wait.since.max(deaf);
            if waited > DEAF {
                self.notes.wrong(format_args!(
                    "{}: {by:?} heard nothing from {on:?} for {waited:?} of it",
                    wait.what
                ));
            }
        }
        let from = match wait.watched {
            None => Some(wait.since),
            // Whether that is still under way or not: it has nothing to wait for any more.
            Some(coroutine) => self.ended.get(&coroutine).map(|&at| at.max(wait.since)),
        };
        if let Some(from) = from
            && now - from > EVER
        {
            let waited = now - from;
            self.notes
                .wrong(format_args!("{}: {by:?} waited {waited:?}", wait.what));
        }
        Some(wait)
    }
}
