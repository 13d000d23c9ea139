//! What counts for the schema of a type, and that any type has one.

#![allow(dead_code, reason = "types of which only the shape matters")]

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coros_core::schema::Schema;
use coros_core::{Address, Reply};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

fn hash<T: DeserializeOwned + 'static>() -> u64 {
    Schema::of::<T>().hash()
}

/// Asserts that the types have the same schema.
macro_rules! same {
    ($($a:ty, $b:ty;)+) => { $(assert_eq!(hash::<$a>(), hash::<$b>(), stringify!($a, $b));)+ };
}

/// Asserts that they have not.
macro_rules! differ {
    ($($a:ty, $b:ty;)+) => { $(assert_ne!(hash::<$a>(), hash::<$b>(), stringify!($a, $b));)+ };
}

/// Types in a module of their own, so that names can be the same.
macro_rules! types {
    ($($module:ident { $($item:item)+ })+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "not all of them need all")]
            use super::*;
            $(#[derive(Serialize, Deserialize)] $item)+
        })+
    };
}

types! {
    one { pub(super) struct Point { pub(super) x: f64, y: f64 } pub(super) enum Shape { Dot(Point), Line { from: Point, to: Point }, Nothing } }
    same_elsewhere { pub(super) struct Point { x: f64, y: f64 } pub(super) enum Shape { Dot(Point), Line { from: Point, to: one::Point }, Nothing } }
    added { pub(super) struct Point { x: f64, y: f64, z: f64 } pub(super) enum Shape { Dot(one::Point), Line { from: one::Point, to: one::Point }, Nothing, Circle } }
    swapped { pub(super) struct Point { y: f64, x: f64 } pub(super) enum Shape { Line { from: one::Point, to: one::Point }, Dot(one::Point), Nothing } }
    retyped { pub(super) struct Point { x: f32, y: f64 } pub(super) enum Shape { Dot(Point), Line { from: one::Point, to: one::Point }, Nothing } }
    renamed { pub(super) struct Point { a: f64, b: f64 } pub(super) enum Shape { Dot(one::Point), Line { from: one::Point, to: one::Point }, Void } }
    kept {
        #[serde(rename = "Point")]
        pub(super) struct Place { #[serde(rename = "x")] a: f64, #[serde(skip)] cache: u32, #[serde(rename = "y")] b: f64 }
        #[serde(rename = "Shape")]
        pub(super) enum Form { Dot(Place), #[serde(rename = "Line")] Segment { from: Place, to: Box<Place> }, Nothing }
    }
    deep { pub(super) enum Shape { Dot(one::Point), Line { from: one::Point, to: added::Point }, Nothing } }
}

#[test]
fn what_counts() {
    same! {
        one::Point, same_elsewhere::Point;
        one::Shape, same_elsewhere::Shape;
        one::Point, kept::Place;
        one::Shape, kept::Form;
    }
    differ! {
        one::Point, added::Point;
        one::Point, swapped::Point;
        one::Point, retyped::Point;
        one::Point, renamed::Point;
        one::Shape, added::Shape;
        one::Shape, swapped::Shape;
        one::Shape, retyped::Shape;
        one::Shape, renamed::Shape;
        one::Shape, deep::Shape;
        one::Shape, one::Point;
    }
}

#[test]
fn what_serde_does_not_tell_apart_is_the_same() {
    same! {
        Vec<u32>, VecDeque<u32>;
        Vec<u32>, HashSet<u32>;
        HashMap<String, u8>, BTreeMap<String, u8>;
        String, Box<str>;
        String, Cow<'static, str>;
        one::Point, Arc<one::Point>;
        Vec<one::Point>, Box<[one::Point]>;
        (u8, u8), [u8; 2];
    }
}

#[test]
fn primitives_and_what_is_made_of_them_differ() {
    let all = [
        hash::<bool>(),
        hash::<char>(),
        hash::<()>(),
        hash::<String>(),
        hash::<i8>(),
        hash::<i16>(),
        hash::<i32>(),
        hash::<i64>(),
        hash::<i128>(),
        hash::<u8>(),
        hash::<u16>(),
        hash::<u32>(),
        hash::<u64>(),
        hash::<u128>(),
        hash::<f32>(),
        hash::<f64>(),
        hash::<(u8,)>(),
        hash::<(u8, u8)>(),
        hash::<[u8; 3]>(),
        hash::<[u16; 3]>(),
        hash::<[u8; 32]>(),
        hash::<Option<u8>>(),
        hash::<Option<u16>>(),
        hash::<Option<Option<u8>>>(),
        hash::<Vec<u8>>(),
        hash::<Vec<u16>>(),
        hash::<Vec<Vec<u8>>>(),
        hash::<HashMap<u8, u16>>(),
        hash::<HashMap<u16, u8>>(),
        hash::<Vec<(u8, u16)>>(),
        hash::<Result<u8, u16>>(),
        hash::<Result<u16, u8>>(),
        hash::<Duration>(),
        hash::<SystemTime>(),
        hash::<IpAddr>(),
        hash::<SocketAddr>(),
    ];
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

#[derive(Serialize, Deserialize)]
struct Tree {
    value: u32,
    children: Vec<Tree>,
}

#[derive(Serialize, Deserialize)]
enum List {
    Cons(u32, Box<List>),
    Nil,
}

#[derive(Serialize, Deserialize)]
enum Even {
    Next(Box<Odd>),
    Zero(u8),
}

#[derive(Serialize, Deserialize)]
enum Odd {
    Next(Box<Even>),
}

mod retyped_in_a_cycle {
    use super::*;
    #[derive(Serialize, Deserialize)]
    pub(super) enum Even {
        Next(Box<Odd>),
        Zero(u16),
    }
    #[derive(Serialize, Deserialize)]
    pub(super) enum Odd {
        Next(Box<Even>),
    }
    #[derive(Serialize, Deserialize)]
    pub(super) struct Tree {
        value: u64,
        children: Vec<Tree>,
    }
    #[derive(Serialize, Deserialize)]
    pub(super) enum List {
        Cons(u64, Box<List>),
        Nil,
    }
}

/// The same shape as [`List`], unrolled by one.
mod unrolled {
    use super::*;
    #[derive(Serialize, Deserialize)]
    pub(super) enum List {
        Cons(u32, Box<super::List>),
        Nil,
    }
}

#[derive(Serialize, Deserialize)]
struct Endless(Box<Endless>);

#[derive(Serialize, Deserialize)]
enum Never {}

#[test]
fn recursive_types_are_seen_whole() {
    same! { List, unrolled::List; }
    differ! {
        Tree, retyped_in_a_cycle::Tree;
        List, retyped_in_a_cycle::List;
        Even, retyped_in_a_cycle::Even;
        Odd, retyped_in_a_cycle::Odd;
        Even, Odd;
        Endless, Never;
        Option<Endless>, Option<Never>;
    }
}

/// Refuses most values, as types that keep an invariant do.
#[derive(Serialize)]
struct Strict<const WANTED: u32>;

impl<'de, const WANTED: u32> Deserialize<'de> for Strict<WANTED> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            n if n == WANTED => Ok(Strict),
            n => Err(D::Error::custom(n)),
        }
    }
}

/// Reads itself from a text.
struct Parsed<T>(T);

impl<'de, T: std::str::FromStr> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Parsed).map_err(|_| D::Error::custom(text))
    }
}

#[derive(Serialize, Deserialize)]
struct Panics(#[serde(deserialize_with = "panics")] u32);

fn panics<'de, D: Deserializer<'de>>(_: D) -> Result<u32, D::Error> {
    panic!("at any value");
}

#[derive(Deserialize)]
struct Pair<A, B> {
    a: A,
    b: B,
}

#[derive(Deserialize)]
enum Either<A> {
    One(A),
    Other(u32),
}

#[test]
fn what_follows_a_choosy_type_is_seen() {
    differ! {
        Pair<NonZeroU8, u8>, Pair<NonZeroU8, u16>;
        Pair<Strict<0>, u8>, Pair<Strict<0>, u16>;
        Pair<Strict<2>, u8>, Pair<Strict<2>, u16>;
        Pair<(Strict<2>, Strict<0>, NonZeroU32), u8>, Pair<(Strict<2>, Strict<0>, NonZeroU32), u16>;
        Pair<Parsed<IpAddr>, u8>, Pair<Parsed<IpAddr>, u16>;
        Pair<(Parsed<SocketAddr>, Parsed<IpAddr>, String), u8>, Pair<(Parsed<SocketAddr>, Parsed<IpAddr>, String), u16>;
        Pair<IpAddr, u8>, Pair<IpAddr, u16>;
        Pair<Address<Panics>, u8>, Pair<Address<Panics>, u16>;
        Pair<Address<Strict<7>>, u8>, Pair<Address<Strict<7>>, u16>;
    }
}

#[test]
fn what_nothing_made_up_satisfies_ends_the_view_and_nothing_else() {
    same! {
        Pair<Strict<7>, u8>, Pair<Strict<7>, u16>;
        Pair<Panics, u8>, Pair<Panics, u16>;
    }
    differ! {
        Pair<u8, Strict<7>>, Pair<u16, Strict<7>>;
        Pair<u8, Panics>, Pair<u16, Panics>;
        Either<Strict<7>>, Either<(Strict<7>, u8)>;
        Either<Strict<7>>, Either<Panics>;
    }
    assert_ne!(hash::<Either<Panics>>(), hash::<Never>());
}

#[derive(Serialize, Deserialize)]
enum Message {
    Hello(Address<Message>),
    Ask {
        question: String,
        reply: Reply<Vec<u8>>,
    },
}

mod other_reply {
    use super::*;
    #[derive(Serialize, Deserialize)]
    pub(super) enum Message {
        Hello(Address<Message>),
        Ask {
            question: String,
            reply: Reply<Vec<u16>>,
        },
    }
}

#[test]
fn what_addresses_and_replies_lead_to_counts() {
    differ! {
        Address<u8>, Address<u16>;
        Reply<u8>, Reply<u16>;
        Address<u8>, Reply<u8>;
        Address<u8>, u8;
        Message, other_reply::Message;
        Address<Message>, Address<other_reply::Message>;
        Address<Address<u8>>, Address<Address<u16>>;
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Text(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Number { n: u32 },
}

#[derive(Serialize, Deserialize)]
struct Flat {
    a: u32,
    #[serde(flatten)]
    rest: HashMap<String, u32>,
}

#[derive(Serialize, Deserialize, Default)]
struct Odds {
    #[serde(default)]
    a: u8,
    #[serde(skip)]
    b: u8,
    c: (),
    d: PhantomData<u8>,
    e: Option<Box<Odds>>,
    f: HashMap<String, Vec<Odds>>,
    g: [Option<Box<Odds>>; 4],
    h: i128,
}

#[derive(Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
#[derive(Clone)]
struct Through(u32);

impl From<u32> for Through {
    fn from(n: u32) -> Self {
        Through(n)
    }
}

impl From<Through> for u32 {
    fn from(it: Through) -> Self {
        it.0
    }
}

/// Wider at each level: so many values cannot be made up.
type Wide =
    Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Leaves>>>>>>>>>>>>;
type Leaves =
    Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<Twice<u8>>>>>>>>>>>>;

#[derive(Deserialize)]
struct Twice<T>(Box<T>, Box<T>);

#[test]
fn any_type_has_a_schema_in_bounded_time() {
    same! { Through, u32; }
    differ! { Odds, Flat; Wide, Leaves; }
    // Neither can be a message.
    same! { Untagged, Tagged; }
    let _ = (hash::<Flat>(), hash::<Untagged>(), hash::<Tagged>());
}

/// Three hundred variants, each of which contains the whole twice, and the one that ends it last.
macro_rules! expression {
    ($module:ident, $last:ty) => {
        mod $module {
            use super::*;
            expression!(@grow $last; [a b c d e f g h i j k l m n o] [] );
        }
    };
    (@grow $last:ty; [] [$($variant:ident)*]) => {
        #[allow(non_camel_case_types, reason = "made by a macro")]
        #[derive(Serialize, Deserialize)]
        pub(super) enum Expression {
            $($variant(Box<Expression>, Vec<Expression>, Box<Expression>),)*
            Literal($last),
        }
    };
    (@grow $last:ty; [$head:ident $($tail:ident)*] [$($done:ident)*]) => {
        expression!(@grow $last; [$($tail)*] [$($done)* $head]);
    };
}

expression!(small, u8);
expression!(large, u16);

#[test]
fn an_expression_whose_end_is_its_last_variant_is_seen_whole() {
    differ! { small::Expression, large::Expression; }
}

macro_rules! hundreds {
    ($name:ident, $last:ty; $($n:ident)*) => {
        #[allow(non_camel_case_types, reason = "made by a macro")]
        #[derive(Deserialize)]
        pub(crate) enum $name { $($n { it: Box<$name>, more: [u64; 16] },)* End($last) }
    };
}

macro_rules! with_hundreds {
    ($name:ident, $last:ty) => {
        hundreds! { $name, $last;
        a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 b0 b1 b2 b3 b4 b5 b6 b7 b8 b9 c0 c1 c2 c3 c4 c5 c6 c7 c8 c9
        d0 d1 d2 d3 d4 d5 d6 d7 d8 d9 e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 f0 f1 f2 f3 f4 f5 f6 f7 f8 f9
        g0 g1 g2 g3 g4 g5 g6 g7 g8 g9 h0 h1 h2 h3 h4 h5 h6 h7 h8 h9 i0 i1 i2 i3 i4 i5 i6 i7 i8 i9
        j0 j1 j2 j3 j4 j5 j6 j7 j8 j9 k0 k1 k2 k3 k4 k5 k6 k7 k8 k9 l0 l1 l2 l3 l4 l5 l6 l7 l8 l9
        m0 m1 m2 m3 m4 m5 m6 m7 m8 m9 n0 n1 n2 n3 n4 n5 n6 n7 n8 n9 o0 o1 o2 o3 o4 o5 o6 o7 o8 o9
        p0 p1 p2 p3 p4 p5 p6 p7 p8 p9 q0 q1 q2 q3 q4 q5 q6 q7 q8 q9 r0 r1 r2 r3 r4 r5 r6 r7 r8 r9
        s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 t0 t1 t2 t3 t4 t5 t6 t7 t8 t9 u0 u1 u2 u3 u4 u5 u6 u7 u8 u9
        v0 v1 v2 v3 v4 v5 v6 v7 v8 v9 w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 x0 x1 x2 x3 x4 x5 x6 x7 x8 x9
        y0 y1 y2 y3 y4 y5 y6 y7 y8 y9 z0 z1 z2 z3 z4 z5 z6 z7 z8 z9
        A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 B0 B1 B2 B3 B4 B5 B6 B7 B8 B9 C0 C1 C2 C3 C4 C5 C6 C7 C8 C9 }
    };
}

with_hundreds!(Hundreds, u8);
mod other {
    use serde::Deserialize;
    with_hundreds!(Hundreds, u16);
}

#[test]
fn hundreds_of_recursive_variants_fit_onto_a_small_stack() {
    let traced = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        differ! { Hundreds, other::Hundreds; }
    });
    traced.unwrap().join().unwrap();
}

/// Programs of different versions compare these: a change of the hash parts them.
#[test]
fn schemas_stay_what_they_are() {
    assert_eq!(hash::<u32>(), 0xc3ae_67bc_c6a5_b8cd);
    assert_eq!(hash::<one::Shape>(), 0x2e29_2291_11eb_f59f);
    assert_eq!(hash::<Message>(), 0xa0df_08da_0d64_68b4);
}
