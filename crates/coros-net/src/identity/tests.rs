//! What certificates say, and what they do not let anybody say.

use proptest::prelude::*;

use super::*;
use crate::Secret;

fn chain(credentials: &Credentials) -> Vec<CertificateDer<'static>> {
    credentials.chain()
}

fn authority() -> Authority {
    Authority::derive(&Secret::random(), "default").unwrap()
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn identity_survives_the_certificate() {
    let authority = authority();
    for name in ["desk", "büro 3/links", "100%", "a%zz"] {
        let credentials = authority.issue(name).unwrap();
        let expected = PeerIdentity {
            network: "default".into(),
            node: credentials.node(),
            name: name.into(),
            until: credentials.validity().expect("it says so").until() + LAST,
        };
        assert_eq!(PeerIdentity::of(&chain(&credentials)), Ok(expected));
    }
}

#[test]
fn every_launch_has_its_own_id() {
    let authority = authority();
    let [one, other] = ["desk"; 2].map(|name| authority.issue(name).unwrap().node());
    assert_ne!(one, other);
}

#[test]
fn a_certificate_is_good_for_its_name_and_those_below() {
    let owned = Authority::generate("default", DAY).unwrap();
    let desk = owned.certify("desk", DAY).unwrap();
    for name in ["desk", "desk/1", "desk/1/2"] {
        let credentials = desk.issue(name).unwrap();
        assert_eq!(credentials.validity().unwrap(), desk.validity());
        let identity = PeerIdentity::of(&chain(&credentials)).unwrap();
        assert_eq!((&*identity.name, identity.node), (name, credentials.node()));
    }
    for name in ["farm", "des", "desk2", "desk/", "farm/desk"] {
        let error = desk.issue(name).unwrap_err().to_string();
        assert!(error.contains("is for \"desk\""), "{error}");
    }
}

#[test]
fn a_leaf_for_a_foreign_name_names_nobody() {
    let owned = Authority::generate("default", DAY).unwrap();
    let [desk, farm] = ["desk", "farm"].map(|name| owned.certify(name, DAY).unwrap());
    // What the holder of the key of desk can make: the check in `issue` is for the honest.
    let valid = desk.validity();
    let forged = desk.forge("farm", valid);
    let shown = chain(&forged);
    let borrowed = ForeignCertificate::Borrowed {
        name: "farm".into(),
        holder: "desk".into(),
    };
    assert_eq!(PeerIdentity::of(&shown), Err(borrowed));
    // Hidden behind the certificate of farm, which everybody who talks to farm has.
    let honest = chain(&farm.issue("farm").unwrap());
    let hidden = [shown[0].clone(), honest[1].clone(), shown[1].clone()];
    assert_eq!(PeerIdentity::of(&hidden), Err(ForeignCertificate::Chain));
    assert_eq!(PeerIdentity::of(&[]), Err(ForeignCertificate::Chain));
}

#[test]
fn nothing_outlives_its_authority() {
    let owned = Authority::generate("default", DAY).unwrap();
    let certificate = owned.certify("desk", 100 * DAY).unwrap();
    assert_eq!(certificate.validity().until(), owned.validity().until());
    let now = SystemTime::now();
    let old = owned.certify_for("desk", now - 3 * DAY, now - DAY).unwrap();
    let error = old.issue("desk").unwrap_err().to_string();
    assert!(error.contains("coros secret issue"), "{error}");
    let over = Authority::generate("default", Duration::ZERO).unwrap();
    let error = over.certify("desk", DAY).unwrap_err().to_string();
    assert!(error.contains("coros secret new-ca"), "{error}");
}

#[test]
fn what_is_saved_is_loaded() {
    let home = tempfile::tempdir().unwrap();
    let [ca, node] = ["ca", "node"].map(|name| home.path().join(name));
    let owned = Authority::generate("weather", DAY).unwrap();
    owned.save(&ca).unwrap();
    let loaded = Authority::load(&ca).unwrap();
    assert_eq!(loaded.fingerprint(), owned.fingerprint());
    assert_eq!(loaded.network(), "weather");
    let certificate = loaded.certify("büro", DAY).unwrap();
    certificate.save(&node).unwrap();
    let loaded = NodeCertificate::load(&node).unwrap();
    assert_eq!((loaded.name(), loaded.network()), ("büro", "weather"));
    assert_eq!(loaded.authority(), owned.fingerprint());
    let ends =
        |validity: Validity| [validity.from(), validity.until()].map(|it| Utc(it).to_string());
    assert_eq!(ends(loaded.validity()), ends(certificate.validity()));
    // Whole, and verified as a peer does.
    let credentials = loaded.issue("büro").unwrap();
    assert_eq!(
        PeerIdentity::of(&chain(&credentials)).unwrap().name,
        "büro".into()
    );
}

#[test]
fn foreign_uris_name_nobody() {
    assert!(Subject::from_uri("coros://default/desk").is_some());
    assert!(Subject::from_uri("coros://default").is_some());
    for uri in [
        "https://default/desk",
        "coros://default/",
        "coros://default/desk/more",
        "coros://Default/desk",
        "coros:///desk",
        "coros://default/des%",
        "coros://default/des%0",
        "coros://default/des%c3",
        "coros://default/des%0a",
    ] {
        assert_eq!(Subject::from_uri(uri), None, "{uri}");
    }
}

#[test]
fn a_random_secret_and_a_passphrase_take_different_ways() {
    let random = Secret::random();
    assert!(random.random_bits().is_some());
    let typed = Secret::from_text(&random.reveal().to_uppercase()).unwrap();
    assert!(typed.random_bits().is_none());
    let seeds = [
        stretched(&random, "a"),
        stretched(&random, "b"),
        stretched(&typed, "a"),
        stretched(&typed, "b"),
    ];
    let mut seeds = seeds.map(|seed| *seed.unwrap());
    seeds.sort_unstable();
    assert!(seeds.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_stretching_is_fixed() {
    // Nodes of different builds must agree: a change here is a new protocol version.
    let secret = Secret::from_text("correct horse battery staple").unwrap();
    let authority = Authority::derive(&secret, "default").unwrap();
    let subject = String::from_utf8_lossy(authority.certificate()).into_owned();
    assert!(
        subject.contains("coros network default 17e2b013afc971b9"),
        "{subject}"
    );
}

proptest! {
    #[test]
    fn no_uri_makes_it_panic(uri in "(coros://)?[a-z%/.A-F0-9é-]{0,40}") {
        if let Some(subject) = Subject::from_uri(&uri) {
            prop_assert_eq!(Subject::from_uri(&subject.to_uri()), Some(subject));
        }
    }

    #[test]
    fn every_name_survives_its_uri(name in any::<String>(), network in "[a-z0-9]{1,63}") {
        let fits = check_name(&name).is_ok();
        let subject = Subject { network, name: Some(name) };
        prop_assert_eq!(Subject::from_uri(&subject.to_uri()), fits.then_some(subject));
    }

    #[test]
    fn no_changed_certificate_makes_it_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        length in any::<prop::sample::Index>(),
    ) {
        static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let whole = WHOLE.get_or_init(|| chain(&authority().issue("desk").unwrap())[0].to_vec());
        let mut bytes = whole.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(length.index(bytes.len() + 1));
        let certificate = CertificateDer::from(bytes);
        let _ = validity::of(&certificate);
        let _ = PeerIdentity::of(&[certificate.clone(), certificate]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let certificate = CertificateDer::from(bytes);
        let _ = validity::of(&certificate);
        let _ = PeerIdentity::of(&[certificate]);
    }
}
