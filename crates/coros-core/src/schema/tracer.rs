//! The deserializer that makes up what it is asked for.
//!
//! It answers each question as the wire's encoding (postcard) would, and so refuses those that postcard
//! refuses: whatever needs to be told what comes next.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, Deserializer};

use super::trace::{Key, Kind, Place, Refused, Trace, Variant};

/// Texts that common types are read from.
const TEXTS: [&str; 13] = [
    "",
    "a",
    "1",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00",
    "1970-01-01",
    "00:00:00",
    "127.0.0.1",
    "127.0.0.1:1",
    "00000000-0000-0000-0000-000000000000",
    "http://localhost/",
    "1.0.0",
    "UTC",
];
/// As many bytes as common types have.
const BYTES: [usize; 7] = [0, 16, 32, 4, 8, 20, 64];

thread_local! {
    /// Whether the values that are decoded now are made up.
    static TRACING: Cell<bool> = const { Cell::new(false) };
    /// That what has been lent could not be seen whole.
    static UNSEEN: Cell<bool> = const { Cell::new(false) };
}

/// Whether values decoded now are made up to see what their type looks like: then a type that
/// leads to another one calls [`lent`], and no network is there to ask.
#[must_use]
pub fn tracing() -> bool {
    TRACING.get()
}

/// Calls `f`, within which values are made up.
pub(super) fn as_traced<T>(f: impl FnOnce() -> T) -> T {
    let before = TRACING.replace(true);
    let result = f();
    TRACING.set(before);
    result
}

/// For the `Deserialize` of a type that leads to a `T` without having one in it, as an address does, while
/// [`tracing()`]: the shape of `T` becomes part of that of the message.
///
/// # Errors
/// Those of the deserializer.
pub fn lent<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    name: &'static str,
    deserializer: D,
) -> Result<(), D::Error> {
    deserializer.deserialize_newtype_struct(name, LentVisitor::<T>(PhantomData))
}

/// Stands for a type that is led to, where one handle leads to several:
/// `lent::<(Lent<A>, Lent<B>), _>(…)`.
pub struct Lent<T>(PhantomData<fn() -> T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lent<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lent::<T, D>(LENT, deserializer)?;
        Ok(Lent(PhantomData))
    }
}

const LENT: &str = "Lent";

struct LentVisitor<T>(PhantomData<fn() -> T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for LentVisitor<T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shape of a type")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let seen = catch_unwind(AssertUnwindSafe(|| T::deserialize(deserializer).is_ok()));
        if !matches!(seen, Ok(true)) {
            UNSEEN.set(true);
        }
        Ok(())
    }
}

/// Answers what comes up in one place.
#[derive(Clone, Copy)]
pub(super) struct Tracer<'a> {
    pub(super) trace: &'a Trace,
    pub(super) place: Place,
}

impl<'a> Tracer<'a> {
    fn inside(self, node: usize, variant: usize, index: usize) -> Self {
        let place = Place {
            node,
            variant,
            index,
        };
        Tracer { place, ..self }
    }

    fn parts(self, node: usize, variant: usize, length: usize) -> Parts<'a> {
        Parts {
            first: self.inside(node, variant, 0),
            length,
        }
    }

    fn leaf<T: Copy>(self, name: &'static str, values: &[T]) -> Result<T, Refused> {
        let choice = self.trace.leaf(self.place, (name, ""), values.len())?;
        Ok(values[choice])
    }

    fn node<V, T>(
        self,
        kind: Kind,
        (name, length): (&'static str, usize),
        variants: impl FnOnce() -> Vec<Variant>,
        visit: impl FnOnce(usize, usize) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let key = Key {
            kind,
            visitor: type_name::<V>(),
            name,
            length,
        };
        self.trace.node(self.place, key, variants, visit)
    }

    /// What consists of a fixed number of parts.
    fn product<'de, V: Visitor<'de>>(
        self,
        kind: Kind,
        name: &'static str,
        fields: Result<&'static [&'static str], usize>,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let (fields, length) = match fields {
            Ok(fields) => (fields, fields.len()),
            Err(length) => (&[] as &[&str], length),
        };
        let variants = || vec![Variant::new("", fields)];
        self.node::<V, _>(kind, (name, length), variants, |node, variant| {
            visitor.visit_seq(self.parts(node, variant, length))
        })
    }

    /// Leads to a type, of which no value is part of this one.
    fn lent<'de, V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let mut value = None;
        let seen = self.node::<V, _>(Kind::Lent, (name, 0), maybe, |node, variant| {
            if variant == 0 {
                value = Some(visitor.visit_unit()?);
                return Ok(());
            }
            let (visited, failed) = self.trace.aside(|failed| {
                let outer = UNSEEN.replace(false);
                let visited = visitor.visit_newtype_struct(self.inside(node, variant, 0));
                failed.set(UNSEEN.replace(outer));
                visited
            });
            value = Some(visited?);
            if failed { Err(Refused) } else { Ok(()) }
        });
        match (value, seen) {
            (Some(value), _) => Ok(value),
            (None, _) => Err(Refused),
        }
    }
}

/// Nothing, or something.
fn maybe() -> Vec<Variant> {
    vec![Variant::nothing(), Variant::new("", &[])]
}

macro_rules! leaves {
    ($($deserialize:ident $visit:ident $name:literal [$($value:expr),+];)+) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            visitor.$visit(self.leaf($name, &[$($value),+])?)
        })+
    };
}

macro_rules! refused {
    ($($deserialize:ident $name:literal;)+) => {
        $(fn $deserialize<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
            self.trace.leaf(self.place, ($name, ""), 1)?;
            self.trace.refuse()
        })+
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Refused;

    leaves! {
        deserialize_bool visit_bool "bool" [false, true];
        deserialize_i8 visit_i8 "i8" [1, 0, 2];
        deserialize_i16 visit_i16 "i16" [1, 0, 2];
        deserialize_i32 visit_i32 "i32" [1, 0, 2];
        deserialize_i64 visit_i64 "i64" [1, 0, 2];
        deserialize_i128 visit_i128 "i128" [1, 0, 2];
        deserialize_u8 visit_u8 "u8" [1, 0, 2];
        deserialize_u16 visit_u16 "u16" [1, 0, 2];
        deserialize_u32 visit_u32 "u32" [1, 0, 2];
        deserialize_u64 visit_u64 "u64" [1, 0, 2];
        deserialize_u128 visit_u128 "u128" [1, 0, 2];
        deserialize_f32 visit_f32 "f32" [0.5, 1.0, 0.0];
        deserialize_f64 visit_f64 "f64" [0.5, 1.0, 0.0];
        deserialize_char visit_char "char" ['a', '0'];
    }

    refused! {
        deserialize_any "any";
        deserialize_identifier "identifier";
        deserialize_ignored_any "ignored";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.leaf("str", &TEXTS)?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        const ZEROS: [u8; 64] = [0; 64];
        let length = self.leaf("bytes", &BYTES)?;
        visitor.visit_borrowed_bytes(const { &ZEROS }.split_at(length).0)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.leaf("unit", &[()])?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.leaf(self.place, ("struct", name), 1)?;
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.node::<V, _>(Kind::Option, ("", 0), maybe, |node, variant| {
            if variant == 0 {
                visitor.visit_none()
            } else {
                visitor.visit_some(self.inside(node, variant, 0))
            }
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.node::<V, _>(Kind::Seq, ("", 0), maybe, |node, variant| {
            visitor.visit_seq(self.parts(node, variant, variant))
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.node::<V, _>(Kind::Map, ("", 0), maybe, |node, variant| {
            visitor.visit_map(self.parts(node, variant, 2 * variant))
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.product(Kind::Tuple, "", Err(length), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.product(Kind::TupleStruct, name, Err(length), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.product(Kind::Struct, name, Ok(fields), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        // Only `lent` makes this visitor.
        if type_name::<V>().starts_with(concat!(module_path!(), "::LentVisitor<")) {
            return self.lent(name, visitor);
        }
        let variants = || vec![Variant::new("", &[])];
        self.node::<V, _>(Kind::Newtype, (name, 1), variants, |node, variant| {
            visitor.visit_newtype_struct(self.inside(node, variant, 0))
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let variants = || names.iter().map(|name| Variant::new(name, &[])).collect();
        let shape = (name, names.len());
        self.node::<V, _>(Kind::Enum, shape, variants, |node, variant| {
            visitor.visit_enum(self.inside(node, variant, 0))
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// What consists of parts, at its next one.
struct Parts<'a> {
    first: Tracer<'a>,
    length: usize,
}

impl Parts<'_> {
    fn next<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        if self.length == 0 {
            return Ok(None);
        }
        let part = self.first;
        self.first.place.index += 1;
        self.length -= 1;
        seed.deserialize(part).map(Some)
    }
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Refused> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.length)
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        self.next(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        self.next(seed)?.ok_or(Refused)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.length / 2)
    }
}

/// The chosen variant of an enum.
impl<'de> EnumAccess<'de> for Tracer<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Refused> {
        let index = u32::try_from(self.place.variant).map_err(|_| Refused)?;
        let index: U32Deserializer<Refused> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl Tracer<'_> {
    fn form(&self, form: &'static str, fields: &'static [&'static str]) {
        let Place { node, variant, .. } = self.place;
        self.trace.form(node, variant, form, fields);
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        self.form("unit", &[]);
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        self.form("newtype", &[]);
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.form("tuple", &[]);
        let first = self;
        visitor.visit_seq(Parts { first, length })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.form("struct", fields);
        let (first, length) = (self, fields.len());
        visitor.visit_seq(Parts { first, length })
    }
}
