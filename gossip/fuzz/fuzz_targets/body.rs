#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nigh_gossip_fuzz::body(data));
