//! A client, and services that do as they like.

use coros_core::remote::MAX_TOLD;
use coros_core::{Context, Reply};
use coros_net::Secret;
use tokio::sync::mpsc;

use super::*;
use crate::daemon::fetch::Unfit;
use crate::function::{Invocation, Remote, call};
use crate::machine::Machine;
use crate::placement::{Decision, Placement};
use crate::scheduler::{Action, Arguments, Scheduler, SchedulerBuilder, StartError, Target};
use crate::service::protocol::{Closed, NAME, Opening, ToService};
use crate::soon::soon;

type Opened = Reply<Result<Address<ToTenant>, Closed>>;

/// A service by what it hears.
struct Service {
    node: Node,
    secret: Secret,
    opened: mpsc::UnboundedReceiver<(Opening, Opened)>,
}

/// What it has of a client.
struct Tenant {
    opening: Opening,
    said: mpsc::UnboundedReceiver<ToTenant>,
}

impl Service {
    async fn new() -> Self {
        let secret = Secret::random();
        let node = Node::builder().name("office").secret(secret.clone());
        let node = node.build().await.unwrap();
        let (tell, opened) = mpsc::unbounded_channel();
        let run = async move |mut me: Context<ToService>| {
            while let Some(ToService::Open(opening, reply)) = me.receive().await {
                let _ = tell.send((*opening, reply));
            }
        };
        let service = coros_core::build().daemon().spawn(run).address();
        node.register(NAME, &service).unwrap();
        Service {
            node,
            secret,
            opened,
        }
    }

    /// Starts a scheduler at it, which has it run this executable.
    async fn client(&self) -> Starting {
        self.client_with(|builder| builder).await
    }

    async fn client_with(
        &self,
        with: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder,
    ) -> Starting {
        let at = self.node.location().endpoint.unwrap();
        let node = Node::builder().name("desk").secret(self.secret.clone());
        let node = node.peer(at).build().await.unwrap();
        let (tell, events) = mpsc::unbounded_channel();
        let scheduler = Scheduler::at(&node)
            .program(std::env::current_exe().unwrap())
            .on_event(move |event| drop(tell.send(event.clone())));
        let starting = tokio::spawn(with(scheduler).start());
        Starting { starting, events }
    }

    async fn takes(&mut self) -> Tenant {
        let (opening, reply) = soon(self.opened.recv()).await.unwrap();
        let (address, said) = tenant();
        reply.send(Ok(address));
        Tenant { opening, said }
    }
}

struct Starting {
    starting: tokio::task::JoinHandle<Result<Scheduler, StartError>>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Starting {
    /// The next one, but that something is waited for, which depends on how long that takes.
    async fn event(&mut self) -> String {
        loop {
            match soon(self.events.recv()).await.unwrap() {
                Event::NodesAwaited { .. } => {}
                event => return event.to_string(),
            }
        }
    }
}

impl Tenant {
    fn says(&self, message: FromTenant) {
        let message = ToScheduler::Service(self.opening.epoch, message);
        self.opening.client.send(message).unwrap();
    }

    async fn hears(&mut self) -> ToTenant {
        soon(self.said.recv()).await.unwrap()
    }
}

fn tenant() -> (Address<ToTenant>, mpsc::UnboundedReceiver<ToTenant>) {
    let (tell, said) = mpsc::unbounded_channel();
    let run = async move |mut me: Context<ToTenant>| {
        while let Some(message) = me.receive().await {
            let _ = tell.send(message);
        }
    };
    (coros_core::build().daemon().spawn(run).address(), said)
}

#[tokio::test]
async fn a_service_that_cannot_now_is_tried_again_later() {
    let mut service = Service::new().await;
    let mut client = service.client().await;
    let mut first = service.takes().await;
    assert!(client.event().await.ends_with("was found"));
    first.says(FromTenant::Unfit(Unfit::for_now("the disk is full")));
    assert_eq!(
        client.event().await,
        "service office is not used: the disk is full"
    );
    assert!(matches!(first.hears().await, ToTenant::Leave));

    let second = service.takes().await;
    assert!(second.opening.epoch > first.opening.epoch);
    assert!(client.event().await.ends_with("was found"));
    // Nothing that the first one says counts any more.
    first.says(FromTenant::Unfit(Unfit::for_good("it is no program")));
    for before in [2, 1] {
        second.says(FromTenant::Waits(before));
    }
    let busy = "service office is busy";
    assert_eq!(
        client.event().await,
        format!("{busy}: 2 programs go before this one")
    );
    assert_eq!(
        client.event().await,
        format!("{busy}: 1 program goes before this one")
    );
    second.says(FromTenant::Runs);
    assert_eq!(client.event().await, "service office runs the program");
    second.says(FromTenant::Started(Ok(())));
    let scheduler = soon(client.starting).await.unwrap().unwrap();
    drop(scheduler);
}

struct Nothing;

impl Remote for Nothing {
    type Args = ();
    type Output = ();
    const NAME: &'static str = "nothing";
    const ASYNC: bool = false;

    fn invoke((): ()) -> Invocation<()> {
        Invocation::Now(Ok(()))
    }
}

#[tokio::test]
async fn what_comes_of_a_call_is_told_once_and_nothing_after_its_end() {
    let mut service = Service::new().await;
    let mut client = service.client().await;
    let mut tenant = service.takes().await;
    tenant.says(FromTenant::Runs);
    tenant.says(FromTenant::Started(Ok(())));
    assert!(matches!(tenant.hears().await, ToTenant::Listen));
    let scheduler = soon(&mut client.starting).await.unwrap().unwrap();
    let job = scheduler.submit(call::<Nothing>(()));
    let ToTenant::Calls(calls) = tenant.hears().await else {
        panic!("no call");
    };
    let (job_id, function) = (job.id(), || "nothing".into());
    let started = || Event::JobStarted {
        job: job_id,
        function: function(),
        arguments: Arguments::default(),
        worker: "w1".into(),
        attempt: 1,
        after: Duration::ZERO,
    };
    let waits = || Event::JobWaits {
        job: job_id,
        function: function(),
    };
    let retried = || Event::JobRetried {
        job: job_id,
        function: function(),
        from: "w1".into(),
    };
    let before = vec![waits(), started(), started(), retried(), started()];
    tenant.says(FromTenant::Events(before));
    let end = (0, Completed::without_worker(JobError::Failed("no".into())));
    assert_eq!(calls[0].call(), CallId(0));
    tenant.says(FromTenant::Ended(vec![Ended::new(end)]));
    tenant.says(FromTenant::Events(vec![waits(), retried(), started()]));
    let node = NodeView::new("farm-1", Machine::look([])).into();
    tenant.says(FromTenant::Events(vec![Event::NodeReady { node }]));
    let mut told = Vec::new();
    loop {
        match soon(client.events.recv()).await.unwrap() {
            Event::JobWaits { .. } => told.push("waits"),
            Event::JobStarted { .. } => told.push("started"),
            Event::JobRetried { .. } => told.push("retried"),
            Event::JobEnded { .. } => told.push("ended"),
            Event::NodeReady { .. } => break,
            _ => {}
        }
    }
    assert_eq!(told, ["waits", "started", "retried", "started", "ended"]);
    drop((scheduler, job));
}

/// More than any message has room for.
fn long() -> String {
    "x".repeat(17 << 20)
}

/// The service would not ask again.
#[tokio::test]
async fn why_a_node_is_not_used_is_told_however_long_it_is() {
    let mut service = Service::new().await;
    let excluded = Placement::builder().allocate(|_, _| Decision::exclude(long()));
    let excluded = excluded.build().unwrap();
    let _client = service
        .client_with(|builder| builder.placement(excluded))
        .await;
    let mut tenant = service.takes().await;
    tenant.says(FromTenant::Runs);
    assert!(matches!(tenant.hears().await, ToTenant::Listen));
    let node = Box::new(NodeView::new("farm", Machine::look([])));
    tenant.says(FromTenant::Judge(NodeId(7), node, true));
    let ToTenant::Judged(NodeId(7), verdict) = tenant.hears().await else {
        panic!("it was asked about a node")
    };
    let why = verdict.share.unwrap_err();
    assert!(why.starts_with("xxx") && why.len() <= MAX_TOLD);
}

/// Nobody else would answer.
#[tokio::test]
async fn whoever_asks_for_more_than_can_be_sent_is_told_so() {
    let mut service = Service::new().await;
    let client = service.client().await;
    let tenant = service.takes().await;
    tenant.says(FromTenant::Runs);
    tenant.says(FromTenant::Started(Ok(())));
    let scheduler = soon(client.starting).await.unwrap().unwrap();
    let done = soon(scheduler.control(Target::node(long()), Action::Suspend)).await;
    let why = "a name of 17825792 bytes, which is too long to be sent".to_owned();
    assert_eq!(done, Err(JobError::Refused(why)));
}

/// The client listens on loopback, as nodes do unless told otherwise.
#[tokio::test]
async fn a_node_on_another_machine_than_a_client_on_loopback_is_not_used() {
    let mut service = Service::new().await;
    let _client = service.client().await;
    let mut tenant = service.takes().await;
    tenant.says(FromTenant::Runs);
    assert!(matches!(tenant.hears().await, ToTenant::Listen));
    for (address, fits) in [([127, 0, 0, 1], true), ([192, 0, 2, 1], false)] {
        let node = NodeView {
            addresses: vec![address.into()],
            ..NodeView::new("farm", Machine::look([]))
        };
        tenant.says(FromTenant::Judge(NodeId(7), Box::new(node), true));
        let ToTenant::Judged(NodeId(7), verdict) = tenant.hears().await else {
            panic!("it was asked about a node")
        };
        match verdict.share {
            Ok(_) => assert!(fits),
            Err(why) => assert!(!fits && why.contains("is on another machine"), "{why}"),
        }
        assert_eq!(verdict.duties.is_some(), fits);
    }
}

#[tokio::test]
async fn a_service_that_never_can_is_not_tried_again() {
    let mut service = Service::new().await;
    let client = service.client().await;
    let mut tenant = service.takes().await;
    tenant.says(FromTenant::Unfit(Unfit::for_good("it is too large")));
    let error = soon(client.starting).await.unwrap().unwrap_err();
    assert!(error.to_string().ends_with("it is too large"), "{error}");
    assert!(matches!(tenant.hears().await, ToTenant::Leave));
}

#[tokio::test]
async fn a_tenant_that_comes_when_all_is_in_vain_is_told_to_leave() {
    let mut service = Service::new().await;
    let client = service.client().await;
    let mut tenant = service.takes().await;
    tenant.says(FromTenant::Runs);
    tenant.says(FromTenant::Started(Ok(())));
    let scheduler = soon(client.starting).await.unwrap().unwrap();
    tenant.says(FromTenant::Unfit(Unfit::for_good("it is too large")));
    while !matches!(tenant.hears().await, ToTenant::Leave) {}
    let (address, said) = self::tenant();
    let joined = Command::Joined {
        epoch: tenant.opening.epoch + 1,
        at: service.node.location(),
        tenant: address,
    };
    scheduler.inner.command(joined);
    let opening = tenant.opening;
    let mut late = Tenant { opening, said };
    assert!(matches!(late.hears().await, ToTenant::Leave));
}

#[tokio::test]
async fn one_that_is_unfit_when_all_was_to_end_has_ended() {
    let mut service = Service::new().await;
    let mut client = service.client().await;
    let mut tenant = service.takes().await;
    assert!(client.event().await.ends_with("was found"));
    client.starting.abort();
    assert!(matches!(tenant.hears().await, ToTenant::Close));
    tenant.says(FromTenant::Unfit(Unfit::for_good("it is too large")));
    assert!(matches!(tenant.hears().await, ToTenant::Leave));
    soon(tenant.opening.client.exit()).await;
}
