//! coros: a node in each process, addresses of coroutines, files by `send_file`. Everything as it
//! comes, mutual TLS included.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use coros_core::{Address, Reply, remote};
use coros_net::{Authority, Credentials, Folder, Location, Node, PeerEvent, Secret, SendFile};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::server::Setting;
use crate::tally::Tally;
use crate::workloads::{Msg, Peer};

/// The sending process.
pub(crate) struct Coros {
    node: Node,
    contact: Contact,
    server: Location,
    mailboxes: Vec<Address<Message>>,
    lost: mpsc::UnboundedReceiver<()>,
}

#[derive(Serialize, Deserialize)]
enum Message {
    Data(Msg),
    Ask(u64, Reply<u64>),
}

#[derive(Serialize, Deserialize)]
struct Contact {
    /// What the client joins the network with, in postcard.
    credentials: Vec<u8>,
    listening: Vec<SocketAddr>,
    /// The mailboxes' addresses, as the node encodes them.
    mailboxes: Vec<u8>,
}

impl Peer for Coros {
    type Served = Vec<Node>;

    async fn serve(setting: Setting<'_>, tally: &'static Tally) -> Result<(Vec<Node>, String)> {
        let authority = Authority::derive(&Secret::random(), "bench")?;
        let mut nodes = Vec::new();
        let mut listening = Vec::new();
        for n in 0..setting.nodes {
            let mut node = Node::builder().credentials(authority.issue(&format!("server-{n}"))?);
            // A thousand members that look after each other need more than one machine.
            node = node.member(setting.nodes == 1);
            if n == 0 {
                node = node.files(Folder::new(setting.folder));
            }
            let node = node.build().await?;
            listening.extend(node.listening_on());
            nodes.push(node);
        }
        let mailboxes: Vec<Address<Message>> = tally
            .counters()
            .map(|counter| {
                let mailbox = coros_core::spawn(async move |mut me| {
                    while let Some(message) = me.receive().await {
                        match message {
                            Message::Data(message) => counter.add(message.n),
                            Message::Ask(n, reply) => reply.send(n),
                        }
                    }
                });
                mailbox.address()
            })
            .collect();
        let mut credentials = Vec::new();
        remote::encode(&authority.issue("client")?, &mut credentials)?;
        let contact = Contact {
            credentials,
            listening,
            mailboxes: nodes[0].encode(&mailboxes)?,
        };
        Ok((nodes, serde_json::to_string(&contact)?))
    }

    async fn connect(contact: &str) -> Result<Self> {
        let contact: Contact = serde_json::from_str(contact)?;
        let credentials: Credentials = remote::decode(&contact.credentials)?;
        let node = Node::builder().credentials(credentials).build().await?;
        let (sender, lost) = mpsc::unbounded_channel();
        node.on_peer_event(move |event| {
            if let PeerEvent::Lost(..) = event {
                // Nobody may be interested.
                let _ = sender.send(());
            }
        });
        let server = node.connect(contact.listening[0]).await?;
        let mailboxes = node.decode(&contact.mailboxes)?;
        Ok(Coros {
            node,
            contact,
            server,
            mailboxes,
            lost,
        })
    }

    async fn send(&self, mailbox: usize, message: Msg) -> Result<()> {
        self.mailboxes[mailbox].feed(Message::Data(message)).await?;
        Ok(())
    }

    async fn ask(&self, mailbox: usize, n: u64) -> Result<u64> {
        let ask = self.mailboxes[mailbox].ask(|reply| Message::Ask(n, reply));
        ask.await.context("no answer")
    }

    async fn file(&self, path: &Path) -> Result<()> {
        let sent = self.node.send_file(&self.server, path, SendFile::new());
        sent.await?;
        Ok(())
    }

    async fn connect_all(&mut self) -> Result<()> {
        for &node in &self.contact.listening[1..] {
            self.node.connect(node).await?;
        }
        Ok(())
    }

    async fn lost(&mut self) {
        self.lost.recv().await;
    }
}
