//! kameo: an actor per mailbox, unbounded by `spawn_with_mailbox`; `tell` to send, `ask` to ask.

use std::convert::Infallible;

use kameo::message::{Context, Message};
use kameo::prelude::{Actor, ActorRef, Spawn, mailbox};

use crate::workloads::{Behaviour, Msg, Peer, echo};

pub(crate) struct Kameo;

pub(crate) struct Host<B>(B);

impl<B: Behaviour> Actor for Host<B> {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(mut host: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        host.0.started();
        Ok(host)
    }
}

impl<B: Behaviour> Message<Msg> for Host<B> {
    type Reply = ();

    async fn handle(&mut self, message: Msg, _: &mut Context<Self, ()>) {
        self.0.handle(message);
    }
}

#[derive(Actor)]
pub(crate) struct Echo;

#[derive(kameo::Reply)]
pub(crate) struct Answer(Msg);

impl Message<Msg> for Echo {
    type Reply = Answer;

    async fn handle(&mut self, message: Msg, _: &mut Context<Self, Answer>) -> Answer {
        Answer(echo(message))
    }
}

impl Peer for Kameo {
    type Ref<B: Behaviour> = ActorRef<Host<B>>;
    type Echo = ActorRef<Echo>;

    async fn start<B: Behaviour>(_place: usize, behaviour: B) -> Self::Ref<B> {
        Host::spawn_with_mailbox(Host(behaviour), mailbox::unbounded())
    }

    fn send<B: Behaviour>(to: &Self::Ref<B>, message: Msg) {
        // On an unbounded mailbox there is always room.
        to.tell(message)
            .try_send()
            .expect("receivers live as long as the bench");
    }

    async fn start_echo() -> Self::Echo {
        Echo::spawn_with_mailbox(Echo, mailbox::unbounded())
    }

    async fn ask(to: &Self::Echo, message: Msg) -> Msg {
        to.ask(message).await.expect("the echo answers").0
    }
}
