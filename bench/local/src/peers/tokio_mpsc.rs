//! Raw tokio: a task per mailbox, `mpsc::unbounded_channel`; a request carries a `oneshot`.

use tokio::sync::{mpsc, oneshot};

use crate::workloads::{Behaviour, Msg, Peer, echo};

pub(crate) struct TokioMpsc;

impl Peer for TokioMpsc {
    type Ref<B: Behaviour> = mpsc::UnboundedSender<Msg>;
    type Echo = mpsc::UnboundedSender<(Msg, oneshot::Sender<Msg>)>;

    async fn start<B: Behaviour>(_place: usize, mut behaviour: B) -> Self::Ref<B> {
        let (sender, mut mailbox) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            behaviour.started();
            while let Some(message) = mailbox.recv().await {
                behaviour.handle(message);
            }
        });
        sender
    }

    fn send<B: Behaviour>(to: &Self::Ref<B>, message: Msg) {
        to.send(message)
            .expect("receivers live as long as the bench");
    }

    async fn start_echo() -> Self::Echo {
        let (sender, mut mailbox) = mpsc::unbounded_channel::<(Msg, oneshot::Sender<Msg>)>();
        tokio::spawn(async move {
            while let Some((message, reply)) = mailbox.recv().await {
                reply.send(echo(message)).expect("the asker waits");
            }
        });
        sender
    }

    async fn ask(to: &Self::Echo, message: Msg) -> Msg {
        let (reply, answer) = oneshot::channel();
        to.send((message, reply)).expect("the echo receives");
        answer.await.expect("the echo answers")
    }
}
