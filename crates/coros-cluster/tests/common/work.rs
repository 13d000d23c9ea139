//! Calls that tell where they run, and when.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use coros::cluster::worker;
use coros::{Address, Context};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) pid: u32,
    pub(crate) worker: String,
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) nice: i32,
}

#[coros::remote]
pub(crate) fn where_am_i() -> Place {
    Place {
        pid: std::process::id(),
        worker: worker::name().unwrap_or_default().to_owned(),
        program: std::fs::read_link("/proc/self/exe").unwrap_or_default(),
        folder: std::env::current_dir().unwrap(),
        environment: std::env::vars().collect(),
        nice: nice(),
    }
}

/// How much this process stands back for others.
pub(crate) fn nice() -> i32 {
    #[cfg(unix)]
    return rustix::process::getpriority_process(None).unwrap();
    #[cfg(not(unix))]
    0
}

/// Leaves in its folder what is not easily removed: folders inside of each other, folders that are read-only, many files, and
/// links to a folder elsewhere. Gives its own.
#[coros::remote]
pub(crate) fn leaves_much(elsewhere: PathBuf) -> PathBuf {
    let deep = "deep/".repeat(100);
    for folder in [&deep, "many", "locked/in"] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(format!("{deep}/left"), "something").unwrap();
    for n in 0..1000 {
        std::fs::write(format!("many/{n}"), "").unwrap();
    }
    #[cfg(unix)]
    for link in ["link", "locked/in/link"] {
        std::os::unix::fs::symlink(&elsewhere, link).unwrap();
    }
    for locked in ["locked/in", "locked"] {
        let mut permissions = std::fs::metadata(locked).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(locked, permissions).unwrap();
    }
    drop(elsewhere);
    std::env::current_dir().unwrap()
}

/// A folder elsewhere, with a file.
pub(crate) fn elsewhere() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stays"), "here").unwrap();
    folder
}

/// Nothing is left of workers in the folder of a daemon that was closed; and elsewhere all is as it was.
pub(crate) fn nothing_is_left(daemon: &Path, elsewhere: &Path) {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&daemon.join("work")), [""; 0]);
    let left = names(daemon);
    assert!(!left.iter().any(|it| it.contains("left")), "{left:?}");
    assert_eq!(names(elsewhere), ["stays"]);
    let text = std::fs::read_to_string(elsewhere.join("stays")).unwrap();
    assert_eq!(text, "here");
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    Begun(Place, Address<()>),
    Ended(String),
}

/// Tells that it has begun, and computes until it is told to end.
#[coros::remote]
pub(crate) async fn until_told(mut me: Context<()>, to: Address<Work>) -> String {
    let place = where_am_i().here().await.unwrap();
    to.send(Work::Begun(place, me.address())).unwrap();
    me.receive().await;
    let name = worker::name().unwrap_or_default().to_owned();
    to.send(Work::Ended(name.clone())).unwrap();
    name
}
