//! The model: what happens, and what is made of it.

pub(crate) mod record;
pub(crate) mod schedule;
pub(crate) mod site;
