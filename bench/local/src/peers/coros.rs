//! coros: a coroutine per mailbox; a `Channel` for W7.

use std::future::Future;

use coros_core::{Address, Channel, Context, Reply, spawn};

use crate::workloads::{Behaviour, Msg, Peer, echo};

pub(crate) struct Coros;

impl Peer for Coros {
    type Ref<B: Behaviour> = Address<Msg>;
    type Echo = Address<(Msg, Reply<Msg>)>;

    fn task(_place: usize, task: impl Future<Output = ()> + Send + 'static) {
        // It needs neither an address nor its result.
        drop(spawn(|_: Context<()>| task));
    }

    async fn start<B: Behaviour>(_place: usize, mut behaviour: B) -> Address<Msg> {
        let coroutine = spawn(|mut me: Context<Msg>| async move {
            behaviour.started();
            while let Some(message) = me.receive().await {
                behaviour.handle(message);
            }
        });
        coroutine.address()
    }

    fn send<B: Behaviour>(to: &Address<Msg>, message: Msg) {
        to.send(message)
            .expect("receivers live as long as the bench");
    }

    async fn start_echo() -> Self::Echo {
        let coroutine = spawn(|mut me: Context<(Msg, Reply<Msg>)>| async move {
            while let Some((message, reply)) = me.receive().await {
                reply.send(echo(message));
            }
        });
        coroutine.address()
    }

    async fn ask(to: &Self::Echo, message: Msg) -> Msg {
        to.ask(|reply| (message, reply))
            .await
            .expect("the echo answers")
    }

    async fn broadcast<B: Behaviour>(to: Vec<Address<Msg>>, messages: u64) {
        let channel = Channel::new();
        for subscriber in &to {
            channel.subscribe(subscriber).expect("the channel is open");
        }
        for a in 0..messages {
            channel.send(Msg { a, b: 1 }).expect("the channel is open");
        }
    }
}
