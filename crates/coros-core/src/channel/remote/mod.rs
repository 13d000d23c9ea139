//! Channels across nodes.
//!
//! A channel lives on the node where it was made, its *home*. There its transform runs, and there
//! is the list of its subscribers. On every other node that has a handle of it, all handles share
//! one *relay*: a channel like any other, with a list of the subscribers on that node, but fed by
//! the home and not by those who send:
//!
//! ```text
//!            home                              relay                        on the relay's node
//!   send --> transform --> coroutine    .----> (no transform) --+--> coroutine
//!                     \--> coroutine    |                        \-> coroutine
//!                      \--------------- one message a node        \-> channel --> ...
//!                       \-------------> coroutine of a third node, subscribed by its address
//! ```
//!
//! The two talk by ordinary messages ([`wire`]), each to an inlet of the other: the home's is the
//! channel itself, the relay's is made with the first subscription on its node and goes with the
//! last. In both directions the messages keep their order.
//!
//! - A relay **reports** to the home whether anybody has subscribed and how many: the first
//!   subscription at once, further ones in batches. A report carries a number, and the home forgets
//!   one that comes late.
//! - **Who keeps whom**: the relay's node has lent the home its inlet, so when the session between
//!   the two ends, the inlet is dropped, and with it the subscriptions. The home watches the inlet,
//!   and forgets the relay in the same moment. A relay has at most one entry at the home.
//! - **Nothing is believed**: a relay speaks for the node that it comes from, the home for the
//!   channel. What a peer can make the home keep is bounded for each peer, counts add up without
//!   overflow, and whatever does not fit is refused with a word in the log.
//!
//! Whether channels of several nodes would form a cycle nobody knows alone; see [`cycle`].

pub(super) mod cycle;
mod follow;
pub(super) mod home;
mod inlet;
mod line;
pub(super) mod relay;
mod relays;
pub(super) mod serde;
mod wire;

pub(super) use home::Home;
pub(super) use relay::RelayEntry;
