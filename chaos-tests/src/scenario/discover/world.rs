//! The bed of the scenario, and what can be done to it.

use super::places::{DNS_A, ORIGIN, POPS, Pop, ROOT, catalogue, hosts, settings};
use crate::bed::nigh::{Node, Operator};
use crate::bed::nigh_json::ClaimRow;
use crate::bed::resolver::{self, Manner};
use crate::bed::stub::Stub;
use crate::bed::{Bed, named, nginx};
use crate::lab::process::tail;
use crate::lab::wait::{Look, until};
use crate::lab::{Daemon, Run};
use crate::report::Report;
use crate::scenario::resolvers::places::both;
use crate::scenario::{Options, delays};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// For a mesh to form on a busy machine.
const MESH_PATIENCE: Duration = Duration::from_secs(60);
/// Lines of evidence from each log.
const LINES: usize = 20;

/// Everything that runs.
pub struct World {
    // Dropped in this order: daemons, then the bed that they stand in.
    nodes: Vec<Node>,
    resolvers: BTreeMap<&'static str, Daemon>,
    daemons: Vec<Daemon>,
    operator: Operator,
    /// Hosts and WAN.
    pub bed: Bed,
    /// How long it took until each node's resolver was proven.
    pub took: Vec<(&'static str, Duration)>,
    /// When an address was given up, and which: for the last step.
    pub given_up: Option<(Instant, IpAddr)>,
}

impl World {
    /// Starts everything; no node knows of a resolver yet.
    pub fn build(run: Run, options: &Options, report: &Report) -> Result<Self> {
        let hosts = hosts();
        let bed = Bed::build(run, &hosts, options.seed, |from, to| delays::one_way(from.region, to.region))?;
        report.say(&format!("{} hosts on the WAN", hosts.len()));
        let nodes: Vec<(&str, Vec<IpAddr>)> = POPS.iter().map(|pop| (pop.node, both(pop.address()).to_vec())).collect();
        let daemons = vec![
            named::start(&bed, "root", ROOT, &[named::root_zone(&both(ROOT), &both(DNS_A))])?,
            named::start(&bed, "dns-a", DNS_A, &[named::lab_zone(&both(DNS_A), &nodes)])?,
            nginx::start(&bed, "origin", &[ORIGIN.into()])?,
        ];
        let operator = Operator::init(&options.nigh, bed.run().directory())?;
        let mut world = Self {
            nodes: Vec::new(),
            resolvers: BTreeMap::new(),
            daemons,
            operator,
            bed,
            took: Vec::new(),
            given_up: None,
        };
        for pop in &POPS {
            let file = world.file(pop)?;
            fs::write(&file, "# nobody yet\n").with_context(|| format!("writing {}", file.display()))?;
            let node = world.operator.start_node(&world.bed, settings(pop, &file))?;
            world.nodes.push(node);
        }
        until("every node sees all nodes alive", MESH_PATIENCE, || {
            world.healthy()?;
            for node in &world.nodes {
                match node.status() {
                    Ok(status) if status.mesh.alive == POPS.len() as u64 => {}
                    _ => return Ok(Look::NotYet(node.name().to_owned())),
                }
            }
            Ok(Look::Done(()))
        })?;
        let file = world.bed.run().directory().join("services.toml");
        fs::write(&file, catalogue()).with_context(|| format!("writing {}", file.display()))?;
        world.operator.apply(&file, &world.nodes[0])?;
        until("every node knows the service, and its server as up", MESH_PATIENCE, || {
            for node in &world.nodes {
                let up = node.latency()?.iter().filter(|row| row.state.eq_ignore_ascii_case("up")).count();
                if up < POPS.len() {
                    return Ok(Look::NotYet(format!("{} knows {up}", node.name())));
                }
            }
            Ok(Look::Done(()))
        })?;
        Ok(world)
    }

    fn file(&self, pop: &Pop) -> Result<PathBuf> {
        Ok(self.bed.run().host_directory(pop.node)?.join("resolv.conf"))
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of a place.
    pub fn node(&self, pop: &Pop) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == pop.node).with_context(|| format!("no node {}", pop.node))
    }

    /// Starts the resolver of a place (again), with an empty cache, so that its questions leave from there, and waits until
    /// it answers.
    pub fn start_resolver(&mut self, pop: &Pop, sources: &[IpAddr]) -> Result<()> {
        self.stop_resolver(pop)?;
        let manner = Manner { sources: sources.to_vec(), ..Manner::default() };
        let host = pop.resolver.name();
        let daemon = resolver::start(&self.bed, pop.resolver, host, pop.isp().into(), &both(ROOT), &manner)?;
        self.resolvers.insert(pop.node, daemon);
        Ok(())
    }

    /// Ends it.
    pub fn stop_resolver(&mut self, pop: &Pop) -> Result<()> {
        match self.resolvers.remove(pop.node) {
            Some(mut daemon) => daemon.kill(),
            None => Ok(()),
        }
    }

    /// Writes a node's resolv.conf.
    pub fn name_resolver(&self, pop: &Pop) -> Result<()> {
        let file = self.file(pop)?;
        // As resolvconf and NetworkManager do it: another file in the old one's place.
        let new = file.with_extension("new");
        fs::write(&new, format!("nameserver {}\n", pop.isp())).with_context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, &file).with_context(|| format!("writing {}", file.display()))
    }

    /// The claims of one address by one node, as every node lists them.
    pub fn claims_of(&self, pop: &Pop, address: IpAddr) -> Result<Vec<Option<ClaimRow>>> {
        let prefix = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        self.nodes
            .iter()
            .map(|node| Ok(node.claims()?.into_iter().find(|claim| claim.prefix == prefix && claim.node == pop.node)))
            .collect()
    }

    /// Waits until every node lists this claim, or none does. Returns how long that took from `since`.
    pub fn known(
        &mut self,
        pop: &Pop,
        address: IpAddr,
        wanted: Wanted,
        since: Instant,
        patience: Duration,
    ) -> Result<Duration> {
        until(&format!("every node knows {address} of {} as {wanted:?}", pop.node), patience, || {
            self.healthy()?;
            let rows = self.claims_of(pop, address)?;
            let right = |row: &Option<ClaimRow>| match (wanted, row) {
                (Wanted::Proven, Some(row)) => row.proven && row.witness.as_deref() != Some(pop.node),
                (Wanted::Nothing, None) => true,
                _ => false,
            };
            let count = rows.iter().filter(|row| right(row)).count();
            Ok(if count == rows.len() {
                Look::Done(since.elapsed())
            } else {
                Look::NotYet(format!("{count} of {} nodes do: {rows:?}", rows.len()))
            })
        })
    }

    /// A client of the resolver of a place.
    pub fn client(&self, pop: &Pop) -> Result<Stub> {
        Stub::inside(self.bed.space(pop.resolver.name())?, pop.isp())
    }

    /// An error if something that should run has ended.
    pub fn healthy(&mut self) -> Result<()> {
        self.bed.wan().healthy()?;
        for daemon in self.daemons.iter_mut().chain(self.resolvers.values_mut()) {
            daemon.alive()?;
        }
        self.nodes.iter_mut().try_for_each(Node::alive)
    }

    /// What somebody who looks for the cause of a failure wants first.
    pub fn evidence(&self) -> String {
        let mut text = format!("The WAN: {:?}\n", self.bed.wan().stats());
        for node in &self.nodes {
            match node.status() {
                Ok(status) => text.push_str(&format!("{} says {:?}\n", node.name(), status.resolvers)),
                Err(error) => text.push_str(&format!("{} gives no status: {error:#}\n", node.name())),
            }
        }
        let logs = self.nodes.iter().filter_map(Node::log).chain(self.resolvers.values().map(Daemon::log));
        for log in logs {
            text.push_str(&format!("{} ends with\n{}", log.display(), tail(log, LINES)));
        }
        text
    }
}

/// What every node should know of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That it is claimed, and another node vouches for it.
    Proven,
    /// That nobody of that name claims it.
    Nothing,
}
