//! Asking one node who has a name there.
//!
//! An ordinary question to the part of that node, answered where it comes in: it takes a look into
//! a table.

use std::any::Any;
use std::sync::{Arc, Weak};

use coros_core::remote::{self, BoxFuture, CarryError, Inlet, Location, OnExit, Request};
use coros_core::schema::Schema;
use coros_core::{Address, Reply};
use serde::{Deserialize, Serialize};

use super::LocateError;
use super::named::{Access, Named};
use super::notice::{Entry, check_name};
use crate::node::Inner;
use crate::parts::Part;

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    name: String,
    reply: Reply<Option<Entry>>,
}

impl Inner {
    pub(super) async fn ask_for<T: Named>(
        self: &Arc<Self>,
        home: &Location,
        name: &str,
        schema: Schema,
    ) -> Result<T, LocateError> {
        let entry = if home.node == self.location.node {
            let state = self.names.lock();
            if let Some(own) = state.own.get(name)
                && let Some(holder) = own.holder()
            {
                return Ok(holder);
            }
            state.own.get(name).map(|own| own.entry().clone())
        } else if check_name(name).is_err() {
            None
        } else {
            let part: Address<Question> = self.part_of(home, Part::Names);
            let question = |reply| Question {
                name: name.to_owned(),
                reply,
            };
            let answered = part.ask(question).await;
            let answered = answered.map_err(|error| error.to_string());
            answered
                .and_then(checked)
                .map_err(|reason| LocateError::NoAnswer {
                    name: name.into(),
                    node: Box::new(home.clone()),
                    reason,
                })?
        };
        match entry {
            None => Err(LocateError::NotFound { name: name.into() }),
            Some(entry) if entry.schema == schema.hash() && home.node != self.location.node => {
                Ok(T::import(&Access(self), home, entry.number, name))
            }
            Some(entry) => Err(self.wrong_type(name, home.clone(), &entry, schema)),
        }
    }
}

fn checked(answer: Option<Entry>) -> Result<Option<Entry>, String> {
    match answer.as_ref().map_or(Ok(()), Entry::check) {
        Ok(()) => Ok(answer),
        Err(why) => Err(format!("what it said is {why}")),
    }
}

/// Where questions of peers come in.
pub(super) struct Answers(pub(super) Weak<Inner>);

impl Inlet for Answers {
    fn id(&self) -> u64 {
        Part::Names as u64
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        let question: Question = remote::decode(payload)?;
        let node = self.0.upgrade().ok_or(CarryError::Closed)?;
        let entry = {
            let state = node.names.lock();
            let own = state.own.get(&question.name);
            own.map(|own| own.entry().clone())
        };
        question.reply.send(entry);
        Ok(())
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        let received = self.receive(payload);
        Box::pin(async move { received })
    }

    /// It ends with the node, and so does every link over which anybody could be told.
    fn watch(&self, on_exit: OnExit) {
        drop(on_exit);
    }

    fn request(&self, _: Request) {}

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
