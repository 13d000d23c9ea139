//! Supervisors: children added, stopped and found from outside; trees; the end.

use std::time::Duration;

use coros_core::{
    ChildError, ChildState, Context, Coro, Exit, Restart, Supervisor, SupervisorHandle, build,
    spawn,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn idle() -> Coro<u32, ()> {
    spawn(async |mut me: Context<u32>| while me.receive().await.is_some() {})
}

/// Takes so long to clean up.
fn slow(time: Duration) -> impl Fn() -> Coro<u32, ()> + Send {
    move || {
        build()
            .grace(10 * SECOND)
            .spawn(async move |me: Context<u32>| {
                me.terminating().await;
                me.sleep(time).await;
            })
    }
}

#[tokio::test(start_paused = true)]
async fn children_are_added_stopped_and_started_from_outside() {
    let supervisor = Supervisor::one_for_all()
        .child("a", Restart::Permanent, idle)
        .start();
    supervisor
        .start_child("b", Restart::Permanent, slow(2 * SECOND))
        .await
        .unwrap();
    supervisor
        .start_child("t", Restart::Temporary, idle)
        .await
        .unwrap();
    let taken = supervisor.start_child("a", Restart::Permanent, idle).await;
    assert_eq!(taken, Err(ChildError::Exists { id: "a".into() }));
    let a = supervisor.child::<u32>("a").await.unwrap();

    let start = Instant::now();
    supervisor.terminate_child("b").await.unwrap();
    assert_eq!(start.elapsed(), 2 * SECOND, "it had its grace");
    let stopped = supervisor.child::<u32>("b").await;
    assert_eq!(stopped, Err(ChildError::NotRunning { id: "b".into() }));
    supervisor.terminate_child("b").await.unwrap();
    supervisor.terminate_child("t").await.unwrap();
    let unknown = Err(ChildError::Unknown { id: "t".into() });
    assert_eq!(supervisor.terminate_child("t").await, unknown);
    assert_eq!(supervisor.restart_child("t").await, unknown);

    supervisor.restart_child("b").await.unwrap();
    let b = supervisor.child::<u32>("b").await.unwrap();
    supervisor.restart_child("b").await.unwrap();
    assert!(b.is_closed());
    assert_ne!(supervisor.child("b").await, Ok(b));
    assert_eq!(
        supervisor.child("a").await,
        Ok(a),
        "nobody else was touched"
    );
    let error = supervisor.child::<String>("a").await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("type u32, not alloc::string::String"),
        "{error}"
    );
    let children = supervisor.children().await.unwrap();
    let seen: Vec<_> = children
        .iter()
        .map(|it| (&*it.id, it.state, it.restarts))
        .collect();
    assert_eq!(
        seen,
        [("a", ChildState::Running, 0), ("b", ChildState::Running, 2)]
    );
    supervisor.stop().await;
    assert_eq!(
        supervisor.children().await,
        Err(ChildError::SupervisorEnded)
    );
    assert_eq!(
        supervisor.child::<u32>("a").await,
        Err(ChildError::SupervisorEnded)
    );
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_answers_while_a_child_stops() {
    let supervisor = Supervisor::one_for_one()
        .child("slow", Restart::Permanent, slow(5 * SECOND))
        .child("quick", Restart::Permanent, idle)
        .start();
    // The slow one is waiting to be terminated then.
    tokio::time::sleep(SECOND).await;
    let start = Instant::now();
    let stop = supervisor.terminate_child("slow");
    let meanwhile = async {
        let quick = supervisor.child::<u32>("quick").await.unwrap();
        quick.terminate();
        quick.exit().await;
        let children = supervisor.children().await.unwrap();
        let states: Vec<_> = children.iter().map(|it| it.state).collect();
        assert_eq!(states, [ChildState::Stopping, ChildState::Running]);
        assert_eq!(start.elapsed(), Duration::ZERO);
    };
    let (stopped, ()) = tokio::join!(stop, meanwhile);
    assert_eq!((stopped, start.elapsed()), (Ok(()), 5 * SECOND));
    supervisor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_takes_as_long_as_the_children_take_one_after_the_other() {
    let supervisor = Supervisor::one_for_one()
        .child("a", Restart::Permanent, slow(4 * SECOND))
        .child("b", Restart::Permanent, slow(5 * SECOND))
        .start();
    let a = supervisor.child::<u32>("a").await.unwrap();
    tokio::time::sleep(SECOND).await;
    let start = Instant::now();
    assert_eq!(supervisor.stop().await, Exit::Finished);
    assert_eq!(start.elapsed(), 9 * SECOND);
    assert_eq!(a.exit().await, Exit::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_tree_passes_problems_up() {
    fn leaf() -> Supervisor {
        Supervisor::one_for_one()
            .intensity(1, SECOND)
            .child("idle", Restart::Permanent, idle)
    }
    let root = Supervisor::one_for_one()
        .child("leaf", Restart::Permanent, || leaf().spawn(build()))
        .start();
    let leaf = SupervisorHandle::from(root.child("leaf").await.unwrap());
    for _ in 0..2 {
        let idle = leaf.child::<u32>("idle").await.unwrap();
        idle.terminate();
        idle.exit().await;
    }
    let why = "child \"idle\" terminated, after 1 restart within 1s";
    assert_eq!(leaf.exit().await, Exit::Failed(why.into()));
    let again = SupervisorHandle::from(root.child("leaf").await.unwrap());
    assert_ne!(again, leaf);
    let idle = again.child::<u32>("idle").await.unwrap();
    assert_eq!(root.stop().await, Exit::Finished);
    assert_eq!(idle.exit().await, Exit::Terminated);
    assert!(again.children().await.is_err());
}

#[tokio::test]
async fn it_ends_by_itself_when_nothing_is_left_to_do() {
    let once = || spawn(async |_me: Context<u32>| {});
    let supervisor = Supervisor::one_for_one()
        .child("once", Restart::Transient, once)
        .spawn(build());
    let joined = tokio::time::timeout(20 * SECOND, supervisor.join()).await;
    assert_eq!(joined.expect("nobody can reach it"), Ok(()));
}

#[test]
fn children_end_with_a_supervisor_that_is_dropped() {
    let (tell, told) = std::sync::mpsc::channel();
    let children = tokio::runtime::Runtime::new().unwrap();
    let supervisors = tokio::runtime::Runtime::new().unwrap();
    let on = children.handle().clone();
    let start = move || {
        let child = build()
            .on(&on)
            .spawn(async |mut me: Context<u32>| me.receive().await);
        let tell = tell.clone();
        child.on_exit(move |exit| drop(tell.send(exit)));
        child
    };
    let supervisor = {
        let _inside = supervisors.enter();
        Supervisor::one_for_one()
            .child("a", Restart::Permanent, start)
            .start()
    };
    supervisors.block_on(supervisor.child::<u32>("a")).unwrap();
    drop(supervisors);
    assert_eq!(told.recv_timeout(20 * SECOND), Ok(Exit::Terminated));
}

#[test]
#[should_panic(expected = "there is a child \"twin\" already")]
fn names_of_children_differ() {
    let _ = Supervisor::one_for_one()
        .child("twin", Restart::Permanent, idle)
        .child("twin", Restart::Permanent, idle);
}
