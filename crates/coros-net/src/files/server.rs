//! The side that is asked.

use std::sync::Arc;

use coros_core::remote::Location;

use super::incoming::{Announced, Prepared, prepare};
use super::line::{Line, Lost};
use super::name::FileName;
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::store::Store;
use super::transfer::{Failed, blocking, give, ready, take};
use super::wire::{Heard, Say};
use super::{IDLE, Report, Stream};
use crate::node::Inner;

/// Serves a connection until it is idle, broken, or the node leaves.
pub(crate) fn serve(node: &Arc<Inner>, stream: Stream, peer: Location) {
    let server = Server {
        node: Arc::clone(node),
        peer,
    };
    let line = Line::new(stream, node.config.timing);
    let leaving = node.leaving.clone();
    let serving = async move {
        tokio::select! {
            biased;
            () = leaving.cancelled() => {}
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
}

impl Server {
    async fn run(&self, mut line: Line) -> Result<(), Lost> {
        while let Some(asked) = line.asked(2 * IDLE).await? {
            // Others are served first; who waits is told that this goes on.
            let place = line.working(self.node.files.places.acquire()).await?;
            let left = match asked {
                Heard::Say(Say::Send {
                    replace,
                    size,
                    hash,
                    name,
                }) => {
                    let announced = Announced {
                        size,
                        hash,
                        replace,
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
            drop(place);
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
        announced: Announced,
    ) -> Result<Option<Line>, Lost> {
        let size = announced.size;
        let prepared = match self.acceptable(name, size) {
            Err(refusal) => Err(refusal),
            Ok((store, name)) => {
                let look = move |cancelled: &_| {
                    let place = store.place(&name)?;
                    prepare(place, announced, cancelled, |bytes| {
                        store.promise(bytes).map(Some)
                    })
                };
                // The attempt before may have broken without a word.
                let patience = 2 * self.node.config.timing.silence;
                ready(&mut line, patience, look).await?
            }
        };
        match prepared {
            Ok(Prepared::Have) => line.say(&Say::Have).await?,
            Err(refusal) => line.say(&Say::Refused(refusal)).await?,
            Ok(Prepared::Ready(file)) => {
                let (taken, line) = take(line, *file, size, Report::default()).await;
                if let Err(Failed::Here(why)) = taken {
                    tracing::warn!(peer = %self.peer, file = name, %why, "a file was not taken");
                }
                return Ok(line);
            }
        }
        Ok(Some(line))
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
                let open = blocking(move |cancelled| {
                    let file = Outgoing::new(store.find(&file)?, cancelled);
                    file.map_err(|why| why.refusal(&told))
                });
                line.working(open).await?
            }
        };
        match opened {
            Ok(file) => {
                let (size, hash) = (file.size(), file.hash);
                line.say(&Say::Offer { size, hash }).await?;
                let (given, line) = give(line, file, name, Report::default()).await;
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
