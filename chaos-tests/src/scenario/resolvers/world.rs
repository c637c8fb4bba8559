//! The bed of the scenario: starting all of it, and doing things to nodes.

use super::lanes::{KINDS, Lane};
use super::places::{
    DNS_A, ORIGINS, POPS, Pop, ROOT, SERVICE, Seat, ZONE, both, catalogue, hosts, settings, static_records,
    web_addresses, zones,
};
use crate::bed::nigh::{Node, Operator};
use crate::bed::signer::{self, Anchor};
use crate::bed::stub::{Reply, Stub};
use crate::bed::wire::{self, Said};
use crate::bed::{Bed, named, nginx};
use crate::lab::process::tail;
use crate::lab::wait::{Look, until};
use crate::lab::{Daemon, Run};
use crate::report::Report;
use crate::scenario::{Options, delays};
use anyhow::{Context, Result, anyhow, bail};
use hickory_proto::rr::RecordType;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// For a mesh to form and measure: joining, `rise` probes of 2 s each, spreading; and for a busy machine.
const MESH_PATIENCE: Duration = Duration::from_secs(90);
/// The file of the static records, beside the catalogue.
const STATIC_RECORDS: &str = "lb.lab.zone";
/// Lines of evidence from the log of a node.
const LINES: usize = 20;

/// Everything that runs in all cases.
pub struct World {
    // Dropped in this order: daemons, then the bed that they stand in.
    nodes: BTreeMap<&'static str, Node>,
    /// Nodes that are dead or gone.
    away: BTreeSet<&'static str>,
    daemons: Vec<Daemon>,
    /// What was said on the wire in the present case.
    said: Vec<Said>,
    /// The mesh's operator.
    pub operator: Operator,
    /// Hosts and WAN.
    pub bed: Bed,
    /// What a validating resolver trusts.
    pub anchor: Anchor,
}

impl World {
    /// Starts everything but what asks, for which there are hosts of these names at these seats, and waits until the mesh
    /// knows all that answers are made from.
    pub fn build(run: Run, options: &Options, report: &Report, askers: &[(&str, Seat)]) -> Result<Self> {
        let hosts = hosts(askers);
        let bed = Bed::build(run, &hosts, options.seed, |from, to| delays::one_way(from.region, to.region))?;
        report.say(&format!("{} hosts on the WAN", hosts.len()));
        let [lab, shop] = zones();
        let (lab, anchor) = signer::sign(&lab, &bed.run().directory().join("signer"))?;
        let mut daemons = vec![
            named::start(&bed, "root", ROOT, &[named::root_zone(&both(ROOT), &both(DNS_A))])?,
            named::start(&bed, "dns-a", DNS_A, &[lab, shop])?,
        ];
        for origin in &ORIGINS {
            daemons.push(nginx::start(&bed, origin.region, &web_addresses(origin))?);
        }
        report.say("root, DNS-A and origins answer");
        let operator = Operator::init(&options.nigh, bed.run().directory())?;
        let mut nodes = BTreeMap::new();
        for pop in &POPS {
            nodes.insert(pop.node, operator.start_node(&bed, settings(pop))?);
        }
        let mut world = Self { nodes, away: BTreeSet::new(), daemons, said: Vec::new(), operator, bed, anchor };
        world.all_alive()?;
        let (text, _) = catalogue(STATIC_RECORDS);
        let records = world.bed.run().directory().join(STATIC_RECORDS);
        fs::write(&records, static_records()).with_context(|| format!("writing {}", records.display()))?;
        let file = world.bed.run().directory().join("services.toml");
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        world.operator.apply(&file, world.node("nyc")?)?;
        world.settled()?;
        report.say("the mesh knows all servers and has its backups");
        Ok(world)
    }

    /// All that was said on the wire since [`World::forget`].
    pub fn said(&mut self) -> &[Said] {
        self.said.extend(wire::read(&self.bed.wan().listen()));
        &self.said
    }

    /// Begins to listen anew.
    pub fn forget(&mut self) {
        drop(self.bed.wan().listen());
        self.said.clear();
    }

    /// A node.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| format!("no node {name}"))
    }

    /// The nodes that should be there.
    fn present(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| !self.away.contains(node.name()))
    }

    /// An error if something that should run has ended.
    pub fn healthy(&mut self) -> Result<()> {
        self.bed.wan().healthy()?;
        for daemon in &mut self.daemons {
            daemon.alive()?;
        }
        for node in self.nodes.values_mut().filter(|node| !self.away.contains(node.name())) {
            node.alive()?;
        }
        Ok(())
    }

    fn all_alive(&mut self) -> Result<()> {
        let wanted = (POPS.len() - self.away.len()) as u64;
        until("every node sees all nodes alive", MESH_PATIENCE, || {
            self.healthy()?;
            for node in self.present() {
                match node.status() {
                    Ok(status) if status.mesh.alive == wanted => {}
                    Ok(status) => return Ok(Look::NotYet(format!("{} sees {} alive", node.name(), status.mesh.alive))),
                    Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
                }
            }
            Ok(Look::Done(()))
        })
    }

    /// Waits until every node that should be there knows that all are, that every server is up, and who stands in for whom.
    pub fn settled(&mut self) -> Result<()> {
        self.all_alive()?;
        let (_, servers) = catalogue(STATIC_RECORDS);
        let names: Vec<String> = self.present().map(|node| node.name().to_owned()).collect();
        let wanted = servers * names.len();
        until("every node knows that every server is up from every node", MESH_PATIENCE, || {
            self.healthy()?;
            for node in self.present() {
                let rows = node.latency()?;
                let up = |row: &&crate::bed::nigh_json::Row| {
                    names.contains(&row.node) && row.state.eq_ignore_ascii_case("up") && row.rtt_ms.is_some()
                };
                let up = rows.iter().filter(up).count();
                if up < wanted {
                    return Ok(Look::NotYet(format!("{} knows {up} of {wanted}", node.name())));
                }
            }
            Ok(Look::Done(()))
        })?;
        until("every cut has two backups, and all nodes know it", MESH_PATIENCE, || {
            for node in self.present() {
                for cut in &names {
                    let count = servers_of(node, cut)?.len();
                    if count < 3 {
                        return Ok(Look::NotYet(format!("{} knows {count} servers of {cut}", node.name())));
                    }
                }
            }
            Ok(Look::Done(()))
        })
    }

    /// The live nodes that list themselves as servers of a cut, as a node that is there sees it.
    pub fn servers(&self, cut: &str) -> Result<Vec<&'static str>> {
        let node = self.present().next().context("no node is there")?;
        let servers = servers_of(node, cut)?;
        Ok(POPS.iter().map(|pop| pop.node).filter(|name| servers.iter().any(|server| server == name)).collect())
    }

    /// Ends a node and its host: nobody answers, and nobody says that nobody answers.
    pub fn die(&mut self, name: &'static str) -> Result<()> {
        self.away.insert(name);
        self.isolate(name, true)?;
        self.nodes.get_mut(name).with_context(|| format!("no node {name}"))?.kill()
    }

    /// Cuts a host off, or connects it again.
    pub fn isolate(&self, name: &str, cut: bool) -> Result<()> {
        let wan = self.bed.wan();
        let others: Vec<String> = wan.hosts().filter(|host| *host != name).map(str::to_owned).collect();
        for other in others {
            wan.change(name, &other, |link| link.cut = cut)?;
            wan.change(&other, name, |link| link.cut = cut)?;
        }
        Ok(())
    }

    /// Cuts the paths between a node and all resolvers, or connects them again. The mesh does not notice.
    pub fn hide_from_resolvers(&self, name: &str, cut: bool) -> Result<()> {
        for kind in &KINDS {
            let host = kind.resolver.name();
            self.bed.wan().change(name, host, |link| link.cut = cut)?;
            self.bed.wan().change(host, name, |link| link.cut = cut)?;
        }
        Ok(())
    }

    /// Tells a node to leave; it is away from now on, though it answers for a while.
    pub fn drain(&mut self, name: &'static str) -> Result<()> {
        self.node(name)?.drain()?;
        self.away.insert(name);
        Ok(())
    }

    /// Waits until all nodes that are there think so of a node.
    pub fn known_as(&self, name: &str, verdict: &str) -> Result<()> {
        until(&format!("every node knows that {name} is {verdict}"), MESH_PATIENCE, || {
            for node in self.present() {
                let peers = node.peers()?;
                let seen = peers.iter().find(|peer| peer.name == name).map(|peer| peer.verdict.as_str());
                if seen != Some(verdict) {
                    return Ok(Look::NotYet(format!("{} says {seen:?}", node.name())));
                }
            }
            Ok(Look::Done(()))
        })
    }

    /// Waits until a node that was told to leave has ended.
    pub fn ended(&mut self, name: &str, patience: Duration) -> Result<()> {
        let node = self.nodes.get_mut(name).with_context(|| format!("no node {name}"))?;
        until(&format!("{name} has ended"), patience, || {
            Ok(if node.runs() { Look::NotYet("it runs".to_owned()) } else { Look::Done(()) })
        })
    }

    /// Starts nodes again that were dead or gone, and waits until all is as it was.
    pub fn revive(&mut self) -> Result<()> {
        for name in std::mem::take(&mut self.away) {
            self.isolate(name, false)?;
            let node = self.nodes.get_mut(name).with_context(|| format!("no node {name}"))?;
            node.start(&self.bed)?;
        }
        self.settled()
    }

    /// Ends a node's membership for good, though its process goes on.
    pub fn revoke(&mut self, name: &'static str, through: &str) -> Result<()> {
        self.operator.revoke(name, self.node(through)?)?;
        self.away.insert(name);
        Ok(())
    }

    /// What a node says to a resolver's host itself.
    pub fn ask_node(&self, lane: &Lane, node: &Pop, name: &str) -> Result<Reply> {
        let stub = Stub::inside(self.bed.space(lane.name())?, node.address)?;
        let lookup = stub.ask(name, RecordType::A);
        lookup.outcome.map_err(|failure| anyhow!("{} asked for {name}: {failure}", node.node))
    }

    /// What somebody who looks for the cause of a failure wants first.
    pub fn evidence(&self) -> String {
        let mut text = format!("The WAN: {:?}\n", self.bed.wan().stats());
        for node in self.nodes.values() {
            match node.status() {
                Ok(status) => text.push_str(&format!("{} says {:?} {:?}\n", node.name(), status.mesh, status.dns)),
                Err(error) => text.push_str(&format!("{} gives no status: {error:#}\n", node.name())),
            }
            if let Some(log) = node.log() {
                text.push_str(&format!("{} ends with\n{}", log.display(), tail(log, LINES)));
            }
        }
        if let Ok(node) = self.node("nyc")
            && let Ok(said) = node.explain(SERVICE, KINDS[0].seat.address())
        {
            text.push_str(&format!("nyc explains in zone {ZONE}:\n{said}\n"));
        }
        text
    }
}

fn servers_of(node: &Node, cut: &str) -> Result<Vec<String>> {
    let there = |verdict: &str| matches!(verdict, "alive" | "draining");
    let peers = node.peers()?;
    if !peers.iter().any(|peer| peer.name == node.name()) {
        bail!("{} does not list itself", node.name());
    }
    Ok(peers
        .into_iter()
        .filter(|peer| there(&peer.verdict) && peer.cuts.iter().any(|listed| listed == cut))
        .map(|peer| peer.name)
        .collect())
}
