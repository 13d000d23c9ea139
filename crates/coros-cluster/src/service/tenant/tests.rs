//! A tenant by itself, and what its client is told.

use std::sync::Arc;

use coros_net::Secret;

use super::super::protocol::samples::opening;
use super::*;
use crate::daemon::protocol::{NodeState, ToDaemon, View};
use crate::machine::{Load, Machine};
use crate::placement::NodeView;
use crate::scheduler::core::CallId;
use crate::scheduler::finder::Found;
use crate::soon::soon;

#[test]
fn a_client_that_does_not_listen_hears_what_its_calls_wait_for() {
    let (client, mut told) = mpsc::unbounded_channel();
    let hears = hears(TenantId(1), Told::default(), client);
    let reason = "all are suspended".to_owned();
    let waits = Event::NoSlots { reason };
    hears(&Event::Scheduled, false);
    hears(&waits, true);
    assert!(told.try_recv().is_err());
    hears(&waits, false);
    assert_eq!(told.try_recv(), Ok(waits));
}

/// A tenant, what its client is told, and what its own process says.
struct World {
    tenant: Tenant,
    news: News,
    told: mpsc::UnboundedReceiver<FromTenant>,
}

impl World {
    async fn new() -> Self {
        let node = Node::builder().secret(Secret::random()).build();
        let node = node.await.unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let client = coros_core::build().daemon().capacity(1).spawn(
            async move |mut me: Context<ToScheduler>| {
                while let Some(message) = me.receive().await {
                    if let ToScheduler::Service(_, message) = message {
                        let _ = tell.send(message);
                    }
                }
            },
        );
        let service = coros_core::build()
            .daemon()
            .spawn(async |me: Context<ToService>| drop(me));
        let (wire, own) = mpsc::unbounded_channel();
        let (ends, told_ends) = mpsc::unbounded_channel();
        let (events, told_events) = mpsc::unbounded_channel();
        let tenant = Tenant {
            id: TenantId(1),
            service: service.address(),
            grace: Duration::ZERO,
            opening: opening(client.address(), node.location()),
            wire,
            told: Feeder::new(client.address()),
            backlog: Backlog::default(),
            account: Account::default(),
            came: mpsc::channel(1).0,
            fetched: None,
            scheduler: None,
            asking: HashMap::new(),
            inquiries: 0,
            public: Told::default(),
            ends,
            events,
            node,
        };
        let news = News {
            own,
            ends: told_ends,
            events: told_events,
        };
        World { tenant, news, told }
    }

    /// How it ends; and what its client is told.
    fn serve(
        self,
    ) -> (
        coros_core::Coro<ToTenant, Over>,
        mpsc::UnboundedReceiver<FromTenant>,
    ) {
        let World {
            mut tenant,
            news,
            told,
        } = self;
        let serving = coros_core::build()
            .daemon()
            .spawn(async move |mut me: Context<ToTenant>| tenant.serve(&mut me, news).await);
        (serving, told)
    }
}

fn closed(worker: usize) -> Event {
    let name = Arc::from(format!("w{worker}@farm-1"));
    let node = Arc::new(NodeView::new("farm-1", Machine::look([])));
    let pid = 7;
    Event::WorkerClosed { name, pid, node }
}

/// However the turns fall, and though the client has not taken what came before.
#[tokio::test]
async fn that_all_has_ended_is_told_last() {
    const MANY: usize = 600;
    let mut world = World::new().await;
    let Tenant {
        ends, events, wire, ..
    } = &world.tenant;
    let wire = wire.clone();
    for call in 0..MANY {
        events.send(closed(call)).unwrap();
        let cancelled = Completed::without_worker(JobError::Cancelled);
        ends.send((call, cancelled)).unwrap();
        // The client keeps what has not ended.
        let left = Completed::without_worker(JobError::Closed);
        ends.send((MANY + call, left)).unwrap();
    }
    let killed = vec![Arc::from("w1@farm-1")];
    wire.send(OwnTenant::Closed(killed.clone())).unwrap();
    world.tenant.inquiries += 1;
    for call in 0..2 * MANY {
        let call = CallId(call as u64);
        world.tenant.account.take(call, 1).unwrap();
    }
    let (serving, mut told) = world.serve();
    let (mut seen, mut ended) = (0, 0);
    loop {
        match soon(told.recv()).await.unwrap() {
            FromTenant::Events(events) => seen += events.len(),
            FromTenant::Ended(ends) => ended += ends.len(),
            FromTenant::Closed(them) => {
                assert_eq!(them, killed);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((seen, ended), (MANY, MANY));
    wire.send(OwnTenant::End).unwrap();
    assert!(matches!(soon(serving.join()).await, Ok(Over::Told)));
}

/// Whoever loses its calls is to know why.
#[tokio::test]
async fn a_scheduler_that_panics_is_the_reason_why_its_client_is_let_go() {
    let world = World::new().await;
    let wire = world.tenant.wire.clone();
    let scheduler = coros_core::build()
        .daemon()
        .spawn(async |_: Context<()>| panic!("call 7 is unknown"));
    let exit = scheduler.address().exit().await;
    wire.send(OwnTenant::Over(exit)).unwrap();
    let (serving, _told) = world.serve();
    let _open = serving.address();
    match soon(serving.join()).await {
        Ok(Over::LetGo(why)) => assert!(why.contains("call 7 is unknown"), "{why}"),
        _ => panic!("it is let go"),
    }
}

/// The client may wait for it.
#[tokio::test]
async fn for_what_is_too_large_something_is_told_instead() {
    let mut world = World::new().await;
    let epoch = world.tenant.opening.epoch;
    let there = vec![Target::worker("w1@farm-1")];
    let long = || "x".repeat(MAX_TOLD + 1);
    for unsent in [
        FromTenant::Started(Err(long())),
        FromTenant::Unfit(Unfit::for_good(long())),
        FromTenant::Controlled(2, Err(JobError::Failed(long()))),
        FromTenant::Events(vec![closed(1), closed(2)]),
        FromTenant::Targets(3, there),
        FromTenant::Closed(vec!["w1".into(), "w2".into()]),
    ] {
        world.tenant.refuse(ToScheduler::Service(epoch, unsent));
    }
    assert!(world.tenant.tell_more().is_ok());
    let (_serving, mut told) = world.serve();
    let mut next = async || soon(told.recv()).await.unwrap();
    let short = "x".repeat(MAX_TOLD);
    assert!(matches!(next().await, FromTenant::Started(Err(why)) if why == short));
    assert!(matches!(next().await, FromTenant::Unfit(it) if it.why == short && !it.passes));
    let refused = Err(JobError::Refused(short));
    assert!(matches!(next().await, FromTenant::Controlled(2, done) if done == refused));
    for _ in 0..2 {
        assert!(matches!(next().await, FromTenant::Events(it) if it.len() == 1));
    }
    assert!(matches!(next().await, FromTenant::Targets(3, it) if it.is_empty()));
    assert!(matches!(next().await, FromTenant::Closed(it) if it.len() == 1));
}

/// It would not be asked about again.
#[tokio::test]
async fn a_node_that_is_too_large_to_be_shown_to_the_client_is_not_used() {
    let mut world = World::new().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let scheduler =
        coros_core::build()
            .daemon()
            .spawn(async move |mut me: Context<ToScheduler>| {
                while let Some(message) = me.receive().await {
                    let _ = tell.send(message);
                }
            });
    world.tenant.scheduler = Some(Running {
        address: scheduler.address(),
        own: world.tenant.node.clone(),
        heard: false,
        closing: false,
    });
    let daemon = coros_core::build().daemon();
    let daemon = daemon.spawn(async |me: Context<ToDaemon>| drop(me));
    let found = Found {
        at: world.tenant.node.location(),
        daemon: daemon.address(),
        view: View {
            machine: Machine::look([]),
            load: Load::default(),
            slots: 1,
            lent: 0,
            state: NodeState::Open,
        },
    };
    let (id, node) = (found.node(), found.shown());
    let question = Question {
        found,
        node,
        new: true,
    };
    world.tenant.ask(Box::new(question));
    let Some(unsent @ FromTenant::Judge(..)) = world.tenant.backlog.next() else {
        panic!("the client is asked")
    };
    let epoch = world.tenant.opening.epoch;
    world.tenant.refuse(ToScheduler::Service(epoch, unsent));
    let Some(ToScheduler::Command(Command::Decided(question, verdict))) = soon(told.recv()).await
    else {
        panic!("the scheduler is told")
    };
    assert_eq!(question.found.node(), id);
    let why = "what it says of itself is too large to be told";
    assert_eq!(verdict.why_not(), Some(why));
    // The next time it may be another.
    assert!(world.tenant.asking.is_empty());
}
