//! Looks for the daemons of a network, for as long as the scheduler lives.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use coros_core::remote::NodeId;
use coros_core::{Address, Context};
use coros_net::{Location, Node};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Command;
use crate::daemon::protocol::{NAME, ToDaemon, View};
use crate::protocol::ToScheduler;

/// How often it looks into the names that its node knows; asking nobody.
const PERIOD: Duration = Duration::from_millis(100);
/// How long a daemon may take to say what it has.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How long after it was lost a daemon is left alone: the longer, the more often it was lost without
/// having lent anything.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A daemon that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) at: Location,
    pub(super) daemon: Address<ToDaemon>,
    pub(super) view: View,
}

/// To the finder.
#[derive(Debug)]
pub(super) enum ToFinder {
    /// A daemon that was found is used no longer, and may be found again. Whether it was of any use.
    Lost(NodeId, bool),
}

/// Finds daemons, each once until it is [lost](ToFinder::Lost).
pub(super) async fn run(mut me: Context<ToFinder>, node: Node, scheduler: Address<ToScheduler>) {
    let mut known = HashSet::new();
    let mut lost: HashMap<NodeId, Pause> = HashMap::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = me.receive() => match message {
                Some(ToFinder::Lost(id, useful)) => lost.entry(id).or_default().begin(useful),
                None => return,
            },
            _ = ticks.tick() => {
                for (id, pause) in &mut lost {
                    if pause.is_over() {
                        known.remove(id);
                    }
                }
                for (at, found) in node.locate_all::<Address<ToDaemon>>(NAME) {
                    if !known.insert(at.node) {
                        continue;
                    }
                    match found {
                        Ok(daemon) => look(&me, at, daemon, scheduler.clone()),
                        Err(error) => {
                            let why = format!("it is of another version: {error}");
                            let refused = Command::NotUsed(at, why);
                            let _ = scheduler.send(ToScheduler::Command(refused));
                        }
                    }
                }
            }
        }
    }
}

/// How long one that was lost is left alone.
#[derive(Debug, Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    fn begin(&mut self, useful: bool) {
        self.length = match useful {
            true => SHORTEST_PAUSE,
            false => (self.length * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
        };
        self.until = Some(Instant::now() + self.length);
    }

    /// True once.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        self.until.take_if(|until| *until <= now).is_some()
    }
}

fn look(
    me: &Context<ToFinder>,
    at: Location,
    daemon: Address<ToDaemon>,
    scheduler: Address<ToScheduler>,
) {
    let me = me.address();
    tokio::spawn(async move {
        let message = match daemon.ask_timeout(LOOK_LIMIT, ToDaemon::Look).await {
            Ok(view) => Command::Found(Found { at, daemon, view }),
            Err(error) => {
                let _ = me.send(ToFinder::Lost(at.node, false));
                Command::NotUsed(at, format!("it does not say what it has: {error}"))
            }
        };
        let _ = scheduler.send(ToScheduler::Command(message));
    });
}
