//! The shell by itself: what it makes of what it is told.

use coros_net::Secret;

use super::super::core::{CallId, HostId};
use super::super::plan::samples::plan;
use super::super::remote::RemoteCall;
use super::claims::Claim;
use super::*;
use crate::machine::Machine;
use crate::service::protocol::OWN_NETWORK;

/// A scheduler of this machine, whose one worker starts; and what it tells.
async fn world(me: &Context<ToScheduler>) -> (Shell, mpsc::UnboundedReceiver<Event>) {
    let authority = Authority::derive(&Secret::random(), OWN_NETWORK).unwrap();
    let node = Node::builder().member(false).authority(authority.clone());
    let here = Here {
        room: Resources::default(),
        node: Arc::new(NodeView::new("local", Machine::look([]))),
        workers: 1,
        path: "/nowhere/there/is/a/program".into(),
        start: Start::default(),
        duties: Duties::default(),
        shared: tempfile::tempdir().unwrap(),
    };
    let settings = Settings {
        plan: plan(),
        workers: Workers::Here(Box::new(here)),
        stderr: Arc::new(|_, _| {}),
        authority,
        client: None,
    };
    let (tell, told) = mpsc::unbounded_channel();
    let mut listeners = Listeners::default();
    listeners.add(tell, []);
    let (started, _) = oneshot::channel();
    let node = node.build().await.unwrap();
    let mut shell = Shell::new(me, node, settings, listeners, started);
    shell.start_hosts();
    (shell, told)
}

/// It may have said so before it was killed.
#[tokio::test]
async fn a_worker_that_is_being_killed_is_not_ready() {
    let test = async |me: Context<ToScheduler>| {
        let control = coros_core::build().daemon();
        let control = control.spawn(async |me: Context<ToWorker>| drop(me));
        for killed in [false, true] {
            let (mut shell, mut told) = world(&me).await;
            let worker = WorkerId(1);
            if killed {
                let why = "its call was cancelled".into();
                shell.tell_pool_of(worker, pool::Input::Kill { worker, why });
            }
            shell.ready(worker, control.address(), 7);
            assert_eq!(shell.workers[&worker].control.is_some(), !killed);
            let ready = Event::WorkerReady {
                name: "w1".into(),
                pid: 7,
                node: shell.node_at(HostId(0)),
            };
            assert_eq!(told.try_recv().ok(), (!killed).then_some(ready));
        }
    };
    let tested = coros_core::build().daemon().spawn(test);
    tested.join().await.unwrap();
}

/// Whichever of the two is heard first: its worker is free for the next.
#[tokio::test]
async fn a_call_that_is_cancelled_as_it_gets_what_it_takes_does_not_begin() {
    let test = async |me: Context<ToScheduler>| {
        let control = coros_core::build().daemon();
        let control = control.spawn(async |me: Context<ToWorker>| drop(me));
        let (mut shell, _told) = world(&me).await;
        let (worker, call) = (WorkerId(1), CallId(7));
        shell.ready(worker, control.address(), 7);
        let (ends, _ended) = mpsc::unbounded_channel();
        let submission = RemoteCall::sample(call.0, 20).submission(&ends);
        shell.command(Command::Submit(vec![submission]));
        shell.dispatch();
        shell.act();
        assert!(shell.core.computes(worker));
        // As at a node, where it has not been sent.
        let waiting = shell.workers.get_mut(&worker).unwrap();
        waiting.batch.clear();
        waiting.claim = Some(Claim::sample(3, call));
        shell.command(Command::Cancel(call));
        shell.claimed(worker, 3);
        shell.act();
        assert!(!shell.core.computes(worker));
        assert!(shell.workers[&worker].claim.is_none());
    };
    let tested = coros_core::build().daemon().spawn(test);
    tested.join().await.unwrap();
}
