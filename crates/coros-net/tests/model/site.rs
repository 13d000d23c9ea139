//! A host with its node, and what that says to others.

use std::collections::BTreeMap;

use coros_core::{Address, Context, Exit, Reply, SendError};
use coros_net::Node;
use coros_net::sim::{SimHost, SimNetwork};
use serde::{Deserialize, Serialize};

use super::checks::{Checks, GRACE, HANDSHAKE, SILENCE, Who};
use super::nature::{PORT, Place};
use crate::common::{polled, sent};

/// A host that nothing comes back from.
pub(crate) const HOLE: &str = "hole";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    from: Who,
    to: Who,
    number: u32,
    ballast: Vec<u8>,
    guest: Option<Address<()>>,
    reply: Option<Reply<u32>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Send,
    Feed,
    Deliver,
    Ask,
}

pub(crate) struct Site {
    pub(crate) who: Who,
    pub(crate) host: SimHost,
    pub(crate) node: Node,
    inbox: Address<Letter>,
    /// Inboxes of others, also of lives that are over.
    known: BTreeMap<Who, Address<Letter>>,
    /// Coroutines that end when they get a message.
    mortals: BTreeMap<u64, Address<()>>,
    checks: Checks,
}

impl Site {
    pub(crate) async fn start(
        network: &SimNetwork,
        who: Who,
        place: Place,
        checks: &Checks,
    ) -> Self {
        let host = network.host(&format!("n{}", who.0));
        let [first, hole] = ["n0", HOLE].map(|name| network.host(name).ip());
        let nature = checks.nature;
        let mut builder = host
            .builder()
            .member(nature.member)
            .listen((host.ip(), PORT).into())
            .silence(SILENCE)
            .grace(GRACE)
            .idle(nature.idle)
            .outbox(nature.outbox)
            .handshake_limit(HANDSHAKE);
        if nature.member && who.0 > 0 {
            builder = builder.peer(std::net::SocketAddr::from((first, PORT)));
        }
        builder = match place {
            Place::True => builder,
            Place::Nowhere => builder.no_listen(),
            _ => builder.advertise(place.advertised(host.ip(), first, hole)),
        };
        checks.starts(who, place);
        let node = builder.build().await.expect("the port is free");
        let noted = checks.clone();
        node.on_peer_event(move |event| noted.told(who, &event));
        let recorded = checks.clone();
        let inbox = match nature.capacity {
            Some(letters) => coros_core::build().capacity(letters),
            None => coros_core::build(),
        };
        let inbox = inbox.spawn(async move |mut me: Context<Letter>| {
            while let Some(letter) = me.receive().await {
                recorded.received(who, letter.from, letter.to, letter.number);
                if !nature.slow.is_zero() {
                    tokio::time::sleep(nature.slow).await;
                }
                if let Some(reply) = letter.reply {
                    reply.send(letter.number);
                }
            }
        });
        Site {
            who,
            host,
            node,
            inbox: inbox.address(),
            known: BTreeMap::new(),
            mortals: BTreeMap::new(),
            checks: checks.clone(),
        }
    }

    /// Forgets all that it knows of others.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    /// Gets to know where another one gets letters.
    pub(crate) fn meet(&mut self, other: &Site) {
        let (home, abroad) = (&other.node, &self.node);
        self.known
            .entry(other.who)
            .or_insert_with(|| sent(home, abroad, &other.inbox));
    }

    /// Those it can write to, dead or alive.
    pub(crate) fn acquaintances(&self) -> Vec<Who> {
        self.known.keys().copied().collect()
    }

    pub(crate) async fn write(&self, to: Who, how: How, ballast: usize) {
        let (from, checks) = (self.who, self.checks.clone());
        let address = self.known[&to].clone();
        let number = checks.number(from, to);
        // One whom nobody else knows.
        let guest = number.is_multiple_of(4).then(|| {
            let guest = checks.guest(from);
            let coro = coros_core::spawn(async move |mut me: Context<()>| {
                me.receive().await;
                drop(guest);
            });
            coro.address()
        });
        let letter = move |reply| Letter {
            from,
            to,
            number,
            ballast: vec![7; ballast],
            guest,
            reply,
        };
        let what = format!("{how:?} of {number} to {to:?}");
        checks.note(format_args!("{from:?} begins {what}"));
        if let How::Send = how {
            match address.send(letter(None)) {
                Ok(()) => {}
                Err(SendError::Full(_)) => {
                    checks.full(from, to, number, ballast, self.node.census().queued);
                }
                Err(error) => checks.refused(from, to, number, error),
            }
            return;
        }
        let wait = checks.wait(what, from, to);
        let mut waiting = Box::pin(async move {
            let result = match how {
                How::Ask => match address.ask(|reply| letter(Some(reply))).await {
                    Ok(answer) => {
                        assert_eq!(answer, number);
                        Ok(())
                    }
                    Err(error) => Err(error.to_string()),
                },
                How::Deliver => {
                    let delivered = address.deliver(letter(None)).await;
                    delivered.map_err(|error| error.to_string())
                }
                How::Feed | How::Send => {
                    let fed = address.feed(letter(None)).await;
                    fed.map_err(|error| error.to_string())
                }
            };
            let arrived = matches!(how, How::Deliver | How::Ask).then_some(number);
            checks.done(wait, arrived, result);
        });
        // What is sent is sent now, in this order.
        if polled(&mut waiting).await.is_pending() {
            tokio::spawn(waiting);
        }
    }

    /// Starts a coroutine that can be ended.
    pub(crate) fn start_mortal(&mut self, number: u64) {
        let checks = self.checks.clone();
        let coro = coros_core::spawn(async move |mut me: Context<()>| {
            me.receive().await;
            checks.ended(number);
        });
        self.checks.started(self.who, number);
        self.mortals.insert(number, coro.address());
    }

    pub(crate) fn mortals(&self) -> Vec<u64> {
        self.mortals.keys().copied().collect()
    }

    pub(crate) fn end_mortal(&mut self, number: u64) {
        if let Some(address) = self.mortals.remove(&number) {
            // It may have ended by itself.
            let _ = address.send(());
        }
    }

    /// Watches one of another's coroutines.
    pub(crate) fn watch(&self, home: &Site, number: u64) {
        let address = sent(&home.node, &self.node, &home.mortals[&number]);
        let checks = self.checks.clone();
        let (by, on) = (self.who, home.who);
        checks.note(format_args!("{by:?} begins monitor of {number} at {on:?}"));
        let wait = checks.watch(by, on, number);
        address.on_exit(move |exit| checks.exited(wait, exit == Exit::Finished, exit));
    }
}
