//! The side that is asked.

use std::sync::Arc;
use std::time::SystemTime;

use coros_core::remote::Location;
use tokio::time::timeout;

use super::disk::blocking;
use super::folder::{NotReceived, Received};
use super::incoming::{Announced, prepare};
use super::line::{Line, Lost};
use super::name::FileName;
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::store::Store;
use super::transfer::{Failed, Taker, give, take};
use super::turns::Entered;
use super::wire::{Heard, Say};
use super::{CONNECTIONS, CROWDED, IDLE, Report, Stream};
use crate::clock;
use crate::node::Inner;

/// Serves a connection until it is idle, broken, or the node leaves; and no longer than the peer is
/// who it is.
pub(crate) fn serve(node: &Arc<Inner>, stream: Stream, peer: Location, until: SystemTime) {
    let Some(entered) = node.files.served.enter(peer.node, CONNECTIONS) else {
        tracing::debug!(%peer, "too many connections for files");
        return;
    };
    let server = Server {
        node: Arc::clone(node),
        peer,
        entered,
    };
    let line = Line::new(stream, until, node.config.timing);
    let leaving = node.leaving.clone();
    let serving = async move {
        tokio::select! {
            biased;
            () = leaving.cancelled() => {}
            () = clock::passed(until) => {
                tracing::warn!(peer = %server.peer, "a peer with files has an expired certificate");
            }
            served = server.run(line) => if let Err(error) = served {
                tracing::debug!(peer = %server.peer, %error, "a connection for files is lost");
            }
        }
    };
    node.tasks.spawn_on(serving, &node.runtime);
}

struct Server {
    node: Arc<Inner>,
    peer: Location,
    entered: Entered,
}

impl Server {
    async fn run(&self, mut line: Line) -> Result<(), Lost> {
        while let Some(asked) = line.asked(2 * IDLE).await? {
            // Others are served first; who waits is told that this goes on.
            let turn = timeout(CROWDED, self.node.files.served.turn(&self.entered));
            let Ok(turn) = line.working(turn).await? else {
                let hours = CROWDED.as_secs() / 3600;
                line.say(&Say::Refused(Refusal::Crowded { hours })).await?;
                continue;
            };
            let left = match asked {
                Heard::Say(Say::Send {
                    replace,
                    size,
                    stamp,
                    name,
                }) => {
                    let announced = Announced {
                        size,
                        stamp,
                        replace,
                        durable: false,
                    };
                    self.receive(line, &name, announced).await?
                }
                Heard::Say(Say::Fetch { name }) => self.provide(line, &name).await?,
                Heard::Say(Say::Delete { name }) => self.delete(line, &name).await?,
                heard => {
                    let why = match heard {
                        Heard::Piece(_) => "a piece of a file that was not offered".to_owned(),
                        Heard::Say(say) => format!("{say:?} is nothing to begin with"),
                    };
                    line.say(&Say::Refused(Refusal::protocol(&why))).await?;
                    line.part().await;
                    None
                }
            };
            drop(turn);
            let Some(left) = left else { break };
            line = left;
        }
        Ok(())
    }

    fn store(&self) -> Result<Arc<Store>, Refusal> {
        self.node.files.store.clone().ok_or(Refusal::NoFolder)
    }

    async fn receive(
        &self,
        mut line: Line,
        name: &str,
        mut announced: Announced,
    ) -> Result<Option<Line>, Lost> {
        let size = announced.size;
        let (store, file) = match self.acceptable(name, size) {
            Ok(acceptable) => acceptable,
            Err(refusal) => {
                line.say(&Say::Refused(refusal.clone())).await?;
                self.not_taken(name, refusal);
                return Ok(Some(line));
            }
        };
        announced.durable = store.limits.durable;
        let told = store.told.clone();
        let prepare = move |differs, cancelled: &_| {
            let place = store.place(&file, size);
            let room = |bytes| store.promise(bytes).map(Some);
            let prepared = place.and_then(|it| prepare(it, announced, differs, cancelled, room));
            prepared.map_err(|why| match why {
                Refusal::Missing if store.is_gone() => Refusal::FolderGone,
                // A folder on the way has gone, with another transfer that had made it.
                Refusal::Missing => Refusal::Busy,
                why => why,
            })
        };
        let taker = Taker {
            size,
            patience: 2 * self.node.config.timing.silence,
            prepare: Arc::new(prepare),
            report: Report::default(),
        };
        let (taken, line) = take(line, taker).await;
        match taken {
            Ok((arrived, verified)) => told.of(Received {
                from: self.peer.clone(),
                name: name.to_owned(),
                size,
                moved: arrived.moved(size),
                already: arrived.was_there(),
                verified,
            }),
            Err(Failed::Here(why)) => self.not_taken(name, why),
            Err(_) => {}
        }
        Ok(line)
    }

    fn not_taken(&self, name: &str, why: Refusal) {
        tracing::warn!(peer = %self.peer, file = name, %why, "a file was not taken");
        if let Some(store) = &self.node.files.store {
            store.refused.of(NotReceived {
                from: self.peer.clone(),
                name: name.to_owned(),
                why,
            });
        }
    }

    fn acceptable(&self, name: &str, size: u64) -> Result<(Arc<Store>, FileName), Refusal> {
        let store = self.store()?;
        let name = FileName::new(name).map_err(|e| Refusal::Name(e.to_string()))?;
        match store.limits.largest {
            Some(largest) if size > largest => Err(Refusal::TooLarge { largest }),
            _ => Ok((store, name)),
        }
    }

    async fn provide(&self, mut line: Line, name: &str) -> Result<Option<Line>, Lost> {
        let found = self.allowed(name, "fetch", |store| store.limits.fetch);
        let opened = match found {
            Err(refusal) => Err(refusal),
            Ok((store, file)) => {
                let told = name.to_owned();
                let open = blocking(move |_| {
                    let file = Outgoing::new(store.find(&file)?);
                    file.map_err(|why| why.refusal(&told))
                });
                line.working(open).await?
            }
        };
        match opened {
            Ok(file) => {
                let (size, stamp) = (file.size(), file.stamp());
                line.say(&Say::Offer { size, stamp }).await?;
                let allowance = line.allowance(size);
                let (given, line) = give(line, file, name, allowance, Report::default()).await;
                if let Err(why) = given {
                    tracing::debug!(peer = %self.peer, file = name, ?why, "a file was not given");
                }
                Ok(line)
            }
            Err(refusal) => {
                line.say(&Say::Refused(refusal)).await?;
                Ok(Some(line))
            }
        }
    }

    async fn delete(&self, mut line: Line, name: &str) -> Result<Option<Line>, Lost> {
        let deleted = match self.allowed(name, "delete", |store| store.limits.delete) {
            Err(refusal) => Err(refusal),
            Ok((store, file)) => {
                let delete = blocking(move |_| store.delete(&file));
                line.working(delete).await?
            }
        };
        let answer = deleted.map_or_else(Say::Refused, |()| Say::Done);
        line.say(&answer).await?;
        Ok(Some(line))
    }

    fn allowed(
        &self,
        name: &str,
        what: &str,
        allows: impl FnOnce(&Store) -> bool,
    ) -> Result<(Arc<Store>, FileName), Refusal> {
        let store = self.store()?;
        if !allows(&store) {
            return Err(Refusal::NotAllowed(what.into()));
        }
        let name = FileName::new(name).map_err(|e| Refusal::Name(e.to_string()))?;
        Ok((store, name))
    }
}
