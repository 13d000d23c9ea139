//! What a type looks like on the wire, as one number that two programs can compare.
//!
//! The encoding of messages has no names and no types in it: bytes that were written as one type can be read as
//! another without anybody noticing. So whoever hands out a way to a coroutine under a name says
//! along with it what the coroutine takes, and whoever wants it compares. [`Schema`] is that: a
//! hash of the *shape* of a type, made without a derive or any other help of the type, by letting its own
//! `Deserialize` read from a deserializer that makes up what it is asked for and writes down the
//! questions (`tracer`). Every variant of every enum is visited (`trace`).
//!
//! # What counts
//!
//! - **All that changes the bytes**: the types of fields, their number and order, the variants of
//!   enums, their order and contents, whether something is optional, a sequence or a map.
//! - **The names** of structs, enums, variants and fields, as serde has them. Bytes do not
//!   depend on them, but meaning does: two fields of the same type that have changed places, or
//!   `celsius` that has become `fahrenheit`, would be read without an error, and wrongly.
//!   `#[serde(rename = "…")]` keeps the old schema where only the word has changed.
//! - **What addresses lead to**: `Address<T>`, `Reply<T>` and their kind count with the shape of `T`.
//!
//! What does not count: crates, modules, `Box`, `Arc`, `Cow`; which sequence or which map it is (a
//! `Vec` is as good as a `VecDeque`); fields that serde skips.
//!
//! A schema is exact about what the trace has seen. A `Deserialize` by hand that accepts none of
//! the values made up for it (a few numbers, dates, addresses, …) hides what would come after it in
//! the same struct or variant. That can only make two schemas equal that should differ, and does so in
//! every program alike.

mod shape;
mod trace;
mod tracer;

use std::any::{TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::de::DeserializeOwned;

pub use tracer::{Lent, lent, tracing};

/// The shape of a type: see the [module](self).
///
/// Equal when the shapes are; the name is for people.
///
/// ```
/// use coros_core::schema::Schema;
/// use serde::Deserialize;
///
/// mod yesterday {
///     #[derive(serde::Deserialize)]
///     pub struct Reading { pub celsius: f64 }
/// }
///
/// #[derive(Deserialize)]
/// struct Reading { celsius: f64, sensor: u32 }
///
/// assert_eq!(Schema::of::<Vec<Reading>>(), Schema::of::<Box<[Reading]>>());
/// assert_ne!(Schema::of::<Reading>(), Schema::of::<yesterday::Reading>());
/// ```
#[derive(Clone, Copy)]
pub struct Schema {
    hash: u64,
    type_name: &'static str,
}

impl Schema {
    /// The schema of a type; worked out once, and then remembered.
    ///
    /// It decodes a number of made-up values of the type and drops them. A panic in the type's
    /// `Deserialize` counts as a refusal of the value.
    #[must_use]
    pub fn of<T: DeserializeOwned + 'static>() -> Schema {
        static KNOWN: LazyLock<Mutex<HashMap<TypeId, u64>>> = LazyLock::new(Mutex::default);
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let id = TypeId::of::<T>();
        let remembered = known().get(&id).copied();
        let hash = remembered.unwrap_or_else(|| {
            // Not under the lock: it runs the type's own code.
            let hash = shape::hash(&trace::trace::<T>());
            known().insert(id, hash);
            hash
        });
        Schema {
            hash,
            type_name: type_name::<T>(),
        }
    }

    /// The hash of the shape: 64 bits of blake3, whose definition is fixed for good, as those of
    /// the standard library's hashes are not. Enough to tell types apart by: it is compared with
    /// one other, and between programs that trust each other.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The Rust type, for people: it may be the same for different schemas.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({} {:016x})", self.type_name, self.hash)
    }
}
