//! Prometheus takes what a real node gives out; the rules and the dashboard in `deploy/monitoring/` use nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use nigh::metrics::families;
use nigh_dns::{Metric, MetricKind};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::fleet::{Fleet, ensure, until};
use crate::origins::{Origins, catalogue};
use crate::{pages, program, read, root};

const NODES: [usize; 3] = [0, 1, 2];

/// What a node says at `/metrics`.
pub async fn metrics(fleet: &Fleet, node: usize) -> String {
    let mut stream = UnixStream::connect(fleet.socket(node)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: nigh\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Runs promtool; gives all it says, and whether it was content.
fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new(program("promtool", "prometheus")?);
    command.args(args).current_dir(root().join("deploy/monitoring"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended without a look at its input.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Some((output.status.success(), said))
}

fn is_content(said: Option<(bool, String)>) {
    if let Some((good, said)) = said {
        assert!(good, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_takes_what_a_node_gives_out() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let _nodes = NODES.map(|node| fleet.start(node, &fleet.settings(node)));
    fleet.joined(&NODES).await;
    fleet.apply(2, &catalogue(&fleet.ground, "interval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1")).await;
    fleet.measured(&NODES, 2).await;
    let text = until("all three links and servers have numbers", async || {
        let text = metrics(&fleet, 0).await;
        let up = text.lines().filter(|line| line.starts_with("nigh_server_up{") && line.ends_with(" 1")).count();
        let linked = text.lines().filter(|line| line.starts_with("nigh_mesh_link_round_trip_seconds{")).count();
        ensure(up == 6 && linked == 2, || text.clone())?;
        Ok(text)
    })
    .await;
    let has = |line: &str| assert!(text.lines().any(|held| held == line), "{line} is not in\n{text}");
    has("nigh_mesh_members{verdict=\"alive\"} 3");
    has("nigh_admission{state=\"admitted\"} 1");
    has("nigh_catalogue_entries{kind=\"service\"} 2");
    has("nigh_claims{state=\"configured\"} 2");
    has(&format!("nigh_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    assert!(text.lines().any(|line| line.starts_with("nigh_node_info{node=\"ams\",pop=\"\",id=\"")), "{text}");

    let announced: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let known: Vec<(&str, &str)> = families().iter().map(|metric| (metric.name, metric.kind.as_str())).collect();
    assert_eq!(announced, known, "what is given out is what the page of the reference says, once each");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Err(problem) = uses(line) {
            panic!("{line}: {problem}");
        }
    }
    is_content(promtool(&["check", "metrics"], &text));
}

#[test]
fn the_alert_rules_are_sound_and_do_what_they_are_for() {
    is_content(promtool(&["check", "rules", "--lint-fatal", "alerts.yml"], ""));
    is_content(promtool(&["test", "rules", "alerts.test.yml"], ""));
    is_content(promtool(&["check", "config", "--syntax-only", "prometheus.yml"], ""));
    if program("openssl", "openssl").is_some() {
        let made = pages::follow_alone("deploy/monitoring/README.md");
        let at = |file: &str| made.path().join(file);
        std::fs::copy(at("prometheus.token"), at("nigh.token")).unwrap();
        for file in ["prometheus.yml", "alerts.yml"] {
            std::fs::copy(root().join("deploy/monitoring").join(file), at(file)).unwrap();
        }
        is_content(promtool(&["check", "config", at("prometheus.yml").to_str().unwrap()], ""));
    }
    let (rules, tests) = (read("deploy/monitoring/alerts.yml"), read("deploy/monitoring/alerts.test.yml"));
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let tested = |what: &str| tests.contains(&format!("- name: {name} {what}\n"));
        assert!(tested("fires") && tested("is silent"), "alerts.test.yml does not show {name} fire, and stay silent");
    }
}

#[test]
fn rules_and_dashboard_use_what_there_is() {
    let expressions = |text: &str, key: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
        lines.map(|rest| rest.trim().trim_matches('\'').replace("''", "'")).collect()
    };
    let mut asked = expressions(&read("deploy/monitoring/alerts.yml"), "expr:");
    assert!(asked.len() >= 20, "{asked:?}");
    asked.extend(expressions(&read("deploy/monitoring/alerts.test.yml"), "series:"));
    asked.extend(dashboard().into_iter().map(|(_, expression)| expression));
    for expression in asked {
        if let Err(problem) = uses(&expression) {
            panic!("{problem}, in: {expression}");
        }
    }
}

/// Each expression of the dashboard, with the title of its panel.
fn dashboard() -> Vec<(String, String)> {
    let board: Value = serde_json::from_str(&read("deploy/monitoring/nigh.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let of = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let expression = move |target: &Value| (title.clone(), target["expr"].as_str().unwrap().to_owned());
        targets.iter().map(expression).collect::<Vec<_>>()
    };
    panels.iter().flat_map(of).collect()
}

#[test]
fn the_dashboard_is_whole() {
    let board: Value = serde_json::from_str(&read("deploy/monitoring/nigh.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for (at, panel) in panels.iter().enumerate() {
        let place = |panel: &Value| ["x", "y", "w", "h"].map(|of| panel["gridPos"][of].as_u64().unwrap());
        let [x, y, w, h] = place(panel);
        assert!(x + w <= 24, "{} is wider than the board", panel["title"]);
        for other in &panels[..at] {
            let [ox, oy, ow, oh] = place(other);
            let apart = x >= ox + ow || ox >= x + w || y >= oy + oh || oy >= y + h;
            assert!(apart, "{} lies over {}", panel["title"], other["title"]);
        }
        let is_row = panel["type"] == "row";
        assert!(is_row || panel["description"].as_str().is_some_and(|what| !what.is_empty()), "{}", panel["title"]);
    }
    // Prometheus' own parser reads each of them; Grafana fills in its variables first.
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (at, (_, expression)) in dashboard().iter().enumerate() {
        let filled = expression.replace("$__rate_interval", "1m").replace("$node", ".*").replace("$service", ".*");
        rules.push_str(&format!("      - record: panel:{at}\n        expr: '{}'\n", filled.replace('\'', "''")));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    is_content(promtool(&["check", "rules", file.path().to_str().unwrap()], ""));
}

/// Looks every metric up that a text of PromQL, or a line of the text format, names, and every value of its labels that is
/// one of a list.
fn uses(text: &str) -> Result<(), String> {
    let known: BTreeMap<&str, &Metric> = families().into_iter().map(|metric| (metric.name, metric)).collect();
    let mut rest = text;
    while let Some(at) = [rest.find("nigh_"), rest.find("process_")].into_iter().flatten().min() {
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        rest = behind;
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = of_histogram.and_then(|name| known.get(name)).filter(|of| of.kind == MetricKind::Histogram);
        let metric = *histogram.or_else(|| known.get(name)).ok_or_else(|| format!("there is no metric {name}"))?;
        let Some((labels, _)) = behind.strip_prefix('{').and_then(|labels| labels.split_once('}')) else { continue };
        for label in labels.split("\",").filter(|label| !label.trim().is_empty()) {
            let (name, values) = label.trim().split_once('=').ok_or_else(|| format!("{label} is no label"))?;
            let name = name.trim_end_matches('!');
            let values = values.trim_start_matches(['~', '"']).trim_end_matches('"');
            // Those that a scrape adds, and that of a histogram.
            if ["instance", "job", "le"].contains(&name) {
                continue;
            }
            let found = metric.labels.iter().find(|label| label.name == name);
            let found = found.ok_or_else(|| format!("{} has no label {name}", metric.name))?;
            for value in values.split('|').filter(|_| !found.values.is_empty()) {
                let one = found.values.iter().any(|(known, _)| *known == value);
                one.then_some(()).ok_or_else(|| format!("{name} of {} is never {value}", metric.name))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_name_or_value_that_is_not_there_is_found() {
    assert_eq!(uses("sum(rate(nigh_dns_replies_total{kind=~\"cut|backup\", instance=\"a\"}[5m]))"), Ok(()));
    assert_eq!(uses("nigh_dns_answer_duration_seconds_bucket{le=\"+Inf\"} 4"), Ok(()));
    assert_eq!(uses("1 - nigh_gone"), Err("there is no metric nigh_gone".into()));
    assert_eq!(uses("nigh_warnings_count"), Err("there is no metric nigh_warnings_count".into()));
    let never = Err("kind of nigh_dns_replies_total is never cuts".into());
    assert_eq!(uses("nigh_dns_replies_total{kind=~\"backup|cuts\"}"), never);
    let no_label = Err("nigh_warnings has no label kind".into());
    assert_eq!(uses("nigh_warnings{kind=\"a\"}"), no_label);
}
