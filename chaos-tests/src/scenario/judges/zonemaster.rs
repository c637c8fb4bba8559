//! Zonemaster (the Debian package zonemaster-cli) on the mesh zone and on a cut.

use super::super::resolvers::places::{ROOT, ZONE, both};
use super::Court;
use super::findings::Finding;
use crate::bed::named;
use crate::machine;
use crate::report::Report;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// The judge's name: the slowest, left out of quick runs.
pub const KEY: &str = "zonemaster";
/// Half a minute on an idle machine: it asks one question after the other, of servers around the world.
const PATIENCE: Duration = Duration::from_secs(240);
/// What it says of a zone that it has walked to the end.
const AT_THE_END: &str = "NAMESERVER";

/// Runs it: how many zones, and what it noticed.
pub fn judge(court: &Court, report: &Report) -> Result<(usize, Vec<Finding>)> {
    let program = machine::program("zonemaster-cli").context("no zonemaster-cli: run chaos-tests/install-packages")?;
    let hints = court.world.bed.run().directory().join("judges.hints");
    fs::write(&hints, named::root_hints(&both(ROOT)).replace(" 3600 ", " 3600 IN ")).context("writing hints")?;
    let zones = [ZONE, "fra.lb.lab"];
    let mut found = Vec::new();
    for zone in zones {
        let mut command = Command::new(&program);
        command.arg("--hints").arg(&hints).args(["--json", "--level", "INFO", zone]);
        let said = court.run(command, PATIENCE)?;
        if !said.status.success() {
            bail!("zonemaster-cli failed ({}): {} {}", said.status, said.output.trim(), said.errors.trim());
        }
        let page: Value = serde_json::from_str(&said.output).context("reading what zonemaster-cli said")?;
        found.extend(read(zone, &page)?);
        report.say(&format!("Zonemaster has examined {zone}"));
    }
    Ok((zones.len(), found))
}

/// Everything above mere information. An error if it did not come to the tests of name servers.
fn read(zone: &str, page: &Value) -> Result<Vec<Finding>> {
    let said = page.as_array().or_else(|| page.get("results")?.as_array()).context("zonemaster-cli said no list")?;
    let text = |said: &Value, key: &str| said.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    if !said.iter().any(|said| text(said, "module").eq_ignore_ascii_case(AT_THE_END)) {
        bail!("Zonemaster did not come to the name servers of {zone}: {page}");
    }
    let noticed = said.iter().filter(|said| !matches!(text(said, "level").as_str(), "INFO" | "DEBUG"));
    let finding = |said: &Value| Finding {
        code: text(said, "tag"),
        place: zone.to_owned(),
        detail: format!("{} {}", text(said, "level"), said.get("args").unwrap_or(&Value::Null)),
    };
    Ok(noticed.map(finding).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::read;
    use serde_json::json;

    #[test]
    fn notices_are_findings_and_a_walk_that_ended_early_is_an_error() {
        let page = json!([
            {"level": "INFO", "module": "NAMESERVER", "tag": "NO_RECURSOR", "args": {}},
            {"level": "NOTICE", "module": "ZONE", "tag": "ODD", "args": {"refresh": 1}},
        ]);
        let found = read("lab", &page).unwrap();
        assert_eq!((found.len(), found[0].to_string().as_str()), (1, "ODD at lab: NOTICE {\"refresh\":1}"));
        assert!(read("lab", &json!([{"level": "CRITICAL", "module": "BASIC", "tag": "NO_PARENT"}])).is_err());
        assert!(read("lab", &json!({"no": "list"})).is_err());
    }
}
