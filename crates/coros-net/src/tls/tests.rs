//! What the two sides of a handshake make of each other.

use std::time::SystemTime;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::UnixTime;

use super::*;
use crate::identity::Validity;
use crate::{Authority, Secret};

type Ends = [Result<PeerIdentity, HandshakeError>; 2];

/// What the dialler and the dialled make of each other, with one byte each way after the
/// handshake.
async fn meet(dialler: &Tls, dialled: &Tls) -> Ends {
    let (near, far) = tokio::io::duplex(1 << 16);
    let far_end = async {
        let (mut stream, peer) = dialled.accept(far).await?;
        exchange(dialled, &mut stream).await.map(|()| peer)
    };
    let near_end = async {
        let (mut stream, peer) = dialler.dial(near).await?;
        exchange(dialler, &mut stream).await.map(|()| peer)
    };
    let (near, far) = tokio::join!(near_end, far_end);
    [near, far]
}

async fn exchange<S: ByteStream>(
    tls: &Tls,
    stream: &mut TlsStream<S>,
) -> Result<(), HandshakeError> {
    let mut byte = [0];
    let explain = |e: io::Error| tls.explain(&e);
    stream.write_all(&[7]).await.map_err(explain)?;
    stream.flush().await.map_err(explain)?;
    stream.read_exact(&mut byte).await.map_err(explain)?;
    Ok(())
}

fn authority() -> Authority {
    Authority::derive(&Secret::random(), "default").unwrap()
}

fn node(authority: &Authority) -> Tls {
    Tls::new(&authority.issue("desk").unwrap()).unwrap()
}

fn both(ends: Ends) -> [HandshakeError; 2] {
    ends.map(|end| end.expect_err("they must not talk"))
}

#[tokio::test]
async fn the_same_secret_lets_in() {
    let authority = authority();
    let [desk, farm] = ["desk", "farm"].map(|name| authority.issue(name).unwrap());
    let [tls_of_desk, tls_of_farm] = [&desk, &farm].map(|it| Tls::new(it).unwrap());
    let [near, far] = meet(&tls_of_desk, &tls_of_farm).await;
    assert_eq!(near.unwrap().node, farm.node());
    assert_eq!(far.unwrap().node, desk.node());
}

#[tokio::test]
async fn whoever_goes_without_a_farewell_has_closed_the_connection() {
    let authority = authority();
    let [desk, farm] = [node(&authority), node(&authority)];
    let (near, far) = tokio::io::duplex(1 << 16);
    let (near, far) = tokio::join!(desk.dial(near), farm.accept(far));
    let (mut near, _) = near.unwrap();
    drop(far.unwrap());
    let error = near.read_u8().await.unwrap_err();
    assert_eq!(
        desk.explain(&error).to_string(),
        "the connection broke during the handshake: it closed the connection"
    );
}

#[tokio::test]
async fn another_secret_is_named_on_both_sides() {
    let errors = both(meet(&node(&authority()), &node(&authority())).await);
    assert_eq!(
        errors,
        [HandshakeError::OtherSecret, HandshakeError::OtherSecret]
    );
    assert!(errors[0].to_string().contains("different secrets"));
}

#[tokio::test]
async fn another_network_is_named_on_both_sides() {
    let secret = Secret::random();
    let [a, b] = ["desk", "farm"].map(|network| Authority::derive(&secret, network).unwrap());
    let [near, far] = both(meet(&node(&a), &node(&b)).await);
    assert_eq!(
        near.to_string(),
        "the peer is on another network, this node on network \"desk\""
    );
    assert_eq!(
        far.to_string(),
        "the peer is on network \"desk\", this node on network \"farm\""
    );
}

#[tokio::test]
async fn another_version_is_named_on_both_sides() {
    let authority = authority();
    let newer = authority.issue("desk").unwrap();
    let newer = Tls::speaking("coros/2", &newer).unwrap();
    let [near, far] = both(meet(&newer, &node(&authority)).await);
    assert!(matches!(
        near,
        HandshakeError::OtherVersion {
            ours: "coros/2",
            theirs: None
        }
    ));
    assert!(
        far.to_string()
            .contains("version \"coros/2\", this node coros/1"),
        "{far}"
    );
    let [near, far] = both(meet(&node(&authority), &newer).await);
    assert!(matches!(
        near,
        HandshakeError::OtherVersion {
            ours: "coros/1",
            theirs: None
        }
    ));
    assert!(
        far.to_string()
            .contains("version \"coros/1\", this node coros/2"),
        "{far}"
    );
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Leaves that are valid at such a time: made from a secret, and by a node's certificate that is.
fn out_of_time(from: SystemTime, to: SystemTime) -> [(Tls, Tls); 2] {
    let shared = authority();
    let owned = Authority::generate("default", 30 * DAY).unwrap();
    let bad = owned.certify_for("desk", from, to).unwrap();
    let bad = bad.forge("desk", Validity::new(from - 30 * DAY, to + 30 * DAY));
    [
        (
            node(&shared),
            Tls::new(&shared.issue_for("desk", from, to).unwrap()).unwrap(),
        ),
        (node(&owned), Tls::new(&bad).unwrap()),
    ]
}

#[tokio::test]
async fn expired_certificates_are_named_on_both_sides() {
    let now = SystemTime::now();
    for (good, bad) in out_of_time(now - 5 * DAY, now - 3 * DAY - Duration::from_secs(9)) {
        let [theirs, own] = both(meet(&good, &bad).await);
        let [own_too, theirs_too] = both(meet(&bad, &good).await);
        for error in [theirs, theirs_too] {
            assert!(
                matches!(error, HandshakeError::PeerExpired { .. }),
                "{error}"
            );
            let says = "the peer's certificate expired 3 days ago by this machine's clock, on 2";
            assert!(error.to_string().starts_with(says), "{error}");
        }
        for error in [own, own_too] {
            assert!(
                matches!(error, HandshakeError::OwnExpired { .. }),
                "{error}"
            );
            let says = "this node's certificate expired 3 days ago, on 2";
            assert!(error.to_string().starts_with(says), "{error}");
        }
    }
}

#[test]
fn whose_link_ends_with_its_certificate_does_not_get_another() {
    let credentials = authority().issue("desk").unwrap();
    let shown = credentials.chain();
    let until = PeerIdentity::of(&shown).unwrap().until;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from(credentials.authority()).into_owned();
    roots.add(root).unwrap();
    let verifier = OfAuthority::new(Arc::new(roots), &provider, credentials.origin()).unwrap();
    let name = identity::dns_name(credentials.network())
        .try_into()
        .unwrap();
    let is_taken = |at: SystemTime| {
        let now = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        let verified = verifier.verify_server_cert(&shown[0], &shown[1..], &name, &[], now);
        verified.is_ok()
    };
    assert!(is_taken(until - Duration::from_millis(1)));
    assert!(!is_taken(until));
}

#[tokio::test]
async fn clocks_that_differ_are_named_on_both_sides() {
    let now = SystemTime::now();
    for (good, bad) in out_of_time(now + 3 * DAY + Duration::from_secs(99), now + 5 * DAY) {
        let [theirs, own] = both(meet(&good, &bad).await);
        let [own_too, theirs_too] = both(meet(&bad, &good).await);
        for error in [theirs, theirs_too] {
            assert!(
                matches!(error, HandshakeError::PeerNotYetValid { .. }),
                "{error}"
            );
            let says = "the peer's clock is at least 3 days ahead of this machine's";
            assert!(error.to_string().contains(says), "{error}");
        }
        for error in [own, own_too] {
            assert!(
                matches!(error, HandshakeError::ClocksDiffer { .. }),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn whose_clock_is_wrong_is_not_known_and_by_how_much_is() {
    // The peer lives three days before its certificate begins to be valid, which by our clock it is.
    let valid = Validity::new(
        SystemTime::now() - 2 * DAY - Duration::from_secs(9),
        SystemTime::now() + 9 * DAY,
    );
    let credentials = authority()
        .issue_for("desk", valid.from(), valid.until())
        .unwrap();
    let tls = Tls::new(&credentials).unwrap();
    let alert = Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
    let error = tls.explain(&io::Error::other(alert)).to_string();
    assert!(
        error.contains("at least 2 days behind or 8 days ahead: set both right"),
        "{error}"
    );
}

#[tokio::test]
async fn certificates_of_one_authority_let_in() {
    let owned = Authority::generate("default", DAY).unwrap();
    let [desk, farm] = ["desk", "farm"].map(|name| owned.certify(name, DAY).unwrap());
    let [desk, farm] = [desk.issue("desk").unwrap(), farm.issue("farm/1").unwrap()];
    let [near, far] = meet(&Tls::new(&desk).unwrap(), &Tls::new(&farm).unwrap()).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!((&*near.name, near.node), ("farm/1", farm.node()));
    assert_eq!((&*far.name, far.node), ("desk", desk.node()));
}

#[tokio::test]
async fn an_unknown_authority_is_named_on_both_sides() {
    let [ours, theirs] = [(); 2].map(|()| Authority::generate("default", DAY).unwrap());
    let tls = |authority: &Authority| {
        let certificate = authority.certify("desk", DAY).unwrap();
        Tls::new(&certificate.issue("desk").unwrap()).unwrap()
    };
    for (dialler, dialled) in [(&ours, &theirs), (&theirs, &ours)] {
        let errors = both(meet(&tls(dialler), &tls(dialled)).await);
        for (error, authority) in errors.iter().zip([dialler, dialled]) {
            let ours = authority.fingerprint();
            assert!(error.to_string().contains(&ours), "{error}");
            assert_eq!(*error, HandshakeError::OtherAuthority { ours });
        }
    }
}

#[tokio::test]
async fn who_has_a_certificate_and_who_a_secret_is_named_on_both_sides() {
    let owned = Authority::generate("default", DAY).unwrap();
    let certified = owned.certify("desk", DAY).unwrap().issue("desk").unwrap();
    let ours = owned.fingerprint();
    // Whoever has the authority itself can do without a node's certificate.
    for certified in [certified, owned.issue("desk").unwrap()] {
        let certified = Tls::new(&certified).unwrap();
        let secret = node(&authority());
        let there = HandshakeError::PeerHasSecret { ours: ours.clone() };
        let errors = both(meet(&certified, &secret).await);
        assert_eq!(errors, [there.clone(), HandshakeError::PeerHasCertificate]);
        let errors = both(meet(&secret, &certified).await);
        assert_eq!(errors, [HandshakeError::PeerHasCertificate, there]);
    }
}

#[tokio::test]
async fn nobody_gets_a_name_from_the_certificate_of_another() {
    let owned = Authority::generate("default", DAY).unwrap();
    let [desk, farm] = ["desk", "farm"].map(|name| owned.certify(name, DAY).unwrap());
    let forged = desk.forge("farm", desk.validity());
    for (dialler, dialled) in [
        (&forged, &farm.issue("farm").unwrap()),
        (&farm.issue("farm").unwrap(), &forged),
    ] {
        let ends = meet(&Tls::new(dialler).unwrap(), &Tls::new(dialled).unwrap()).await;
        let refused = ends.into_iter().filter_map(Result::err);
        let why = refused
            .map(|error| error.to_string())
            .collect::<Vec<_>>()
            .join("; ");
        assert!(
            why.contains("\"farm\" is none of the names that the holder of \"desk\" may give"),
            "{why}"
        );
    }
}

#[tokio::test]
async fn an_authority_of_the_same_name_gains_nothing() {
    // A certificate that an outsider made for our network, checked against our roots.
    let ours = authority();
    let forged = authority().issue("desk").unwrap();
    let [near, far] = both(meet(&node(&ours), &Tls::new(&forged).unwrap()).await);
    assert_eq!(
        [near, far],
        [HandshakeError::OtherSecret, HandshakeError::OtherSecret]
    );
}

#[tokio::test]
async fn garbage_is_no_coros_node() {
    let tls = node(&authority());
    let (near, mut far) = tokio::io::duplex(1 << 16);
    far.write_all(b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n")
        .await
        .unwrap();
    far.shutdown().await.unwrap();
    let error = tls.accept(near).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, HandshakeError::NotCoros(_)), "{error}");

    let (near, mut far) = tokio::io::duplex(1 << 16);
    far.write_all(b"220 mail.example.org ESMTP, at your service\r\n")
        .await
        .unwrap();
    far.shutdown().await.unwrap();
    let error = tls.dial(near).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, HandshakeError::NotCoros(_)), "{error}");
}
