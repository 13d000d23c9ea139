//! What is said to the functions of a node, and what they answer.
//!
//! ```text
//!   Head::Start { name, types }   Replies<M, R>   Args     one message, the three behind each other
//!   Head::Swap(SwapRequest)
//! ```
//!
//! The head can be read by a node that does not know the function; so can [`Replies`], as long as
//! the answer is a refusal, which is written alike for all types.

use std::fmt;
use std::time::Duration;

use coros_core::remote::Message;
use coros_core::schema::Schema;
use coros_core::{Address, Exit, Reply, SwapError};
use serde::{Deserialize, Serialize};

use super::error::NotStarted;

/// What comes first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Head {
    /// Start a function.
    Start {
        /// Of the function.
        name: String,
        /// What whoever starts it takes it for.
        types: Types,
    },
    /// Offer a function to a coroutine.
    Swap(SwapRequest),
}

/// What the one who starts a function waits for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "M: Message, R: Message")]
pub(super) struct Replies<M: Send + 'static, R: Send + 'static> {
    pub(super) started: Reply<Result<Address<M>, NotStarted>>,
    pub(super) result: Reply<Result<R, Exit>>,
}

/// See [`Address::swap_to`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SwapRequest {
    pub(super) coroutine: u64,
    pub(super) function: String,
    pub(super) limit: Duration,
    pub(super) answer: Reply<Result<(), SwapError>>,
}

/// The types of a function that peers may start, as they are on the wire.
///
/// Equal when their [schemas](Schema) are; the names are for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Types {
    args: Type,
    messages: Type,
    result: Type,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Type {
    schema: u64,
    name: String,
}

impl Types {
    pub(super) fn of<Args: Message, M: Message, R: Message>() -> Self {
        Types {
            args: Type::of::<Args>(),
            messages: Type::of::<M>(),
            result: Type::of::<R>(),
        }
    }
}

impl Type {
    fn of<T: Message>() -> Self {
        let schema = Schema::of::<T>();
        Type {
            schema: schema.hash(),
            name: schema.type_name().to_owned(),
        }
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
    }
}

impl Eq for Type {}

/// As Rust writes it: `Fn(Context<M>, Args) -> R`.
impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Types {
            args,
            messages,
            result,
        } = self;
        let (args, messages, result) = (&args.name, &messages.name, &result.name);
        write!(f, "Fn(Context<{messages}>, {args}) -> {result}")
    }
}
