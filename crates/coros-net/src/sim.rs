//! A network that exists in memory: for tests of what goes wrong between machines.
//!
//! A [`SimNetwork`] has hosts, and each [`SimHost`] is the [`Transport`](crate::Transport) of the
//! nodes that run on it. Everything else is real: TLS, frames, sessions, timeouts. Time is
//! tokio's and meant to be paused: then minutes pass in milliseconds, whenever all tasks wait.
//!
//! ```
//! use std::time::Duration;
//! use coros_core::{Context, Exit};
//! use coros_net::sim::SimNetwork;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
//! #     .block_on(async {
//! // In a test: #[tokio::test(start_paused = true)]
//! let network = SimNetwork::new(7);
//! network.latency(Duration::from_millis(5)..=Duration::from_millis(80));
//! let [desk, farm] = ["desk", "farm"].map(|name| network.host(name));
//! let (at_desk, at_farm) = (desk.builder().build().await?, farm.builder().build().await?);
//!
//! let coroutine = coros_core::spawn(async |mut me: Context<u32>| me.receive().await);
//! let address = coroutine.address();
//! // As it would come in a message.
//! let remote = at_desk.decode::<coros_core::Address<u32>>(&at_farm.encode(&address)?)?;
//!
//! let waiting = tokio::spawn(async move { remote.exit().await });
//! tokio::time::sleep(Duration::from_secs(60)).await;
//! network.partition([&desk], [&farm]);
//! let began = tokio::time::Instant::now();
//! assert_eq!(waiting.await?, Exit::Disconnected);
//! // 2 s of silence and a tenth until the link is given up, then `Builder::grace` for a new one.
//! assert!(began.elapsed() < Duration::from_millis(2300) + Duration::from_secs(5));
//! # Ok(()) }) }
//! ```
//!
//! # What can happen
//!
//! | call | what it stands for | what a node sees |
//! |---|---|---|
//! | [`latency`](SimNetwork::latency), [`bandwidth`](SimNetwork::bandwidth) | a long or a thin line | all takes longer |
//! | [`partition`](SimNetwork::partition), [`partition_one_way`](SimNetwork::partition_one_way) | a cable is pulled, a switch is down | silence |
//! | [`heal`](SimNetwork::heal) | and is put back | what was under way arrives, if the connection lives |
//! | [`cut`](SimNetwork::cut) | a middlebox has forgotten the connection | connections are reset |
//! | [`freeze`](SimHost::freeze), [`thaw`](SimHost::thaw) | SIGSTOP, a laptop asleep | silence, though dials come through |
//! | [`kill`](SimHost::kill) | SIGKILL, and a restart | connections are closed |
//!
//! Connections behave as TCP's do where nodes could notice: bytes arrive in order or not at all,
//! a writer can be ahead of the reader by the size of buffers (256 KiB), a stream that is dropped
//! with unread bytes resets its connection, so that the other end may lose what had arrived. Not
//! simulated: acknowledgements (a one-way partition holds up only what goes that way), growing
//! pauses between retransmissions (all arrives one latency after [`heal`](SimNetwork::heal)), and
//! TCP's own surrender after a quarter of an hour.
//!
//! # What a seed determines
//!
//! On a current-thread runtime with paused time, the same program with the same seed does the same
//! at the same time: delays come from the seed, launch ids come from the seed (where the nodes come
//! from [`SimHost::builder`]; they decide which of two simultaneous dials wins), and tables here
//! and in nodes that are walked through have an order. Keys and nonces of TLS are random, but change no
//! length of what is written, except that a certificate's serial number may be a byte shorter,
//! which only a [`bandwidth`](SimNetwork::bandwidth) can make visible. What a test adds must be so too:
//! no walk through a `HashMap`, no `select!` that is not `biased`, no other threads.
//!
//! Time passes in whole milliseconds, as tokio's timers do.
//!
//! This module needs the feature `sim`, for a `[dev-dependencies]` section: a program has no use
//! for a second way to reach peers, and should not pay for compiling it.

mod conditions;
mod event;
mod faults;
mod host;
mod listener;
mod network;
mod pipe;
mod random;
mod stream;
mod world;

pub use event::SimEvent;
pub use host::SimHost;
pub use network::SimNetwork;
