//! From what the mesh has to what the operator's file says: the changes, shown before they are signed.

mod probe;

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXUPPER;
use ed25519_dalek::SigningKey;
use hickory_proto::rr::{Name, RData};
use nigh_gossip::Page;

use super::hlc::{Clock, TooFarAhead};
use super::record::{Identity, Record, Value};
use super::{
    AllDown, Catalogue, Cost, Duty, Objective, Override, Pin, Records, Server, Service, Steering, name, svc_params,
};

/// One record that must change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub identity: Identity,
    /// What it says now.
    pub before: Option<Value>,
    /// What it shall say.
    pub after: Option<Value>,
}

/// The changes that turn what `current` says into `desired`, and nothing else; sorted by identity.
///
/// Left-overs, such as servers of a service that is gone, are removed as well: they would come back with the service.
pub fn plan(current: &Records, desired: &Catalogue) -> Vec<Change> {
    let before = current.live();
    let after = values(desired);
    let added = after.iter().filter_map(|(identity, value)| {
        let held = before.get(identity).map(|value| (*value).clone());
        let change = Change { identity: identity.clone(), before: held, after: Some(value.clone()) };
        (change.before != change.after).then_some(change)
    });
    let gone = before.iter().filter(|(identity, _)| !after.contains_key(identity));
    let removed = gone.map(|(identity, value)| Change {
        identity: (*identity).clone(),
        before: Some((*value).clone()),
        after: None,
    });
    let mut changes: Vec<Change> = added.chain(removed).collect();
    changes.sort_by(|a, b| a.identity.cmp(&b.identity));
    changes
}

/// The change that brings a server of a service into a state; nothing: it is in it.
pub fn set_state(host: &Name, id: &str, service: &Service, state: Option<Duty>) -> Option<Change> {
    let before = service.servers.get(id)?;
    let after = Server { state, ..before.clone() };
    (after.state.unwrap_or_default() != before.state.unwrap_or_default()).then(|| Change {
        identity: Identity::Server(host.clone(), id.to_owned()),
        before: Some(Value::Server(before.clone())),
        after: Some(Value::Server(after)),
    })
}

/// Signs the changes, each with a stamp above everything that the clock has seen.
///
/// # Errors
/// [`TooFarAhead`] if the stamps would not be admitted.
pub fn sign(
    changes: &[Change],
    key: &SigningKey,
    clock: &mut Clock,
    now_millis: u64,
) -> Result<Vec<Page>, TooFarAhead> {
    changes
        .iter()
        .map(|change| {
            let stamp = clock.next(now_millis)?;
            let record = Record { identity: change.identity.clone(), value: change.after.clone() };
            Ok(Page::sign(key, change.identity.key(), stamp.millis, stamp.counter, record.encode()))
        })
        .collect()
}

fn values(catalogue: &Catalogue) -> BTreeMap<Identity, Value> {
    let mut values = BTreeMap::new();
    for (apex, zone) in &catalogue.zones {
        values.insert(Identity::Zone(apex.clone()), Value::Zone(zone.clone()));
    }
    for (name, service) in &catalogue.services {
        values.insert(Identity::Service(name.clone()), Value::Service(service.policy.clone()));
        for (id, server) in &service.servers {
            values.insert(Identity::Server(name.clone(), id.clone()), Value::Server(server.clone()));
        }
    }
    for ((owner, rtype), set) in &catalogue.records {
        values.insert(Identity::Records(owner.clone(), *rtype), Value::Records(set.clone()));
    }
    values
}

/// One line: `+` added, `-` removed, `~` changed with the fields that differ.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.identity {
            Identity::Zone(apex) => format!("zone {}", name::text(apex)),
            Identity::Service(service) => format!("service {}", name::text(service)),
            Identity::Server(service, id) => format!("server {} {id}", name::text(service)),
            Identity::Records(owner, rtype) => format!("record {}", name::set(owner, *rtype)),
        };
        let fields = |value: &Option<Value>| value.as_ref().map(fields).unwrap_or_default();
        let (before, after) = (fields(&self.before), fields(&self.after));
        let (sign, shown) = match (&self.before, &self.after) {
            (None, _) => {
                let said = after
                    .iter()
                    .filter(|(field, value)| DEFAULTS.iter().all(|default| *default != (**field, value.as_str())));
                ('+', said.map(|(field, value)| format!("{field} {value}")).collect::<Vec<_>>())
            }
            (_, None) => ('-', Vec::new()),
            (Some(_), Some(_)) => ('~', differences(&before, &after)),
        };
        write!(f, "{sign} {what}")?;
        if shown.is_empty() { Ok(()) } else { write!(f, ": {}", shown.join(", ")) }
    }
}

/// The most characters of a record's data on a line: a key fills a screen otherwise.
const MOST_SHOWN: usize = 80;

fn shown(data: &RData) -> String {
    let text = match data {
        RData::TXT(txt) => txt.txt_data.iter().map(|string| quoted(string)).collect::<Vec<_>>().join(" "),
        RData::Unknown { rdata, .. } => {
            format!("\\# {} {}", rdata.anything.len(), HEXUPPER.encode(&rdata.anything))
        }
        data => data.to_string(),
    };
    let short: String = text.chars().take(MOST_SHOWN).filter(|c| !c.is_control()).collect();
    if short.len() == text.len() { short } else { format!("{short}…") }
}

/// A string as zone files have it (RFC 1035 section 5.1).
fn quoted(string: &[u8]) -> String {
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        other => format!("\\{other:03}"),
    };
    format!("\"{}\"", string.iter().map(escaped).collect::<String>())
}

type Fields = BTreeMap<&'static str, String>;

/// Of a state that neither a file nor a command set.
const NOT_SAID: &str = "not said";

/// What goes without saying about something new.
const DEFAULTS: [(&str, &str); 11] = [
    ("choose", "best"),
    ("objective", "latency"),
    ("min_up", "1"),
    ("all_down", "last-good"),
    ("sticky", "client"),
    ("ttl_min", "ttl"),
    ("overrides", "none"),
    ("tier", "0"),
    ("state", NOT_SAID),
    ("canary", "0 %"),
    ("cost", "0"),
];

fn differences(before: &Fields, after: &Fields) -> Vec<String> {
    const NONE: &str = "none";
    let mut shown = Vec::new();
    for field in before.keys().chain(after.keys().filter(|field| !before.contains_key(*field))) {
        let (old, new) = (before.get(field), after.get(field));
        if old != new {
            let text = |value: Option<&String>| value.cloned().unwrap_or_else(|| NONE.to_owned());
            shown.push(format!("{field} {} -> {}", text(old), text(new)));
        }
    }
    shown
}

fn fields(value: &Value) -> Fields {
    match value {
        Value::Zone(zone) => {
            let names: Vec<String> = zone.nameservers.iter().map(ToString::to_string).collect();
            let names = if names.is_empty() { "by name".to_owned() } else { names.join(" ") };
            Fields::from([("nameservers", names)])
        }
        Value::Service(policy) => {
            let time = |duration| humantime::format_duration(duration).to_string();
            let mut fields = Fields::from([
                ("mode", policy.mode.as_str().to_owned()),
                ("ttl", policy.ttl.to_string()),
                ("answers", policy.answers.to_string()),
                ("spread", time(policy.spread)),
            ]);
            fields.extend(steering(&policy.steering));
            fields.extend(probe::fields(&policy.probe));
            fields.extend(policy.https.as_ref().map(|params| ("https", svc_params::text(params))));
            fields.extend(policy.svcb.as_ref().map(|params| ("svcb", svc_params::text(params))));
            fields.extend(policy.origin.iter().flat_map(|origin| origin.fields()));
            fields
        }
        Value::Server(server) => {
            let mut fields = Fields::from([
                ("address", server.address.to_string()),
                ("weight", server.weight.to_string()),
                ("tier", server.tier.to_string()),
                ("state", server.state.map_or(NOT_SAID, Duty::as_str).to_owned()),
                ("canary", format!("{} %", server.canary)),
                ("cost", cost_text(&server.cost)),
            ]);
            fields.extend((server.place > 0).then(|| ("place", server.place.to_string())));
            fields
        }
        Value::Records(set) => {
            let data: Vec<String> = set.data.iter().map(shown).collect();
            Fields::from([("data", data.join(" | ")), ("ttl", set.ttl.to_string())])
        }
    }
}

fn steering(steering: &Steering) -> [(&'static str, String); 7] {
    let overrides: Vec<String> = steering.overrides.iter().map(override_text).collect();
    [
        ("choose", steering.choice.as_str().to_owned()),
        ("objective", objective_text(&steering.objective)),
        ("min_up", steering.min_up.max(1).to_string()),
        ("all_down", all_down_text(&steering.all_down)),
        ("sticky", steering.sticky.as_str().to_owned()),
        ("ttl_min", steering.ttl_min.map_or_else(|| "ttl".to_owned(), |least| least.to_string())),
        ("overrides", if overrides.is_empty() { "none".to_owned() } else { overrides.join("; ") }),
    ]
}

/// `latency`, or the weights that count, such as `latency 1 + load 0.5`.
pub(crate) fn objective_text(objective: &Objective) -> String {
    if objective.is_latency() {
        return "latency".to_owned();
    }
    let Objective { latency, loss, load, cost } = *objective;
    let weights = [("latency", latency), ("loss", loss), ("load", load), ("cost", cost)];
    let counting = weights.iter().filter(|(_, weight)| weight.0 > 0);
    counting.map(|(name, weight)| format!("{name} {weight}")).collect::<Vec<_>>().join(" + ")
}

/// What is given when all is down, as the file has it; addresses with spaces between.
pub(crate) fn all_down_text(all_down: &AllDown) -> String {
    match all_down {
        AllDown::LastGood => "last-good".to_owned(),
        AllDown::All => "all".to_owned(),
        AllDown::None => "none".to_owned(),
        AllDown::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// An override, such as `203.0.113.0/24 at fra to fra-1 nyc-1`.
pub(crate) fn override_text(this: &Override) -> String {
    let prefix = this.prefix.map_or_else(|| "all".to_owned(), |prefix| prefix.to_string());
    let node = this.node.as_ref().map_or_else(String::new, |node| format!(" at {node}"));
    match &this.to {
        Pin::Servers(ids) => format!("{prefix}{node} to {}", ids.join(" ")),
        Pin::Tier(tier) => format!("{prefix}{node} to tier {tier}"),
    }
}

/// A cost, and what it is from the nodes that differ: `1.5, from fra 0.2`.
pub(crate) fn cost_text(cost: &Cost) -> String {
    let nodes = cost.nodes.iter().map(|(node, cost)| format!(", from {node} {cost}"));
    cost.default.to_string() + &nodes.collect::<String>()
}
