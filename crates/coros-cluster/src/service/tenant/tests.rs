//! A tenant by itself, and what its client is told.

use coros_net::Secret;

use super::super::protocol::samples::opening;
use super::*;
use crate::scheduler::core::CallId;
use crate::soon::soon;

/// However the turns fall, and though the client has not taken what came before.
#[tokio::test]
async fn that_all_has_ended_is_told_last() {
    const MANY: usize = 600;
    let node = Node::builder().secret(Secret::random()).build();
    let node = node.await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
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
    for call in 0..MANY {
        let name = Arc::from(format!("w{call}@farm-1"));
        let pid = 7;
        events.send(Event::WorkerClosed { name, pid }).unwrap();
        let cancelled = Completed::without_worker(JobError::Cancelled);
        ends.send((call, cancelled)).unwrap();
        // The client keeps what has not ended.
        let left = Completed::without_worker(JobError::Closed);
        ends.send((MANY + call, left)).unwrap();
    }
    let killed = vec![Arc::from("w1@farm-1")];
    wire.send(OwnTenant::Closed(killed.clone())).unwrap();
    let mut tenant = Tenant {
        id: TenantId(1),
        service: service.address(),
        grace: Duration::ZERO,
        opening: opening(client.address(), node.location()),
        wire: wire.clone(),
        told: Feeder::new(client.address()),
        backlog: Backlog::default(),
        account: Account::default(),
        sent: Arc::default(),
        fetched: None,
        scheduler: None,
        asking: HashMap::new(),
        inquiries: 1,
        public: Told::default(),
        ends,
        events,
        node,
    };
    for call in 0..2 * MANY {
        tenant.account.take(CallId(call as u64), 1).unwrap();
    }
    let news = News {
        own,
        ends: told_ends,
        events: told_events,
    };
    let serving = coros_core::build()
        .daemon()
        .spawn(async move |mut me: Context<ToTenant>| tenant.serve(&mut me, news).await);
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
