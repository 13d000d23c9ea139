//! What a node offers, by name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use coros_core::swap::{Published, SwapFunction, publish};
use tokio::runtime::Handle;

use super::error::OfferError;
use super::inlet::FunctionInlet;
use super::offered::Function;

/// The functions of one node.
pub(crate) struct Functions {
    runtime: Handle,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    functions: HashMap<String, Arc<FunctionInlet>>,
    swaps: HashMap<String, Swap>,
    closed: bool,
}

struct Swap {
    function: Arc<SwapFunction>,
    /// For local addresses.
    _published: Published,
}

impl Functions {
    pub(crate) fn new(runtime: Handle) -> Self {
        Functions {
            runtime,
            table: RwLock::default(),
        }
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn offer(self: &Arc<Self>, function: Arc<dyn Function>) -> Result<(), OfferError> {
        let name = function.name().to_owned();
        let inlet = FunctionInlet::new(self, function);
        let mut table = self.write();
        table.check(&name, table.functions.contains_key(&name))?;
        table.functions.insert(name, inlet);
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<FunctionInlet>> {
        self.read().functions.get(name).cloned()
    }

    pub(super) fn withdraw(&self, name: &str) -> bool {
        let withdrawn = self.write().functions.remove(name);
        // Without the lock, as all that users own is dropped.
        let was_there = withdrawn.is_some();
        if let Some(inlet) = withdrawn {
            inlet.end();
        }
        was_there
    }

    pub(super) fn offer_swap(
        &self,
        name: &str,
        function: Arc<SwapFunction>,
    ) -> Result<(), OfferError> {
        let mut table = self.write();
        table.check(name, table.swaps.contains_key(name))?;
        let swap = Swap {
            _published: publish(name, Arc::clone(&function)),
            function,
        };
        table.swaps.insert(name.to_owned(), swap);
        Ok(())
    }

    pub(super) fn find_swap(&self, name: &str) -> Option<Arc<SwapFunction>> {
        let table = self.read();
        table.swaps.get(name).map(|swap| Arc::clone(&swap.function))
    }

    pub(super) fn withdraw_swap(&self, name: &str) -> bool {
        let withdrawn = self.write().swaps.remove(name);
        withdrawn.is_some()
    }

    /// The node closes: offers nothing any more.
    pub(crate) fn close(&self) {
        let closed = Table {
            closed: true,
            ..Table::default()
        };
        let table = std::mem::replace(&mut *self.write(), closed);
        for inlet in table.functions.values() {
            inlet.end();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn check(&self, name: &str, taken: bool) -> Result<(), OfferError> {
        if self.closed {
            return Err(OfferError::Closed);
        }
        if taken {
            return Err(OfferError::Taken(name.to_owned()));
        }
        Ok(())
    }
}
