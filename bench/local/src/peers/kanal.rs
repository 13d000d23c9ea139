//! kanal: a tokio task per mailbox, `unbounded_async`; a request carries a tokio `oneshot`, as kanal has none.

use kanal::AsyncSender;
use tokio::sync::oneshot;

use crate::workloads::{Behaviour, Msg, Peer, echo};

pub(crate) struct Kanal;

impl Peer for Kanal {
    type Ref<B: Behaviour> = AsyncSender<Msg>;
    type Echo = AsyncSender<(Msg, oneshot::Sender<Msg>)>;

    async fn start<B: Behaviour>(_place: usize, mut behaviour: B) -> Self::Ref<B> {
        let (sender, mailbox) = kanal::unbounded_async();
        tokio::spawn(async move {
            behaviour.started();
            while let Ok(message) = mailbox.recv().await {
                behaviour.handle(message);
            }
        });
        sender
    }

    fn send<B: Behaviour>(to: &Self::Ref<B>, message: Msg) {
        // On an unbounded channel there is always room.
        to.try_send(message)
            .expect("receivers live as long as the bench");
    }

    async fn start_echo() -> Self::Echo {
        let (sender, mailbox) = kanal::unbounded_async::<(Msg, oneshot::Sender<Msg>)>();
        tokio::spawn(async move {
            while let Ok((message, reply)) = mailbox.recv().await {
                reply.send(echo(message)).expect("the asker waits");
            }
        });
        sender
    }

    async fn ask(to: &Self::Echo, message: Msg) -> Msg {
        let (reply, answer) = oneshot::channel();
        to.try_send((message, reply)).expect("the echo receives");
        answer.await.expect("the echo answers")
    }
}
