//! Systems on which none of this is available.

use std::io;

use super::{Applied, ApplyError, Check, Counted, Counters, Isolation, Limits, MakeError};

/// Holds nothing.
pub(crate) fn apply(_: &Isolation) -> Result<Applied, ApplyError> {
    Ok(Applied(probe()))
}

/// Says so.
pub(crate) fn probe() -> Vec<Check> {
    vec![Check::no(
        "isolation",
        "not available on this system",
        "use Linux",
    )]
}

/// There are none.
#[derive(Debug)]
pub(crate) struct Cgroups;

/// There is none.
#[derive(Debug)]
pub(crate) struct Cgroup;

impl Cgroups {
    pub(crate) fn open() -> Self {
        Cgroups
    }

    pub(crate) fn checks(&self) -> &[Check] {
        &[]
    }

    pub(crate) fn within(&self, _: &Limits) -> Result<Self, MakeError> {
        Ok(Cgroups)
    }

    pub(crate) fn make(&self, _: &Limits) -> Result<Cgroup, MakeError> {
        Ok(Cgroup)
    }
}

impl Cgroup {
    pub(crate) fn add(&self, _pid: u32) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn counts(&self) -> Counted {
        Counted::default()
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters::default()
    }

    pub(crate) fn kill(&self) {}

    pub(crate) async fn remove(self) -> io::Result<()> {
        Ok(())
    }
}
