//! The bed of the scenario: three primaries, four nodes, and asking both.

use crate::bed::dns_a::{KEY, Primary, Program};
use crate::bed::named::{self, ZoneFile};
use crate::bed::nigh::{Node, Operator, Settings};
use crate::bed::nigh_json::Imports;
use crate::bed::resolver::{self, Manner};
use crate::bed::stub::Stub;
use crate::bed::unbound::Unbound;
use crate::bed::{Bed, Host};
use crate::lab::process::tail;
use crate::lab::{Daemon, Run};
use crate::report::Report;
use crate::scenario::Options;
use crate::wan::Link;
use anyhow::{Context, Result};
use hickory_proto::rr::RecordType;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// One way between any two hosts.
const DELAY: Duration = Duration::from_millis(2);
/// The secret of the key; worth nothing outside this bed.
pub const SECRET: &str = "bmlnaC1jaGFvcy1vcmlnaW5zLXNlY3JldC0zMi1vY3Q=";
/// Lines of evidence from each log.
const LINES: usize = 40;

/// The nodes: name, site and address. The first two have the key.
pub const NODES: [(&str, &str, Ipv4Addr); 4] = [
    ("fra", "Frankfurt", Ipv4Addr::new(10, 49, 0, 2)),
    ("nyc", "New York", Ipv4Addr::new(10, 1, 0, 2)),
    ("syd", "Sydney", Ipv4Addr::new(10, 61, 0, 2)),
    ("tyo", "Tokyo", Ipv4Addr::new(10, 81, 0, 2)),
];
/// How many of them have it.
pub const WITH_KEY: usize = 2;
/// Name servers that the parents are to list at most.
pub const MOST: usize = 3;
/// The service whose origin is asked of the resolver.
const BY_RESOLVER: &str = "resolved";
/// How long a node is there or gone until it counts.
pub const SETTLE: Duration = Duration::from_secs(3);
/// Not ours, and in every delegation from the start.
pub const FOREIGN: &str = "ns.hoster.example.";

/// The root, which knows the primaries.
const ROOT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
/// The nodes' DNS-ISP.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 53);

/// The primaries.
pub fn primaries() -> [Primary; 3] {
    let one = |program, host, last, parent: &'static str, origin: &'static str| Primary {
        program,
        host,
        address: Ipv4Addr::new(10, 0, last, 53),
        parent,
        delegated: format!(
            "lb.{parent} NS {FOREIGN}\nlb.{parent} TXT \"not ours\"\nwww.poll.{parent} 5 A 10.9.{last}.1\n"
        ),
        // Above the dates that PowerDNS makes serials of, so that its updates only count on.
        serial: 3_000_000_000,
        origin,
        origins: format!("www.{origin} 600 A 10.8.{last}.1\nalias.{origin} 600 CNAME www.{origin}\n"),
    };
    [
        one(Program::Bind, "bind", 1, "lab.", "origin.lab."),
        one(Program::Knot, "knot", 2, "knot.", "origin.knot."),
        one(Program::PowerDns, "pdns", 3, "pdns.", "origin.pdns."),
    ]
}

/// Everything that runs.
pub struct World {
    /// The nodes, by name.
    pub nodes: BTreeMap<&'static str, Node>,
    /// The primaries that run, by host.
    pub daemons: BTreeMap<&'static str, Daemon>,
    /// What they are.
    pub primaries: [Primary; 3],
    /// Root and resolver.
    _ground: [Daemon; 2],
    operator: Operator,
    /// Hosts and WAN.
    pub bed: Bed,
}

impl World {
    /// Starts everything.
    pub fn build(run: Run, options: &Options, report: &Report) -> Result<Self> {
        let primaries = primaries();
        let mut hosts: Vec<Host> =
            primaries.iter().map(|primary| Host::new(primary.host, "here", primary.address)).collect();
        hosts.extend([Host::new("root", "here", ROOT), Host::new("isp", "here", RESOLVER)]);
        hosts.extend(NODES.iter().map(|(name, _, address)| Host::new(*name, "here", *address)));
        let bed = Bed::build(run, &hosts, options.seed, |_, _| Ok(Link::delayed(DELAY)))?;
        let told: Vec<Ipv4Addr> = NODES[..WITH_KEY].iter().map(|(.., address)| *address).collect();
        let mut daemons = BTreeMap::new();
        for primary in &primaries {
            daemons.insert(primary.host, primary.start(&bed, SECRET, &told)?);
        }
        let ground = [
            named::start(&bed, "root", ROOT, &[root_zone(&primaries)])?,
            resolver::start(&bed, &Unbound, "isp", RESOLVER.into(), &[ROOT.into()], &Manner::default())?,
        ];
        report.say("BIND, Knot DNS and PowerDNS answer, and unbound finds them");
        let secret = bed.run().directory().join(KEY);
        fs::write(&secret, SECRET).with_context(|| format!("writing {}", secret.display()))?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).context("closing the key file")?;
        let extra = duties(&primaries, &secret.display().to_string());
        let operator = Operator::init(&options.nigh, bed.run().directory())?;
        let mut nodes = BTreeMap::new();
        for (n, (name, pop, address)) in NODES.into_iter().enumerate() {
            let settings = Settings {
                name: name.to_owned(),
                pop: pop.to_owned(),
                address,
                also: None,
                answer_for: None,
                bootstrap: NODES[..n].iter().take(1).map(|(.., first)| *first).collect(),
                claims: Vec::new(),
                finds: None,
                extra: format!(
                    "[resolvers]\naddresses = [\"{RESOLVER}\"]\n{}",
                    if n < WITH_KEY { extra.as_str() } else { "" }
                ),
            };
            nodes.insert(name, operator.start_node(&bed, settings)?);
        }
        report.say(&format!("{} nodes started, {WITH_KEY} of them with the key", nodes.len()));
        Ok(Self { nodes, daemons, primaries, _ground: ground, operator, bed })
    }

    /// Makes the catalogue the mesh's: of each primary a mesh zone with four services.
    pub fn apply(&self) -> Result<()> {
        let file = self.bed.run().directory().join("services.toml");
        let mut text = String::new();
        for primary in &self.primaries {
            let (parent, origin) = (primary.parent, primary.origin);
            text.push_str(&format!("[[zone]]\nname = \"lb.{parent}\"\n"));
            for (service, origin) in services(parent, origin) {
                let by_resolver = service.starts_with(BY_RESOLVER);
                let from = if by_resolver { String::new() } else { format!("origin_from = \"{}\"\n", primary.address) };
                text.push_str(&format!(
                    "[[service]]\nname = \"{service}\"\nmode = \"answer\"\nanswers = 8\nspread = \"1s\"\nttl = 1\n\
                     origin = \"{origin}\"\n{from}origin_within = \"10.0.0.0/8\"\n\
                     [service.probe]\nkind = \"tcp\"\nport = 80\n",
                ));
            }
        }
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        self.operator.apply(&file, self.node("tyo")?)
    }

    /// Starts a primary anew, with what it says now. The serial is higher than before, as a zone owner's is.
    pub fn restart(&mut self, mut primary: Primary) -> Result<()> {
        primary.serial += 100;
        let told: Vec<Ipv4Addr> = NODES[..WITH_KEY].iter().map(|(.., address)| *address).collect();
        self.daemons.remove(primary.host);
        primary.forget(&self.bed)?;
        self.daemons.insert(primary.host, primary.start(&self.bed, SECRET, &told)?);
        for held in self.primaries.iter_mut().filter(|held| held.host == primary.host) {
            *held = primary.clone();
        }
        Ok(())
    }

    /// A node.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| format!("no node {name}"))
    }

    /// A node, to do something to it.
    pub fn node_mut(&mut self, name: &str) -> Result<(&mut Node, &Bed)> {
        let node = self.nodes.get_mut(name).with_context(|| format!("no node {name}"))?;
        Ok((node, &self.bed))
    }

    /// What a node answers for a name.
    pub fn answer(&self, node: &str, name: &str) -> Result<BTreeSet<IpAddr>> {
        let (.., address) = NODES.iter().find(|(name, ..)| *name == node).context("no such node")?;
        let stub = Stub::inside(self.bed.space(node)?, *address)?;
        let reply = stub
            .ask_once(name, RecordType::A, Duration::from_millis(500))
            .map_err(|failure| anyhow::anyhow!("{failure}"))?;
        Ok(reply.addresses.iter().map(|(address, _)| *address).collect())
    }

    /// What a node tells of its imports.
    pub fn imports(&self, node: &str) -> Result<Imports> {
        self.node(node)?.imports()
    }

    /// What somebody who looks for the cause of a failure wants first.
    pub fn evidence(&self) -> String {
        let mut text = String::new();
        for node in self.nodes.values() {
            match (node.imports(), node.delegations()) {
                (Ok(imports), Ok(delegations)) => {
                    text.push_str(&format!("{} says {imports:?}\n{delegations:?}\n", node.name()));
                }
                (imports, delegations) => text.push_str(&format!("{}: {imports:?} {delegations:?}\n", node.name())),
            }
        }
        let logs = self.nodes.values().filter_map(Node::log).chain(self.daemons.values().map(Daemon::log));
        for log in logs {
            text.push_str(&format!("{} ends with\n{}", log.display(), tail(log, LINES)));
        }
        text
    }
}

/// The services of a mesh zone and their origins: one polled, one in a zone that is transferred, one by an alias there, and
/// the polled one by way of the resolver.
pub fn services(parent: &str, origin: &str) -> [(String, String); 4] {
    let name = |service: &str| format!("{service}.lb.{parent}").trim_end_matches('.').to_owned();
    let at = |origin: String| origin.trim_end_matches('.').to_owned();
    [
        (name("poll"), at(format!("www.poll.{parent}"))),
        (name("www"), at(format!("www.{origin}"))),
        (name("alias"), at(format!("alias.{origin}"))),
        (name(BY_RESOLVER), at(format!("www.poll.{parent}"))),
    ]
}

/// It knows itself and who serves the parents.
fn root_zone(primaries: &[Primary]) -> ZoneFile {
    let mut text = named::head(".", "a.root.") + ". NS a.root.\n" + &named::addresses("a.root.", &[ROOT.into()]);
    for Primary { parent, address, .. } in primaries {
        let server = format!("ns.{parent}");
        text.push_str(&format!("{parent} NS {server}\n{}", named::addresses(&server, &[(*address).into()])));
    }
    ZoneFile { apex: ".".to_owned(), text }
}

fn duties(primaries: &[Primary], secret: &str) -> String {
    let mut text = format!("\n[[tsig]]\nname = \"{KEY}\"\nsecret = \"{secret}\"\n");
    for Primary { address, parent, origin, .. } in primaries {
        text.push_str(&format!(
            "\n[[origin_zone]]\nname = \"{origin}\"\nfrom = \"{address}\"\nkey = \"{KEY}\"\n\n[[delegation]]\n\
             zone = \"lb.{parent}\"\nparent = \"{parent}\"\nserver = \"{address}\"\nkey = \"{KEY}\"\nmin = 2\nmax = {MOST}\n\
             settle = \"{}s\"\npause = \"1s\"\n",
            SETTLE.as_secs()
        ));
    }
    text
}
