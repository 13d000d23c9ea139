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
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::error::NotStarted;
use crate::names::{check_type, type_name};

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
    #[serde(deserialize_with = "type_of_peer")]
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
            name: type_name(schema.type_name()).to_string(),
        }
    }
}

fn type_of_peer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_type(&name).map_err(D::Error::custom)?;
    Ok(name)
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

#[cfg(test)]
mod tests {
    use coros_core::remote::CodecError;

    use super::*;

    #[test]
    fn types_of_peers_that_could_steer_a_terminal_are_refused() {
        let read = |name: &str| {
            let sent = Type {
                schema: 1,
                name: name.to_owned(),
            };
            let bytes = postcard::to_stdvec(&sent).expect("it has a length");
            postcard::from_bytes::<Type>(&bytes)
        };
        assert!(read("Vec<u8>").is_ok());
        for name in ["\u{1b}[2J", "a\nb", &"x".repeat(513)] {
            assert!(read(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn what_peers_say_of_an_encoding_is_shown_tame() {
        let said = NotStarted::Unreadable(CodecError::new(
            "\u{1b}[2J",
            &"x".repeat(1 << 16),
            "one\ntwo",
        ));
        let bytes = postcard::to_stdvec(&said).expect("it has a length");
        let heard: NotStarted = postcard::from_bytes(&bytes).expect("it can be read");
        let shown = heard.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(shown.len() < 4096, "{}", shown.len());
    }
}
