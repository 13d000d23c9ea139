//! The chores, one a file.

pub(crate) mod bench;
pub(crate) mod ci;
pub(crate) mod deny;
pub(crate) mod doc;
pub(crate) mod faults;
pub(crate) mod features;
pub(crate) mod fuzz;
pub(crate) mod lint;
pub(crate) mod loom;
pub(crate) mod miri;
pub(crate) mod msrv;
pub(crate) mod sanitizer;
pub(crate) mod test;
