//! Tests that need something that not every machine has. Where it is missing they are counted as
//! ignored, and the reason is printed.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;
#[path = "common/trial.rs"]
#[allow(dead_code, reason = "nothing here is tried with a command")]
mod trial;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use common::*;
use coros_net::Secret;
use libtest_mimic::Arguments;
use trial::trial;

fn main() -> ExitCode {
    let trials = vec![
        trial("links_work_over_ipv6", ipv6_is_missing().as_deref(), || {
            tokio::runtime::Runtime::new()?.block_on(links_work_over_ipv6());
            Ok(())
        }),
        #[cfg(unix)]
        trial(
            "a_file_of_another_user_is_refused",
            not_root().as_deref(),
            || {
                a_file_of_another_user_is_refused();
                Ok(())
            },
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn ipv6_loopback() -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0))
}

fn ipv6_is_missing() -> Option<String> {
    let bound = TcpListener::bind(ipv6_loopback()).err();
    bound.map(|why| format!("this machine has no IPv6 loopback: {why}"))
}

async fn links_work_over_ipv6() {
    let secret = Secret::random();
    let farm = builder("farm", &secret).listen(ipv6_loopback()).build();
    let farm = farm.await.unwrap();
    assert!(endpoint(&farm).is_ipv6());
    let desk = node("desk", &secret).await;
    let (address, mut received) = collector::<u32>();
    soon(sent(&farm, &desk, &address).deliver(6)).await.unwrap();
    assert_eq!(next(&mut received).await, 6);
}

#[cfg(unix)]
fn not_root() -> Option<String> {
    let root = nix::unistd::geteuid().is_root();
    (!root).then(|| "only root can give a file to another user".to_owned())
}

#[cfg(unix)]
fn a_file_of_another_user_is_refused() {
    use std::fs;
    use std::os::unix::fs::chown;

    use coros_net::SecretError;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let made = Secret::load_or_create(&path).unwrap();
    let other = Some(54321);
    chown(&path, other, None).unwrap();
    for owned in [path.as_path(), folder.path()] {
        let error = Secret::load_or_create(&path).unwrap_err();
        assert!(matches!(&error, SecretError::Foreign { path, .. }
            if *path == fs::canonicalize(owned).unwrap()));
        assert!(error.to_string().contains("id 54321"), "{error}");
        // And then the folder.
        chown(&path, Some(0), None).unwrap();
        chown(folder.path(), other, None).unwrap();
    }
    chown(folder.path(), Some(0), None).unwrap();
    assert!(Secret::load(&path).unwrap() == made);
}
