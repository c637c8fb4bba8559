//! Figures, not verdicts: `cargo test --release -p nigh-gossip --lib measure -- --ignored --nocapture`.
#![allow(clippy::print_stderr, reason = "a measurement is read on the terminal")]

use std::time::Instant;

use super::*;

const ALL: u32 = 46_000;

/// One figure of this process, as the kernel counts it.
fn count(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "a measurement of seconds, for a release build"]
fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let all = pages(0..ALL, 1);
    let bytes: usize = all.iter().map(|page| page.to_bytes().len()).sum();
    let mut timed = |what: &str, puts: Vec<Page>| {
        let (n, start, written) = (puts.len(), Instant::now(), count("io", "write_bytes"));
        store.save(puts, Vec::new()).unwrap();
        let (took, wrote) = (start.elapsed(), count("io", "write_bytes") - written);
        eprintln!(
            "{what}: {n} pages in {took:.1?}, {} KB written, RSS {} MB",
            wrote / 1000,
            count("status", "VmRSS") / 1000
        );
    };
    eprintln!("{ALL} pages of {} bytes, RSS {} MB", bytes / all.len(), count("status", "VmRSS") / 1000);
    timed("first save", all);
    for minor in 2..7 {
        timed("a save", (0..10).map(|i| page(i * 4_567, minor)).collect());
    }
    timed("a save", (0..1000).map(|i| page(i * 45, 9)).collect());
    drop(store);
    eprintln!("file: {} MB", fs::metadata(dir.path().join("replica")).unwrap().len() / 1_000_000);
    for _ in 0..3 {
        let (start, before) = (Instant::now(), count("status", "VmRSS"));
        let (store, Remembered { pages, .. }) = open(dir.path());
        let took = start.elapsed();
        let with = count("status", "VmRSS");
        drop(pages);
        drop(store);
        eprintln!(
            "open, check and load: {took:.1?}, RSS {} MB before, {} MB with all pages",
            before / 1000,
            with / 1000
        );
    }
    let mut store = open(dir.path()).0;
    store.database = None;
    let start = Instant::now();
    store.open_database(|_| Ok(())).unwrap();
    eprintln!("open and check alone: {:.1?}, RSS {} MB", start.elapsed(), count("status", "VmRSS") / 1000);
}
