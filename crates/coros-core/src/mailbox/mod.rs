//! A coroutine's mailbox: many senders, one receiver, unbounded unless a capacity is given.
//!
//! # How it works
//!
//! Most messages of a system of small coroutines find their receiver idle, so that case is the
//! cheapest: the receiver has *parked* and left an empty **slot**; the sender claims it with one
//! compare-and-swap, moves the message in and wakes the task. No lock, no allocation, nothing to
//! free, and a coroutine that has received nothing owns no buffer at all.
//!
//! When the receiver is not parked, senders append to a **queue** under a short lock. The queue
//! is allocated at the first such message; the receiver swaps it out whole and then works through
//! what it **holds** without touching shared memory.
//!
//! Messages of one sender stay in order because the three places are used in one direction: what
//! the receiver holds is older than the slot, the slot is older than the queue. A receiver parks
//! only when the queue is empty, and while the slot is filled nobody fills it again.
//!
//! # Where
//!
//! - [`shared`] is the slot and its state machine;
//! - [`receiver`] is the receiving end: order, selection, fairness;
//! - [`bounds`] adds a capacity to those mailboxes that have one;
//! - [`oneshot`] is a mailbox for a single message, the answer to a question.
//!
//! This module alone has `unsafe` code, each invariant stated where it is used, modelled with
//! loom (`loom_tests`) and run under AddressSanitizer.

mod bounds;
#[cfg(all(test, coros_loom))]
mod loom_tests;
pub(crate) mod oneshot;
mod receiver;
mod shared;

pub(crate) use bounds::{Bounds, NoRoom};
pub(crate) use receiver::Receiver;
pub(crate) use shared::Mailbox;
