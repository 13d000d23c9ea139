//! Looks for the daemons of a network, for as long as the scheduler, or the service, lives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::NodeId;
use coros_core::{Address, Context};
use coros_net::{Location, Node};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Command;
use super::backoff::Backoff;
use crate::daemon::protocol::{NAME, ToDaemon, View};
use crate::placement::NodeView;
use crate::protocol::ToScheduler;

/// How often it looks into the names that its node knows; asking nobody.
const PERIOD: Duration = Duration::from_millis(100);
/// How often a daemon is asked how its node does.
const LOOK_PERIOD: Duration = Duration::from_secs(2);
/// How long a daemon may take to say what it has.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// A daemon that was found, and what it says of its node; again and again.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) at: Location,
    pub(crate) daemon: Address<ToDaemon>,
    pub(crate) view: View,
}

/// What it sees.
#[derive(Debug)]
pub(crate) enum Sight {
    Found(Box<Found>),
    /// A daemon that cannot be used, and why.
    NotUsed(Location, String),
}

impl Found {
    pub(crate) fn node(&self) -> NodeId {
        self.at.node
    }

    /// Its node, as users see it.
    pub(crate) fn shown(&self) -> NodeView {
        let Found { at, view, .. } = self;
        NodeView {
            id: Some(at.node),
            addresses: at.endpoint.map(|it| it.ip()).into_iter().collect(),
            endpoint: at.endpoint,
            load: view.load,
            ..NodeView::new(&*at.name, view.machine.clone())
        }
    }
}

type Tell = Arc<dyn Fn(Sight) + Send + Sync>;

/// To the finder.
#[derive(Debug)]
pub(crate) enum ToFinder {
    /// A daemon has said how its node does.
    Seen(NodeId),
    /// A daemon that was found is used no longer, and may be found again. Whether it was of any use.
    Lost(NodeId, bool),
}

/// Finds daemons for a scheduler, which is told by commands.
pub(super) fn start_for(node: Node, scheduler: Address<ToScheduler>) -> Address<ToFinder> {
    start(node, move |sight| {
        let command = match sight {
            Sight::Found(found) => Command::Found(found),
            Sight::NotUsed(at, why) => Command::NotUsed(at, why),
        };
        let _ = scheduler.send(ToScheduler::Command(command));
    })
}

/// Finds daemons, and asks each from time to time how its node does, until the address is dropped.
pub(crate) fn start(node: Node, tell: impl Fn(Sight) + Send + Sync + 'static) -> Address<ToFinder> {
    let finder = coros_core::build().name("finder").daemon();
    let finder = finder.spawn(move |me| run(me, node, Arc::new(tell)));
    finder.address()
}

async fn run(mut me: Context<ToFinder>, node: Node, tell: Tell) {
    let mut known: HashMap<NodeId, Turn> = HashMap::new();
    // It looks at once, and not with a first tick, which takes its time.
    let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let found = node.locate_all::<Address<ToDaemon>>(NAME);
        // Who is not there any more comes back as another one, or has to be found again.
        known.retain(|id, _| found.iter().any(|(at, _)| at.node == *id));
        for (at, found) in found {
            if !known.entry(at.node).or_default().has_come() {
                continue;
            }
            match found {
                Ok(daemon) => look(&me, at, daemon, Arc::clone(&tell)),
                Err(error) => {
                    let why = format!("it is of another version: {error}");
                    tell(Sight::NotUsed(at, why));
                }
            }
        }
        loop {
            tokio::select! {
                message = me.receive() => match message {
                    Some(ToFinder::Seen(id)) => known.entry(id).or_default().wait(LOOK_PERIOD),
                    Some(ToFinder::Lost(id, useful)) => known.entry(id).or_default().pause(useful),
                    None => return,
                },
                _ = ticks.tick() => break,
            }
        }
    }
}

/// When a daemon is asked next.
#[derive(Debug)]
struct Turn {
    /// `None` while it is being asked.
    next: Option<Instant>,
    /// How long it is left alone after it was lost.
    backoff: Backoff,
}

impl Default for Turn {
    fn default() -> Self {
        Turn {
            next: Some(Instant::now()),
            backoff: Backoff::default(),
        }
    }
}

impl Turn {
    /// True once each time.
    fn has_come(&mut self) -> bool {
        let now = Instant::now();
        self.next.take_if(|next| *next <= now).is_some()
    }

    fn wait(&mut self, period: Duration) {
        self.next = Some(Instant::now() + period);
    }

    fn pause(&mut self, useful: bool) {
        let pause = self.backoff.pause(useful);
        self.wait(pause);
    }
}

fn look(me: &Context<ToFinder>, at: Location, daemon: Address<ToDaemon>, tell: Tell) {
    let me = me.address();
    tokio::spawn(async move {
        let id = at.node;
        let (sight, seen) = match daemon.ask_timeout(LOOK_LIMIT, ToDaemon::Look).await {
            Ok(view) => {
                let found = Found { at, daemon, view };
                (Sight::Found(Box::new(found)), ToFinder::Seen(id))
            }
            Err(error) => {
                let why = format!("it does not say what it has: {error}");
                (Sight::NotUsed(at, why), ToFinder::Lost(id, false))
            }
        };
        tell(sight);
        let _ = me.send(seen);
    });
}
