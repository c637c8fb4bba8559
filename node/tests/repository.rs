//! What the repository says about itself is true: the paths in ARCHITECTURE.md, the examples in `deploy/`, the unit
//! beside them, and README's commands, which are the ones `.ci/run` calls.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nigh::catalogue::Catalogue;
use nigh::config::{Config, ConfigErrors};

const CRATES: [&str; 4] = ["gossip", "dns", "node", "chaos-tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The words in backticks, outside of fenced blocks.
fn backticked(markdown: &str) -> BTreeSet<&str> {
    let prose = markdown.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// `gossip/src/page.rs`, `deploy/`, `Cargo.toml`; but not `/etc/nigh`, `A/AAAA` or `Page::sign`.
fn looks_like_a_path(word: &str) -> bool {
    let file = [".rs", ".toml", ".md", ".service", ".sh"].iter().any(|ending| word.ends_with(ending));
    let folder = word.contains('/') && !word.contains(|c: char| c.is_ascii_uppercase());
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    plain && !word.starts_with('/') && (file || folder)
}

#[test]
fn the_paths_of_the_architecture_page_exist() {
    let page = read("ARCHITECTURE.md");
    let paths: Vec<&str> = backticked(&page).into_iter().filter(|word| looks_like_a_path(word)).collect();
    let gone: Vec<&&str> = paths.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names what is not there: {gone:?}");
    assert!(paths.len() > 20, "a map of {} paths is none; has the page changed its form?", paths.len());
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = read("ARCHITECTURE.md");
    let named = backticked(&page);
    let mut missing = Vec::new();
    for of in CRATES {
        for entry in fs::read_dir(root().join(of).join("src")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let module = format!("{of}/src/{}", name.trim_end_matches(".rs"));
            let inside = |word: &&str| {
                word.strip_prefix(&module).is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
            };
            if !["lib.rs", "main.rs"].contains(&name.as_str()) && !named.iter().any(inside) {
                missing.push(module);
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md does not say what these are for: {missing:?}");
}

#[test]
fn the_example_configuration_parses() {
    let text = read("deploy/nigh.example.toml");
    let config = Config::parse(&text).unwrap_or_else(|e| panic!("{}", e.in_file("deploy/nigh.example.toml")));
    assert_eq!(config.claims.len(), 2);
}

#[test]
fn the_example_catalogue_parses() {
    let text = read("deploy/services.example.toml");
    let zone_file = |path: &str| Ok(read(&format!("deploy/{path}")));
    let catalogue = Catalogue::parse_with(&text, zone_file)
        .unwrap_or_else(|e| panic!("{}", e.in_file("deploy/services.example.toml")));
    assert_eq!((catalogue.zones.len(), catalogue.services.len(), catalogue.server_count()), (1, 5, 7));
    assert!(catalogue.records.len() > 5);
}

#[test]
fn the_example_configuration_has_every_key() {
    has_every_key("deploy/nigh.example.toml", 14, |text| Config::parse(text).unwrap_err());
}

#[test]
fn the_example_catalogue_has_every_key() {
    has_every_key("deploy/services.example.toml", 6, |text| {
        Catalogue::parse_with(text, |path| Ok(read(&format!("deploy/{path}")))).unwrap_err()
    });
}

/// The examples promise every key there is. The parser tells which there are when it meets one that it does not know.
fn has_every_key(file: &str, sections: usize, parse: impl Fn(&str) -> ConfigErrors) {
    let text = read(file);
    let mut probed = String::from("qqqqqqqq = 1\n");
    for line in text.lines() {
        probed.push_str(line);
        probed.push_str(if line.starts_with('[') { "\nqqqqqqqq = 1\n" } else { "\n" });
    }
    let mut asked = 0;
    for fault in parse(&probed).iter() {
        let (_, keys) = fault.problem.split_once("allowed here: ").unwrap_or_else(|| panic!("{file}: {fault}"));
        asked += 1;
        for key in keys.split(", ") {
            let header =
                |line: &str| line.trim_matches(['[', ']']).rsplit('.').next() == Some(key) && line.starts_with('[');
            let there = text.lines().any(|line| line.starts_with(&format!("{key} =")) || header(line));
            assert!(there, "{file} leaves out `{key}`, which may stand beside {}", fault.path);
        }
    }
    assert!(asked >= sections, "{file}: only {asked} sections were asked");
}

/// The value of `setting=` in the unit.
fn setting<'u>(unit: &'u str, name: &str) -> &'u str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("the unit does not set {name}"));
    assert_eq!(values.next(), None, "the unit sets {name} twice");
    value
}

#[test]
fn the_unit_agrees_with_the_example_configuration() {
    let unit = read("deploy/systemd/nigh.service");
    let config = Config::parse(&read("deploy/nigh.example.toml")).unwrap();
    let stop = humantime::parse_duration(setting(&unit, "TimeoutStopSec")).unwrap();
    let drain = config.drain.answer_for;
    assert!(
        stop >= drain + Duration::from_secs(30),
        "systemd would kill a node that drains for {drain:?} after {stop:?}"
    );

    let folder = |base: &str, name: &str| Path::new(base).join(setting(&unit, name));
    assert_eq!(config.node.state_dir, folder("/var/lib", "StateDirectory"));
    assert_eq!(config.admin.socket.parent().unwrap(), folder("/run", "RuntimeDirectory"));
    let file = folder("/etc", "ConfigurationDirectory").join("nigh.toml");
    for command in ["ExecStart", "ExecStartPre"] {
        assert!(setting(&unit, command).ends_with(file.to_str().unwrap()), "{command} reads another file");
    }
}

/// The commands in README's shell blocks.
fn commands(markdown: &str) -> Vec<String> {
    let blocks = markdown.split("```").skip(1).step_by(2);
    let shell =
        blocks.filter_map(|block| block.split_once('\n').filter(|(tag, _)| ["sh", "bash", "console"].contains(tag)));
    let lines = shell.flat_map(|(_, text)| text.lines());
    lines.map(|line| line.trim_start_matches("$ ").split(" #").next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn the_gate_runs_the_commands_that_readme_gives() {
    let gate = read(".ci/run");
    let given = commands(&read("README.md"));
    for promised in ["cargo run --release -- demo", "cargo test --workspace"] {
        assert!(given.iter().any(|line| line == promised), "README.md gives no `{promised}` in a shell block");
    }
    for line in given.iter().filter(|line| line.starts_with("cargo ") || line.starts_with("chaos-tests/")) {
        let called = gate.lines().any(|step| step.starts_with("step ") && step.contains(line.as_str()));
        assert!(called, "README.md gives `{line}`, and .ci/run never calls it");
    }
}
