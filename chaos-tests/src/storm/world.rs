//! The world as real processes: starting it, doing faults to it and undoing them.

use super::disk::{BALLAST, copy, corrupt, fill, remove};
use super::duty::Duty;
use super::fault::Fault;
use super::flood::Flood;
use super::geography::{Geography, Pop};
use super::hostile::{self, Hostile};
use super::parts::{catalogue, hosts, set_clock, settings, start_dns_a, start_node};
use super::paths;
use super::plan::Plan;
use crate::bed::nigh::{Claim, Node, Operator, Settings};
use crate::bed::nigh_json::Row;
use crate::bed::pulse::Pulse;
use crate::bed::resolver::{self, Manner, Resolver};
use crate::bed::stub::Stub;
use crate::bed::{Bed, named, nginx};
use crate::hostile::Malice;
use crate::lab::process::tail;
use crate::lab::wait::{Look, until};
use crate::lab::{Daemon, Run};
use crate::report::Report;
use crate::scenario::Options;
use crate::sys::Signal;
use crate::wan::Link;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The mesh zone and its service.
pub const ZONE: &str = "lb.lab";
/// See [`ZONE`].
pub const SERVICE: &str = "www.lb.lab";
pub(super) const ROOT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
pub(super) const DNS_A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 53);
/// Where floods and strangers come from.
pub(super) const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 66);
pub(super) const NOWHERE_HOST: &str = "nowhere";
/// How often a client asks.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Nodes that DNS-A delegates to; the mesh zone's owner lists some, not all.
pub(super) const DELEGATED: usize = 5;
/// For a mesh to form and measure on a busy machine.
const MESH_PATIENCE: Duration = Duration::from_secs(120);
/// A node that was started answers its socket within this.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// What a disk loses or keeps: everything but the keys and the certificate.
const REMEMBERED: [&str; 3] = ["replica", "epoch", "cuts.json"];
/// How long an origin that flaps is there, and then not.
const FLAP: Duration = Duration::from_secs(2);
/// How long a starved node runs before it stands still for four times as long.
const SLICE: Duration = Duration::from_millis(20);
/// Lines of evidence from the log of a node.
const LINES: usize = 25;

/// Everything that runs.
pub struct World {
    // Dropped in this order: clients and floods, daemons, then the bed that they stand in.
    pulses: Vec<Pulse>,
    duties: Vec<Duty>,
    floods: BTreeMap<usize, Flood>,
    stranger: Option<Node>,
    hostile: BTreeMap<Malice, Hostile>,
    nodes: Vec<Node>,
    origins: Vec<Daemon>,
    dns_a: Daemon,
    /// Root and resolvers.
    daemons: Vec<Daemon>,
    /// Nodes whose process is not there, or stands still, because we did that.
    away: BTreeSet<usize>,
    /// The program that nodes become when they are rolled, if it is another.
    other: Option<PathBuf>,
    /// The mesh's operator.
    pub operator: Operator,
    /// Hosts and WAN.
    pub bed: Bed,
    /// Who stands where.
    pub geography: Geography,
}

impl World {
    /// Starts everything, in the order in which one part needs another.
    pub fn build(
        run: Run,
        options: &Options,
        report: &Report,
        geography: Geography,
        resolvers: &[&'static dyn Resolver],
        plan: &Plan,
    ) -> Result<Self> {
        let hosts = hosts(&geography, plan);
        let bed = Bed::build(run, &hosts, options.seed, |from, to| {
            Ok(Link::delayed(geography.round_trip(&from.name, &to.name) / 2))
        })?;
        report.say(&format!("{} hosts on the WAN", hosts.len()));
        let delegated: Vec<(&str, Vec<IpAddr>)> =
            geography.pops.iter().take(DELEGATED).map(|pop| (pop.node.as_str(), vec![pop.address.into()])).collect();
        let mut daemons = vec![named::start(&bed, "root", ROOT, &[named::root_zone(&[ROOT.into()], &[DNS_A.into()])])?];
        let dns_a = start_dns_a(&bed, &delegated)?;
        let origins = geography
            .origins
            .iter()
            .map(|origin| nginx::start(&bed, &origin.id, &[origin.address.into()]))
            .collect::<Result<_>>()?;
        for (pop, resolver) in geography.pops.iter().zip(resolvers.iter().cycle()) {
            bed.leaves_from(&pop.isp, pop.resolver)?;
            let manner = Manner { routed: true, ..Manner::default() };
            daemons.push(resolver::start(&bed, *resolver, &pop.isp, pop.resolver.into(), &[ROOT.into()], &manner)?);
        }
        report.say("root, DNS-A, resolvers and origins answer");
        let operator = Operator::init(&options.nigh, bed.run().directory())?;
        let nodes = geography
            .pops
            .iter()
            .enumerate()
            .map(|(number, pop)| start_node(&operator, &bed, plan, number, settings(&geography, pop)))
            .collect::<Result<Vec<_>>>()?;
        let mut world = Self {
            pulses: Vec::new(),
            duties: Vec::new(),
            floods: BTreeMap::new(),
            stranger: None,
            hostile: BTreeMap::new(),
            nodes,
            origins,
            dns_a,
            daemons,
            away: BTreeSet::new(),
            other: plan.other.clone(),
            operator,
            bed,
            geography,
        };
        world.all_alive()?;
        let file = world.bed.run().directory().join("services.toml");
        // Where members are hostile, the operator says which of them stand in the zone's NS set.
        let listed = delegated_names(&world.geography, hostile::malices(plan).next().is_some());
        fs::write(&file, catalogue(&world.geography, &listed))
            .with_context(|| format!("writing {}", file.display()))?;
        let first = world.nodes.first().context("a world without nodes")?;
        world.operator.apply(&file, first)?;
        world.settled()?;
        report.say(&format!("{} nodes know all servers and have their backups", world.nodes.len()));
        world.save_disks()?;
        Ok(world)
    }

    /// Starts a client at every ISP that asks all the time.
    pub fn start_clients(&mut self) -> Result<()> {
        for pop in &self.geography.pops {
            let stub = Stub::inside(self.bed.space(&pop.isp)?, pop.resolver)?;
            self.pulses.push(Pulse::start(stub, SERVICE, ASK_EVERY)?);
        }
        Ok(())
    }

    /// The clients, by point of presence.
    pub fn pulses(&self) -> &[Pulse] {
        &self.pulses
    }

    /// Ends the clients.
    pub fn stop_clients(&mut self) {
        self.pulses.clear();
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether a node's process is there and goes on, as far as we left it so.
    pub fn is_here(&self, node: usize) -> bool {
        !self.away.contains(&node)
    }

    /// The nodes whose process is there, with their numbers.
    pub fn present(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(number, _)| self.is_here(*number))
    }

    /// Nodes that have ended without our asking, with their last words; each is started again, so that a run tells more
    /// than its first crash.
    pub fn unasked_ends(&mut self) -> Result<Vec<String>> {
        let mut ends = Vec::new();
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if !self.away.contains(&number)
                && let Err(error) = node.alive()
            {
                ends.push(format!("{error:#}"));
                node.start(&self.bed)?;
            }
        }
        Ok(ends)
    }

    /// An error if something ended that nobody meant to end: the harness, not a finding.
    pub fn healthy(&mut self) -> Result<()> {
        self.bed.wan().healthy()?;
        self.hostile.values_mut().try_for_each(|hostile| hostile.node.alive())?;
        self.daemons.iter_mut().try_for_each(Daemon::alive)
    }

    /// The nodes that serve each cut, as the first node that is there sees it.
    pub fn servers(&self) -> Result<BTreeMap<usize, BTreeSet<usize>>> {
        let (_, node) = self.present().next().context("no node is there")?;
        let number = |name: &str| self.geography.pops.iter().position(|pop| pop.node == name);
        let mut servers: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for peer in node.peers()? {
            let Some(server) = number(&peer.name) else { continue };
            for cut in peer.cuts.iter().filter_map(|cut| number(cut)) {
                servers.entry(cut).or_default().insert(server);
            }
        }
        Ok(servers)
    }

    /// Does a fault.
    pub fn strike(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill { nodes } => nodes.iter().try_for_each(|node| self.kill(*node)),
            Fault::Stop { nodes } => nodes.iter().try_for_each(|node| {
                self.away.insert(*node);
                self.node(*node)?.tell(Signal::Halt)
            }),
            Fault::Restart { .. } | Fault::Roll { .. } => Ok(()), // one by one, by the run
            Fault::DiskFull { node } => fill(&self.node(*node)?.state().join(BALLAST)),
            Fault::Clock { node, minutes } => set_clock(self.node(*node)?, *minutes),
            Fault::Blind { nodes } => self.origins_out_of_reach(nodes, true),
            Fault::Renumber { nodes } => self.renumber(nodes, true),
            Fault::Revoke { node } => {
                self.away.insert(*node);
                let (_, through) = self.present().next().context("no node is there")?;
                self.operator.revoke(self.node(*node)?.name(), through)
            }
            Fault::Steps { .. } => self.step(fault, None, Some(0)),
            Fault::Partition { .. }
            | Fault::Apart { .. }
            | Fault::OneWay { .. }
            | Fault::Loss { .. }
            | Fault::Delay { .. }
            | Fault::Reorder { .. } => paths::change(self.bed.wan(), &self.geography, fault, true),
            Fault::OriginDown { origins } => {
                origins.iter().try_for_each(|origin| self.origins.get_mut(*origin).map_or(Ok(()), Daemon::kill))
            }
            Fault::OriginHangs { origins } => self.tell_origins(origins, Signal::Halt),
            Fault::OriginErrs { origins } => origins.iter().try_for_each(|origin| self.serve(*origin, true)),
            Fault::OriginSlow { origins, .. } => self.slow(origins, fault.delay(), true),
            Fault::OriginFlaps { origins } => {
                for origin in origins {
                    let pid = self.origins.get(*origin).map(Daemon::pid).context("no such origin")?;
                    self.duties.push(Duty::start(pid, FLAP, FLAP)?);
                }
                Ok(())
            }
            Fault::Starve { nodes } => {
                for node in nodes {
                    let pid = self.node(*node)?.pid().context("it was never started")?;
                    self.duties.push(Duty::start(pid, SLICE, SLICE * 4)?);
                }
                Ok(())
            }
            Fault::DnsADown => self.dns_a.kill(),
            Fault::DiskWiped { node } => {
                self.between(*node, |state, _| REMEMBERED.iter().try_for_each(|name| remove(&state.join(name))))
            }
            Fault::DiskRolledBack { node } => self.between(*node, |state, saved| {
                REMEMBERED.iter().try_for_each(|name| {
                    remove(&state.join(name))?;
                    copy(&saved.join(name), &state.join(name))
                })
            }),
            Fault::DiskCorrupt { node } => self.between(*node, |state, _| corrupt(&state.join("replica"))),
            Fault::Flood { node } => {
                let target = self.pop(*node)?.address;
                self.floods.insert(*node, Flood::start(self.bed.space(NOWHERE_HOST)?, target)?);
                Ok(())
            }
            Fault::Hostile { malice } => {
                let member = hostile::start(&self.operator, &self.bed, &self.geography, *malice)?;
                self.hostile.insert(*malice, member);
                Ok(())
            }
            Fault::Stranger => {
                let settings = Settings {
                    name: NOWHERE_HOST.to_owned(),
                    pop: String::new(),
                    address: NOWHERE,
                    also: None,
                    answer_for: None,
                    bootstrap: self.geography.pops.iter().map(|pop| pop.address).collect(),
                    claims: vec![Claim { prefix: "10.0.0.0/8".to_owned(), preference: 1 }],
                    extra: String::new(),
                    finds: None,
                };
                self.stranger = Some(self.operator.start_stranger(&self.bed, settings)?);
                Ok(())
            }
        }
    }

    /// Undoes a fault. Processes that it started answer when it returns.
    pub fn heal(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill { nodes } => nodes.iter().try_for_each(|node| self.start(*node)),
            Fault::Stop { nodes } => nodes.iter().try_for_each(|node| {
                self.node(*node)?.tell(Signal::Resume)?;
                self.away.remove(node);
                Ok(())
            }),
            Fault::Steps { ms, .. } => self.step(fault, ms.len().checked_sub(1), None),
            Fault::Partition { .. }
            | Fault::Apart { .. }
            | Fault::OneWay { .. }
            | Fault::Loss { .. }
            | Fault::Delay { .. }
            | Fault::Reorder { .. } => paths::change(self.bed.wan(), &self.geography, fault, false),
            Fault::OriginDown { origins } | Fault::OriginErrs { origins } => {
                origins.iter().try_for_each(|origin| self.serve(*origin, false))
            }
            Fault::OriginSlow { origins, .. } => self.slow(origins, fault.delay(), false),
            // Faults of one kind are never on at the same time, and nothing else has a duty.
            Fault::OriginFlaps { .. } => {
                self.duties.retain(|duty| !duty.is_of(FLAP));
                Ok(())
            }
            Fault::Starve { .. } => {
                self.duties.retain(|duty| !duty.is_of(SLICE));
                Ok(())
            }
            Fault::OriginHangs { origins } => self.tell_origins(origins, Signal::Resume),
            Fault::DnsADown => {
                let delegated: Vec<(&str, Vec<IpAddr>)> = self
                    .geography
                    .pops
                    .iter()
                    .take(DELEGATED)
                    .map(|pop| (pop.node.as_str(), vec![pop.address.into()]))
                    .collect();
                self.dns_a = start_dns_a(&self.bed, &delegated)?;
                Ok(())
            }
            Fault::Flood { node } => {
                self.floods.remove(node);
                Ok(())
            }
            Fault::Stranger => {
                self.stranger = None;
                Ok(())
            }
            // It goes on knocking.
            Fault::Hostile { malice } => {
                let (_, through) = self.present().next().context("no node is there")?;
                self.operator.revoke(&malice.node(), through)
            }
            Fault::DiskFull { node } => remove(&self.node(*node)?.state().join(BALLAST)),
            Fault::Clock { node, .. } => set_clock(self.node(*node)?, 0),
            Fault::Blind { nodes } => self.origins_out_of_reach(nodes, false),
            Fault::Renumber { nodes } => self.renumber(nodes, false),
            Fault::Revoke { node } => {
                self.kill(*node)?;
                let (_, through) = self.present().next().context("no node is there")?;
                self.operator.admit_again(self.node(*node)?, through)?;
                self.start(*node)
            }
            Fault::Restart { .. }
            | Fault::Roll { .. }
            | Fault::DiskWiped { .. }
            | Fault::DiskRolledBack { .. }
            | Fault::DiskCorrupt { .. } => Ok(()),
        }
    }

    /// Kills a node and starts it again at once.
    pub fn bounce(&mut self, node: usize) -> Result<()> {
        self.kill(node)?;
        self.start(node)
    }

    /// Ends a node in good order and starts it again, as the other version if there is one.
    pub fn roll(&mut self, node: usize) -> Result<()> {
        self.away.insert(node);
        let other = self.other.clone();
        let rolled = self.nodes.get_mut(node).with_context(|| format!("no node {}", node + 1))?;
        rolled.stop(START_PATIENCE)?;
        if let Some(other) = other {
            let before = rolled.becomes(other);
            // When the last one has changed, the next round is back to where this one came from.
            if node + 1 == self.nodes.len() {
                self.other = Some(before);
            }
        }
        self.start(node)
    }

    /// Waits until every node sees all nodes alive.
    fn all_alive(&mut self) -> Result<()> {
        let wanted = self.nodes.len() as u64;
        until("every node sees all nodes alive", MESH_PATIENCE, || {
            self.healthy()?;
            for node in &self.nodes {
                match node.status() {
                    Ok(status) if status.mesh.alive == wanted => {}
                    Ok(status) => return Ok(Look::NotYet(format!("{} sees {} alive", node.name(), status.mesh.alive))),
                    Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
                }
            }
            Ok(Look::Done(()))
        })
    }

    /// Waits until every node knows that every server is up from every node, and that every cut has two backups.
    pub fn settled(&mut self) -> Result<()> {
        self.all_alive()?;
        let wanted = self.nodes.len() * self.geography.origins.len();
        let servers_each = self.nodes.len().min(3);
        until("every node knows every server, and two backups of every cut", MESH_PATIENCE, || {
            self.healthy()?;
            for node in &self.nodes {
                // One that flapped is held down for minutes, and that is known as well.
                let up = |row: &Row| {
                    row.state.eq_ignore_ascii_case("up") && row.rtt_ms.is_some() || row.why.starts_with("flapping")
                };
                let up = node.latency()?.iter().filter(|row| up(row)).count();
                if up < wanted {
                    return Ok(Look::NotYet(format!("{} knows {up} of {wanted}", node.name())));
                }
            }
            let servers = self.servers()?;
            let few = (0..self.nodes.len()).find(|cut| servers.get(cut).map_or(0, BTreeSet::len) < servers_each);
            Ok(few.map_or(Look::Done(()), |cut| Look::NotYet(format!("cut {} has {:?}", cut + 1, servers.get(&cut)))))
        })
    }

    /// What the nodes hold, and who holds it.
    pub fn hashes(&self) -> Result<BTreeMap<String, Vec<&str>>> {
        let mut hashes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for node in &self.nodes {
            hashes.entry(node.status()?.mesh.state_hash).or_default().push(node.name());
        }
        Ok(hashes)
    }

    /// Waits until all nodes hold the same pages.
    pub fn equal(&self) -> Result<String> {
        until("all nodes hold the same", MESH_PATIENCE, || {
            let hashes = self.hashes()?;
            Ok(match hashes.len() {
                1 => Look::Done(hashes.into_keys().next().unwrap_or_default()),
                _ => Look::NotYet(format!("{hashes:?}")),
            })
        })
    }

    /// What somebody who looks for the cause of a failure wants first.
    pub fn evidence(&self) -> String {
        let mut text = format!("The WAN: {:?}\n", self.bed.wan().stats());
        for (_, node) in self.present() {
            match node.status() {
                Ok(status) => text.push_str(&format!("{} says {:?} {:?}\n", node.name(), status.mesh, status.dns)),
                Err(error) => text.push_str(&format!("{} gives no status: {error:#}\n", node.name())),
            }
            if let Some(log) = node.log() {
                text.push_str(&format!("{} ends with\n{}", log.display(), tail(log, LINES)));
            }
        }
        text
    }

    fn pop(&self, node: usize) -> Result<&Pop> {
        self.geography.pops.get(node).with_context(|| format!("no node {}", node + 1))
    }

    fn node(&self, node: usize) -> Result<&Node> {
        self.nodes.get(node).with_context(|| format!("no node {}", node + 1))
    }

    fn kill(&mut self, node: usize) -> Result<()> {
        self.away.insert(node);
        self.nodes.get_mut(node).with_context(|| format!("no node {}", node + 1))?.kill()
    }

    fn start(&mut self, number: usize) -> Result<()> {
        let node = self.nodes.get_mut(number).with_context(|| format!("no node {}", number + 1))?;
        node.start(&self.bed)?;
        until(&format!("{} answers its socket", node.name()), START_PATIENCE, || {
            node.alive()?;
            Ok(node.status().map_or_else(|error| Look::NotYet(format!("{error:#}")), |_| Look::Done(())))
        })?;
        self.away.remove(&number);
        Ok(())
    }

    /// Kills a node, does something to its folder (the second one is that of the beginning), and starts it again.
    fn between(&mut self, node: usize, change: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<()> {
        self.kill(node)?;
        change(self.node(node)?.state(), &self.saved(node)?)?;
        self.start(node)
    }

    fn saved(&self, node: usize) -> Result<std::path::PathBuf> {
        Ok(self.bed.run().host_directory(self.node(node)?.name())?.join("saved"))
    }

    /// Copies of all disks, for the fault that brings them back. A copy of a database in use may be torn: so it is after
    /// a crash, which a node must bear.
    fn save_disks(&self) -> Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            let saved = self.saved(number)?;
            fs::create_dir_all(&saved).with_context(|| format!("making {}", saved.display()))?;
            REMEMBERED.iter().try_for_each(|name| copy(&node.state().join(name), &saved.join(name)))?;
        }
        Ok(())
    }

    /// Has resolvers ask from their other address, or from their own again.
    fn renumber(&self, nodes: &[usize], on: bool) -> Result<()> {
        nodes.iter().try_for_each(|node| {
            let pop = self.pop(*node)?;
            self.bed.leaves_from(&pop.isp, if on { pop.renumbered } else { pop.resolver })
        })
    }

    /// Cuts the ways between nodes and all origins, or heals them.
    fn origins_out_of_reach(&self, nodes: &[usize], on: bool) -> Result<()> {
        let wan = self.bed.wan();
        for node in nodes {
            let node = &self.pop(*node)?.node;
            for origin in &self.geography.origins {
                wan.change(node, &origin.id, |link| link.cut = on)?;
                wan.change(&origin.id, node, |link| link.cut = on)?;
            }
        }
        Ok(())
    }

    fn tell_origins(&self, origins: &[usize], signal: Signal) -> Result<()> {
        origins.iter().filter_map(|origin| self.origins.get(*origin)).try_for_each(|daemon| daemon.tell(signal))
    }

    /// Starts an origin anew, as one that answers with an error or as it should be.
    fn serve(&mut self, number: usize, errs: bool) -> Result<()> {
        let origin = self.geography.origins.get(number).context("no such origin")?;
        let daemon = self.origins.get_mut(number).context("no such origin")?;
        drop(daemon.kill()); // it may be down already
        let addresses = [origin.address.into()];
        *daemon = if errs {
            nginx::start_broken(&self.bed, &origin.id, &addresses)?
        } else {
            nginx::start(&self.bed, &origin.id, &addresses)?
        };
        Ok(())
    }

    /// Makes the ways to origins and back longer, or as they were.
    fn slow(&self, origins: &[usize], more: Duration, on: bool) -> Result<()> {
        let wan = self.bed.wan();
        let change = |link: &mut Link| {
            link.delay = if on { link.delay + more } else { link.delay.saturating_sub(more) };
        };
        for origin in origins.iter().filter_map(|origin| self.geography.origins.get(*origin)) {
            for other in wan.hosts().filter(|host| *host != origin.id) {
                wan.change(&origin.id, other, change)?;
                wan.change(other, &origin.id, change)?;
            }
        }
        Ok(())
    }

    /// Goes from one step of a delay to another.
    pub fn step(&self, fault: &Fault, from: Option<usize>, to: Option<usize>) -> Result<()> {
        paths::step(self.bed.wan(), &self.geography, fault, from, to)
    }
}

/// The nodes that the mesh zone's owner lists, if a catalogue has to name them.
fn delegated_names(geography: &Geography, listed: bool) -> Vec<&str> {
    let all = geography.pops.iter().take(DELEGATED).map(|pop| pop.node.as_str());
    all.filter(|_| listed).collect()
}
