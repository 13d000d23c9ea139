//! Messages as whoever has the secret may write them: any bytes are understood or refused, and what is understood can be
//! passed on.

use std::cell::Cell;

use coros_core::remote::{Message, NodeId};
use coros_core::{Address, Context, Reply};
use coros_net::{Node, Secret};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::daemon::leases::Wish;
use crate::daemon::protocol::{FromDesk, NodeState, Opening, ToDaemon, ToDesk};
use crate::hash::ContentHash;
use crate::machine::Machine;
use crate::placement::NodeView;
use crate::process::End;
use crate::protocol::{CallResult, FromWorker, Run, ToScheduler, ToWorker};
use crate::scheduler::core::{CallId, WorkerId};
use crate::scheduler::remote::{Ended, RemoteCall};
use crate::scheduler::target::Kind;
use crate::scheduler::{Action, Completed, Event, JobError, Target};
use crate::service::protocol::{FromTenant, ToService, ToTenant, samples};

/// Another byte, one more, or one less.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Add(Index, u8),
    Remove(Index),
    Cut(Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => any::<(Index, u8)>().prop_map(|(at, byte)| Edit::Add(at, byte)),
        1 => any::<Index>().prop_map(Edit::Remove),
        1 => any::<Index>().prop_map(Edit::Cut),
    ];
    proptest::collection::vec(edit, 1..6)
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        // Of nothing nothing is left.
        let length = bytes.len().max(1);
        match edit {
            Edit::Add(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
            Edit::Cut(at) => bytes.truncate(at.index(length)),
            _ if bytes.is_empty() => {}
            Edit::Set(at, byte) => bytes[at.index(length)] = *byte,
            Edit::Remove(at) => drop(bytes.remove(at.index(length))),
        }
    }
    bytes
}

/// Has messages of a type read that are edited, and noise.
fn read<T: Serialize + DeserializeOwned>(node: &Node, messages: &[T]) {
    let written: Vec<_> = messages.iter().map(|it| node.encode(it).unwrap()).collect();
    let understood = Cell::new(0);
    let noise = proptest::collection::vec(any::<u8>(), 0..200);
    let inputs = (0..written.len(), edits(), noise);
    let mut runner = TestRunner::deterministic();
    let ran = runner.run(&inputs, |(which, edits, noise)| {
        let _ = node.decode::<T>(&noise);
        if let Ok(value) = node.decode::<T>(&edited(written[which].clone(), &edits)) {
            understood.update(|n| n + 1);
            // An address of nobody cannot be.
            if let Ok(bytes) = node.encode(&value) {
                prop_assert!(node.decode::<T>(&bytes).is_ok());
            }
        }
        Ok(())
    });
    ran.unwrap();
    assert!(understood.get() > 0, "nothing was understood");
}

/// A message with a reply, as its receiver has it.
async fn asked<M: Message, A: Message>(make: impl FnOnce(Reply<A>) -> M + Send + 'static) -> M {
    let coroutine = coros_core::spawn(async |mut me: Context<M>| me.receive().await);
    let address = coroutine.address();
    let asking = tokio::spawn(async move { drop(address.ask(make).await) });
    let message = coroutine.join().await.unwrap().unwrap();
    asking.abort();
    message
}

fn nobody<M: Message>() -> Address<M> {
    let nobody = async |mut me: Context<M>| while me.receive().await.is_some() {};
    coros_core::build().daemon().spawn(nobody).address()
}

fn hash() -> ContentHash {
    [7; 32].into()
}

fn view() -> Box<NodeView> {
    Box::new(NodeView::new(
        "farm",
        Machine::look(["gpu".parse().unwrap()]),
    ))
}

#[tokio::test]
async fn a_daemon_and_its_clients_bear_any_bytes() {
    let node = Node::builder()
        .secret(Secret::random())
        .build()
        .await
        .unwrap();
    let opening = Box::new(Opening::for_test(nobody(), 7));
    let asked = [
        asked(ToDaemon::Look).await,
        asked(move |reply| ToDaemon::Open(opening, reply)).await,
    ];
    read(&node, &asked);
    let worker = WorkerId(3);
    let orders = [
        ToDesk::Want(Wish::default()),
        ToDesk::GiveBack(2),
        ToDesk::Launch {
            worker,
            name: "w3@farm".into(),
            handover: vec![1, 2, 3].into(),
            prepared: true,
        },
        ToDesk::Kill(worker),
        ToDesk::Leave,
    ];
    read(&node, &orders);
    let end = End {
        why: "killed".into(),
        killed: true,
        hit: vec!["too many processes".into()],
        last_words: vec!["so long".into()],
    };
    let said = [
        FromDesk::Send(hash()),
        FromDesk::Unfit("too old".into()),
        FromDesk::Grant(3),
        FromDesk::State(NodeState::Draining),
        FromDesk::Ending,
        FromDesk::Ended { worker, end },
    ];
    read(&node, &said);
    node.close().await;
}

#[tokio::test]
async fn a_service_and_its_clients_bear_any_bytes() {
    let node = Node::builder()
        .secret(Secret::random())
        .build()
        .await
        .unwrap();
    let opening = Box::new(samples::opening(nobody(), node.location()));
    let open = asked(move |reply| ToService::Open(opening, reply)).await;
    read(&node, &[open]);
    let call = CallId(7);
    let orders = [
        ToTenant::Sent,
        ToTenant::Calls(vec![RemoteCall::sample(7, 20)]),
        ToTenant::Cancel(call),
        ToTenant::Targets(1, Kind::Node),
        ToTenant::Muster(2),
        ToTenant::Control(2, Target::node("farm"), Action::Suspend),
    ];
    read(&node, &orders);
    let failed = Completed::without_worker(JobError::Failed("no".into()));
    let said = [
        FromTenant::Send(hash()),
        FromTenant::Judge(NodeId(7), view(), true),
        FromTenant::Ended(vec![Ended::new((7, failed))]),
        FromTenant::Events(vec![Event::Scheduled]),
        FromTenant::Targets(1, vec![Target::worker("w1@farm")]),
        FromTenant::Closed(vec!["w1".into()]),
    ];
    read(&node, &said.map(|it| ToScheduler::Service(1, it)));
    node.close().await;
}

#[tokio::test]
async fn a_worker_and_its_scheduler_bear_any_bytes() {
    let node = Node::builder()
        .secret(Secret::random())
        .build()
        .await
        .unwrap();
    let (call, attempt) = (CallId(7), 1);
    let run = Run {
        call,
        attempt,
        function: Some("a function".into()),
        args: vec![1, 2, 3].into(),
        priority: -1,
        io: true,
        limit: None,
        watched: true,
    };
    let orders = [
        ToWorker::Run(vec![run]),
        ToWorker::Revoke {
            call,
            attempt,
            abort: true,
        },
        ToWorker::Goodbye {
            tear_down_node: true,
        },
    ];
    read(&node, &orders);
    let control = nobody();
    let said = [
        FromWorker::NodeSetUp(vec![1, 2, 3].into()),
        FromWorker::SetupFailed("no".into()),
        FromWorker::Ready { control, pid: 7 },
        FromWorker::Done {
            call,
            attempt,
            result: CallResult::Panicked("so".into()),
            ran: None,
        },
    ];
    read(&node, &said.map(|it| ToScheduler::Report(WorkerId(3), it)));
    node.close().await;
}
