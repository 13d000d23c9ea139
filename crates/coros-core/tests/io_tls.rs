//! TLS: messages over it, and every refusal with its reason.

use std::path::Path;
use std::time::Duration;

use coros_core::io::MessageStream;
use coros_core::io::tls::{
    Authorities, HandshakeError, Identity, TlsAcceptor, TlsConfigError, TlsConnector,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("CA")
}

/// Certificate and key, as PEM.
fn leaf(ca: &Ca, names: &[&str]) -> (String, String) {
    leaf_of(ca, &CertificateParams::new(strings(names)).expect("names"))
}

fn leaf_of(ca: &Ca, params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate().expect("key");
    (
        params.signed_by(&key, ca).expect("signed").pem(),
        key.serialize_pem(),
    )
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn identity((chain, key): &(String, String)) -> Identity {
    Identity::from_pem(chain, key).expect("good PEM")
}

fn trusted(ca: &Ca) -> Authorities {
    Authorities::from_pem(ca.pem()).expect("good CA")
}

/// Both sides of one handshake over TCP, and, where they succeed, one message each way.
async fn talk(
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    host: &str,
) -> (
    Result<(), HandshakeError>,
    Result<Result<String, String>, HandshakeError>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let server = async {
        let (stream, _) = listener.accept().await.expect("accept");
        let mut stream = MessageStream::new(acceptor.accept(stream).await?);
        // A client that has gone is not what is tested here.
        while let Ok(Some(message)) = stream.receive_message().await {
            stream.send_message(&message).await.ok();
        }
        stream.shutdown().await.ok();
        Ok(())
    };
    let client = async {
        let stream = TcpStream::connect(address).await.expect("connect");
        let mut stream = MessageStream::new(connector.connect(host, stream).await?);
        let talk = async {
            stream.send(&"echo").await.map_err(|why| why.to_string())?;
            let echo = stream
                .receive::<String>()
                .await
                .map_err(|why| why.to_string())?;
            stream.shutdown().await.map_err(|why| why.to_string())?;
            let end = stream
                .receive_message()
                .await
                .map_err(|why| why.to_string())?;
            assert_eq!(end, None, "a clean end");
            echo.ok_or_else(|| "no echo".to_owned())
        };
        Ok(talk.await)
    };
    timeout(BOUND, async { tokio::join!(server, client) })
        .await
        .expect("both sides end")
}

#[tokio::test]
async fn messages_go_through_tls() {
    let ca = authority("ca");
    for host in ["localhost", "127.0.0.1"] {
        let acceptor = TlsAcceptor::new(identity(&leaf(&ca, &[host]))).unwrap();
        let connector = TlsConnector::new(trusted(&ca)).unwrap();
        let (server, client) = talk(acceptor, connector, host).await;
        server.unwrap();
        assert_eq!(client.unwrap(), Ok("echo".to_owned()));
    }
}

#[tokio::test]
async fn mutual_tls_takes_clients_of_its_authority_only() {
    let (ca, other) = (authority("ca"), authority("other"));
    let acceptor = TlsAcceptor::mutual(identity(&leaf(&ca, &["localhost"])), trusted(&ca)).unwrap();

    let known = TlsConnector::mutual(trusted(&ca), identity(&leaf(&ca, &["me"]))).unwrap();
    let (server, client) = talk(acceptor.clone(), known, "localhost").await;
    server.unwrap();
    assert_eq!(client.unwrap(), Ok("echo".to_owned()));

    let stranger = TlsConnector::mutual(trusted(&ca), identity(&leaf(&other, &["me"]))).unwrap();
    let (server, client) = talk(acceptor.clone(), stranger, "localhost").await;
    let server = server.unwrap_err();
    assert!(
        matches!(server, HandshakeError::UnknownAuthority { .. }),
        "{server}"
    );
    assert!(
        client.unwrap().is_err(),
        "the refusal arrives with the first read"
    );

    let nobody = TlsConnector::new(trusted(&ca)).unwrap();
    let (server, client) = talk(acceptor, nobody, "localhost").await;
    assert!(matches!(
        server.unwrap_err(),
        HandshakeError::NoClientCertificate
    ));
    assert!(client.unwrap().is_err());
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    // Also one of the same name, where only the key differs.
    for name in ["other", "ca"] {
        let (ca, other) = (authority("ca"), authority(name));
        let acceptor = TlsAcceptor::new(identity(&leaf(&other, &["localhost"]))).unwrap();
        let connector = TlsConnector::new(trusted(&ca)).unwrap();
        let (server, client) = talk(acceptor, connector, "localhost").await;
        let client = client.unwrap_err();
        let text = client.to_string();
        assert!(
            matches!(client, HandshakeError::UnknownAuthority { .. }),
            "{text}"
        );
        assert!(
            text.contains("`localhost` is not signed by an authority"),
            "{text}"
        );
        let server = server.unwrap_err();
        assert!(matches!(server, HandshakeError::Refused { .. }), "{server}");
        assert!(
            server.to_string().contains("does not trust the authority"),
            "{server}"
        );
    }
}

#[tokio::test]
async fn a_wrong_host_name_is_refused() {
    let ca = authority("ca");
    let acceptor = TlsAcceptor::new(identity(&leaf(&ca, &["db.example.org"]))).unwrap();
    let connector = TlsConnector::new(trusted(&ca)).unwrap();
    let (server, client) = talk(acceptor, connector.clone(), "www.example.org").await;
    let client = client.unwrap_err().to_string();
    assert!(
        client.contains("www.example.org") && client.contains("db.example.org"),
        "{client}"
    );
    assert!(server.is_err());

    let (stream, _peer) = tokio::io::duplex(64);
    let invalid = connector.connect("not a name", stream).await.unwrap_err();
    assert!(
        matches!(invalid, HandshakeError::InvalidName { .. }),
        "{invalid}"
    );
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ca = authority("ca");
    let mut params = CertificateParams::new(strings(&["localhost"])).unwrap();
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let acceptor = TlsAcceptor::new(identity(&leaf_of(&ca, &params))).unwrap();
    let connector = TlsConnector::new(trusted(&ca)).unwrap();
    let (_, client) = talk(acceptor, connector, "localhost").await;
    let client = client.unwrap_err();
    assert!(
        matches!(client, HandshakeError::NotValidNow { .. }),
        "{client}"
    );
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_or_hangs_up_is_an_error() {
    let ca = authority("ca");
    let acceptor = TlsAcceptor::new(identity(&leaf(&ca, &["localhost"]))).unwrap();
    let plain = tokio::io::join(&b"GET / HTTP/1.1\r\n\r\n"[..], tokio::io::sink());
    let error = acceptor.accept(plain).await.unwrap_err();
    assert!(matches!(error, HandshakeError::Tls { .. }), "{error}");
    let gone = tokio::io::join(tokio::io::empty(), tokio::io::sink());
    let error = acceptor.accept(gone).await.unwrap_err();
    assert!(matches!(error, HandshakeError::Io { .. }), "{error}");
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let ca = authority("ca");
    let (good, other) = (leaf(&ca, &["localhost"]), leaf(&ca, &["localhost"]));
    let (crt, key) = (file("good.crt", &good.0), file("good.key", &good.1));
    let other_key = file("other.key", &other.1);
    let empty = file("empty.pem", "");
    let torn = file("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let garbage = file(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let missing = folder.path().join("missing.pem");

    let check = |error: TlsConfigError, path: &Path, what: &str| {
        let text = error.to_string();
        assert!(
            text.contains(path.to_str().unwrap()) && text.contains(what),
            "{text}"
        );
    };
    check(
        Identity::from_files(&missing, &key).unwrap_err(),
        &missing,
        "os error 2",
    );
    check(
        Identity::from_files(&crt, &missing).unwrap_err(),
        &missing,
        "os error 2",
    );
    check(
        Identity::from_files(&empty, &key).unwrap_err(),
        &empty,
        "no certificate",
    );
    check(
        Identity::from_files(&key, &key).unwrap_err(),
        &key,
        "no certificate",
    );
    check(
        Identity::from_files(&crt, &crt).unwrap_err(),
        &crt,
        "no private key",
    );
    check(
        Identity::from_files(&torn, &key).unwrap_err(),
        &torn,
        "not well-formed",
    );
    check(
        Authorities::from_file(&missing).unwrap_err(),
        &missing,
        "os error 2",
    );
    check(
        Authorities::from_file(&empty).unwrap_err(),
        &empty,
        "no certificate",
    );
    check(
        Authorities::from_file(&garbage).unwrap_err(),
        &garbage,
        "certificate 1",
    );

    let mismatch = || Identity::from_files(&crt, &other_key).unwrap();
    let error = TlsAcceptor::new(mismatch()).unwrap_err();
    assert!(
        matches!(error, TlsConfigError::KeyMismatch { .. }),
        "{error}"
    );
    check(error, &other_key, "does not belong");
    let error = TlsConnector::mutual(trusted(&ca), mismatch()).unwrap_err();
    check(error, &crt, "does not belong");
    TlsAcceptor::new(Identity::from_files(&crt, &key).unwrap()).unwrap();
}

#[test]
fn an_identity_does_not_show_its_key() {
    let leaf = leaf(&authority("ca"), &["localhost"]);
    let shown = format!("{:?}", identity(&leaf));
    assert_eq!(
        shown,
        "Identity { origin: \"the given PEM\", certificates: 1, .. }"
    );
}
