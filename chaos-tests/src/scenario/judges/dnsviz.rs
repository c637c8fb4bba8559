//! `dnsviz probe` from the private root down, and the errors and warnings of `dnsviz grok`.

use super::super::resolvers::places::{APPS, DEEP, INNER, LARGE, ROOT, SECOND, SERVICE, WIDE, ZONE};
use super::Court;
use super::findings::Finding;
use crate::machine;
use crate::report::Report;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// It asks every server of every zone for every kind of record, some of them more than once.
const PATIENCE: Duration = Duration::from_secs(120);
/// Queries at a time: most of the time goes by waiting for the far side of the world.
const THREADS: &str = "16";

/// What stands in the mesh zone, by every type that may stand beside it.
const TYPES: &str = "A,AAAA,MX,TXT,SOA,NS,CAA,HTTPS";

/// Runs both: for the zone with its tests of EDNS, for a cut with them, and for names. How many names were judged, and
/// what was found.
pub fn judge(court: &Court, report: &Report) -> Result<(usize, Vec<Finding>)> {
    let wildcard = APPS.replace('*', "some");
    let (large, _, _) = LARGE;
    let mut runs = vec![(vec![ZONE], vec!["-E", "-n"]), (vec![SERVICE], vec!["-R", TYPES])];
    if !court.fast {
        runs.push((vec!["fra.lb.lab"], vec!["-E"]));
        runs.push((vec!["tyo.lb.lab", "www.tyo.lb.lab"], vec!["-e", "10.81.1.0/24"]));
        let names =
            [SECOND, DEEP, INNER, &wildcard, large, "some.wild.lb.lab", "down.lb.lab", "no-such-name.lb.lab", WIDE];
        runs.push((names.to_vec(), vec!["-R", TYPES]));
    }
    let mut done = 0;
    let mut found = Vec::new();
    for (names, options) in runs {
        let page = examine(court, &names, &options)?;
        for name in &names {
            // A page without the name would pass as one without complaints.
            if page.pointer(&format!("/{name}./queries")).is_none() {
                bail!("dnsviz says nothing of {name}");
            }
        }
        if page.pointer(&format!("/{ZONE}./delegation/status")).and_then(Value::as_str) != Some("INSECURE") {
            bail!(
                "dnsviz did not find {ZONE} delegated insecurely: {:?}",
                page.pointer(&format!("/{ZONE}./delegation"))
            );
        }
        report.say(&format!("dnsviz has examined {}", names.join(" ")));
        done += names.len();
        found.extend(read(&page));
    }
    Ok((done, once(found)))
}

fn examine(court: &Court, names: &[&str], options: &[&str]) -> Result<Value> {
    let program = machine::program("dnsviz").context("no dnsviz: run chaos-tests/install-packages")?;
    let directory = court.world.bed.run().directory();
    let (probed, grokked) = (directory.join("probe.json"), directory.join("grok.json"));
    let anchor = directory.join("judges.ds");
    fs::write(&anchor, format!("{}\n", court.world.anchor)).context("writing the anchor")?;
    let mut command = Command::new(&program);
    command.args(["probe", "-A", "-d", "1", "-a", ".", "-t", THREADS]).args(options);
    command.arg("-x").arg(format!(".:a.root.={ROOT}")).arg("-o").arg(&probed).args(names);
    succeed(court, command)?;
    let mut command = Command::new(&program);
    // -P: the bed's addresses are private. -C: what it thinks of cookies.
    command.args(["grok", "-P", "-C", "-l", "info", "-t"]).arg(&anchor).arg("-r").arg(&probed).arg("-o").arg(&grokked);
    succeed(court, command)?;
    let text = fs::read_to_string(&grokked).with_context(|| format!("reading {}", grokked.display()))?;
    serde_json::from_str(&text).context("reading what dnsviz grok said")
}

fn succeed(court: &Court, command: Command) -> Result<()> {
    let said = court.run(command, PATIENCE)?;
    if !said.status.success() {
        bail!("dnsviz failed ({}): {} {}", said.status, said.output.trim(), said.errors.trim());
    }
    Ok(())
}

/// All errors and warnings.
fn read(page: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    walk(page, &mut Vec::new(), &mut found);
    found
}

/// Each once for each place: the zone is in every run.
fn once(mut found: Vec<Finding>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    found.retain(|finding| seen.insert((finding.code.clone(), finding.place.clone(), finding.detail.clone())));
    found
}

fn walk(value: &Value, path: &mut Vec<String>, found: &mut Vec<Finding>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                if let ("errors" | "warnings", Some(list)) = (key.as_str(), inner.as_array()) {
                    found.extend(list.iter().map(|said| finding(said, path)));
                    continue;
                }
                path.push(key.clone());
                walk(inner, path, found);
                path.pop();
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| walk(inner, path, found)),
        _ => {}
    }
}

fn finding(said: &Value, path: &[String]) -> Finding {
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let servers: Vec<&str> =
        said.get("servers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let detail = format!("{} [{}]", text("description"), servers.join(" "));
    Finding { code: text("code"), place: path.join(" "), detail }
}

#[cfg(test)]
mod tests {
    use super::{once, read};
    use serde_json::json;

    #[test]
    fn errors_and_warnings_are_found_at_any_depth() {
        let page = json!({"lb.lab.": {"queries": {"lb.lab./IN/A": {"answer": [
            {"errors": [{"code": "LAME", "description": "no", "servers": ["10.0.0.1"]}], "status": "X"},
        ]}}, "warnings": [{"code": "ODD"}]}, "errors": "not a list"});
        let twice = [read(&page), read(&page)].concat();
        let said: Vec<String> = once(twice).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["LAME at lb.lab. queries lb.lab./IN/A answer: no [10.0.0.1]", "ODD at lb.lab.: ? []"]);
    }
}
