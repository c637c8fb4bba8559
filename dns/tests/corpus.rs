//! Replays the corpus of the fuzz targets on any toolchain: what a fuzzer found once stays mended.
//!
//! The seeds are the packets of the scenarios; `cargo test -p nigh-dns --test scenarios -- --ignored` writes them again.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the corpus is files")]

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

#[test]
fn every_input_of_the_corpus_is_handled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 100, "{} is nearly empty", folder.display());
    for (name, target) in targets::TARGETS {
        for file in &files {
            let bytes = fs::read(file).unwrap();
            let handled = std::panic::catch_unwind(|| target(&bytes));
            assert!(handled.is_ok(), "{name}: {}", file.display());
        }
    }
}
