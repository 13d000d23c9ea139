//! The way to a counterpart on another node.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use tokio::runtime::Handle;

use crate::remote::{self, BoxFuture, Carrier, CarryError, Encode, OnExit, RemoteId};

/// Takes messages to one inlet of another node.
pub(super) struct Line {
    pub(super) id: RemoteId,
    carrier: Arc<dyn Carrier>,
    /// For what goes on when the caller has returned; channels are also used outside of a runtime.
    runtime: Option<Handle>,
}

impl Line {
    pub(super) fn new(id: RemoteId, carrier: Arc<dyn Carrier>) -> Self {
        Line {
            id,
            carrier,
            runtime: Handle::try_current().ok(),
        }
    }

    pub(super) fn has_carrier(&self, carrier: &Arc<dyn Carrier>) -> bool {
        Arc::ptr_eq(&self.carrier, carrier)
    }

    pub(super) fn send(&self, encode: Encode<'_>) -> Result<(), CarryError> {
        self.carrier.send(&self.id, encode)
    }

    pub(super) fn deliver(&self, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        self.carrier.deliver(&self.id, encode)
    }

    /// Sends what must not be lost because too much waits for the node: then it waits as well.
    /// `keep` lives until it is sent.
    pub(super) fn send_certainly(
        &self,
        encode: Encode<'_>,
        keep: impl Send + 'static,
    ) -> Result<(), CarryError> {
        match self.carrier.send(&self.id, &mut *encode) {
            Err(CarryError::Full) => {
                let delivery = self.carrier.deliver(&self.id, encode);
                let runtime = self.runtime().ok_or(CarryError::Full)?;
                runtime.spawn(async move {
                    let _ = delivery.await;
                    drop(keep);
                });
                Ok(())
            }
            sent => sent,
        }
    }

    /// Watches for good: whoever asks needs to know as long as there is a line.
    pub(super) fn watch(&self, on_exit: OnExit) {
        let _ = self.carrier.watch(&self.id, on_exit);
    }

    /// Writes the name of the counterpart into a message.
    pub(super) fn pass_on<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(exchange) = remote::exchange() {
            exchange.pass_on(&self.id, &self.carrier);
        }
        self.id.serialize(serializer)
    }

    pub(super) fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.clone())
    }
}
