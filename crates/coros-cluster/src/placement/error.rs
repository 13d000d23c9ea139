//! What can be wrong with a placement.

use crate::machine::LabelError;

/// Something in a placement makes no sense: where, what, and what is expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {wrong}")]
pub struct PlacementError {
    pub(super) place: String,
    pub(super) wrong: Wrong,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("{text:?} is no pattern, such as `gpu-*` or `node[1-9]`: {why}")]
    Pattern { text: String, why: String },
    #[error(
        "{0:?} is no address, network such as `10.0.0.0/8`, or pattern for addresses such as \
         `10.0.*`"
    )]
    Address(String),
    #[error(transparent)]
    Label(#[from] LabelError),
    #[error("cpus(0) would use nothing: exclude() leaves nodes out")]
    NoCpus,
    #[error("workers(0) would use nothing: exclude() leaves nodes out")]
    NoWorkers,
    #[error("memory({0}) is no share of the memory: expected more than 0 and at most 1")]
    Memory(f64),
}
