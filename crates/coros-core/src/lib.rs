#![doc = include_str!("crate.md")]

mod address;
mod builder;
mod categories;
mod channel;
mod context;
mod control;
mod coro;
mod engine;
mod exit;
mod introspect;
pub mod io;
mod mailbox;
mod monitor;
mod names;
mod primitives;
mod readable;
pub mod remote;
mod reply;
pub mod runtime;
pub mod schema;
mod send;
mod supervisor;
pub mod swap;
pub mod sync;
mod terminate;
mod thread_pool;
mod waiting;
mod wire;

pub use address::{Address, WeakAddress};
pub use builder::{Builder, build, spawn};
pub use categories::Categories;
pub use channel::{Channel, ChannelError, SubscribeError};
pub use context::{Context, ReceiveTimeoutError};
pub use coro::{Coro, Join};
pub use engine::panic_text;
pub use exit::Exit;
pub use introspect::{CoroInfo, CoroState, coroutines, live};
pub use monitor::Monitor;
pub use names::{LocateError, RegisterError, locate, locate_channel, locate_timeout, try_locate};
pub use readable::{is_readable, readable, readable_lines};
pub use reply::{AskError, Reply};
pub use send::SendError;
pub use supervisor::{
    ChildError, ChildInfo, ChildState, Restart, Supervision, Supervisor, SupervisorHandle,
};
pub use swap::{SwapError, SwapOffer, SwapOffers};
pub use terminate::Terminating;
pub use thread_pool::{ThreadPool, ThreadPoolError};
