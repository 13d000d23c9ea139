//! Secrets in files: who may read them, and who makes them when several start at once.

use std::fs;
use std::sync::Barrier;
use std::time::Duration;

use coros_net::{Authority, NodeCertificate, Secret, SecretError};
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn starting_together_agrees_on_one_secret() {
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/secret");
        let barrier = Barrier::new(8);
        let secrets: Vec<Secret> = std::thread::scope(|scope| {
            let load = || {
                barrier.wait();
                Secret::load_or_create(&path).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]));
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft is left behind");
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coros/secret");
    let made = Secret::load_or_create(&path).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.as_path()), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);

    for exposed in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, PermissionsExt::from_mode(exposed)).unwrap();
        let error = Secret::load_or_create(&path).unwrap_err();
        assert!(matches!(error, SecretError::Exposed { .. }));
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
    fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
    assert!(Secret::load(&path).unwrap() == made);
}

#[cfg(unix)]
#[test]
fn what_others_can_replace_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("shared");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("secret");
    write_private(&path, b"correct horse battery staple");
    let link = home.path().join("link");
    symlink(&path, &link).unwrap();
    let chmod = |mode| fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
    for open in [0o777, 0o757, 0o775] {
        chmod(open);
        for path in [&path, &link, &folder.join("new")] {
            let error = Secret::load_or_create(path).unwrap_err();
            assert!(matches!(error, SecretError::OpenFolder { .. }), "{error}");
            let says = format!(
                "chmod go-w {}",
                fs::canonicalize(&folder).unwrap().display()
            );
            assert!(error.to_string().contains(&says), "{error}");
        }
    }
    assert!(!folder.join("new").exists());
    for closed in [0o1777, 0o755, 0o700] {
        chmod(closed);
        Secret::load(&path).unwrap();
        Secret::load(&link).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name| folder.path().join(name);
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    for (path, what) in [
        (at("pipe"), "a named pipe"),
        (at("socket"), "a socket"),
        (at("folder"), "a folder"),
        ("/dev/null".into(), "a device"),
    ] {
        let (told, error) = std::sync::mpsc::channel();
        std::thread::spawn(move || told.send(Secret::load_or_create(path)));
        let error = error.recv_timeout(Duration::from_secs(10));
        let error = error.expect("it does not wait").unwrap_err();
        assert!(matches!(&error, SecretError::NotAFile { what: is, .. } if *is == what));
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[test]
fn an_unusable_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for (text, says) in [
        ("", "empty"),
        (" \n", "empty"),
        ("hunter2\n", "7 characters"),
    ] {
        write_private(&path, text.as_bytes());
        let error = Secret::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("secret"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    write_private(&path, &[b'x'; 5000]);
    assert!(
        Secret::load(&path)
            .unwrap_err()
            .to_string()
            .contains("longer than 4096 bytes")
    );
    write_private(&path, b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ");
    let error = Secret::load(&path).unwrap_err().to_string();
    assert!(error.contains("in PEM, and no secret"), "{error}");
    assert!(!error.contains("--force"), "the key is to stay: {error}");
    write_private(&path, &[0xff; 32]);
    let error = Secret::load(&path).unwrap_err();
    assert!(error.to_string().contains("it is no text"), "{error}");
}

#[test]
fn white_space_around_a_text_does_not_count() {
    let plain = Secret::from_text("correct horse").unwrap();
    assert!(plain == Secret::from_text("  correct horse\r\n").unwrap());
    assert!(plain != Secret::from_text("correct  horse").unwrap());
}

#[test]
fn nothing_prints_a_secret_or_a_key() {
    let secret = Secret::random();
    let authority = Authority::derive(&secret, "default").unwrap();
    let credentials = authority.issue("desk").unwrap();
    let printed = format!("{secret:?} {authority:?} {credentials:?}");
    assert!(!printed.contains(&secret.reveal()[10..20]), "{printed}");
    let id = credentials.node();
    let expected = format!(
        "Secret(..) Authority {{ network: \"default\", .. }} Credentials {{ network: \
         \"default\", node: NodeId({id}), name: \"desk\", .. }}"
    );
    assert_eq!(printed, expected);
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let secret = Secret::random();
    for network in ["", "-a", "a-", "A", "a.b", "ä", &"x".repeat(64)] {
        let error = Authority::derive(&secret, network).unwrap_err().to_string();
        assert!(error.contains("cannot name a network"), "{error}");
    }
    let authority = Authority::derive(&secret, "a-1").unwrap();
    let parts = ["/", "a/", "/a", "a//b", ".", "..", "../x", "a/../b", "a/."];
    for name in [&["", "a\nb", &"x".repeat(129)], &parts[..]].concat() {
        let error = authority.issue(name).unwrap_err().to_string();
        assert!(error.contains("cannot name a node"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_makes_it_panic(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        "[ \n]{0,3}(coros1-)?[0-9a-fA-F]{0,70}[ \n]{0,3}".prop_map(String::into_bytes),
    ]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, &bytes);
        let read = Secret::load(&path);
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok(text) if text.chars().count() >= 12 => {
                let plain = |it: u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
                let whole = |digits: &str| digits.len() == 64 && digits.bytes().all(plain);
                let random = text.strip_prefix("coros1-").map(whole);
                match read {
                    Ok(secret) => {
                        prop_assert_eq!(secret.reveal(), text);
                        prop_assert_eq!(secret.is_random(), random == Some(true));
                    }
                    // Some of a random secret is no passphrase.
                    Err(_) => prop_assert_eq!(random, Some(false)),
                }
            }
            _ => {
                prop_assert!(read.is_err());
            }
        }
        prop_assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn no_folder_of_certificates_makes_it_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        of_key in any::<bool>(),
    ) {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::generate("default", DAY).unwrap();
        authority.certify("desk", DAY).unwrap().save(home.path()).unwrap();
        let path = home.path().join(if of_key { "node.key" } else { "node.pem" });
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fs::write(&path, &bytes).unwrap();
        if let Ok(certificate) = NodeCertificate::load(home.path()) {
            let _ = certificate.issue("desk");
        }
    }
}

#[test]
fn a_secret_that_is_there_is_not_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coros/secret");
    let [old, new] = [(); 2].map(|()| Secret::random());
    old.save(&path).unwrap();
    let error = new.save(&path).unwrap_err();
    assert!(matches!(error, SecretError::Exists { .. }), "{error}");
    assert!(Secret::load(&path).unwrap() == old);
    new.replace(&path).unwrap();
    assert!(Secret::load(&path).unwrap() == new);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "no draft is left behind");
}

#[test]
fn an_authority_is_not_overwritten_and_its_key_is_nobodys_to_read() {
    let home = tempfile::tempdir().unwrap();
    let [one, other] = [(); 2].map(|()| Authority::generate("default", DAY).unwrap());
    one.save(home.path()).unwrap();
    for stays in ["ca.key", "ca.pem"] {
        let error = other.save(home.path()).unwrap_err().to_string();
        assert!(error.contains("is there already"), "{error}");
        let loaded = Authority::load(home.path()).unwrap();
        assert_eq!(loaded.fingerprint(), one.fingerprint());
        let other_file = home.path().join(if stays == "ca.key" {
            "ca.pem"
        } else {
            "ca.key"
        });
        let kept = fs::read(&other_file).unwrap();
        fs::remove_file(&other_file).unwrap();
        let error = other.save(home.path()).unwrap_err().to_string();
        assert!(error.contains(stays), "{error}");
        assert!(!other_file.exists(), "all or nothing");
        write_private(&other_file, &kept);
    }
    let error = NodeCertificate::load(home.path()).unwrap_err().to_string();
    assert!(error.contains("node.pem"), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let key = home.path().join("ca.key");
        fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
        let error = Authority::load(home.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn a_key_of_another_certificate_is_named() {
    let home = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| home.path().join(name));
    let authority = Authority::generate("default", DAY).unwrap();
    for folder in [&a, &b] {
        authority
            .certify("desk", DAY)
            .unwrap()
            .save(folder)
            .unwrap();
    }
    fs::rename(b.join("node.key"), a.join("node.key")).unwrap();
    let error = NodeCertificate::load(&a).unwrap_err().to_string();
    assert!(error.contains("is the key of another one"), "{error}");
}

#[test]
fn the_fingerprint_tells_secrets_apart_and_gives_none_away() {
    let fixed = Secret::from_text("correct horse battery staple").unwrap();
    let random = Secret::random();
    let [fixed_print, random_print] = [&fixed, &random].map(|it| it.fingerprint().unwrap());
    assert_eq!(fixed_print, fixed.fingerprint().unwrap());
    assert_ne!(fixed_print, random_print);
    assert_eq!(random_print.len(), 16);
    assert!(!random.reveal().contains(&random_print));
}

fn write_private(path: &std::path::Path, text: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, text).expect("the folder is ours");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("the file is ours");
    }
}
