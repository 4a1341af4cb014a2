#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    xks_fuzz::audit(input);
});
