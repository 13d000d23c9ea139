//! ractor_cluster: a node server in each process, actors found through a process group, `cast` to
//! send, `call` to ask. As its documentation starts: authenticated by a cookie, not encrypted.
//!
//! `cast` queues without bound and never waits, so every [`WINDOW`]th message of a sender is a `call`
//! whose answer it waits for. The link is one stream in order: what was sent before has come by then.
//! It has no files: one is a series of questions of 256 KiB, at most 16 under way.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use ractor::concurrency::Duration;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::node::NodeServerSessionInformation;
use ractor_cluster::{
    NodeEventSubscription, NodeServer, NodeServerMessage, RactorClusterMessage, client_connect,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::chunks::{self, Chunk};
use crate::server::{Setting, free_port};
use crate::tally::{Counter, MAILBOXES, Tally};
use crate::workloads::{Msg, Peer};

const GROUP: &str = "mailboxes";
const COOKIE: &str = "bench";
/// Messages of one sender that may be under way.
const WINDOW: u64 = 256;
/// How long an answer may take, and the group of mailboxes to come over.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sending process.
pub(crate) struct Ractor {
    mailboxes: Vec<ActorRef<Message>>,
    lost: mpsc::UnboundedReceiver<()>,
    /// Lives as long as its actor reference.
    _server: ActorRef<NodeServerMessage>,
}

#[derive(RactorClusterMessage)]
pub(crate) enum Message {
    Data(u64, Vec<u8>),
    #[rpc]
    LastOfWindow(u64, Vec<u8>, RpcReplyPort<u64>),
    #[rpc]
    Ask(u64, RpcReplyPort<u64>),
    #[rpc]
    File(String, u64, Vec<u8>, RpcReplyPort<u64>),
}

struct Mailbox {
    counter: &'static Counter,
    inbox: Arc<Path>,
}

impl Actor for Mailbox {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Data(n, _) => self.counter.add(n),
            Message::LastOfWindow(n, _, reply) => {
                self.counter.add(n);
                reply.send(n)?;
            }
            Message::Ask(n, reply) => reply.send(n)?,
            Message::File(name, at, bytes, reply) => {
                reply.send(chunks::write(&self.inbox, &name, at, &bytes)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Contact {
    port: u16,
}

impl Peer for Ractor {
    type Served = ActorRef<NodeServerMessage>;

    async fn serve(setting: Setting<'_>, tally: &'static Tally) -> Result<(Self::Served, String)> {
        let mut actors = Vec::new();
        for counter in tally.counters() {
            let mailbox = Mailbox {
                counter,
                inbox: setting.folder.into(),
            };
            let (actor, _) = Actor::spawn(None, mailbox, ()).await?;
            actors.push(actor.get_cell());
        }
        pg::join(GROUP.to_owned(), actors);
        // It does not tell which port the system has chosen for it.
        let port = free_port()?;
        let server = node_server(port, "server").await?;
        Ok((server, serde_json::to_string(&Contact { port })?))
    }

    async fn connect(contact: &str) -> Result<Self> {
        let Contact { port } = serde_json::from_str(contact)?;
        let server = node_server(0, "client").await?;
        let (sender, lost) = mpsc::unbounded_channel();
        let subscription = Box::new(Losses(sender));
        server.cast(NodeServerMessage::SubscribeToEvents {
            id: "losses".to_owned(),
            subscription,
        })?;
        client_connect(&server, ("127.0.0.1", port))
            .await
            .map_err(|e| anyhow!("{e}"))?;
        let mailboxes = tokio::time::timeout(PATIENCE, group()).await;
        Ok(Ractor {
            mailboxes: mailboxes.context("the group has not come over")?,
            lost,
            _server: server,
        })
    }

    async fn send(&self, mailbox: usize, message: Msg) -> Result<()> {
        let (to, Msg { n, body }) = (&self.mailboxes[mailbox], message);
        if n % WINDOW == WINDOW - 1 {
            call(to, |reply| Message::LastOfWindow(n, body, reply)).await?;
            return Ok(());
        }
        to.cast(Message::Data(n, body)).map_err(|e| anyhow!("{e}"))
    }

    async fn ask(&self, mailbox: usize, n: u64) -> Result<u64> {
        call(&self.mailboxes[mailbox], |reply| Message::Ask(n, reply)).await
    }

    async fn file(&self, path: &Path) -> Result<()> {
        let writer = &self.mailboxes[0];
        chunks::send(path, |Chunk { name, at, bytes }| {
            let writer = writer.clone();
            async move { call(&writer, |reply| Message::File(name, at, bytes, reply)).await }
        })
        .await
    }

    async fn connect_all(&mut self) -> Result<()> {
        Err(anyhow!("one node a process"))
    }

    async fn lost(&mut self) {
        self.lost.recv().await;
    }
}

/// The server's mailboxes, once all have come over.
async fn group() -> Vec<ActorRef<Message>> {
    loop {
        let members = pg::get_members(&GROUP.to_owned());
        if members.len() == MAILBOXES {
            return members.into_iter().map(Into::into).collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn call(
    to: &ActorRef<Message>,
    message: impl FnOnce(RpcReplyPort<u64>) -> Message,
) -> Result<u64> {
    let answer = to.call(message, Some(PATIENCE)).await;
    let answer = answer.map_err(|e| anyhow!("{e}"))?;
    match answer {
        ractor::rpc::CallResult::Success(n) => Ok(n),
        other => Err(anyhow!("no answer: {other:?}")),
    }
}

async fn node_server(port: u16, name: &str) -> Result<ActorRef<NodeServerMessage>> {
    let server = NodeServer::new(
        port,
        COOKIE.to_owned(),
        name.to_owned(),
        "localhost".to_owned(),
        None,
        None,
    );
    let (server, _) = Actor::spawn(None, server, ())
        .await
        .context("the node server has not started")?;
    Ok(server)
}

/// Tells of sessions that end.
struct Losses(mpsc::UnboundedSender<()>);

impl NodeEventSubscription for Losses {
    fn node_session_opened(&self, _: NodeServerSessionInformation) {}

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_disconnected(&self, _: NodeServerSessionInformation) {
        // Nobody may be interested.
        let _ = self.0.send(());
    }
}
