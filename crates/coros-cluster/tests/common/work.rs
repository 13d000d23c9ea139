//! Calls that tell where they run, and when.

use std::collections::BTreeMap;
use std::path::PathBuf;

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
