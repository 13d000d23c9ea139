//! The store on disks that are full or cannot be written to: small ones, mounted where nobody else sees
//! them. Where that cannot be, it is said and counted as ignored.
//!
//! This executable is also the process that has such a disk. The store is no part of the API, so it is
//! compiled in here.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(target_os = "linux")]
#[path = "../src"]
#[allow(dead_code, unused_imports, reason = "others use the rest of it")]
mod private {
    pub(crate) mod blocking;
    pub(crate) mod hash;
    pub(crate) mod lock;
    pub(crate) mod store;
}
#[cfg(target_os = "linux")]
#[path = "../../coros-net/tests/common/trial.rs"]
mod trial;

#[cfg(target_os = "linux")]
use private::{blocking, hash, lock, store};

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [on, disk, folder] = words.as_slice()
        && on == disks::ON
    {
        disks::run(disk, folder.as_ref());
        return ExitCode::SUCCESS;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, disks::trials()).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod disks {
    use std::fs::{self, File};
    use std::io::{ErrorKind, Write};
    use std::path::Path;
    use std::process::Command;

    use libtest_mimic::{Failed, Trial};

    use crate::hash::ContentHash;
    use crate::store::{Kind, OpenError, Store};
    use crate::trial::{trial, why_not};

    /// The first argument of a process that has a disk of its own.
    pub(crate) const ON: &str = "on";
    const FULL: &str = "full";
    const READ_ONLY: &str = "read-only";

    const LARGE: usize = 300 << 10;

    pub(crate) fn trials() -> Vec<Trial> {
        let missing = why_not("mount a small disk", &["unshare", "--mount", "true"]);
        let tests = [
            ("a_store_on_a_full_disk_is_used_and_makes_room", FULL),
            ("a_folder_that_cannot_be_written_to_is_refused", READ_ONLY),
        ];
        let trials = tests.map(|(name, disk)| trial(name, missing.as_deref(), || on(disk)));
        trials.into()
    }

    /// Runs a part of this executable with a small disk.
    fn on(disk: &str) -> Result<(), Failed> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().canonicalize()?;
        let mount = "mount -t tmpfs -o size=1m coros-test \"$0\" && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", mount]).arg(&path);
        command
            .arg(std::env::current_exe()?)
            .args([ON, disk])
            .arg(&path);
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }

    pub(crate) fn run(disk: &str, folder: &Path) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            match disk {
                FULL => full(folder).await,
                READ_ONLY => read_only(folder).await,
                other => panic!("no disk is {other}"),
            }
        });
    }

    fn receive(store: &Store, content: &[u8]) -> std::io::Result<ContentHash> {
        let (hash, _) = ContentHash::of(content)?;
        let mut file = File::create(store.incoming().join("received"))?;
        file.write_all(content)?;
        Ok(hash)
    }

    async fn adopt(store: &Store, content: &[u8]) {
        let room = store.make_room("received", content.len() as u64);
        let room = room.await.unwrap();
        let hash = receive(store, content).unwrap();
        let adopted = store.adopt(hash, Kind::Program, room);
        adopted.await.unwrap();
    }

    async fn full(disk: &Path) {
        let folder = disk.join("store");
        let (old, kept, new) = ([1; LARGE], [2; LARGE], [3; LARGE]);
        let store = Store::open(&folder, 2 * LARGE as u64).await.unwrap();
        adopt(&store, &old).await;
        adopt(&store, &kept).await;
        drop(store);
        // Something else takes the rest of the disk.
        let mut rest = File::create(disk.join("rest")).unwrap();
        let error = loop {
            if let Err(error) = rest.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);

        let store = Store::open(&folder, 2 * LARGE as u64).await.unwrap();
        let (hash, _) = ContentHash::of(&kept[..]).unwrap();
        let pin = store.pin(hash, Kind::Program).await.unwrap();
        receive(&store, &new).unwrap_err();
        fs::remove_file(store.incoming().join("received")).unwrap();
        adopt(&store, &new).await;
        assert!(fs::read(pin.path()).unwrap() == kept);
        let (hash, _) = ContentHash::of(&old[..]).unwrap();
        assert!(!store.contains(&hash));
    }

    async fn read_only(disk: &Path) {
        let folder = disk.join("store");
        drop(Store::open(&folder, 1000).await.unwrap());
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", "remount,ro"]).arg(disk).status().unwrap();
        assert!(status.success());
        for folder in [folder, disk.join("new")] {
            let error = Store::open(&folder, 1000).await.unwrap_err();
            assert!(matches!(error, OpenError::Io { .. }), "{error}");
            let words = error.to_string();
            let named = words.contains(folder.to_str().unwrap());
            assert!(named && words.contains("Read-only"), "{words}");
        }
    }
}
