//! The bed of the scenario: three nodes, the flooded one on a core of its own, and cables to it.

use crate::bed::asker::{Asked, Steady};
use crate::bed::nigh::{Claim, MESH_PORT, Node, Operator};
use crate::bed::pulse::Pulse;
use crate::bed::resolver::{self, Manner};
use crate::bed::stub::Stub;
use crate::bed::unbound::Unbound;
use crate::bed::{Bed, Host, cable, knock, named, nginx, spray};
use crate::lab::cores::{self, Cores};
use crate::lab::process::tail;
use crate::lab::wait::{Look, until};
use crate::lab::{Daemon, Namespace, Run, netns};
use crate::report::Report;
use crate::scenario::referral::places::{DNS_A, ISPS, Isp, ORIGINS, Origin, POPS, Pop, ROOT, ZONE, hosts, settings};
use crate::scenario::{Options, delays};
use anyhow::{Context, Result};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// The node that is flooded.
const FLOODED: Pop = POPS[0];
/// The ISP whose resolver it claims.
const ISP: Isp = ISPS[0];
const STEADY_HOST: &str = "steady";
const STEADY_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 49, 3, 53);
const FLOOD_HOST: &str = "flood";
const FLOOD_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 66);
/// Names that unbound is asked for, so that it always has something to ask.
const NAMES: usize = 8;
/// Longer than the TTL of a name.
const ASK_EVERY: Duration = Duration::from_millis(1100);
/// For a mesh to form and measure.
const MESH_PATIENCE: Duration = Duration::from_secs(60);
const LINES: usize = 25;

/// Everything that runs.
pub struct World {
    // Dropped in this order: clients, nodes and daemons, then the bed that they stand in.
    steady: Option<Steady>,
    pulses: Vec<Pulse>,
    nodes: Vec<Node>,
    daemons: Vec<Daemon>,
    /// Hosts and WAN.
    pub bed: Bed,
    /// Who has which core.
    pub cores: Cores,
    /// What chance decides.
    pub seed: u64,
    /// Answers a second that the node is good for.
    pub capacity: f64,
    /// What was there before the flood: of the steady resolver and of unbound's clients.
    pub before: Option<(super::judge::Share, super::judge::Share)>,
}

/// The name that the steady resolver and the flood ask for.
pub fn name() -> String {
    label(0)
}

fn label(number: usize) -> String {
    format!("w{number}.{ZONE}")
}

impl World {
    /// Starts everything, in the order in which one part needs another.
    pub fn build(run: Run, options: &Options, own: Cores, report: &Report) -> Result<Self> {
        cores::settle(own.others)?;
        let (steady, flood) = (
            Host::new(STEADY_HOST, FLOODED.region, STEADY_ADDRESS),
            Host::new(FLOOD_HOST, FLOODED.region, FLOOD_ADDRESS),
        );
        let mut all = hosts();
        all.extend([steady.clone(), flood.clone()]);
        let bed = Bed::build(run, &all, options.seed, |from, to| delays::one_way(from.region, to.region))?;
        let node = Host::new(FLOODED.node, FLOODED.region, FLOODED.address);
        let isp = Host::new(ISP.name, ISP.region, ISP.resolver);
        cable::connect(&bed, "steady", &node, &steady, &[])?;
        cable::connect(&bed, "isp", &node, &isp, &[])?;
        cable::connect(&bed, "flood", &node, &flood, &[spray::SOURCES])?;
        spray::own_sources(bed.space(FLOOD_HOST)?)?;
        knock::lose_answers(bed.space(FLOODED.node)?)?;
        report.say(&format!("{} hosts on the WAN, three of them with a cable to {}", all.len(), FLOODED.node));
        let servers: Vec<(&str, Vec<IpAddr>)> = POPS.iter().map(|pop| (pop.node, vec![pop.address.into()])).collect();
        let mut daemons = vec![
            named::start(&bed, "root", ROOT, &[named::root_zone(&[ROOT.into()], &[DNS_A.into()])])?,
            named::start(&bed, "dns-a", DNS_A, &[named::lab_zone(&[DNS_A.into()], &servers)])?,
        ];
        for origin in &ORIGINS {
            daemons.push(nginx::start(&bed, origin.region, &[origin.address.into()])?);
        }
        let root = [ROOT.into()];
        daemons.push(resolver::start(&bed, &Unbound, ISP.name, ISP.resolver.into(), &root, &Manner::default())?);
        report.say("root, DNS-A, unbound and origins answer");
        let operator = Operator::init(&options.nigh, bed.run().directory())?;
        let mut nodes = Vec::new();
        for pop in &POPS {
            let mut settings = settings(pop);
            if pop.node == FLOODED.node {
                settings.claims.push(Claim { prefix: format!("{STEADY_ADDRESS}/32"), preference: 10 });
            }
            let core = if pop.node == FLOODED.node { own.server } else { own.others };
            nodes.push(cores::on(core, || operator.start_node(&bed, settings))?);
        }
        let mut world = Self {
            steady: None,
            pulses: Vec::new(),
            nodes,
            daemons,
            bed,
            cores: own,
            seed: options.seed,
            capacity: 0.0,
            before: None,
        };
        world.all_alive()?;
        let file = world.bed.run().directory().join("services.toml");
        fs::write(&file, catalogue()).with_context(|| format!("writing {}", file.display()))?;
        operator.apply(&file, world.node()?)?;
        world.measured()?;
        Ok(world)
    }

    /// The node that is flooded.
    pub fn node(&self) -> Result<&Node> {
        self.nodes.first().context("a world without nodes")
    }

    /// Where it answers.
    pub fn dns(&self) -> SocketAddrV4 {
        SocketAddrV4::new(FLOODED.address, 53)
    }

    /// Where it meets the mesh.
    pub fn mesh(&self) -> SocketAddrV4 {
        SocketAddrV4::new(FLOODED.address, MESH_PORT)
    }

    /// Where the flood comes from.
    pub fn outside(&self) -> Result<&Namespace> {
        self.bed.space(FLOOD_HOST)
    }

    /// Where the scripted resolver stands.
    pub fn resolver(&self) -> Result<&Namespace> {
        self.bed.space(STEADY_HOST)
    }

    /// How many other nodes hold the flooded one for alive.
    pub fn alive_at_others(&self) -> usize {
        let alive = |node: &Node| {
            node.peers()
                .is_ok_and(|peers| peers.iter().any(|peer| peer.name == FLOODED.node && peer.verdict == "alive"))
        };
        self.nodes.iter().skip(1).filter(|node| alive(node)).count()
    }

    /// Datagrams that found no room in a socket of the node's host, so far.
    pub fn overflowed(&self) -> Result<u64> {
        let read = || fs::read_to_string("/proc/thread-self/net/snmp");
        let text = netns::inside(self.bed.space(FLOODED.node)?.name(), read)?.context("reading the kernel's counts")?;
        receive_buffer_errors(&text).context("the kernel does not count what it drops")
    }

    /// Starts the claimed clients.
    pub fn start_clients(&mut self, per_second: u32) -> Result<()> {
        self.steady = Some(Steady::start(self.resolver()?, self.dns().into(), &name(), per_second, self.cores.others)?);
        for number in 0..NAMES {
            let stub = Stub::inside(self.bed.space(ISP.name)?, ISP.resolver)?;
            self.pulses.push(Pulse::start(stub, &label(number), ASK_EVERY)?);
        }
        Ok(())
    }

    /// Ends them: what the scripted resolver asked, and what the clients of unbound.
    pub fn stop_clients(&mut self) -> (Vec<Asked>, Vec<Asked>) {
        let steady = self.steady.take().map(Steady::finish).unwrap_or_default();
        let beat = |beat: crate::bed::pulse::Beat| Asked { at: beat.begun, took: beat.is_good().then_some(beat.took) };
        let unbound = self.pulses.iter().flat_map(Pulse::all).map(beat).collect();
        self.pulses.clear();
        (steady, unbound)
    }

    /// An error if something has ended, or the WAN.
    pub fn healthy(&mut self) -> Result<()> {
        self.bed.wan().healthy()?;
        self.daemons.iter_mut().try_for_each(Daemon::alive)?;
        self.nodes.iter_mut().try_for_each(Node::alive)
    }

    /// Lets a while pass.
    pub fn pass(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        until("a while has passed", length * 2, || {
            self.healthy()?;
            Ok(if Instant::now() >= end { Look::Done(()) } else { Look::NotYet("not yet".to_owned()) })
        })
    }

    /// Waits until every node sees all nodes alive.
    pub fn all_alive(&mut self) -> Result<()> {
        until("every node sees all nodes alive", MESH_PATIENCE, || {
            self.healthy()?;
            for node in &self.nodes {
                match node.status() {
                    Ok(status) if status.mesh.alive == POPS.len() as u64 => {}
                    Ok(status) => return Ok(Look::NotYet(format!("{} sees {} alive", node.name(), status.mesh.alive))),
                    Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
                }
            }
            Ok(Look::Done(()))
        })
    }

    /// Waits until every node knows every server from every node, and every cut has its backups.
    fn measured(&mut self) -> Result<()> {
        until("every node knows every server, and two backups of every cut", MESH_PATIENCE, || {
            self.healthy()?;
            for node in &self.nodes {
                let up =
                    |row: &crate::bed::nigh_json::Row| row.state.eq_ignore_ascii_case("up") && row.rtt_ms.is_some();
                let up = node.latency()?.iter().filter(|row| up(row)).count();
                if up < POPS.len() * ORIGINS.len() {
                    return Ok(Look::NotYet(format!("{} knows {up}", node.name())));
                }
                let cuts: usize = node.peers()?.iter().map(|peer| peer.cuts.len()).sum();
                if cuts < POPS.len() * POPS.len() {
                    return Ok(Look::NotYet(format!("{} knows of {cuts} servers of cuts", node.name())));
                }
            }
            Ok(Look::Done(()))
        })
    }

    /// What somebody who looks for the cause of a failure wants first.
    pub fn evidence(&self) -> String {
        let mut text = format!("The WAN: {:?}\n", self.bed.wan().stats());
        for node in &self.nodes {
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
}

fn catalogue() -> String {
    let mut text = format!("[[zone]]\nname = \"{ZONE}\"\n");
    for number in 0..NAMES {
        text.push_str(&format!(
            "\n[[service]]\nname = \"{}\"\nttl = 1\n\n[service.probe]\nkind = \"http\"\nport = {}\npath = \"/healthz\"\n\
             interval = \"1s\"\ntimeout = \"900ms\"\n",
            label(number),
            nginx::PORT
        ));
        for origin in &ORIGINS {
            let Origin { region, address } = origin;
            text.push_str(&format!("\n[[service.server]]\nid = \"{region}\"\naddress = \"{address}\"\n"));
        }
    }
    text
}

/// The count `RcvbufErrors` of the two lines `Udp:` of /proc/net/snmp, heads and numbers.
fn receive_buffer_errors(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let place = lines.next()?.split_whitespace().position(|head| head == "RcvbufErrors")?;
    lines.next()?.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::receive_buffer_errors;

    #[test]
    fn what_the_kernel_dropped_is_found_by_its_head() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InDatagrams RcvbufErrors X\nUdp: 5 7 9\n";
        assert_eq!(receive_buffer_errors(snmp), Some(7));
        assert_eq!(receive_buffer_errors("Udp: A\nUdp: 1\n"), None);
    }
}
