//! A peer's sessions: how one begins, and what its end means for the rest.

use std::mem;
use std::sync::Arc;

use coros_core::remote::CarryError;

use super::handles::KeptPassed;
use super::{Course, DIAL_AGAIN, PeerSession, Standing, State, now};
use crate::carrier::Questions;
use crate::inflow::Inflow;
use crate::node::Inner;
use crate::roster::Fact;
use crate::scope::{Scope, Within};
use crate::session::{End, Input, Output, Session};

impl State {
    pub(super) fn is_dormant(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_dormant)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            linked: self.rendezvous.is_linked(),
            idle: self.rendezvous.is_idle(),
            open: self.session.as_ref().is_some_and(Session::is_open),
            away: self.session.as_ref().is_some_and(Session::is_away),
            dormant: self.is_dormant(),
        }
    }

    /// The session there is, or a new one.
    pub(super) fn open(&mut self, node: &Arc<Inner>) -> &mut PeerSession {
        let (epoch, course, location) = (&mut self.epoch, &mut self.course, &self.location);
        let (this, correlation) = (&self.this, &self.correlation);
        self.session.get_or_insert_with(|| {
            *epoch += 1;
            let config = &node.config;
            let over = node.stop.child_token();
            let scope = Scope {
                node: Arc::clone(node),
                peer: Some(location.node),
                session: Some(Within {
                    over: over.clone(),
                    questions: Arc::new(Questions::new(this, *epoch)),
                }),
            };
            *course = Some(Course {
                epoch: *epoch,
                over,
                exchange: Arc::new(scope),
                queues: Arc::default(),
                inflow: Arc::new(Inflow::new(config.outbox)),
            });
            let name = location.to_string();
            Session::new(now(), name, config.timing, config.outbox).numbered_after(*correlation)
        })
    }

    /// An open session, its number, and whether somebody must dial.
    pub(super) fn reach(
        &mut self,
        node: &Arc<Inner>,
        only: Option<u64>,
    ) -> Result<(&mut PeerSession, u64, bool), CarryError> {
        let is_over = only.is_some_and(|only| !self.is_in(only));
        if !is_over {
            self.input(Input::Wake);
        }
        let refuse = |why: &str| {
            let why = format!("{}: {why}", self.location);
            Err(CarryError::Disconnected(Box::new(why)))
        };
        if is_over {
            return refuse("the session has ended");
        }
        let mut dial = false;
        match &self.session {
            Some(session) if session.is_open() => {}
            Some(_) => return refuse("the link is being closed"),
            None => {
                if node.is_closing() {
                    return refuse("this node has closed");
                }
                if let Some((again, why)) = &self.failed
                    && now() < *again
                {
                    return refuse(why);
                }
                if self.location.endpoint.is_none() {
                    return refuse("there is no link, and it does not accept any");
                }
                self.rendezvous.start();
                dial = true;
            }
        }
        let epoch = self.epoch + u64::from(dial);
        Ok((self.open(node), epoch, dial))
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        if let Some(session) = &mut self.session {
            session.handle(now(), input);
        }
    }

    /// Puts down what is to be done, and what the end of a session means for the rest.
    pub(super) fn settle(&mut self, node: &Inner) {
        let Some(session) = &mut self.session else {
            return;
        };
        let mut ended = None;
        while let Some(output) = session.poll() {
            match &output {
                Output::Broken(why) => {
                    let location = self.location.clone();
                    node.events.tell(Fact::Broke(location, why.as_str().into()));
                    self.breaks += 1;
                    self.broke = Some(now());
                    self.todo.redial = Some(self.breaks);
                    if let Some(link) = self.link.take() {
                        link.cancel();
                    }
                    self.rendezvous.lost();
                }
                Output::Rested => {
                    node.events.tell(Fact::Idle(self.location.node));
                    if let Some(link) = self.link.take() {
                        link.cancel();
                    }
                    self.rendezvous.lost();
                }
                Output::Woken => {
                    self.breaks += 1;
                    self.todo.redial = Some(self.breaks);
                }
                Output::Ponged(number, took) => {
                    let waiter = self.pings.remove(number);
                    self.todo
                        .ponged
                        .extend(waiter.map(|waiter| (waiter, Ok(*took))));
                }
                Output::Ended(end) => ended = Some(end.clone()),
                _ => {}
            }
            self.todo.outputs.push_back(output);
        }
        let is_over = session.is_over();
        if let Some(end) = ended {
            self.ended(node, end);
        }
        // A session that closes keeps the link until its last frames are written.
        if is_over {
            if let Some(session) = self.session.take() {
                self.correlation = session.last_number();
            }
            self.number = number(node);
            self.peer_number = None;
            self.reached = None;
            if let Some(link) = self.link.take() {
                link.cancel();
                self.rendezvous.lost();
            }
        }
    }

    fn ended(&mut self, node: &Inner, end: End) {
        if let Some(course) = self.course.take() {
            course.over.cancel();
        }
        let lost = node.exports.release(self.location.node);
        self.todo.lost.extend(lost);
        let ways = node.exports.forget_ways(self.location.node);
        let passed = mem::take(&mut self.passed).into_values();
        self.todo.passed.extend(passed);
        let ways = ways.into_values().map(KeptPassed::unheeded);
        self.todo.passed.extend(ways);
        self.imports.session_over();
        let pings = mem::take(&mut self.pings).into_values();
        let why = match &end {
            End::Left => "it has left the network",
            End::Closed => "the session has been ended",
            End::Lost(why) => why,
        };
        let unanswered = pings.map(|waiter| (waiter, Err(why.to_owned())));
        self.todo.ponged.extend(unanswered);
        if self.link.is_none()
            && let End::Lost(why) = &end
        {
            self.failed = Some((now() + DIAL_AGAIN, why.clone()));
        }
        // Of one that never had a link nobody has heard.
        if self.peer_number.is_some() {
            let location = self.location.clone();
            match end {
                End::Closed if !node.is_closing() => node.events.closed(location),
                End::Left | End::Closed => node.events.tell(Fact::Left(location)),
                End::Lost(why) => {
                    node.events.tell(Fact::Lost(location, why.as_str().into()));
                }
            }
        }
    }

    /// Whether the one who minds the time would look too late.
    pub(super) fn is_due_sooner(&self) -> bool {
        let deadline = self.session.as_ref().and_then(Session::deadline);
        deadline < self.alarm
    }

    pub(super) fn must_wake(&mut self) -> bool {
        let output = |session: &Session<_, _>| session.has_output() || !session.is_open();
        self.writer_idle
            && self.session.as_ref().is_none_or(output)
            && mem::take(&mut self.writer_idle)
    }
}

pub(super) fn number(node: &Inner) -> u64 {
    // Not 0, which stands for none.
    node.ticket().0 + 1
}
