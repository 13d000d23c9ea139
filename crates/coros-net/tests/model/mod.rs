//! A random life of a few nodes on a simulated network, and what must hold in it.

pub(crate) mod checks;
pub(crate) mod nature;
pub(crate) mod schedule;
pub(crate) mod site;
