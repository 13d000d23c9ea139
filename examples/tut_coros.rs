//! Tutorial.
fn main() {}
