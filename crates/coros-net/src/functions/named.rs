//! A function as something that has a name on the network.

use std::sync::Arc;

use coros_core::remote::{Inlet, Location, Message, RemoteId};

use super::rci::{Rci, Way};
use crate::names::{Access, Handle, Unfit};

impl<Args: Message, M: Message, R: Message> Handle for Rci<Args, M, R> {
    fn inlet(&self) -> Result<Arc<dyn Inlet>, Unfit> {
        match &self.way {
            Way::Here(functions) => match functions.find(&self.name) {
                Some(inlet) => Ok(inlet),
                None => Err(Unfit::Ended),
            },
            Way::There(_) => Err(Unfit::Remote),
            Way::Gone => Err(Unfit::Ended),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn is(&self, other: &Self) -> bool {
        self.target == other.target && self.name == other.name
    }

    fn import(node: &Access<'_>, home: &Location, number: u64, name: &str) -> Self {
        let target = RemoteId {
            location: home.clone(),
            coroutine: number,
        };
        let carrier = node.carrier(&target);
        Rci::new(target, name, Way::There(carrier))
    }
}
