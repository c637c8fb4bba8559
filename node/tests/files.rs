//! The batteries: whole configurations and catalogues, each with the exact report it must get.
//!
//! A case is a file under `config/` or `catalogue/`; its expected report stands in its own last lines, each behind
//! `#= `. A file without such lines is good. After a change of a message, `NIGH_BLESS=1 cargo test -p nigh --test
//! files` rewrites these lines; the difference is then what a reviewer reads.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use nigh::catalogue::Catalogue;
use nigh::config::{Config, ConfigErrors};

/// Marks a line of the expected report.
const MARK: &str = "#= ";

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn run<T>(folder: &str, least: usize, parse: impl Fn(&str) -> Result<T, ConfigErrors>) {
    let cases = cases(folder);
    assert!(cases.len() >= least, "{} cases in {folder}", cases.len());
    let mut failed = Vec::new();
    for path in cases {
        let whole = fs::read_to_string(&path).unwrap();
        let (expected, text): (Vec<&str>, Vec<&str>) = whole.lines().partition(|line| line.starts_with(MARK));
        let text: String = text.iter().map(|line| format!("{line}\n")).collect();
        let expected: String = expected.iter().map(|line| format!("{}\n", &line[MARK.len()..])).collect();
        let found = match parse(&text) {
            Ok(_) => String::new(),
            Err(errors) => errors.iter().map(|fault| format!("{fault}\n")).collect(),
        };
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name.starts_with("good"), found.is_empty(), "{name} has the wrong name, or this report:\n{found}");
        if found == expected {
            continue;
        }
        if std::env::var_os("NIGH_BLESS").is_some() {
            let lines: String = found.lines().map(|line| format!("{MARK}{line}\n")).collect();
            fs::write(&path, format!("{text}{lines}")).unwrap();
            continue;
        }
        failed.push(format!("{}\nexpected:\n{expected}found:\n{found}", path.display()));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn configurations_get_the_report_they_state() {
    run("config", 20, Config::parse);
}

#[test]
fn catalogues_get_the_report_they_state() {
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zones");
    let zone_file = |path: &str| fs::read_to_string(zones.join(path)).map_err(|_| format!("cannot open {path}"));
    run("catalogue", 8, |text| Catalogue::parse_with(text, zone_file));
}
