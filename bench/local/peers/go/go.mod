module coros.rs/bench/local

go 1.19
