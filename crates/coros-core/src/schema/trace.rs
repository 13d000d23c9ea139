//! Finding out the shape of a type: a search through all choices that its `Deserialize` leaves.
//!
//! What is found is a grammar: a [`Node`] for each struct, enum, option, sequence, … that comes up, with its
//! variants and what each contains. One pass decodes one made-up value. At each node it takes the variant
//! that leads to something not seen yet, if there is one, else the cheapest that is known to come to
//! an end. Passes are repeated, each steered to the nearest open end, until there is none.
//!
//! A recursive type has nodes that come up within themselves. There only a variant will do that is known to
//! come to an end; if none is known yet, the pass is given up, its variant postponed, and tried
//! again when there is. So a pass is no deeper than the type, and a type that nobody can make a value of is
//! left alone.
//!
//! A value may be refused. Then the last number, text, … that was made up in it gets another value,
//! and when all of them have been tried, what comes after it stays unknown. Budgets end the search for
//! types that are too large; whatever happens, the same type leads to the same result.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use super::tracer::{Tracer, as_traced};

/// How deep nodes may nest in one pass.
const MAX_DEPTH: usize = 64;
/// How many nodes and values may come up in one pass, and in all.
const MAX_STEPS: usize = 1 << 17;
const MAX_STEPS_IN_ALL: usize = 1 << 20;

/// The decoding of a made-up value went no further.
#[derive(Debug, thiserror::Error)]
#[error("the value was made up to see what a type looks like")]
pub(super) struct Refused;

impl serde::de::Error for Refused {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Refused
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Kind {
    Root = 1,
    Struct,
    TupleStruct,
    Newtype,
    Tuple,
    Enum,
    Option,
    Seq,
    Map,
    /// Something that leads to a type elsewhere, of which no value is part of the message.
    Lent,
}

/// What something contains, in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Unknown,
    Leaf(&'static str, &'static str),
    Node(usize),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) variants: Vec<Variant>,
    on_stack: usize,
}

#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) form: &'static str,
    pub(super) fields: &'static [&'static str],
    pub(super) contents: Vec<Content>,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Unseen,
    /// Did not come to an end when so much was known.
    Postponed(usize),
    /// Came to an end after so many steps.
    Done(usize),
    GivenUp,
}

impl Variant {
    pub(super) fn new(name: &'static str, fields: &'static [&'static str]) -> Self {
        Variant {
            name,
            form: "",
            fields,
            contents: Vec::new(),
            status: Status::Unseen,
        }
    }

    /// Nothing, which always comes to an end.
    pub(super) fn nothing() -> Self {
        Variant {
            status: Status::Done(1),
            ..Variant::new("", &[])
        }
    }
}

/// What tells one node from another within a trace: the visitor that asked for it, and for what.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) visitor: &'static str,
    pub(super) name: &'static str,
    pub(super) length: usize,
}

/// A place in the grammar: in which variant of which node, and there which of its contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) variant: usize,
    pub(super) index: usize,
}

/// The search under way. Borrowed for moments only: in between, code of the type runs.
pub(super) struct Trace {
    grammar: RefCell<Grammar>,
    pass: RefCell<Pass>,
}

#[derive(Default)]
pub(super) struct Grammar {
    pub(super) nodes: Vec<Node>,
    ids: HashMap<Key, usize>,
    /// Which of the values that can be made up for a place is its turn.
    values: HashMap<Place, usize>,
    /// Counts all that has been found out.
    progress: usize,
}

#[derive(Default)]
struct Pass {
    /// Which variants lead to the goal.
    route: HashMap<usize, usize>,
    steps: usize,
    depth: usize,
    /// The value made up last.
    last: Option<(Place, usize)>,
    /// The trace itself goes no further.
    refused: bool,
}

/// The grammar of a type.
pub(super) fn trace<T: DeserializeOwned>() -> Vec<Node> {
    let trace = Trace::new();
    let mut steps = 0;
    while let Some((goal, route)) = trace.next_goal() {
        let before = trace.grammar.borrow().progress;
        trace.begin(route);
        let read = AssertUnwindSafe(|| T::deserialize(trace.root()).map(drop));
        let done = as_traced(|| matches!(catch_unwind(read), Ok(Ok(()))));
        steps += trace.end(done);
        trace.grammar.borrow_mut().not_missed(goal, before);
        if steps > MAX_STEPS_IN_ALL {
            tracing::debug!(r#type = type_name::<T>(), "too large to be seen whole");
            break;
        }
    }
    trace.grammar.into_inner().nodes
}

impl Trace {
    fn new() -> Self {
        let mut grammar = Grammar::default();
        grammar.nodes.push(Node {
            kind: Kind::Root,
            name: "",
            variants: vec![Variant::new("", &[])],
            on_stack: 0,
        });
        Trace {
            grammar: RefCell::new(grammar),
            pass: RefCell::default(),
        }
    }

    fn root(&self) -> Tracer<'_> {
        let place = Place {
            node: 0,
            variant: 0,
            index: 0,
        };
        Tracer { trace: self, place }
    }

    /// The nearest variant worth a pass, and the variants that lead to it: first those that have
    /// not been seen, then those of which more is known by now.
    fn next_goal(&self) -> Option<((usize, usize), HashMap<usize, usize>)> {
        let grammar = self.grammar.borrow();
        grammar
            .nearest(|status| status == Status::Unseen)
            .or_else(|| {
                let more = grammar.progress;
                grammar.nearest(|status| matches!(status, Status::Postponed(then) if then < more))
            })
    }

    fn begin(&self, route: HashMap<usize, usize>) {
        *self.pass.borrow_mut() = Pass {
            route,
            ..Pass::default()
        };
        let mut grammar = self.grammar.borrow_mut();
        for node in &mut grammar.nodes {
            node.on_stack = 0;
        }
        grammar.nodes[0].on_stack = 1;
    }

    /// How many steps the pass took.
    fn end(&self, done: bool) -> usize {
        if !done {
            self.blame();
        }
        let steps = self.pass.borrow().steps;
        self.grammar.borrow_mut().visited(0, 0, done, steps);
        steps
    }

    /// The type refused the value: something else is to be made up for its last part.
    fn blame(&self) {
        let mut pass = self.pass.borrow_mut();
        if pass.refused {
            return;
        }
        if let Some((place, choices)) = pass.last.take() {
            let mut grammar = self.grammar.borrow_mut();
            let value = grammar.values.entry(place).or_insert(0);
            if *value + 1 < choices {
                *value += 1;
                grammar.progress += 1;
            }
        }
    }

    fn step(&self) -> Result<(), Refused> {
        let mut pass = self.pass.borrow_mut();
        pass.steps += 1;
        if pass.steps > MAX_STEPS || pass.depth > MAX_DEPTH {
            pass.refused = true;
            return Err(Refused);
        }
        Ok(())
    }

    /// The trace goes no further here.
    pub(super) fn refuse<T>(&self) -> Result<T, Refused> {
        self.pass.borrow_mut().refused = true;
        Err(Refused)
    }

    /// Something without contents comes up, for which there are so many values to choose from:
    /// which is to be taken.
    pub(super) fn leaf(
        &self,
        place: Place,
        leaf: (&'static str, &'static str),
        choices: usize,
    ) -> Result<usize, Refused> {
        self.step()?;
        let mut grammar = self.grammar.borrow_mut();
        grammar.record(place, Content::Leaf(leaf.0, leaf.1));
        if choices > 1 {
            self.pass.borrow_mut().last = Some((place, choices));
        }
        Ok(grammar.values.get(&place).copied().unwrap_or(0))
    }

    /// A node comes up: calls `visit` with its number and the variant to take.
    pub(super) fn node<T>(
        &self,
        place: Place,
        key: Key,
        variants: impl FnOnce() -> Vec<Variant>,
        visit: impl FnOnce(usize, usize) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        self.step()?;
        let (id, variant) = {
            let mut grammar = self.grammar.borrow_mut();
            let id = grammar.node(key, variants);
            grammar.record(place, Content::Node(id));
            let route = self.pass.borrow_mut().route.remove(&id);
            let Some(variant) = grammar.choose(id, route) else {
                return self.refuse();
            };
            grammar.nodes[id].on_stack += 1;
            (id, variant)
        };
        let before = {
            let mut pass = self.pass.borrow_mut();
            pass.depth += 1;
            pass.steps
        };
        let result = visit(id, variant);
        let steps = {
            let mut pass = self.pass.borrow_mut();
            pass.depth -= 1;
            pass.steps - before + 1
        };
        let mut grammar = self.grammar.borrow_mut();
        grammar.nodes[id].on_stack -= 1;
        grammar.visited(id, variant, result.is_ok(), steps);
        result
    }

    /// Visits what is only led to: that it comes to no end is no failure of what leads to it.
    pub(super) fn aside<T>(&self, visit: impl FnOnce(&Cell<bool>) -> T) -> (T, bool) {
        let outer = {
            let mut pass = self.pass.borrow_mut();
            (
                std::mem::take(&mut pass.last),
                std::mem::take(&mut pass.refused),
            )
        };
        let failed = Cell::new(false);
        let result = visit(&failed);
        if failed.get() {
            self.blame();
        }
        let mut pass = self.pass.borrow_mut();
        (pass.last, pass.refused) = outer;
        (result, failed.get())
    }

    /// The form of an enum's variant has come up.
    pub(super) fn form(
        &self,
        node: usize,
        variant: usize,
        form: &'static str,
        fields: &'static [&'static str],
    ) {
        let mut grammar = self.grammar.borrow_mut();
        let variant = &mut grammar.nodes[node].variants[variant];
        variant.form = form;
        variant.fields = fields;
    }
}

impl Grammar {
    fn node(&mut self, key: Key, variants: impl FnOnce() -> Vec<Variant>) -> usize {
        let nodes = &mut self.nodes;
        *self.ids.entry(key).or_insert_with(|| {
            nodes.push(Node {
                kind: key.kind,
                name: key.name,
                variants: variants(),
                on_stack: 0,
            });
            self.progress += 1;
            nodes.len() - 1
        })
    }

    fn record(&mut self, place: Place, content: Content) {
        let contents = &mut self.nodes[place.node].variants[place.variant].contents;
        if contents.len() <= place.index {
            contents.resize(place.index + 1, Content::Unknown);
        }
        if contents[place.index] == Content::Unknown {
            contents[place.index] = content;
            self.progress += 1;
        }
    }

    /// The variant to take, if any will do.
    fn choose(&self, id: usize, route: Option<usize>) -> Option<usize> {
        let node = &self.nodes[id];
        let variants = || node.variants.iter().map(|it| it.status).enumerate();
        let cheapest = || {
            let done = variants().filter_map(|(i, status)| match status {
                Status::Done(steps) => Some((steps, i)),
                _ => None,
            });
            done.min().map(|(_, i)| i)
        };
        if node.on_stack > 0 {
            return cheapest();
        }
        let with = |which: fn(Status) -> bool| variants().find(|it| which(it.1)).map(|it| it.0);
        route
            .or_else(|| with(|status| status == Status::Unseen))
            .or_else(cheapest)
            .or_else(|| with(|status| matches!(status, Status::Postponed(_))))
    }

    /// A pass that led nowhere is not repeated.
    fn not_missed(&mut self, (node, variant): (usize, usize), before: usize) {
        let status = &mut self.nodes[node].variants[variant].status;
        let missed = match *status {
            Status::Unseen => true,
            Status::Postponed(then) => then < self.progress,
            Status::Done(_) | Status::GivenUp => false,
        };
        if missed && self.progress == before {
            *status = Status::GivenUp;
        }
    }

    fn visited(&mut self, id: usize, variant: usize, done: bool, steps: usize) {
        let progress = self.progress;
        let status = &mut self.nodes[id].variants[variant].status;
        match (*status, done) {
            (Status::Done(before), true) => *status = Status::Done(steps.min(before)),
            (Status::Done(_), false) => {}
            (_, true) => {
                *status = Status::Done(steps);
                self.progress += 1;
            }
            (Status::Unseen, false) => {
                // By itself no reason to try again those that were postponed before.
                *status = Status::Postponed(progress + 1);
                self.progress += 1;
            }
            (_, false) => *status = Status::Postponed(progress),
        }
    }

    /// The nearest variant of a status, and the way there.
    fn nearest(
        &self,
        wanted: impl Fn(Status) -> bool,
    ) -> Option<((usize, usize), HashMap<usize, usize>)> {
        let mut from: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut seen = HashSet::from([0]);
        let mut queue = VecDeque::from([0]);
        while let Some(id) = queue.pop_front() {
            let variants = &self.nodes[id].variants;
            if let Some(variant) = variants.iter().position(|it| wanted(it.status)) {
                let mut route = HashMap::from([(id, variant)]);
                let mut at = id;
                while let Some(&(node, variant)) = from.get(&at) {
                    route.insert(node, variant);
                    at = node;
                }
                return Some(((id, variant), route));
            }
            for (number, variant) in variants.iter().enumerate() {
                for content in &variant.contents {
                    if let Content::Node(next) = *content
                        && seen.insert(next)
                    {
                        from.insert(next, (id, number));
                        queue.push_back(next);
                    }
                }
            }
        }
        None
    }
}
