//! Names: registering, finding, waiting, and what becomes of a name at its holder's end.

use std::time::Duration;

use coros_core::{
    Address, Channel, Context, Coro, Exit, LocateError, RegisterError, locate, locate_channel,
    locate_timeout, spawn, try_locate,
};

const SECOND: Duration = Duration::from_secs(1);

async fn bounded<T>(f: impl Future<Output = T>) -> T {
    tokio::time::timeout(20 * SECOND, f)
        .await
        .expect("this ends within 20 seconds")
}

fn server() -> Coro<u32, Option<u32>> {
    spawn(async |mut me: Context<u32>| me.receive().await)
}

#[tokio::test]
async fn a_registered_coroutine_is_found_and_kept_open() {
    let coro = server();
    coro.register("kept").unwrap();
    coro.register("kept").unwrap();
    coro.register("kept too").unwrap();
    let id = coro.id();
    drop(coro);
    let found: Address<u32> = bounded(locate("kept")).await.unwrap();
    assert_eq!(found.id(), id);
    assert_eq!(try_locate("kept too"), Ok(found.clone()));
    found.send(1).unwrap();
    assert_eq!(bounded(found.exit()).await, Exit::Finished);
    for name in ["kept", "kept too"] {
        let not_found = LocateError::NotFound { name: name.into() };
        assert_eq!(try_locate::<u32>(name), Err(not_found));
    }
}

#[tokio::test]
async fn unregistering_lets_the_mailbox_close() {
    let coro = server();
    coro.register("closing").unwrap();
    assert!(!coro.unregister("something else"));
    assert!(!server().unregister("closing"), "not its name");
    assert!(coro.unregister("closing"));
    assert!(!coro.unregister("closing"));
    assert!(try_locate::<u32>("closing").is_err());
    assert_eq!(bounded(coro.join()).await, Ok(None));
}

#[tokio::test]
async fn a_taken_name_says_who_has_it() {
    let (first, second) = (server(), server());
    first.register("taken").unwrap();
    let error = second.register("taken").unwrap_err();
    assert_eq!(
        error,
        RegisterError::Taken {
            name: "taken".into(),
            holder: first.to_string()
        }
    );
    assert!(error.to_string().contains(&format!("#{}", first.id())));
    first.unregister("taken");
    second.register("taken").unwrap();
    second.unregister("taken");
}

#[tokio::test]
async fn the_wrong_type_is_an_error_that_names_both() {
    let coro = server();
    coro.register("typed").unwrap();
    for error in [
        try_locate::<String>("typed").unwrap_err(),
        bounded(locate::<String>("typed")).await.unwrap_err(),
    ] {
        assert!(matches!(error, LocateError::WrongType { .. }));
        let text = error.to_string();
        assert!(
            text.contains("type u32, not alloc::string::String"),
            "{text}"
        );
        assert!(text.contains(&coro.to_string()), "{text}");
    }
    // One who waits learns it too.
    let waiting = spawn(async |_me: Context<()>| locate::<String>("typed later").await);
    tokio::task::yield_now().await;
    coro.register("typed later").unwrap();
    let answer = bounded(waiting.join()).await.unwrap();
    assert!(matches!(answer, Err(LocateError::WrongType { .. })));
    coro.unregister("typed");
    coro.unregister("typed later");
}

#[tokio::test]
async fn the_name_of_one_that_ended_is_free_whatever_ended_it() {
    let finished = server();
    let panicked: Coro<u32, Option<u32>> = spawn(async |mut me: Context<u32>| {
        me.receive().await;
        panic!("as told")
    });
    let terminated = server();
    for (i, coro) in [&finished, &panicked, &terminated].into_iter().enumerate() {
        let name = format!("ending {i}");
        coro.register(&*name).unwrap();
        if i == 2 {
            coro.terminate();
        } else {
            coro.send(1).unwrap();
        }
        bounded(coro.exit()).await;
        assert!(try_locate::<u32>(&name).is_err());
        let next = server();
        next.register(&*name).unwrap();
        assert_eq!(
            try_locate(&name),
            Ok(next.address()),
            "the old end does not remove it"
        );
        assert!(next.unregister(&name));
        let error = coro.register(&*name).unwrap_err();
        assert!(matches!(error, RegisterError::Ended { .. }), "{error}");
    }
}

#[tokio::test]
async fn one_without_a_context_has_no_name_and_takes_none_along_at_its_end() {
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let first = spawn(async |me: Context<u32>| {
        drop(me);
        released.await.ok();
    });
    first.register("early").unwrap();
    tokio::task::yield_now().await;
    assert!(first.is_closed() && !first.is_finished());
    assert!(try_locate::<u32>("early").is_err());
    let second = server();
    second.register("early").unwrap();
    release.send(()).unwrap();
    bounded(first.exit()).await;
    assert_eq!(try_locate("early"), Ok(second.address()));
    assert!(second.unregister("early"));
}

#[tokio::test(start_paused = true)]
async fn locating_waits_for_the_next_one() {
    let first = server();
    first.register("next").unwrap();
    first.terminate();
    first.exit().await;
    let waiting = spawn(async |_me: Context<()>| locate::<u32>("next").await);
    let error = locate_timeout::<u32>("next", 3 * SECOND).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "nobody was registered as \"next\" within 3s"
    );
    let second = server();
    second.register("next").unwrap();
    let found = bounded(waiting.join()).await.unwrap();
    assert_eq!(found, Ok(second.address()));
    assert_eq!(locate_timeout("next", SECOND).await, Ok(second.address()));
    second.unregister("next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_registration_is_missed_by_many_who_wait() {
    for round in 0..50 {
        let name = format!("round {round}");
        let waiting: Vec<_> = (0..40)
            .map(|_| {
                let name = name.clone();
                tokio::spawn(async move { locate::<u32>(&name).await })
            })
            .collect();
        let coro = spawn(async move |mut me: Context<u32>| {
            me.register(name).unwrap();
            me.receive().await
        });
        for waiter in waiting {
            assert_eq!(bounded(waiter).await.unwrap(), Ok(coro.address()));
        }
        coro.terminate();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_gets_the_name_and_loses_it_at_its_end() {
    for round in 0..50 {
        let name = format!("race {round}");
        let racing: Vec<_> = (0..4)
            .map(|_| {
                let name = name.clone();
                spawn(async move |me: Context<u32>| me.register(name).is_ok())
            })
            .collect();
        let mut winners = 0;
        for coro in racing {
            winners += u32::from(bounded(coro.join()).await.unwrap());
        }
        assert!(winners >= 1);
        assert!(try_locate::<u32>(&name).is_err(), "all have ended");
    }
}

#[tokio::test]
async fn channels_have_names_of_their_own() {
    let coro = server();
    coro.register("news").unwrap();
    let channel = Channel::<u32>::new();
    channel.register("news").unwrap();
    channel.register("news").unwrap();
    assert_eq!(locate_channel("news", SECOND).await, Ok(channel.clone()));
    let error = locate_channel::<u8>("news", SECOND).await.unwrap_err();
    assert!(error.to_string().contains("type u32, not u8"), "{error}");
    let other = Channel::<u32>::new();
    assert!(matches!(
        other.register("news"),
        Err(RegisterError::Taken { .. })
    ));
    channel.close();
    other.register("news").unwrap();
    assert_eq!(locate_channel("news", SECOND).await, Ok(other.clone()));
    assert!(!channel.unregister("news"));
    assert!(other.unregister("news"));
    assert!(matches!(
        channel.register("news"),
        Err(RegisterError::Ended { .. })
    ));
    assert!(coro.unregister("news"));
}
