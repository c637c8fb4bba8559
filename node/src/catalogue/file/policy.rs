//! How a service's addresses are given out: what stands directly in `[[service]]`, `[[service.override]]`, and what of
//! `[[service.server]]` is about being chosen.
//!
//! What each key does stands in `deploy/services.example.toml` for operators and in `nigh_dns::Policy` for us; here is
//! what may be written, and what does not go together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{DEFAULT_ANSWERS, DEFAULT_TTL, at_most, number, time};
use crate::catalogue::{
    AllDown, Choice, Cost, Duty, MAX_ANSWERS, MAX_COST, MAX_COST_NODES, MAX_FIXED, MAX_OVERRIDE_BYTES, MAX_OVERRIDES,
    MAX_SERVERS, MAX_SPREAD, MAX_TTL, MAX_WEIGHT, Milli, Mode, Objective, Override, Pin, Server, Steering, Sticky,
    name, override_bytes,
};
use crate::config::document::{Item, Section, all, optional};
use crate::config::value;

/// The keys of `[[service]]` that are read here.
pub(super) const KEYS: [&str; 11] =
    ["mode", "ttl", "ttl_min", "answers", "spread", "choose", "objective", "min_up", "all_down", "sticky", "override"];

/// What is read here.
pub(super) struct Given {
    pub(super) mode: Mode,
    pub(super) ttl: u32,
    pub(super) answers: u8,
    pub(super) spread: Duration,
    pub(super) steering: Steering,
}

pub(super) fn read(section: &Section<'_>, servers: &BTreeMap<String, Server>) -> Option<Given> {
    let mode = word(section, "mode", Mode::Refer, &[("refer", Mode::Refer), ("answer", Mode::Answer)]);
    let ttl = optional(section.get("ttl"), DEFAULT_TTL, |item| number(item, 1, MAX_TTL));
    let ttl_min = optional(section.get("ttl_min"), None, |item| number(item, 1, MAX_TTL).map(Some));
    if let (Some(ttl), Some(Some(least)), Some(item)) = (ttl, ttl_min, section.get("ttl_min"))
        && least > ttl
    {
        item.fault(format!("more than the ttl, which is {ttl}"));
    }
    let answers = optional(section.get("answers"), DEFAULT_ANSWERS, |item| number(item, 1, MAX_ANSWERS));
    let spread = optional(section.get("spread"), Duration::ZERO, |item| time(item, Duration::ZERO, MAX_SPREAD));
    let choice = word(section, "choose", Choice::Best, &[("best", Choice::Best), ("first", Choice::First)]);
    if choice == Some(Choice::First) {
        for key in ["spread", "objective"] {
            if let Some(item) = section.get(key) {
                item.fault("means nothing with choose = \"first\", which goes by the order of the list");
            }
        }
    }
    let objective = optional(section.get("objective"), Objective::default(), |item| objective(item, section));
    let sticky = word(section, "sticky", Sticky::Client, &[("client", Sticky::Client), ("none", Sticky::None)]);
    let min_up = optional(section.get("min_up"), 0, |item| min_up(item, servers.len()));
    let all_down = optional(section.get("all_down"), AllDown::LastGood, all_down);
    let overrides = overrides(section, servers);
    let steering = Steering {
        choice: choice?,
        objective: objective?,
        sticky: sticky?,
        min_up: min_up?,
        all_down: all_down?,
        ttl_min: ttl_min?,
        overrides: overrides?,
        ..Steering::default()
    };
    Some(Given { mode: mode?, ttl: ttl?, answers: answers?, spread: spread?, steering })
}

/// One of a few words.
fn word<T: Copy>(section: &Section<'_>, key: &'static str, default: T, words: &[(&str, T)]) -> Option<T> {
    optional(section.get(key), default, |item| {
        item.text(|text| {
            let known = words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
            known.ok_or_else(|| format!("{} is expected", either(words.iter().map(|(word, _)| *word))))
        })
    })
}

/// `"a", "b" or "c"`.
fn either<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let mut words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) }
}

/// A word, or a weight for each criterion that counts.
fn objective(item: &Item<'_>, service: &Section<'_>) -> Option<Objective> {
    if item.as_text().is_some() {
        return item.text(|text| match text {
            "latency" => Ok(Objective::default()),
            _ => Err("\"latency\" or a table of weights is expected: { latency = 1.0, load = 0.5 }".to_owned()),
        });
    }
    let section = service.section("objective", &["latency", "loss", "load", "cost"]);
    let weight = |key| optional(section.get(key), Milli(0), |item| item.decimal(Milli(0)..=MAX_WEIGHT));
    let (latency, loss, load, cost) = (weight("latency"), weight("loss"), weight("load"), weight("cost"));
    let read = Objective { latency: latency?, loss: loss?, load: load?, cost: cost? };
    if [read.latency, read.loss, read.load, read.cost] == [Milli(0); 4] {
        item.fault("all weights are 0, so nothing counts; latency = 1.0 is what counts by default");
        return None;
    }
    Some(read)
}

fn min_up(item: &Item<'_>, servers: usize) -> Option<u16> {
    let read: u16 = number(item, 1, MAX_SERVERS as u16)?;
    if servers > 0 && usize::from(read) > servers {
        item.fault(format!("more than the servers of the service, of which there are {servers}"));
    }
    // What is so anyway is not sent.
    Some(if read == 1 { 0 } else { read })
}

fn all_down(item: &Item<'_>) -> Option<AllDown> {
    if !item.is_list() {
        return item.text(|text| match text {
            "last-good" => Ok(AllDown::LastGood),
            "all" => Ok(AllDown::All),
            "none" => Ok(AllDown::None),
            _ => Err("\"last-good\", \"all\", \"none\" or a list of addresses is expected".to_owned()),
        });
    }
    let items = item.list();
    if items.is_empty() {
        item.fault("no address; all_down = \"none\" gives no answer");
    }
    at_most(Some(item.clone()), items.len(), MAX_FIXED);
    let addresses = all(&items, |item| item.text(value::advertised_ip))?;
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            items[at].fault("listed before");
        }
    }
    Some(AllDown::Addresses(addresses))
}

fn overrides(service: &Section<'_>, servers: &BTreeMap<String, Server>) -> Option<Vec<Override>> {
    let sections = service.sections("override", &["prefix", "node", "servers", "tier"]);
    let item = service.get("override");
    at_most(item.clone(), sections.len(), MAX_OVERRIDES);
    let mut overrides: Vec<Override> = Vec::new();
    let mut whole = item.is_none() || !sections.is_empty();
    for section in &sections {
        match one_override(section, servers) {
            Some(read) if overrides.iter().any(|other| (other.prefix, &other.node) == (read.prefix, &read.node)) => {
                section.fault("another override has the same prefix and node");
            }
            Some(read) => overrides.push(read),
            None => whole = false,
        }
    }
    let bytes: usize = overrides.iter().map(override_bytes).sum();
    if let Some(item) = item.filter(|_| bytes > MAX_OVERRIDE_BYTES) {
        item.fault(format!(
            "{bytes} octets of names and prefixes, where at most {MAX_OVERRIDE_BYTES} are allowed; tiers are shorter than \
             lists of servers"
        ));
    }
    whole.then_some(overrides)
}

fn one_override(section: &Section<'_>, servers: &BTreeMap<String, Server>) -> Option<Override> {
    let prefix = optional(section.get("prefix"), None, |item| item.text(value::prefix).map(Some));
    let node = optional(section.get("node"), None, |item| item.text(value::node_name).map(Some));
    if section.get("prefix").is_none() && section.get("node").is_none() {
        section.fault(
            "for whom? write prefix = \"203.0.113.0/24\" for clients, node = \"fra\" for what a node sees, or both",
        );
        return None;
    }
    let to = match (section.get("servers"), section.get("tier")) {
        (Some(_), Some(tier)) => {
            tier.fault("either servers or a tier, not both");
            None
        }
        (None, None) => {
            section.fault("where to? write servers = [\"fra-1\"] or tier = 1");
            None
        }
        (None, Some(item)) => {
            let read: Option<u8> = number(&item, 0, u8::MAX);
            if let Some(tier) = read.filter(|tier| !servers.values().any(|server| server.tier == *tier)) {
                item.fault(format!("no server of the service is of tier {tier}"));
            }
            read.map(Pin::Tier)
        }
        (Some(item), None) => {
            let items = section.list("servers");
            if item.is_list() && items.is_empty() {
                item.fault("no server; write the ids of one or more");
            }
            let known = |text: &str| {
                let id = name::server_id(text)?;
                if servers.contains_key(&id) { Ok(id) } else { Err("no server of the service has this id".to_owned()) }
            };
            all(&items, |item| item.text(known)).filter(|ids| !ids.is_empty()).map(Pin::Servers)
        }
    };
    Some(Override { prefix: prefix?, node: node?, to: to? })
}

/// The keys of `[[service.server]]` that are read here.
pub(super) const SERVER_KEYS: [&str; 4] = ["tier", "state", "canary", "cost"];

/// The terms of a server.
pub(super) fn terms(section: &Section<'_>, plain: Server, place: u16) -> Option<Server> {
    let tier = optional(section.get("tier"), 0, |item| number(item, 0, u8::MAX));
    let words = [Duty::Up, Duty::Drain, Duty::Off].map(|duty| (duty.as_str(), Some(duty)));
    let state = word(section, "state", None, &words);
    let canary = optional(section.get("canary"), Milli(0), |item| item.decimal(Milli(0)..=Milli(100_000)));
    let cost = optional(section.get("cost"), Cost::default(), cost);
    Some(Server { tier: tier?, state: state?, canary: canary?, cost: cost?, place, ..plain })
}

/// A number, or a table with one for each node that differs.
fn cost(item: &Item<'_>) -> Option<Cost> {
    let number = |item: &Item<'_>| item.decimal(Milli(0)..=MAX_COST);
    let Some(entries) = item.entries() else {
        return number(item).map(|default| Cost { default, ..Cost::default() });
    };
    at_most(Some(item.clone()), entries.len(), MAX_COST_NODES + 1);
    let mut cost = Cost::default();
    let mut whole = true;
    for (key, entry) in entries {
        let read = number(&entry);
        let node = match key {
            "default" => None,
            key => match value::node_name(key) {
                Ok(node) => Some(node),
                Err(problem) => {
                    entry.fault(format!("{key:?} is neither \"default\" nor the name of a node: {problem}"));
                    whole = false;
                    continue;
                }
            },
        };
        match (node, read) {
            (None, Some(read)) => cost.default = read,
            (Some(node), Some(read)) => drop(cost.nodes.insert(node, read)),
            (_, None) => whole = false,
        }
    }
    whole.then_some(cost)
}
