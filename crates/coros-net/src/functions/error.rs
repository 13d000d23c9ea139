//! Why a function is not offered, or was not started.

use std::fmt;

use coros_core::remote::{self, CodecError};
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::LimitReached;
use super::protocol::Types;
use crate::tame;

/// Why a function is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// There is another function of this name.
    #[error("this node offers a function {0:?} already: withdraw it first, or choose another name")]
    Taken(String),
    /// The node has closed.
    #[error("this node has closed")]
    Closed,
}

/// A function was not started; the arguments come back.
pub struct StartError<Args> {
    /// What it was to be started with. If they have been on the way, questions to which they had a
    /// [`Reply`](coros_core::Reply) have ended without an answer.
    pub args: Args,
    /// Of the function.
    pub name: String,
    /// The node that was to start it.
    pub node: String,
    /// Why it was not.
    pub why: NotStarted,
}

impl<Args> fmt::Display for StartError<Args> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StartError {
            name, node, why, ..
        } = self;
        write!(f, "cannot start {name:?} on {node}: {why}")
    }
}

impl<Args> fmt::Debug for StartError<Args> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StartError({self})")
    }
}

impl<Args> std::error::Error for StartError<Args> {}

/// Why a function was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NotStarted {
    /// The node offers no function of this name: it never did, or has withdrawn it or closed.
    #[error("it offers no function of this name: check the name, or whether it offers it yet")]
    Unknown,
    /// The function has other types.
    #[error(
        "it is started as {asked}, and is {offered}; types of the same name differ in what they hold"
    )]
    WrongTypes {
        /// What whoever starts it takes it for.
        asked: Types,
        /// What it is.
        offered: Types,
    },
    /// As many run as may.
    #[error("{0}")]
    Limit(LimitReached),
    /// The arguments cannot be encoded, or are longer than the 16 MiB that a message between nodes
    /// may have: give the path of a file, or send messages.
    #[error("the arguments cannot travel: {0}")]
    Codec(#[serde(deserialize_with = "said")] CodecError),
    /// The arguments have the right type, and yet the node cannot read them.
    #[error("it cannot read the arguments: {0}")]
    Unreadable(#[serde(deserialize_with = "said")] CodecError),
    /// There is no link to the node, or it was lost before the answer came: the function has been
    /// started once, or not at all.
    #[error("no link: {0}")]
    Disconnected(#[serde(deserialize_with = "remote::told")] String),
    /// More waits at that node than may; nothing has been started.
    #[error("too much waits there: try again later")]
    Busy,
}

fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CodecError, D::Error> {
    Ok(tame::codec(&CodecError::deserialize(deserializer)?))
}
