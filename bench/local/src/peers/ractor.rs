//! ractor: an actor per mailbox (always unbounded), `cast` to send, `call!` to ask.

use std::marker::PhantomData;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};

use crate::workloads::{Behaviour, Msg, Peer, echo};

pub(crate) struct Ractor;

struct Host<B>(PhantomData<fn(B)>);

impl<B: Behaviour> Actor for Host<B> {
    type Msg = Msg;
    type State = B;
    type Arguments = B;

    async fn pre_start(&self, _: ActorRef<Msg>, behaviour: B) -> Result<B, ActorProcessingErr> {
        Ok(behaviour)
    }

    async fn post_start(&self, _: ActorRef<Msg>, state: &mut B) -> Result<(), ActorProcessingErr> {
        state.started();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        state: &mut B,
    ) -> Result<(), ActorProcessingErr> {
        state.handle(message);
        Ok(())
    }
}

struct Echo;

impl Actor for Echo {
    type Msg = (Msg, RpcReplyPort<Msg>);
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        (message, reply): Self::Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        reply.send(echo(message))?;
        Ok(())
    }
}

impl Peer for Ractor {
    type Ref<B: Behaviour> = ActorRef<Msg>;
    type Echo = ActorRef<(Msg, RpcReplyPort<Msg>)>;

    async fn start<B: Behaviour>(_place: usize, behaviour: B) -> ActorRef<Msg> {
        let (actor, _) = Actor::spawn(None, Host(PhantomData), behaviour)
            .await
            .expect("pre_start succeeds");
        actor
    }

    fn send<B: Behaviour>(to: &ActorRef<Msg>, message: Msg) {
        to.cast(message)
            .expect("receivers live as long as the bench");
    }

    async fn start_echo() -> Self::Echo {
        let (actor, _) = Actor::spawn(None, Echo, ())
            .await
            .expect("pre_start succeeds");
        actor
    }

    async fn ask(to: &Self::Echo, message: Msg) -> Msg {
        call!(to, |reply| (message, reply)).expect("the echo answers")
    }
}
