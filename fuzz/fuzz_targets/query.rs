#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| agentbus_fuzz::query::run(input));
