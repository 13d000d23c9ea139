//! Peers that have a certificate, speak about files, and do not keep to the rules.

mod asking;
mod receiving;
mod stalling;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Stream;
use super::refusal::Refusal;
use super::wire::{self, HEADER, Heard, Kind, MAX_PIECE, Say};
use crate::identity::DEFAULT_NETWORK;
use crate::read_ahead::ReadAhead;
use crate::rogue_tests::hello_for;
use crate::tls::Tls;
use crate::transport::BoxStream;
use crate::wire::{FILES, Parsed};
use crate::{
    Authority, Credentials, FetchFile, FetchFileError, Folder, Location, Node, Secret, SendFile,
    SendFileError,
};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it must not hang")
}

fn send(name: &str, content: &[u8]) -> Say {
    Say::Send {
        replace: false,
        size: content.len() as u64,
        stamp: 7,
        name: name.into(),
    }
}

fn end(content: &[u8]) -> Say {
    let hash = *blake3::hash(content).as_bytes();
    Say::End { hash }
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; HEADER], bytes].concat();
    wire::frame(Kind::Piece, &mut frame);
    frame
}

/// A connection of a rogue, greeted.
struct Rogue(Stream);

impl Rogue {
    async fn dial(node: &Node, credentials: &Credentials) -> Self {
        let endpoint = node.location().endpoint.expect("it listens");
        let tcp = TcpStream::connect(endpoint).await.expect("it listens");
        Rogue::over(Box::new(tcp), credentials).await
    }

    async fn over(stream: BoxStream, credentials: &Credentials) -> Self {
        let tls = Tls::new(credentials).expect("it is a certificate");
        let (stream, _) = tls
            .dial(ReadAhead::new(stream))
            .await
            .expect("it belongs to the network");
        let mut rogue = Rogue(stream);
        rogue
            .raw(&hello_for(FILES, credentials.node(), "rogue", 0))
            .await;
        rogue.greeted().await;
        rogue
    }

    async fn dialled(stream: BoxStream, credentials: &Credentials) -> Self {
        let tls = Tls::new(credentials).expect("it is a certificate");
        let (stream, _) = tls
            .accept(ReadAhead::new(stream))
            .await
            .expect("it belongs to the network");
        let mut rogue = Rogue(stream);
        rogue.greeted().await;
        rogue
            .raw(&hello_for(FILES, credentials.node(), "rogue", 0))
            .await;
        rogue
    }

    async fn greeted(&mut self) {
        let mut bytes = Vec::new();
        loop {
            if let Ok(Parsed::Frame(frame, _)) = crate::wire::parse(&bytes) {
                assert_eq!(frame.envelope.target, FILES);
                return;
            }
            let byte = soon(self.0.read_u8()).await.expect("it is greeted");
            bytes.push(byte);
        }
    }

    async fn raw(&mut self, bytes: &[u8]) {
        soon(self.0.write_all(bytes)).await.expect("it listens");
        soon(self.0.flush()).await.expect("it listens");
    }

    async fn say(&mut self, say: &Say) {
        self.raw(&wire::encode(say)).await;
    }

    /// What is said next; none if the connection ends.
    async fn hear(&mut self) -> Option<Heard> {
        soon(hear(&mut self.0)).await
    }

    async fn refused(&mut self) -> Refusal {
        match self.hear().await {
            Some(Heard::Say(Say::Refused(why))) => why,
            other => panic!("{other:?}"),
        }
    }

    async fn wanted(&mut self) -> u64 {
        match self.hear().await {
            Some(Heard::Say(Say::Want { kept, .. })) => kept,
            other => panic!("{other:?}"),
        }
    }
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Option<Heard> {
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await.ok()?;
        let (kind, length) = wire::header(header).expect("nodes keep to the protocol");
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        match wire::decode(kind, payload).expect("nodes keep to the protocol") {
            Heard::Say(Say::Working) => {}
            heard => return Some(heard),
        }
    }
}

/// A node with a folder inside of a folder, and a rogue.
struct Scene {
    node: Node,
    rogue: Rogue,
    credentials: Credentials,
    outer: TempDir,
}

impl Scene {
    async fn set() -> Self {
        Scene::with(|folder| folder.allow_fetch().allow_delete()).await
    }

    async fn with(limits: impl FnOnce(Folder) -> Folder) -> Self {
        let authority = Authority::derive(&Secret::random(), DEFAULT_NETWORK).unwrap();
        let credentials = authority.issue("rogue").unwrap();
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("inbox")).unwrap();
        fs::write(outer.path().join("secret"), b"secret").unwrap();
        let folder = limits(Folder::new(outer.path().join("inbox")));
        let node = Node::builder().authority(authority).files(folder);
        let node = node.silence(Duration::from_secs(1)).build().await.unwrap();
        Scene {
            rogue: Rogue::dial(&node, &credentials).await,
            node,
            credentials,
            outer,
        }
    }

    fn inbox(&self) -> Vec<String> {
        names(&self.outer.path().join("inbox"))
    }

    /// Nothing is left, and the node goes on.
    async fn unharmed(self) {
        let inbox = self.outer.path().join("inbox");
        soon(async {
            while !names(&inbox).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(names(self.outer.path()), ["inbox", "secret"]);
        let mut next = Rogue::dial(&self.node, &self.credentials).await;
        next.say(&send("fine", b"fine")).await;
        assert_eq!(next.wanted().await, 0);
        next.say(&Say::From { offset: 0 }).await;
        next.raw(&piece(b"fine")).await;
        next.say(&end(b"fine")).await;
        assert_eq!(next.hear().await, Some(Heard::Say(Say::Done)));
        assert_eq!(fs::read(inbox.join("fine")).unwrap(), b"fine");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
