//! A service, and clients that do as they like.

use std::sync::Mutex;

use coros_core::{Context, Exit};
use coros_net::{Secret, SendFile};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::protocol::samples::{PROGRAM, opening};
use super::protocol::{FromTenant, ToTenant};
use super::window::WINDOW;
use super::*;
use crate::computation::Dependency;
use crate::content::Content;
use crate::daemon::protocol::sent_as;
use crate::protocol::ToScheduler;
use crate::quota::Spent;
use crate::scheduler::core::CallId;
use crate::scheduler::remote::RemoteCall;
use crate::scheduler::target::Kind;
use crate::scheduler::{Action, JobError, Target};
use crate::soon::soon;

/// A service on a network without nodes.
struct World {
    folder: TempDir,
    secret: Secret,
    service: Service,
    events: mpsc::UnboundedReceiver<ServiceEvent>,
}

impl World {
    async fn new() -> Self {
        let (folder, secret) = (tempfile::tempdir().unwrap(), Secret::random());
        let node = Node::builder().name("office").secret(secret.clone());
        let (tell, events) = mpsc::unbounded_channel();
        let service = Service::builder(node, folder.path().join("service"))
            .on_event(move |event| drop(tell.send(event.clone())));
        let service = service.start().await.unwrap();
        World {
            folder,
            secret,
            service,
            events,
        }
    }

    /// Waits until a client has left: its number, and why.
    async fn left(&mut self) -> (u64, Option<String>) {
        loop {
            if let ServiceEvent::ClientLeft { id, reason, .. } =
                soon(self.events.recv()).await.unwrap()
            {
                return (id, reason);
            }
        }
    }
}

/// A client by what it says.
struct Client {
    node: Node,
    address: Address<ToScheduler>,
    service: Location,
    tenant: Address<ToTenant>,
    told: mpsc::UnboundedReceiver<FromTenant>,
    path: PathBuf,
}

impl Client {
    async fn new(world: &World) -> Self {
        let at = world.service.node().location();
        let node = Node::builder().name("desk").secret(world.secret.clone());
        let node = node.peer(at.endpoint.unwrap()).build().await.unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let tell = Mutex::new(tell);
        let address = coros_core::build()
            .daemon()
            .spawn(async move |mut me: Context<ToScheduler>| {
                while let Some(message) = me.receive().await {
                    if let ToScheduler::Service(_, message) = message {
                        let _ = tell.lock().unwrap().send(message);
                    }
                }
            })
            .address();
        let tenant = open(&node, &address).await.unwrap();
        let path = world.folder.path().join("program");
        std::fs::write(&path, PROGRAM).unwrap();
        Client {
            node,
            address,
            service: at,
            tenant,
            told,
            path,
        }
    }

    async fn say(&self, message: ToTenant) {
        soon(self.tenant.feed(message)).await.unwrap();
    }

    async fn hears(&mut self) -> FromTenant {
        soon(self.told.recv()).await.unwrap()
    }

    /// Sends the program, if it is asked for it, and waits for its turn.
    async fn runs(&mut self) {
        assert_eq!(self.waits().await, 0);
    }

    /// Likewise, but for the end: how many go before it. 0 when its turn has come.
    async fn waits(&mut self) -> usize {
        loop {
            match self.hears().await {
                FromTenant::Send(content) => {
                    let options = SendFile::new().name(sent_as(content));
                    let sent = self.node.send_file(&self.service, &self.path, options);
                    sent.await.unwrap();
                    self.say(ToTenant::Sent).await;
                }
                FromTenant::Waits(before) => return before,
                FromTenant::Runs => return 0,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until it is let go: what it was told, and how its tenant ended.
    async fn let_go(mut self) -> (String, Exit) {
        let why = loop {
            if let FromTenant::Unfit(unfit) = self.hears().await {
                assert!(!unfit.passes);
                break unfit.why;
            }
        };
        self.say(ToTenant::Leave).await;
        (why, soon(self.tenant.exit()).await)
    }
}

/// Opens a computation, which wants all nodes for itself.
async fn open(
    node: &Node,
    client: &Address<ToScheduler>,
) -> Result<Address<ToTenant>, protocol::Closed> {
    let mut opening = opening(client.clone(), node.location());
    opening.usage.terms.exclusive = true;
    let service = node.locate::<Address<ToService>>(NAME).await.unwrap();
    let opened = service.ask(|reply| ToService::Open(Box::new(opening), reply));
    soon(opened).await.unwrap()
}

#[tokio::test]
async fn a_process_opens_no_more_computations_than_it_may() {
    let world = World::new().await;
    let client = Client::new(&world).await;
    let mut others = Vec::new();
    let mut another = async || {
        let run = async |mut me: Context<ToScheduler>| while me.receive().await.is_some() {};
        let other = coros_core::build().daemon().spawn(run).address();
        others.push(other.clone());
        open(&client.node, &other).await
    };
    for _ in 1..protocol::QUOTA.computations {
        another().await.unwrap();
    }
    assert_eq!(
        another().await.unwrap_err(),
        protocol::Closed::Spent(Spent::Computations(16))
    );
    // That is no reason to refuse anybody else.
    Client::new(&world).await;
    // One that ends makes room.
    client.say(ToTenant::Leave).await;
    soon(client.tenant.exit()).await;
    another().await.unwrap();
    world.service.close().await;
}

/// And no process so much that nothing is left for others, nor all of them more than a node keeps.
#[tokio::test]
async fn a_process_has_no_more_kept_than_it_may() {
    let world = World::new().await;
    let many: Vec<_> = (0..12_000)
        .map(|n| Dependency {
            name: format!("{n:01000}"),
            content: Content::of(b"".as_slice()).unwrap(),
            executable: false,
        })
        .collect();
    let mut others = Vec::new();
    let mut another = async |node: &Node| {
        let run = async |mut me: Context<ToScheduler>| while me.receive().await.is_some() {};
        let other = coros_core::build().daemon().spawn(run).address();
        others.push(other.clone());
        let mut opening = opening(other, node.location());
        opening.manifest.files.clone_from(&many);
        let service = node.locate::<Address<ToService>>(NAME).await.unwrap();
        let opened = service.ask(|reply| ToService::Open(Box::new(opening), reply));
        soon(opened).await.unwrap().err()
    };
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::new(&world).await);
    }
    let (last, first) = clients.split_last().unwrap();
    for client in first {
        assert_eq!(another(&client.node).await, None);
        assert_eq!(another(&client.node).await, None);
        let refused = another(&client.node).await;
        assert_eq!(refused, Some(Spent::Bytes(32 << 20).into()));
    }
    assert_eq!(another(&last.node).await, None);
    assert_eq!(
        another(&last.node).await,
        Some(Spent::InAll(128 << 20).into())
    );
    world.service.close().await;
}

#[tokio::test]
async fn names_that_are_too_long_are_refused_where_they_come_in() {
    let world = World::new().await;
    let mut client = Client::new(&world).await;
    client.runs().await;
    let name = "x".repeat(window::LONGEST_NAMES + 1);
    let call = RemoteCall::sample(0, 0).named(name.clone());
    client.say(ToTenant::Calls(vec![call])).await;
    let FromTenant::Ended(ends) = client.hears().await else {
        panic!("no end");
    };
    let told = format!("{:?}", ends[0]);
    assert!(told.contains("names of 4097 bytes"), "{told}");
    let control = ToTenant::Control(7, Target::node(name), Action::Suspend);
    client.say(control).await;
    let answer = client.hears().await;
    assert!(
        matches!(&answer, FromTenant::Controlled(7, Err(JobError::Refused(why))) if why.contains("4097")),
        "{answer:?}"
    );
    world.service.close().await;
}

#[tokio::test]
async fn a_client_that_sends_more_than_the_window_is_let_go() {
    let mut world = World::new().await;
    let mut client = Client::new(&world).await;
    client.runs().await;
    // All that there is room for, but for what a call takes besides.
    let each = WINDOW / 8 - 1024;
    for call in 0..8 {
        client
            .say(ToTenant::Calls(vec![RemoteCall::sample(call, each)]))
            .await;
    }
    // One that ends makes room.
    client.say(ToTenant::Cancel(CallId(0))).await;
    for call in 8..10 {
        client
            .say(ToTenant::Calls(vec![RemoteCall::sample(call, each)]))
            .await;
    }
    let (told, exit) = client.let_go().await;
    assert!(told.contains("more calls at a time"), "{told}");
    let Exit::Failed(why) = exit else {
        panic!("{exit}");
    };
    assert!(told.ends_with(&*why), "{told}: {why}");
    assert_eq!(world.left().await, (1, Some(why.to_string())));
    world.service.close().await;
}

#[tokio::test]
async fn calls_that_come_before_their_turn_are_not_kept() {
    let mut world = World::new().await;
    let client = Client::new(&world).await;
    client
        .say(ToTenant::Calls(vec![RemoteCall::sample(0, 0)]))
        .await;
    let (told, _) = client.let_go().await;
    assert!(told.contains("before their turn"), "{told}");
    assert_eq!(world.left().await.0, 1);
    world.service.close().await;
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_not_listened_to() {
    let world = World::new().await;
    let mut client = Client::new(&world).await;
    client.runs().await;
    client.address.suspend();
    // The answer says it all again.
    let nobody = Target::node("x".repeat(4096));
    let ask = |number| ToTenant::Control(number, nobody.clone(), Action::Suspend);
    let mut asked = 0;
    // As many answers as wait at the service, and as much on both ways as links take.
    while asked < 2000
        && let Ok(()) = timeout(Duration::from_secs(2), client.say(ask(asked))).await
    {
        asked += 1;
    }
    assert!((256..2000).contains(&asked), "{asked}");
    // As soon as it takes them, it is.
    client.address.resume();
    client.say(ask(asked)).await;
    loop {
        if matches!(client.hears().await, FromTenant::Controlled(n, Err(_)) if n == asked) {
            break;
        }
    }
    world.service.close().await;
}

#[tokio::test]
async fn whoever_waits_hears_how_many_go_before_him_when_that_changes() {
    let world = World::new().await;
    let mut clients = Vec::new();
    for before in 0..4 {
        let mut client = Client::new(&world).await;
        assert_eq!(client.waits().await, before);
        clients.push(client);
    }
    // Behind the last but one nothing changes.
    clients.remove(3).say(ToTenant::Leave).await;
    clients.remove(1).say(ToTenant::Leave).await;
    assert_eq!(clients[1].waits().await, 1);
    clients.remove(0).say(ToTenant::Leave).await;
    clients[0].runs().await;
    world.service.close().await;
}

#[tokio::test]
async fn one_that_waits_is_answered_that_there_is_nothing_yet() {
    let world = World::new().await;
    let mut first = Client::new(&world).await;
    first.runs().await;
    let mut client = Client::new(&world).await;
    assert_eq!(client.waits().await, 1);
    client.say(ToTenant::Targets(7, Kind::Node)).await;
    let answer = client.hears().await;
    assert!(
        matches!(&answer, FromTenant::Targets(7, none) if none.is_empty()),
        "{answer:?}"
    );
    let (node, suspend) = (Target::node("farm-1"), Action::Suspend);
    client.say(ToTenant::Control(8, node, suspend)).await;
    let answer = client.hears().await;
    assert!(
        matches!(&answer, FromTenant::Controlled(8, Err(_))),
        "{answer:?}"
    );
    client.say(ToTenant::Close).await;
    let answer = client.hears().await;
    assert!(
        matches!(&answer, FromTenant::Closed(none) if none.is_empty()),
        "{answer:?}"
    );
    world.service.close().await;
}

#[tokio::test]
async fn one_that_ends_by_itself_is_seen_to_have() {
    let world = World::new().await;
    let service = &world.service;
    assert!(timeout(Duration::ZERO, service.ended()).await.is_err());
    service.reception.terminate();
    soon(service.ended()).await;
    assert!(matches!(service.drain().await, Err(ServiceError::Ended)));
}

#[tokio::test]
async fn a_function_that_panics_at_an_event_ends_nothing() {
    let mut world = World::new().await;
    let node = Node::builder().name("other").secret(world.secret.clone());
    let (tell, mut told) = mpsc::unbounded_channel();
    let service = Service::builder(node, world.folder.path().join("other")).on_event(move |_| {
        tell.send(()).unwrap();
        panic!("ouch")
    });
    world.service = service.start().await.unwrap();
    for _ in 0..2 {
        let mut client = Client::new(&world).await;
        client.runs().await;
        client.say(ToTenant::Leave).await;
        soon(client.tenant.exit()).await;
    }
    world.service.close().await;
    assert_eq!((told.recv().await, told.recv().await), (Some(()), None));
}
