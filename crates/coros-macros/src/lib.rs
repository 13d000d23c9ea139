//! The macros of coros.
