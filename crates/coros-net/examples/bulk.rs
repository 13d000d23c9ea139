//! How fast a file goes from one process to another, beside the bare TLS that carries it.
//!
//! `cargo run --release -p coros-net --example bulk [MIB] [ROUNDS]`
//!
//! Both go over loopback between the same two processes, with the same settings of TLS 1.3 and
//! certificates on both sides. The bare stream carries bytes from memory to nowhere; the file is
//! read from a folder, written to another, hashed on both sides and compared. `TMPDIR` says on
//! which disk the folders are.

mod measured;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use coros_net::{Authority, Credentials, Folder, Location, Node, Secret, SendFile};
use measured::{Error, Receiver, Sender, cpu_seconds};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const MIB: usize = 1 << 20;
/// What the bare stream is written and read in.
const CHUNK: usize = 256 << 10;

/// What the other process needs to know.
#[derive(Serialize, Deserialize)]
struct Brief {
    credentials: Credentials,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("receive") => receive().await,
        mib => {
            let mib = mib.unwrap_or("1024").parse()?;
            let rounds = args.next().as_deref().unwrap_or("5").parse()?;
            send(mib, rounds).await
        }
    }
}

/// The other process: takes its brief from standard input, says where it listens.
async fn receive() -> Result<(), Error> {
    let (parent, brief): (_, Brief) = Sender::brief().await?;
    let inbox = tempfile::tempdir()?;
    let node = Node::builder()
        .credentials(brief.credentials)
        .files(Folder::new(inbox.path()).allow_delete())
        .build()
        .await?;
    let acceptor = TlsAcceptor::from(server(brief.certificate, brief.key)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let told = (node.location(), listener.local_addr()?.port());
    let mut bytes = Vec::new();
    coros_core::remote::encode(&told, &mut bytes)?;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let swallowed = swallow(&acceptor, tcp).await;
            swallowed.expect("the other process sends to the end");
        }
    });
    parent.answer(bytes).await?;
    println!("{}", peak_kib());
    Ok(())
}

/// Reads to the end, and says one byte then.
async fn swallow(acceptor: &TlsAcceptor, tcp: TcpStream) -> Result<(), Error> {
    tcp.set_nodelay(true)?;
    let mut tls = acceptor.accept(tcp).await?;
    let mut chunk = vec![0; CHUNK];
    while tls.read(&mut chunk).await? > 0 {}
    tls.write_all(b"!").await?;
    Ok(tls.shutdown().await?)
}

async fn send(mib: usize, rounds: u32) -> Result<(), Error> {
    let home = tempfile::tempdir()?;
    let path = home.path().join("big");
    write_noise(&mut std::fs::File::create(&path)?, mib)?;
    let authority = Authority::derive(&Secret::random(), "default")?;
    let names = vec!["bare.coros".to_owned()];
    let own = rcgen::generate_simple_self_signed(names)?;
    let (certificate, key) = (own.cert.der().to_vec(), own.signing_key.serialize_der());
    let brief = Brief {
        credentials: authority.issue("receiver")?,
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let node = Node::builder().name("sender").authority(authority);
    let node = node.build().await?;
    let (receiver, told) = Receiver::start(&brief).await?;
    let (to, port): (Location, u16) = coros_core::remote::decode(&told)?;

    let connector = TlsConnector::from(client(certificate, key)?);
    let cpu = || [cpu_seconds("self"), cpu_seconds(&receiver.pid)];
    let mut ratios = Vec::new();
    // Of bare TLS and of files, each by the sender and the receiver.
    let mut used = [[0.0; 2]; 2];
    for _ in 0..rounds {
        let at_first = cpu();
        let bare = pour(&connector, port, mib).await?;
        let between = cpu();
        let start = Instant::now();
        node.send_file(&to, &path, SendFile::new()).await?;
        let file = mib as f64 / start.elapsed().as_secs_f64();
        let at_last = cpu();
        node.delete_file(&to, "big").await?;
        for side in 0..2 {
            used[0][side] += between[side] - at_first[side];
            used[1][side] += at_last[side] - between[side];
        }
        ratios.push(file / bare);
        println!(
            "bare TLS {bare:.0} MiB/s, file {file:.0} MiB/s: {:.2}",
            file / bare
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
    let each = 1e3 / f64::from(rounds);
    for (what, [sender, receiver]) in ["bare TLS", "file"].into_iter().zip(used) {
        println!(
            "{what}: {:.0} ms of CPU at the sender, {:.0} at the receiver",
            sender * each,
            receiver * each
        );
    }
    let last_words = receiver.end().await?;
    println!(
        "at most {} KiB of memory at the sender, {} at the receiver",
        peak_kib(),
        last_words
    );
    node.close().await;
    Ok(())
}

/// Sends as many bytes over a stream of its own; MiB a second until the last has been read.
async fn pour(connector: &TlsConnector, port: u16, mib: usize) -> Result<f64, Error> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("bare.coros")?;
    let mut tls = connector.connect(name, tcp).await?;
    let chunk = vec![7; CHUNK];
    let start = Instant::now();
    for _ in 0..mib * MIB / CHUNK {
        tls.write_all(&chunk).await?;
    }
    tls.shutdown().await?;
    tls.read_u8().await?;
    Ok(mib as f64 / start.elapsed().as_secs_f64())
}

/// Bytes that do not repeat.
fn write_noise(to: &mut impl Write, mib: usize) -> Result<(), Error> {
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut block = vec![0; MIB];
    for _ in 0..mib {
        noise.fill(&mut block);
        to.write_all(&block)?;
    }
    Ok(())
}

fn client(certificate: Vec<u8>, key: Vec<u8>) -> Result<Arc<ClientConfig>, Error> {
    let (roots, chain) = trust(certificate)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key).into())?;
    Ok(Arc::new(config))
}

fn server(certificate: Vec<u8>, key: Vec<u8>) -> Result<Arc<ServerConfig>, Error> {
    let (roots, chain) = trust(certificate)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key).into())?;
    Ok(Arc::new(config))
}

fn trust(
    certificate: Vec<u8>,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), rustls::Error> {
    let certificate = CertificateDer::from(certificate);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    Ok((roots, vec![certificate]))
}

/// The most memory that this process has had; 0 where /proc does not tell.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.map(|line| line.trim().trim_end_matches(" kB"));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
