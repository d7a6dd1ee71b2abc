//! See `fuzz::overlays`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::overlays::check(data));
