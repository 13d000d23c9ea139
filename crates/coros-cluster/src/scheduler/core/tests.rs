//! The core in a world of workers that are slow, die and say things twice.

mod cases;
mod check;
mod farm;
mod random;
mod steps;
mod worker;
mod world;
