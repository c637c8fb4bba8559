//! What `nigh trace` and `nigh doctor` say of the bed: of all that is well, and of a node that is dead.

use super::places::{ISPS, Isp, ORIGINS, ROOT, SERVICE, ZONE, origin_names};
use super::world::World;
use crate::bed::nigh::Node;
use crate::lab::process::{self, Said};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// A doctor asks some dozens of questions across the world, and waits for what is silent.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(world: &World, host: &str, args: &[&str]) -> Result<(Value, Said)> {
    let mut command = Command::new(world.operator.program());
    command.args(args).args(["--root", &ROOT.to_string(), "--json"]);
    // Of this machine's own node, should there be one, nothing is to be known.
    command.env_remove("NIGH_SOCKET").env_remove("NIGH_URL");
    let said = process::run_inside(Some(world.bed.space(host)?), command, PATIENCE)?;
    let json =
        serde_json::from_str(&said.output).with_context(|| format!("`nigh {}` said {said:?}", args.join(" ")))?;
    Ok((json, said))
}

fn words<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().into_iter().flatten().filter_map(|item| item[key].as_str()).collect()
}

/// A walk that went as it should: its roles, and the origin that it ended at.
fn walked(trace: &Value, isp: &Isp, roles: &[&str]) -> Result<String> {
    let seen = words(&trace["steps"], "role");
    let wanted = isp.nearest(origin_names())?;
    let address = ORIGINS.iter().find(|origin| origin.region == wanted).context("no such origin")?.address;
    let records: Vec<&str> = trace["records"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let landed = records.last().is_some_and(|record| record.ends_with(&format!(" A {address}")));
    let via = records.first().is_some_and(|record| record.contains(&format!("CNAME www.{}.{ZONE}.", isp.own)));
    if !seen.starts_with(roles) || !landed || !via || trace["faults"] != 0 {
        bail!("the walk for {} went through {seen:?} to {records:?}: {trace:#}", isp.name);
    }
    let took = trace["took_ms"].as_f64().unwrap_or_default();
    Ok(format!("{}: {} to {wanted} in {took:.0} ms", isp.name, seen.join(" > ")))
}

/// From where each resolver stands, and for the far one from where it does not.
pub(super) fn trace(world: &World) -> Result<String> {
    let mut told = Vec::new();
    for isp in &ISPS {
        let (trace, _) = run(world, isp.name, &["trace", SERVICE])?;
        told.push(walked(&trace, isp, &["root", "DNS-A", "DNS-B"])?);
    }
    let [near, far] = &ISPS;
    let socket = world.node(near.own)?.socket().display().to_string();
    let args = ["trace", SERVICE, "--resolver", &far.resolver.to_string(), "--socket", &socket];
    let (trace, _) = run(world, near.name, &args)?;
    if trace["view"] != "explained" {
        bail!("{} was not explained: {trace:#}", far.name);
    }
    told.push(format!("from {}, {}", near.name, walked(&trace, far, &["root", "DNS-A", "DNS-B"])?));
    // The root, asked as a server of what it delegates, refers to that again.
    let (lame, said) = run_lame(world)?;
    if lame["faults"] != 1 || lame["ending"] != "failed" || said.status.success() {
        bail!("a server that refers sideways was not found lame: {lame:#}");
    }
    Ok(told.join("; ") + "; a lame server is told")
}

fn run_lame(world: &World) -> Result<(Value, Said)> {
    let mut command = Command::new(world.operator.program());
    command.args(["trace", SERVICE, "--server", &ROOT.to_string(), "--zone", "lab", "--json"]);
    command.env_remove("NIGH_SOCKET").env_remove("NIGH_URL");
    let said = process::run_inside(Some(world.bed.space(ISPS[0].name)?), command, PATIENCE)?;
    let json = serde_json::from_str(&said.output).with_context(|| format!("`nigh trace` said {said:?}"))?;
    Ok((json, said))
}

fn examine(world: &World, node: &Node) -> Result<(Value, Said)> {
    let configuration = node.configuration().display().to_string();
    run(world, node.name(), &["doctor", &configuration])
}

fn of_grade<'a>(report: &'a Value, grade: &str) -> Vec<&'a str> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter(|finding| finding["grade"] == grade).filter_map(|finding| finding["what"].as_str()).collect()
}

/// All nodes are well, and found so.
pub(super) fn healthy(world: &World) -> Result<String> {
    let mut told = Vec::new();
    for node in world.nodes() {
        let (report, said) = examine(world, node)?;
        let bad = of_grade(&report, "bad");
        let delegated = of_grade(&report, "ok").iter().any(|what| what.starts_with(&format!("{ZONE}: ")));
        if !bad.is_empty() || !said.status.success() || !delegated {
            bail!("{} is well, and the doctor says {report:#}", node.name());
        }
        told.push(format!("{}: {} ok, {} to look at", node.name(), report["ok"], report["look"]));
    }
    Ok(told.join("; "))
}

/// One node is dead, and DNS-A still lists it.
pub(super) fn finds(world: &World, dead: &str) -> Result<String> {
    let other = world.others(dead).next().context("no other node")?;
    let (report, said) = examine(world, other)?;
    let bad = of_grade(&report, "bad");
    let found = bad.iter().find(|what| what.contains(&format!("ns-{dead}.{ZONE}, which does not serve it")));
    let Some(found) = found.filter(|_| said.status.code() == Some(1)) else {
        bail!("{dead} is dead and listed, and the doctor says {report:#}");
    };
    Ok(format!("{} says: {found}", other.name()))
}
