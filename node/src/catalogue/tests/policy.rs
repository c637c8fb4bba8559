//! The policy of a service: what may be written, how it is shown, how it travels.

use std::collections::BTreeMap;

use nigh_gossip::codec;
use proptest::prelude::*;

use super::{FILE, apply, foreign, parsed};
use crate::catalogue::record::{Identity, Value};
use crate::catalogue::{
    AllDown, Catalogue, Choice, Cost, Duty, Milli, Objective, Override, Pin, Records, Server, Steering, Sticky, name,
    plan, set_state, wire,
};

const FULL: &str = r#"
[[zone]]
name = "lb.example.com"
[[service]]
name = "www.lb.example.com"
ttl = 60
ttl_min = 5
objective = { latency = 1, loss = 2.5, load = 0.125 }
min_up = 2
all_down = ["192.0.2.99", "2001:db8::99"]
sticky = "none"
probe = { kind = "tcp", port = 80 }
[[service.server]]
id = "fra-1"
address = "192.0.2.1"
cost = { default = 1, fra = 0.2 }
[[service.server]]
id = "nyc-1"
address = "192.0.2.2"
tier = 1
state = "drain"
cost = 3
[[service.server]]
id = "new"
address = "192.0.2.3"
canary = 0.5
[[service.override]]
prefix = "203.0.113.0/24"
servers = ["nyc-1", "fra-1"]
[[service.override]]
node = "syd"
tier = 1
"#;

const LISTED: &str = r#"
[[zone]]
name = "lb.example.com"
[[service]]
name = "www.lb.example.com"
choose = "first"
all_down = "none"
probe = { kind = "tcp", port = 80 }
server = [{ id = "z", address = "192.0.2.1" }, { id = "a", address = "192.0.2.2" }]
"#;

fn service(catalogue: &Catalogue) -> &crate::catalogue::Service {
    catalogue.services.values().next().unwrap()
}

#[test]
fn a_policy_is_read_as_it_is_meant() {
    let catalogue = parsed(FULL);
    let service = service(&catalogue);
    let over = |prefix: Option<&str>, node: Option<&str>, to| Override {
        prefix: prefix.map(|prefix| prefix.parse().unwrap()),
        node: node.map(|node| node.parse().unwrap()),
        to,
    };
    let expected = Steering {
        choice: Choice::Best,
        objective: Objective { latency: Milli(1000), loss: Milli(2500), load: Milli(125), cost: Milli(0) },
        sticky: Sticky::None,
        min_up: 2,
        all_down: AllDown::Addresses(vec!["192.0.2.99".parse().unwrap(), "2001:db8::99".parse().unwrap()]),
        ttl_min: Some(5),
        overrides: vec![
            over(Some("203.0.113.0/24"), None, Pin::Servers(vec!["nyc-1".into(), "fra-1".into()])),
            over(None, Some("syd"), Pin::Tier(1)),
        ],
        ..Steering::default()
    };
    assert_eq!(*service.policy.steering, expected);
    let (fra, nyc, new) = (&service.servers["fra-1"], &service.servers["nyc-1"], &service.servers["new"]);
    let cost = Cost { default: Milli(1000), nodes: BTreeMap::from([("fra".parse().unwrap(), Milli(200))]) };
    assert_eq!((fra.state, &fra.cost), (None, &cost));
    assert_eq!((nyc.tier, nyc.state, nyc.cost.default), (1, Some(Duty::Drain), Milli(3000)));
    assert_eq!(new.canary, Milli(500));

    let listed = parsed(LISTED);
    let servers = &self::service(&listed).servers;
    assert_eq!((servers["z"].place, servers["a"].place), (0, 1), "the order of the file");
}

#[test]
fn a_policy_is_shown_where_it_is_not_what_goes_without_saying() {
    let shown = |records: &Records, text: &str| -> Vec<String> {
        plan(records, &parsed(text)).iter().map(ToString::to_string).collect()
    };
    let mut records = Records::default();
    let expected = [
        "+ zone lb.example.com: nameservers by name",
        "+ service www.lb.example.com: all_down 192.0.2.99 2001:db8::99, answers 1, fall 3, interval 2s, min_up 2, mode \
         refer, objective latency 1 + loss 2.5 + load 0.125, overrides 203.0.113.0/24 to nyc-1 fra-1; all at syd to \
         tier 1, probe tcp port 80, rise 2, spread 0s, sticky none, timeout 1s, ttl 60, ttl_min 5",
        "+ server www.lb.example.com fra-1: address 192.0.2.1, cost 1, from fra 0.2, weight 1",
        "+ server www.lb.example.com new: address 192.0.2.3, canary 0.5 %, weight 1",
        "+ server www.lb.example.com nyc-1: address 192.0.2.2, cost 3, state drain, tier 1, weight 1",
    ];
    assert_eq!(shown(&records, FULL), expected);
    apply(&mut records, &parsed(FULL));
    let edited =
        FULL.replace("state = \"drain\"", "state = \"off\"").replace("sticky = \"none\"", "sticky = \"client\"");
    let expected = [
        "~ service www.lb.example.com: sticky none -> client",
        "~ server www.lb.example.com nyc-1: state drain -> off",
    ];
    assert_eq!(shown(&records, &edited), expected);
}

#[test]
fn what_a_command_said_of_a_server_stands_until_the_file_says_otherwise() {
    let mut records = Records::default();
    apply(&mut records, &parsed(FILE));
    let host = name::service("www.lb.example.com").unwrap();
    let held = |records: &Records| Catalogue::from_records(records).0;
    let drained = |records: &Records| held(records).services[&host].servers["fra-1"].state;

    let change = set_state(&host, "fra-1", &held(&records).services[&host], Some(Duty::Drain)).unwrap();
    assert_eq!(change.to_string(), "~ server www.lb.example.com fra-1: state not said -> drain");
    let mut desired = held(&records);
    if let (Identity::Server(host, id), Some(Value::Server(server))) = (change.identity, change.after) {
        desired.services.get_mut(&host).unwrap().servers.insert(id, server);
    }
    apply(&mut records, &desired);
    assert_eq!(drained(&records), Some(Duty::Drain));
    assert_eq!(set_state(&host, "fra-1", &held(&records).services[&host], Some(Duty::Drain)), None, "it is so already");
    assert_eq!(set_state(&host, "nobody", &held(&records).services[&host], None), None);

    // The file says nothing of it: an edit of something else keeps it.
    let mut file = parsed(&FILE.replace("weight = 3", "weight = 4"));
    assert_eq!(file.keep_states(&held(&records)), [(host.clone(), "fra-1".to_owned(), Duty::Drain)]);
    apply(&mut records, &file);
    assert_eq!(drained(&records), Some(Duty::Drain));

    let mut file = parsed(&FILE.replace("\"fra-1\",", "\"fra-1\", state = \"up\","));
    assert_eq!(file.keep_states(&held(&records)), []);
    apply(&mut records, &file);
    assert_eq!(drained(&records), Some(Duty::Up));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let wrong = r#"
[[zone]]
name = "lb.example.com"
[[service]]
name = "www.lb.example.com"
ttl = 20
ttl_min = 30
choose = "first"
spread = "5ms"
objective = { latency = 0, load = 1000.5, loss = 0.00001, cost = "much" }
min_up = 9
all_down = []
sticky = "forever"
probe = { kind = "tcp", port = 80 }
[[service.server]]
id = "a"
address = "192.0.2.1"
tier = 256
state = "away"
canary = 101
cost = { fra = 1, "n!" = 2, nyc = -1 }
[[service.server]]
id = "b"
address = "192.0.2.2"
canary = 10
[[service.override]]
servers = ["b"]
[[service.override]]
prefix = "203.0.113.7/24"
servers = ["nobody", "b"]
tier = 1
[[service.override]]
node = "fra"
tier = 7
[[service.override]]
node = "nyc"
[[service.override]]
prefix = "10.0.0.0/8"
servers = ["nobody"]
[[service.override]]
prefix = "10.0.0.0/8"
servers = []
"#;
    let faults = Catalogue::parse(wrong).unwrap_err();
    let faults: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.path, fault.problem)).collect();
    let whole = [
        "service[0].ttl_min: more than the ttl, which is 20",
        "service[0].spread: means nothing with choose = \"first\", which goes by the order of the list",
        "service[0].objective: means nothing with choose = \"first\", which goes by the order of the list",
        "service[0].objective.load: a number from 0 to 1000 is expected",
        "service[0].objective.loss: a number from 0 to 1000 is expected, with at most three digits behind the point",
        "service[0].objective.cost: a number from 0 to 1000 is expected, not a string",
    ];
    for expected in whole {
        assert!(faults.iter().any(|fault| fault == expected), "{expected} is not among {faults:#?}");
    }
    for (path, part) in [
        ("service[0].min_up", "more than the servers of the service, of which there"),
        ("service[0].all_down", "no address"),
        ("service[0].sticky", "\"client\" or \"none\" is expected"),
        ("service[0].server[0].tier", "from 0 to 255"),
        ("service[0].server[0].state", "\"up\", \"drain\" or \"off\" is expected"),
        ("service[0].server[0].canary", "a number from 0 to 100 is expected"),
        ("service[0].server[0].cost.n!", "neither \"default\" nor the name of a node"),
        ("service[0].server[0].cost.nyc", "a number from 0 to 1000000 is expected"),
        ("service[0].server[1].canary", "every server of the service is a canary"),
        ("service[0].override[0]", "for whom?"),
        ("service[0].override[1].prefix", "has bits set beyond its length"),
        ("service[0].override[1].tier", "either servers or a tier"),
        ("service[0].override[2].tier", "no server of the service is of tier 7"),
        ("service[0].override[3]", "where to?"),
        ("service[0].override[4].servers[0]", "no server of the service has this id"),
        ("service[0].override[5].servers", "no server; write the ids"),
    ] {
        let found = faults.iter().any(|fault| fault.starts_with(&format!("{path}: ")) && fault.contains(part));
        assert!(found, "{path}: {part} is not among {faults:#?}");
    }
}

#[test]
fn overrides_must_fit_a_record() {
    let server = |at: usize| format!("{{ id = \"{}-{at}\", address = \"192.0.2.{at}\" }}", "x".repeat(60));
    let servers: Vec<String> = (1..9).map(server).collect();
    let ids: Vec<String> = (1..9).map(|at| format!("\"{}-{at}\"", "x".repeat(60))).collect();
    let overrides: String = (0..10)
        .map(|at| format!("[[service.override]]\nprefix = \"10.{at}.0.0/16\"\nservers = [{}]\n", ids.join(", ")))
        .collect();
    let text = format!(
        "[[zone]]\nname = \"lb.example.com\"\n[[service]]\nname = \"www.lb.example.com\"\n\
         probe = {{ kind = \"tcp\", port = 80 }}\nserver = [{}]\n{overrides}",
        servers.join(", ")
    );
    let fault = Catalogue::parse(&text).unwrap_err().to_string();
    assert!(fault.contains("octets of names and prefixes, where at most 4096 are allowed"), "{fault}");
}

/// As earlier versions sign them: without a policy and terms at the end, or as a list.
#[test]
fn records_of_earlier_versions_are_read_with_what_goes_without_saying() {
    let mut records = Records::default();
    apply(&mut records, &parsed(FILE));
    let bytes = codec::encode(&(serde_bytes::ByteBuf::from([192, 0, 2, 7]), 9));
    let page = foreign("server/www.lb.example.com/old", 1, &bytes);
    records.apply(&page);
    let (catalogue, problems) = Catalogue::from_records(&records);
    assert_eq!(problems, []);
    assert_eq!(service(&catalogue).servers["old"], Server::new("192.0.2.7".parse().unwrap(), 9));
    // And nothing is added to the records of services that want nothing of this.
    let plain = Value::Server(Server::new("192.0.2.7".parse().unwrap(), 9));
    assert_eq!(
        wire::encode(&plain),
        codec::encode(&Plain { address: serde_bytes::ByteBuf::from([192, 0, 2, 7]), weight: 9 })
    );
}

/// A server as the first version wrote it.
#[derive(serde::Serialize)]
struct Plain {
    address: serde_bytes::ByteBuf,
    weight: u16,
}

pub(super) fn any_steering() -> impl Strategy<Value = Steering> {
    let weights = [0..=1_000_000u32, 0..=1_000_000, 0..=1_000_000, 1..=1_000_000];
    let all_down = prop_oneof![
        Just(AllDown::LastGood),
        Just(AllDown::All),
        Just(AllDown::None),
        Just(AllDown::Addresses(vec!["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()])),
    ];
    let node = || prop::option::of("[a-z]{1,9}").prop_map(|node| node.map(|node| node.parse().unwrap()));
    let to = prop_oneof![any::<u8>().prop_map(Pin::Tier), prop::collection::vec("[a-c]", 1..4).prop_map(Pin::Servers)];
    let prefix = prop::option::of(prop::sample::select(vec!["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"]));
    let one = (prefix, node(), to).prop_map(|(prefix, node, to)| Override {
        prefix: prefix.map(|prefix| prefix.parse().unwrap()),
        node,
        to,
    });
    let overrides = prop::collection::vec(one, 0..4);
    (any::<bool>(), weights, any::<bool>(), 0u16..9, all_down, prop::option::of(Just(1u32)), overrides).prop_map(
        |(first, [latency, loss, load, cost], tied, min_up, all_down, ttl_min, overrides)| Steering {
            choice: if first { Choice::First } else { Choice::Best },
            objective: Objective { latency: Milli(latency), loss: Milli(loss), load: Milli(load), cost: Milli(cost) },
            sticky: if tied { Sticky::Client } else { Sticky::None },
            min_up,
            all_down,
            ttl_min,
            overrides,
            ..Steering::default()
        },
    )
}

/// On terms of any kind, or on none.
pub(super) fn on_any_terms(plain: impl Strategy<Value = Server>) -> impl Strategy<Value = Server> {
    let state = prop::option::of(prop::sample::select(vec![Duty::Up, Duty::Drain, Duty::Off]));
    let costs = prop::collection::btree_map("[a-z]{1,5}", 0u32..=1_000_000_000, 0..3);
    let terms = (any::<u8>(), any::<u16>(), state, 0u32..=100_000, 0u32..=1_000_000_000, costs);
    (plain, prop::option::of(terms)).prop_map(|(plain, terms)| match terms {
        None => plain,
        Some((tier, place, state, canary, cost, costs)) => {
            let nodes = costs.into_iter().map(|(node, cost)| (node.parse().unwrap(), Milli(cost))).collect();
            let cost = Cost { default: Milli(cost), nodes };
            Server { tier, place, state, canary: Milli(canary), cost, ..plain }
        }
    })
}
