//! kameo with its feature `remote`: actors of another process over a libp2p swarm (TCP, noise,
//! yamux), `tell` to send, `ask` to ask. Encrypted as it comes; anybody may connect.
//!
//! Each `tell` is a stream of its own, and those beyond a limit are lost without a word, so senders
//! wait for the acknowledgement of each. It has no files: one is a series of questions of 256 KiB, at
//! most 16 under way.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt;
use kameo::actor::RemoteActorRef;
use kameo::message::{Context, Message};
use kameo::prelude::{Actor, ActorRef, RemoteActor, Spawn, mailbox, remote_message};
use kameo::remote;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::chunks::{self, Chunk};
use crate::server::Setting;
use crate::tally::{Counter, Tally};
use crate::workloads::{Msg, Peer};

/// Streams at a time; by default 100, which 256 questions exceed.
const STREAMS: usize = 1_000;

/// The sending process.
pub(crate) struct Kameo {
    mailboxes: Vec<RemoteActorRef<Mailbox>>,
    lost: mpsc::UnboundedReceiver<()>,
}

#[derive(Actor, RemoteActor)]
pub(crate) struct Mailbox {
    counter: &'static Counter,
    inbox: Arc<Path>,
}

#[remote_message]
impl Message<Msg> for Mailbox {
    type Reply = ();

    async fn handle(&mut self, message: Msg, _: &mut Context<Self, ()>) {
        self.counter.add(message.n);
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Ask(u64);

#[remote_message]
impl Message<Ask> for Mailbox {
    type Reply = u64;

    async fn handle(&mut self, Ask(n): Ask, _: &mut Context<Self, u64>) -> u64 {
        n
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct File {
    name: String,
    at: u64,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

#[remote_message]
impl Message<File> for Mailbox {
    type Reply = u64;

    async fn handle(&mut self, file: File, _: &mut Context<Self, u64>) -> u64 {
        // The sender finds out by the number of bytes.
        chunks::write(&self.inbox, &file.name, file.at, &file.bytes).unwrap_or(0)
    }
}

#[derive(Serialize, Deserialize)]
struct Contact {
    /// Address and peer id as a multiaddress.
    listening: String,
    /// The mailboxes' references; they cannot be JSON.
    mailboxes: Vec<u8>,
}

impl Peer for Kameo {
    type Served = Vec<ActorRef<Mailbox>>;

    async fn serve(setting: Setting<'_>, tally: &'static Tally) -> Result<(Self::Served, String)> {
        let mut swarm = swarm()?;
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
        let peer = *swarm.local_peer_id();
        let listening = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address.with(Protocol::P2p(peer));
            }
        };
        tokio::spawn(async move { while swarm.next().await.is_some() {} });
        let (mut actors, mut mailboxes) = (Vec::new(), Vec::new());
        for counter in tally.counters() {
            let mailbox = Mailbox {
                counter,
                inbox: setting.folder.into(),
            };
            let actor = Mailbox::spawn_with_mailbox(mailbox, mailbox::unbounded());
            mailboxes.push(actor.into_remote_ref().await);
            actors.push(actor);
        }
        let mut encoded = Vec::new();
        coros_core::remote::encode(&mailboxes, &mut encoded)?;
        let contact = Contact {
            listening: listening.to_string(),
            mailboxes: encoded,
        };
        Ok((actors, serde_json::to_string(&contact)?))
    }

    async fn connect(contact: &str) -> Result<Self> {
        let mut swarm = swarm()?;
        let contact: Contact = serde_json::from_str(contact)?;
        let mailboxes = coros_core::remote::decode(&contact.mailboxes)?;
        swarm.dial(contact.listening.parse::<Multiaddr>()?)?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => break,
                SwarmEvent::OutgoingConnectionError { error, .. } => {
                    return Err(error).context("no connection");
                }
                _ => {}
            }
        }
        let (sender, lost) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = swarm.next().await {
                if let SwarmEvent::ConnectionClosed { .. } = event {
                    // Nobody may be interested.
                    let _ = sender.send(());
                }
            }
        });
        Ok(Kameo { mailboxes, lost })
    }

    async fn send(&self, mailbox: usize, message: Msg) -> Result<()> {
        Ok(self.mailboxes[mailbox].tell(&message).send_ack().await?)
    }

    async fn ask(&self, mailbox: usize, n: u64) -> Result<u64> {
        Ok(self.mailboxes[mailbox].ask(&Ask(n)).send().await?)
    }

    async fn file(&self, path: &Path) -> Result<()> {
        let writer = &self.mailboxes[0];
        chunks::send(path, |Chunk { name, at, bytes }| {
            let writer = writer.clone();
            async move { Ok(writer.ask(&File { name, at, bytes }).send().await?) }
        })
        .await
    }

    async fn connect_all(&mut self) -> Result<()> {
        Err(anyhow!("one swarm a process"))
    }

    async fn lost(&mut self) {
        self.lost.recv().await;
    }
}

fn swarm() -> Result<Swarm<remote::Behaviour>> {
    let config = remote::messaging::Config::default().with_max_concurrent_streams(STREAMS);
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|key| remote::Behaviour::new(key.public().to_peer_id(), config))
        .map_err(|e| anyhow!("{e}"))?
        .with_swarm_config(|it| {
            // By default a connection that has nothing to do is closed at once.
            it.with_idle_connection_timeout(std::time::Duration::from_secs(600))
        })
        .build();
    swarm.behaviour().try_init_global()?;
    Ok(swarm)
}
