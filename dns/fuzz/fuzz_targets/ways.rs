#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nigh_dns_fuzz::ways(data));
