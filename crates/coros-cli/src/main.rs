//! The `coros` program.
fn main() {}
