//! The bed of the scenario: who stands where, and starting all of it.

use super::places::{DNS_A, ISPS, Isp, ORIGINS, POPS, ROOT, SERVICE, catalogue, hosts, settings};
use super::view::{Landing, Story, landing};
use crate::bed::nigh::{Node, Operator};
use crate::bed::nigh_json::Counters;
use crate::bed::pulse::Pulse;
use crate::bed::resolver::{self, Manner, Resolver};
use crate::bed::stub::{Lookup, Stub};
use crate::bed::unbound::Unbound;
use crate::bed::{Bed, named, nginx};
use crate::lab::process::tail;
use crate::lab::wait::{Look, until};
use crate::lab::{Daemon, Run};
use crate::report::Report;
use crate::scenario::{Options, delays};
use anyhow::{Context, Result};
use hickory_proto::rr::RecordType;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How often a client that is watched asks.
pub const PULSE: Duration = Duration::from_millis(500);
/// Lines of evidence from the log of a node, and from that of a daemon which is seldom the culprit.
const OUR_LINES: usize = 40;
const THEIR_LINES: usize = 5;

/// The killed node, and when.
#[derive(Clone, Debug)]
pub struct Kill {
    /// When.
    pub at: Instant,
    /// What the counters of the living were just before.
    pub before: BTreeMap<String, Counters>,
}

/// Everything that runs, and what was seen so far.
pub struct World {
    // Dropped in this order: clients, daemons, then the bed that they stand in.
    pulses: BTreeMap<&'static str, Pulse>,
    stubs: BTreeMap<&'static str, Stub>,
    nodes: BTreeMap<&'static str, Node>,
    daemons: Vec<Daemon>,
    /// The mesh's operator.
    pub operator: Operator,
    /// Hosts and WAN.
    pub bed: Bed,
    /// What clients got so far.
    pub story: Story,
    /// Set when a node has been killed.
    pub kill: Option<Kill>,
}

impl World {
    /// Starts everything, in the order in which one part needs another.
    pub fn build(run: Run, options: &Options, report: &Report) -> Result<Self> {
        let hosts = hosts();
        let bed = Bed::build(run, &hosts, options.seed, |from, to| delays::one_way(from.region, to.region))?;
        report.say(&format!("{} hosts on the WAN", hosts.len()));
        let nodes: Vec<(&str, Vec<IpAddr>)> = POPS.iter().map(|pop| (pop.node, vec![pop.address.into()])).collect();
        let mut daemons = vec![
            named::start(&bed, "root", ROOT, &[named::root_zone(&[ROOT.into()], &[DNS_A.into()])])?,
            named::start(&bed, "dns-a", DNS_A, &[named::lab_zone(&[DNS_A.into()], &nodes)])?,
        ];
        let unbound: &dyn Resolver = &Unbound;
        let mut stubs = BTreeMap::new();
        for isp in &ISPS {
            daemons.push(resolver::start(
                &bed,
                unbound,
                isp.name,
                isp.resolver.into(),
                &[ROOT.into()],
                &Manner::default(),
            )?);
            stubs.insert(isp.name, Stub::inside(bed.space(isp.name)?, isp.resolver)?);
        }
        for origin in &ORIGINS {
            daemons.push(nginx::start(&bed, origin.region, &[origin.address.into()])?);
        }
        report.say("root, DNS-A, resolvers and origins answer");
        let operator = Operator::init(&options.nigh, bed.run().directory())?;
        let mut nodes = BTreeMap::new();
        for pop in &POPS {
            nodes.insert(pop.node, operator.start_node(&bed, settings(pop))?);
        }
        report.say(&format!("{} nodes started in mesh {}", nodes.len(), operator.mesh()));
        Ok(Self { pulses: BTreeMap::new(), stubs, nodes, daemons, operator, bed, story: Story::default(), kill: None })
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

    /// All nodes but one.
    pub fn others<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.values().filter(move |node| node.name() != name)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// An error if a daemon or a node that should run has ended, or the WAN.
    pub fn healthy(&mut self, dead: Option<&str>) -> Result<()> {
        self.bed.wan().healthy()?;
        for daemon in &mut self.daemons {
            daemon.alive()?;
        }
        for node in self.nodes.values_mut().filter(|node| Some(node.name()) != dead) {
            node.alive()?;
        }
        Ok(())
    }

    /// The counters of all nodes but `dead`.
    pub fn counters(&self, dead: Option<&str>) -> Result<BTreeMap<String, Counters>> {
        self.nodes
            .values()
            .filter(|node| Some(node.name()) != dead)
            .map(|node| Ok((node.name().to_owned(), node.status()?.dns)))
            .collect()
    }

    /// Makes these origins the service's servers, by way of `through`.
    pub fn apply(&self, origins: &[&str], through: &str) -> Result<()> {
        let file = self.bed.run().directory().join("services.toml");
        fs::write(&file, catalogue(origins)).with_context(|| format!("writing {}", file.display()))?;
        self.operator.apply(&file, self.node(through)?)
    }

    /// One lookup by the client of an ISP.
    pub fn ask(&self, isp: &Isp) -> Result<Lookup> {
        let stub = self.stubs.get(isp.name).with_context(|| format!("no client at {}", isp.name))?;
        Ok(stub.ask(SERVICE, RecordType::A))
    }

    /// One lookup that must lead somewhere.
    pub fn land(&self, isp: &Isp) -> Result<(Landing, Duration)> {
        let lookup = self.ask(isp)?;
        let reply = lookup.outcome.map_err(|failure| anyhow::anyhow!("{}: {failure}", isp.name))?;
        Ok((landing(&reply).with_context(|| format!("the client of {}", isp.name))?, lookup.took))
    }

    /// Asks until the client of an ISP lands as it should; tells the story of it.
    pub fn land_until(
        &mut self,
        (report, phase): (&Report, &str),
        isp: &Isp,
        patience: Duration,
        mut wanted: impl FnMut(&Landing) -> Result<()>,
    ) -> Result<Landing> {
        let (landing, took) = until(&format!("the client of {} gets what it should", isp.name), patience, || {
            Ok(match self.land(isp) {
                Ok((landing, took)) => match wanted(&landing) {
                    Ok(()) => Look::Done((landing, took)),
                    Err(error) => Look::NotYet(format!("{error:#}")),
                },
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })?;
        self.story.tell(report.elapsed(), phase, isp.name, &landing, took);
        Ok(landing)
    }

    /// Starts a client at every ISP that asks all the time.
    pub fn start_clients(&mut self) -> Result<()> {
        for isp in &ISPS {
            let stub = Stub::inside(self.bed.space(isp.name)?, isp.resolver)?;
            self.pulses.insert(isp.name, Pulse::start(stub, SERVICE, PULSE)?);
        }
        Ok(())
    }

    /// The client of an ISP that asks all the time.
    pub fn pulse(&self, isp: &Isp) -> Result<&Pulse> {
        self.pulses.get(isp.name).with_context(|| format!("no client at {} was started", isp.name))
    }

    /// Ends those clients.
    pub fn stop_clients(&mut self) {
        self.pulses.clear();
    }

    /// What somebody who looks for the cause of a failure wants first.
    pub fn evidence(&self) -> String {
        let mut text = format!("The WAN: {:?}\n", self.bed.wan().stats());
        for node in self.nodes.values() {
            match node.status() {
                Ok(status) => text.push_str(&format!("{} says {status:?}\n", node.name())),
                Err(error) => text.push_str(&format!("{} gives no status: {error:#}\n", node.name())),
            }
            for isp in &ISPS {
                if let Ok(said) = node.explain(SERVICE, isp.resolver) {
                    text.push_str(&format!("{} explains for {}:\n{said}\n", node.name(), isp.name));
                }
            }
        }
        let ours = self.nodes.values().filter_map(Node::log).map(|log| (log, OUR_LINES));
        for (log, lines) in ours.chain(self.daemons.iter().map(|daemon| (daemon.log(), THEIR_LINES))) {
            text.push_str(&format!("{} ends with\n{}", log.display(), tail(log, lines)));
        }
        text
    }
}
