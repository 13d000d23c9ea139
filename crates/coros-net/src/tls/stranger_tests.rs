//! Those who speak TLS and are no nodes, or nodes of another version, at a real node's door and over real
//! sockets: what each side makes of the other.

use std::sync::Arc;
use std::time::Duration;

use rustls::version::TLS12;
use rustls::{
    AlertDescription, ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{Authority, ConnectError, Node, PeerEvent, Secret};

struct Scene {
    authority: Authority,
    credentials: Credentials,
    listener: TcpListener,
}

impl Scene {
    async fn set() -> Self {
        let authority = Authority::derive(&Secret::random(), "default").unwrap();
        Scene {
            credentials: authority.issue("rogue").unwrap(),
            authority,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from(self.credentials.authority()).into_owned();
        roots.add(root).unwrap();
        roots
    }

    /// Speaks as a client over a real connection to the TLS of a node: what each makes of it.
    async fn speak(&self, client: ClientConfig) -> [Result<(), String>; 2] {
        let node = Tls::new(&self.authority.issue("farm").unwrap()).unwrap();
        let tcp = TcpStream::connect(self.listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = self.listener.accept().await.unwrap();
        let near = async {
            let connector = TlsConnector::from(Arc::new(client));
            let name = node.server_name.clone();
            let mut stream = connector
                .connect(name, tcp)
                .await
                .map_err(|e| own_words(&e))?;
            // In TLS 1.3 a refusal only shows here.
            let read = stream.read(&mut [0]).await.map_err(|e| own_words(&e))?;
            assert_eq!(read, 0, "a node says nothing to those who have not greeted");
            Ok(())
        };
        let far = async {
            let accepted = node.accept(accepted).await;
            accepted.map(|_| ()).map_err(|error| error.to_string())
        };
        let both = async { tokio::join!(near, far) };
        let (near, far) = tokio::time::timeout(Duration::from_secs(10), both)
            .await
            .expect("neither hangs");
        [near, far]
    }

    /// Somebody who trusts the network, speaks that version, and shows no certificate.
    fn nameless(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots());
        let mut client = client.with_no_client_auth();
        client.alpn_protocols.push(PROTOCOL.into());
        client
    }

    /// The same to a node, which must not be bothered: nobody hears of it.
    async fn call(&self, client: ClientConfig) {
        let node = Node::builder().authority(self.authority.clone());
        let node = node.build().await.unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        node.on_peer_event(move |event| drop(sender.send(event)));
        let endpoint = node.location().endpoint.unwrap();
        let tcp = TcpStream::connect(endpoint).await.unwrap();
        let name = Tls::new(&self.credentials).unwrap().server_name;
        let called = async {
            let connector = TlsConnector::from(Arc::new(client));
            let mut stream = connector.connect(name, tcp).await?;
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await?;
            io::Result::Ok(said)
        };
        let called = tokio::time::timeout(Duration::from_secs(10), called).await;
        called.expect("it is shown out").unwrap_err();
        node.close().await;
        assert_eq!(events.recv().await, None);
    }
}

fn own_words(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
    format!("{:?}", tls.expect("it is of TLS"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn alert(alert: AlertDescription) -> Result<(), String> {
    Err(format!("{:?}", Error::AlertReceived(alert)))
}

#[tokio::test]
async fn a_client_of_an_older_tls_is_shown_out() {
    let scene = Scene::set().await;
    let client = || scene.nameless(&TLS12);
    let [near, far] = scene.speak(client()).await;
    assert_eq!(near, alert(AlertDescription::ProtocolVersion));
    let says = "not a coros node: it does not speak TLS 1.3 as nodes do";
    assert_eq!(far, Err(says.to_owned()));
    scene.call(client()).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_shown_out() {
    let scene = Scene::set().await;
    let client = || scene.nameless(&TLS13);
    let [near, far] = scene.speak(client()).await;
    assert_eq!(near, alert(AlertDescription::CertificateRequired));
    let far = far.unwrap_err();
    assert!(far.starts_with("the peer shows no certificate"), "{far}");
    scene.call(client()).await;
}

#[tokio::test]
async fn a_server_of_an_older_tls_is_named() {
    let scene = Scene::set().await;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(scene.credentials.key().to_vec()));
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(scene.credentials.chain(), key)
        .unwrap();
    let node = Node::builder().authority(scene.authority.clone());
    let node = node.build().await.unwrap();
    let endpoint = scene.listener.local_addr().unwrap();
    let serving = async {
        let (tcp, _) = scene.listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        acceptor.accept(tcp).await.map(|_| ()).unwrap_err()
    };
    let (dialled, served) = tokio::join!(node.connect(endpoint), serving);
    let ConnectError::Handshake { why, .. } = dialled.unwrap_err() else {
        panic!("it is no node");
    };
    let says = "not a coros node: it does not speak TLS 1.3";
    assert!(why.to_string().starts_with(says), "{why}");
    assert!(own_words(&served).contains("PeerIncompatible"));
    node.close().await;
}

#[tokio::test]
async fn another_version_is_told_to_both_nodes_over_the_network() {
    let scene = Scene::set().await;
    let node = Node::builder().authority(scene.authority.clone());
    let node = node.build().await.unwrap();
    let (sender, mut events) = mpsc::unbounded_channel();
    node.on_peer_event(move |event| drop(sender.send(event)));
    let newer = Tls::speaking("coros/2", &scene.credentials).unwrap();
    let tcp = TcpStream::connect(node.location().endpoint.unwrap()).await;
    let error = newer.dial(tcp.unwrap()).await.map(|_| ()).unwrap_err();
    let says = "the peer speaks another version of the protocol, this node coros/2: run the same \
                version of coros on both";
    assert_eq!(error.to_string(), says);
    let Some(PeerEvent::Refused(_, error)) = events.recv().await else {
        panic!("it is refused");
    };
    let says = "the peer speaks version \"coros/2\", this node coros/1: run the same version of \
                coros on both";
    assert_eq!(error.to_string(), says);
    node.close().await;
}

#[tokio::test]
async fn garbage_in_the_place_of_a_certificate_is_no_way_in() {
    // A handshake that is right up to the client's certificate, and then anything.
    let scene = Scene::set().await;
    let node = Tls::new(&scene.authority.issue("farm").unwrap()).unwrap();
    let mut client = rustls::ClientConnection::new(
        Arc::clone(&Tls::new(&scene.credentials).unwrap().client),
        node.server_name.clone(),
    )
    .unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let mut tcp = TcpStream::connect(scene.listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted, _) = scene.listener.accept().await.unwrap();
    let near = async {
        tcp.write_all(&hello).await.unwrap();
        let mut answer = vec![0; 4096];
        assert!(tcp.read(&mut answer).await.unwrap() > 500);
        // An encrypted record, by its head.
        tcp.write_all(&[23, 3, 3, 0, 64]).await.unwrap();
        tcp.write_all(&[7; 64]).await.unwrap();
        drop(tcp.read_to_end(&mut answer).await);
    };
    let ((), far) = tokio::join!(near, node.accept(accepted));
    let error = far.map(|_| ()).unwrap_err();
    assert!(matches!(error, HandshakeError::NotCoros(_)), "{error}");
}
