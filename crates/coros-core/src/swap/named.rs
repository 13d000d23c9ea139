//! Functions that coroutines can be offered by name.
//!
//! A function cannot travel, its name can. [`publish`] enters one in a table of the process, for
//! [`Address::swap_to`](crate::Address::swap_to) with a local address. A networking layer has a
//! table of its own, of what peers may name, and hands what it finds there to the coroutine's
//! [inlet](crate::remote::Inlet::swap).

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};
use std::time::Duration;

use super::{Replacement, SwapError};
use crate::Context;
use crate::engine::Host;

/// A function that can take over coroutines, any number of them: see [`publish`].
pub struct SwapFunction {
    messages: TypeId,
    messages_name: &'static str,
    result: &'static str,
    path: &'static str,
    /// Makes a `Replacement<M, O>`.
    replacement: Box<dyn Fn() -> Box<dyn Any + Send> + Send + Sync>,
}

impl SwapFunction {
    /// Whatever [`Address::swap`](crate::Address::swap) takes, if it can be called more than once.
    #[must_use]
    pub fn new<M, F, Fut>(function: F) -> Self
    where
        M: Send + 'static,
        F: Fn(Context<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: 'static> + Send + 'static,
    {
        let function = Arc::new(function);
        let replacement = move || {
            let function = Arc::clone(&function);
            let replacement: Replacement<M, Fut::Output> =
                Box::new(move |context| Box::pin(function(context)));
            Box::new(replacement) as Box<dyn Any + Send>
        };
        SwapFunction {
            messages: TypeId::of::<M>(),
            messages_name: type_name::<M>(),
            result: type_name::<Fut::Output>(),
            path: type_name::<F>(),
            replacement: Box::new(replacement),
        }
    }

    /// Offers it to a coroutine that receives `M`.
    pub(crate) async fn offer_to<M: 'static>(
        &self,
        host: &Arc<dyn Host>,
        limit: Duration,
    ) -> Result<(), SwapError> {
        if self.messages != TypeId::of::<M>() {
            return Err(SwapError::WrongMessages {
                running: type_name::<M>().into(),
                offered: self.messages_name.into(),
            });
        }
        let names = (self.path, self.result);
        super::offer(host, (self.replacement)(), names, limit).await
    }
}

impl fmt::Debug for SwapFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwapFunction({})", self.path)
    }
}

#[derive(Default)]
struct Table {
    /// By name; the newest last.
    functions: HashMap<String, Vec<(u64, Arc<SwapFunction>)>>,
}

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

/// Publishes a function under a name to this process: from now on
/// [`swap_to`](crate::Address::swap_to) offers it to local coroutines. Of several with the same
/// name the latest that receives the coroutine's messages is offered.
///
/// It is taken back when the returned value is dropped.
pub fn publish(name: impl Into<String>, function: impl Into<Arc<SwapFunction>>) -> Published {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let published = Published {
        name: name.into(),
        number: NEXT.fetch_add(1, Ordering::Relaxed),
    };
    let entry = (published.number, function.into());
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    let functions = table.functions.entry(published.name.clone()).or_default();
    functions.push(entry);
    published
}

/// The latest function of a name that receives `M`, or why there is none.
pub(crate) fn find_published<M: 'static>(name: &str) -> Result<Arc<SwapFunction>, SwapError> {
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let functions = table.functions.get(name).map_or(&[][..], Vec::as_slice);
    let mut newest_first = functions.iter().rev().map(|(_, function)| function);
    let fits = |function: &&Arc<SwapFunction>| function.messages == TypeId::of::<M>();
    // One that does not fit says what is wrong when it is offered.
    let found = newest_first
        .clone()
        .find(fits)
        .or_else(|| newest_first.next());
    found
        .cloned()
        .ok_or_else(|| SwapError::UnknownFunction(name.to_owned()))
}

/// A function that is published: see [`publish`].
#[must_use = "dropping it takes the function back"]
pub struct Published {
    name: String,
    number: u64,
}

impl Drop for Published {
    fn drop(&mut self) {
        let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
        let Some(functions) = table.functions.get_mut(&self.name) else {
            return;
        };
        let taken: Vec<_> = functions
            .extract_if(.., |(number, _)| *number == self.number)
            .collect();
        if functions.is_empty() {
            table.functions.remove(&self.name);
        }
        drop(table);
        // The function may own anything; its destructor runs outside the lock.
        drop(taken);
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Published({:?})", self.name)
    }
}
