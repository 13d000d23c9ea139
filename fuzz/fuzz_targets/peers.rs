#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    coros_net::fuzzing::peers(bytes);
});
