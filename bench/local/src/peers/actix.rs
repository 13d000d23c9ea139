//! actix: an actor per mailbox on one of two arbiters (threads); `do_send`, which ignores the mailbox's limit, to send,
//! `send().await` to ask. Actors with the same place share an arbiter, which is what actix is good at.

use std::future::Future;
use std::sync::OnceLock;

use actix::{
    Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, Message, MessageResult, System,
};

use crate::workloads::{Behaviour, Msg, Peer, WORKERS, echo};

pub(crate) struct Actix;

static ARBITERS: OnceLock<[ArbiterHandle; WORKERS]> = OnceLock::new();

fn arbiter(place: usize) -> &'static ArbiterHandle {
    &ARBITERS.get().expect("block_on starts the arbiters")[place % WORKERS]
}

pub(crate) struct Host<B>(B);

#[derive(Message)]
#[rtype(result = "()")]
struct Tell(Msg);

impl<B: Behaviour> Actor for Host<B> {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.0.started();
    }
}

impl<B: Behaviour> Handler<Tell> for Host<B> {
    type Result = ();

    fn handle(&mut self, Tell(message): Tell, _: &mut Self::Context) {
        self.0.handle(message);
    }
}

pub(crate) struct Echo;

#[derive(Message)]
#[rtype(result = "Msg")]
struct Ask(Msg);

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Ask> for Echo {
    type Result = MessageResult<Ask>;

    fn handle(&mut self, Ask(message): Ask, _: &mut Self::Context) -> Self::Result {
        MessageResult(echo(message))
    }
}

impl Peer for Actix {
    type Ref<B: Behaviour> = Addr<Host<B>>;
    type Echo = Addr<Echo>;

    fn block_on<F>(driver: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        System::new().block_on(async {
            ARBITERS.get_or_init(|| std::array::from_fn(|_| Arbiter::new().handle()));
            driver.await
        })
    }

    fn task(place: usize, task: impl Future<Output = ()> + Send + 'static) {
        assert!(
            arbiter(place).spawn(task),
            "arbiters live as long as the bench"
        );
    }

    async fn start<B: Behaviour>(place: usize, behaviour: B) -> Self::Ref<B> {
        Host::start_in_arbiter(arbiter(place), move |_| Host(behaviour))
    }

    fn send<B: Behaviour>(to: &Self::Ref<B>, message: Msg) {
        to.do_send(Tell(message));
    }

    async fn start_echo() -> Self::Echo {
        Echo::start_in_arbiter(arbiter(0), |_| Echo)
    }

    async fn ask(to: &Self::Echo, message: Msg) -> Msg {
        to.send(Ask(message)).await.expect("the echo answers")
    }
}
