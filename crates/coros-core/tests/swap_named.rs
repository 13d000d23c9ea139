//! Hot swap to functions by their names.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use common::on_both;
use coros_core::swap::{SwapFunction, publish};
use coros_core::{Context, SwapError, spawn};

async fn first(mut me: Context<u32>) -> Vec<String> {
    me.swappable(|offer| drop(offer.accept(vec!["by first".to_owned()])));
    while me.receive().await.is_some() {}
    Vec::new()
}

async fn second(mut me: Context<u32>) -> Vec<String> {
    let mut got: Vec<String> = me.take_state().unwrap_or_default();
    while let Some(n) = me.receive().await {
        got.push(format!("second {n}"));
    }
    got
}

#[test]
fn a_published_function_takes_over_any_number_of_coroutines_with_their_state() {
    on_both(|| async {
        let _published = publish("swap_named::second", SwapFunction::new(second));
        for _ in 0..2 {
            let coro = spawn(first);
            coro.swap_to("swap_named::second").await.unwrap();
            coro.send(1).unwrap();
            assert_eq!(coro.join().await.unwrap(), ["by first", "second 1"]);
        }
    });
}

#[test]
fn the_latest_that_fits_is_offered_until_it_is_taken_back() {
    on_both(|| async {
        let unknown = || Err(SwapError::UnknownFunction("v".into()));
        let coro = spawn(async |mut me: Context<u32>| {
            me.swappable(|offer| {
                let path = offer.function();
                offer.refuse(path);
            });
            me.receive().await;
            Vec::<String>::new()
        });
        assert_eq!(coro.swap_to("v").await, unknown());
        let one = publish("v", SwapFunction::new(first));
        let two = publish("v", SwapFunction::new(second));
        let other = publish("v", SwapFunction::new(async |_me: Context<String>| ()));
        let refused = |path: &str| Err(SwapError::Refused(path.into()));
        assert_eq!(coro.swap_to("v").await, refused("swap_named::second"));
        drop(two);
        assert_eq!(coro.swap_to("v").await, refused("swap_named::first"));
        drop(one);
        let SwapError::WrongMessages { running, offered } = coro.swap_to("v").await.unwrap_err()
        else {
            panic!("what is left receives text");
        };
        assert_eq!((&*running, &*offered), ("u32", "alloc::string::String"));
        drop(other);
        assert_eq!(coro.swap_to("v").await, unknown());
    });
}

#[test]
fn a_published_function_with_another_result_is_refused() {
    on_both(|| async {
        let _published = publish(
            "swap_named::number",
            SwapFunction::new(async |_me: Context<u32>| 1_u64),
        );
        let coro = spawn(first);
        let error = coro.swap_to("swap_named::number").await.unwrap_err();
        assert!(
            matches!(&error, SwapError::WrongResult { offered, .. } if offered == "u64"),
            "{error}"
        );
    });
}
