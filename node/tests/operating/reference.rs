//! The pages under `deploy/docs/reference/` say what the code says.

use std::fmt::Write;
use std::fs;

use nigh::metrics::families;
use nigh_dns::{Metric, MetricLabel};

use crate::{api, read, root};

/// Compares, or writes.
fn page(name: &str, text: &str) {
    let path = root().join("deploy/docs/reference").join(name);
    let text = format!("{}\n", text.trim_end());
    if std::env::var_os("NIGH_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(written.lines()).find(|(now, then)| now != then);
    assert!(
        text == written,
        "deploy/docs/reference/{name} is not what the code says, first at {differs:?}; write it anew: NIGH_BLESS=1 cargo \
         test -p nigh --test operating, and read the difference"
    );
}

#[test]
fn the_page_of_metrics() {
    let mut text = String::from(
        "# Metrics\n\n\
         What a node gives out at `/metrics` of its admin API, in Prometheus' text format 0.0.4. This page is made from the\n\
         code. Names are kept from version to version; new ones may come. Labels have only the values listed here, or names\n\
         that the operators gave: nothing that an asker chooses becomes a label. [alerts.yml](../../monitoring/alerts.yml) and\n\
         [nigh.json](../../monitoring/nigh.json), a Grafana dashboard, are made of them.\n\n\
         | name | type | what |\n|---|---|---|\n",
    );
    for Metric { name, kind, help, labels } in families() {
        let label = |label: &MetricLabel| label.name.to_owned();
        let labels = labels.iter().map(label).collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        writeln!(text, "| `{name}{labels}` | {} | {help} |", kind.as_str()).unwrap();
    }
    text.push_str("\n## Labels\n");
    for metric in families().into_iter().filter(|metric| !metric.labels.is_empty()) {
        writeln!(text, "\n### {}\n", metric.name).unwrap();
        for MetricLabel { name, what, values } in metric.labels {
            writeln!(text, "- `{name}`: {what}").unwrap();
            for (value, meaning) in *values {
                writeln!(text, "  - `{value}`: {meaning}").unwrap();
            }
        }
    }
    page("metrics.md", &text);
}

#[test]
fn the_page_of_commands() {
    let text = format!(
        "# Commands\n\nThis page is made from the code; `nigh COMMAND --help` and the manual pages say the same. Exit codes are in\n\
         [deploy/README.md](../../README.md#exit-codes).\n{}",
        nigh::cli::reference()
    );
    page("cli.md", &text);
}

#[test]
fn the_page_of_the_configuration() {
    let example = read("deploy/nigh.example.toml");
    let text = format!(
        "# The node's configuration\n\n`/etc/nigh/nigh.toml`, TOML. This page is made from [nigh.example.toml](../../nigh.example.toml), \
         which a test holds to every key\nthat the program knows; `nigh check-config FILE` reports every mistake at once and opens \
         nothing.\n{}",
        keys(&example)
    );
    page("config.md", &text);
}

#[test]
fn the_page_of_the_catalogue() {
    let example = read("deploy/services.example.toml");
    let text = format!(
        "# The catalogue\n\n`services.toml`, TOML: the whole of it, for `nigh apply`. This page is made from\n\
         [services.example.toml](../../services.example.toml), which a test holds to every key that the program knows.\n{}",
        keys(&example)
    );
    page("catalogue.md", &text);
}

#[test]
fn the_page_of_the_admin_api() {
    page("api.md", &api::page());
}

/// A section of an example: its header, what is said of it, and its keys with what is said of each.
struct Section<'e> {
    header: &'e str,
    prose: String,
    keys: Vec<(Vec<&'e str>, String)>,
}

/// What the comments of an example say, by section and key; a section that stands there several times is told of once.
fn keys(example: &str) -> String {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let (mut comment, mut at, mut follows) = (String::new(), 0, false);
    for line in example.lines() {
        if let Some(words) = line.strip_prefix('#') {
            // What is indented is a list.
            let is_item = words.starts_with("   ");
            comment.push_str(if is_item { "\n- " } else { " " });
            comment.push_str(words.trim());
            follows = false;
        } else if line.starts_with('[') {
            let prose = std::mem::take(&mut comment);
            // Above the first section stands what the file is.
            let prose =
                if sections.is_empty() { prose.rsplit("\n\n").next().unwrap_or_default().into() } else { prose };
            at = sections.iter().position(|section| section.header == line).unwrap_or_else(|| {
                sections.push(Section { header: line, prose, keys: Vec::new() });
                sections.len() - 1
            });
            follows = false;
        } else if let Some((key, _)) = line.split_once(" = ") {
            let known = sections[at].keys.iter().flat_map(|(lines, _)| lines);
            let known = known.filter_map(|line| line.split_once(" = ")).any(|(known, _)| known == key);
            let said = std::mem::take(&mut comment);
            match sections[at].keys.last_mut().filter(|_| follows && !known) {
                Some((lines, _)) => lines.push(line),
                None if !known => sections[at].keys.push((vec![line], said)),
                None => {}
            }
            follows = !known;
        } else {
            // An empty line ends what is said: of a whole file, or of what comes next without a key.
            comment = if comment.is_empty() { comment } else { format!("{}\n\n", comment.trim_end()) };
            follows = false;
        }
    }
    let mut page = String::new();
    for Section { header, prose, keys } in sections {
        write!(page, "\n## `{header}`\n").unwrap();
        if !prose.trim().is_empty() {
            write!(page, "\n{}\n", prose.trim().replace("\n\n ", "\n\n")).unwrap();
        }
        for (lines, said) in keys {
            let names: Vec<String> =
                lines.iter().filter_map(|line| line.split_once(" = ")).map(|(key, _)| format!("`{key}`")).collect();
            write!(page, "\n### {}\n", names.join(", ")).unwrap();
            if !said.trim().is_empty() {
                write!(page, "\n{}\n", said.trim()).unwrap();
            }
            write!(page, "\n```toml\n{}\n```\n", lines.join("\n")).unwrap();
        }
    }
    page
}
