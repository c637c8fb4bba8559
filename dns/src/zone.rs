//! A mesh zone and the cuts below it, laid out for look-up.
//!
//! ```text
//!   lb.example.com            the mesh zone: SOA, NS ns-fra ns-nyc
//!   ├── ns-fra, ns-nyc        the name servers' addresses
//!   ├── www                   a service
//!   └── fra                   the cut of node fra, a zone of its own: SOA, NS ns-fra.fra ns-nyc.fra
//!       ├── ns-fra, ns-nyc    the same name servers, named inside the cut, so that their glue is always taken
//!       └── www               the same service, answered as DNS-LB
//! ```
//!
//! Every cut holds the services of its zone, under the same names, so there is one table of names for all of them, keyed
//! by the part in front of the apex. **Invariant:** a cut exists only where no service, no record and no mesh zone has
//! its name; the catalogue is the operators' word, a node name is not.

use std::collections::{BTreeSet, HashMap};

use hickory_proto::rr::{Name, Record};

use crate::records::{self, MOST_CUT_NAMESERVERS, MOST_NAMESERVERS, NAMESERVER_TTL};
use crate::snapshot::CutRole;
use crate::static_names::{Delegation, Holding, WHOAMI};
use crate::wire_name::WireName;
use crate::written_servers::WrittenServers;
use crate::{Label, Node, Problem, Zone};

/// Something by the wire form of a name. The hash is quick and has no key: the names in it are the operators' choice, and
/// who asks for others finds an empty place.
pub(crate) type NameMap<T> = HashMap<Box<[u8]>, T, rustc_hash::FxBuildHasher>;

/// A mesh zone.
pub(crate) struct ZoneData {
    pub(crate) apex: Name,
    /// Labels of the apex.
    pub(crate) depth: usize,
    pub(crate) soa: Record,
    pub(crate) nameservers: Vec<Record>,
    pub(crate) glue: Vec<Record>,
    /// What stands at the names of the zone, and in each cut, by the labels in front of its apex.
    pub(crate) names: NameMap<Content>,
    /// What stands at `*` below a name, by the labels of that name in front of the apex (RFC 4592).
    pub(crate) wild: NameMap<Content>,
    /// The static records, by [`Content::records`].
    pub(crate) holdings: Vec<Holding>,
    /// The child zones that are not the mesh's, by the labels in front of the apex.
    pub(crate) delegations: NameMap<Delegation>,
    /// The cuts, in the order of their labels.
    cuts: Vec<Cut>,
    /// The place of each by label.
    by_label: NameMap<usize>,
    /// The place of each member's, in the order of the nodes.
    by_node: Vec<Option<u32>>,
}

/// What stands at a name; nothing at all: there are names below (an empty non-terminal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// A service: its place in the snapshot's list.
    pub(crate) service: Option<usize>,
    /// Records: their place in the zone's list.
    pub(crate) records: Option<usize>,
    /// A service is here or below, so the name is in the cuts too: what a CNAME into a cut can lead to.
    pub(crate) leads: bool,
}

/// A node's own zone below a mesh zone.
pub(crate) struct Cut {
    /// The node's name.
    pub(crate) label: Label,
    pub(crate) apex: Name,
    pub(crate) soa: Record,
    /// The servers that are there now; empty when none is, and then the parent answers for them.
    pub(crate) nameservers: Vec<Record>,
    pub(crate) glue: Vec<Record>,
    /// Both as octets.
    pub(crate) written: WrittenServers,
    /// As what the node that answers serves it; nothing: it delegates.
    pub(crate) mine: Option<CutRole>,
}

/// The node that answers.
pub(crate) struct Mine<'m> {
    pub(crate) me: &'m Label,
    /// The cuts that it says it serves.
    pub(crate) serves: &'m [Label],
    /// The cuts that it left, and still answers for.
    pub(crate) lingering: &'m [Label],
}

/// As what a node answers for a cut; nothing: it is the parent, and delegates.
pub(crate) fn role(who: &Label, serves: &[Label], lingering: &[Label], cut: &Cut) -> Option<CutRole> {
    if *who == cut.label {
        return Some(CutRole::Own);
    }
    if serves.contains(&cut.label) || lingering.contains(&cut.label) {
        return Some(CutRole::Backup);
    }
    cut.nameservers.is_empty().then_some(CutRole::Orphan)
}

/// Finds the nodes by name; the list is sorted.
pub(crate) fn node<'n>(nodes: &'n [Node], label: &str) -> Option<&'n Node> {
    nodes.binary_search_by(|node| node.label.as_str().cmp(label)).ok().map(|at| &nodes[at])
}

impl ZoneData {
    /// A zone without names and cuts.
    pub(crate) fn new(zone: &Zone, serial: u32, nodes: &[Node], problems: &mut Vec<Problem>) -> Self {
        let servers = nameservers_of(zone, nodes, problems);
        let (nameservers, glue) = nameserver_records(&zone.apex, &servers);
        Self {
            soa: records::soa(&zone.apex, &zone.apex, primary(&zone.apex, &servers), serial),
            apex: zone.apex.clone(),
            depth: WireName::new(&zone.apex).labels(),
            nameservers,
            glue,
            names: NameMap::default(),
            wild: NameMap::default(),
            holdings: Vec::new(),
            delegations: NameMap::default(),
            cuts: Vec::new(),
            by_label: NameMap::default(),
            by_node: Vec::new(),
        }
    }

    /// The cut with this label.
    pub(crate) fn cut(&self, label: &[u8]) -> Option<&Cut> {
        self.by_label.get(label).and_then(|at| self.cuts.get(*at))
    }

    /// The cut of the member at this place among the nodes.
    pub(crate) fn cut_of(&self, node: usize) -> Option<&Cut> {
        self.cuts.get((*self.by_node.get(node)?)? as usize)
    }

    /// Puts a service at its place, with the empty names between it and the apex.
    pub(crate) fn add_service(&mut self, name: &WireName, service: usize) {
        let own = name.labels() - self.depth;
        self.edit(name.slice(0, own), |content| {
            content.service = Some(service);
            content.leads = true;
        });
        self.add_between(name, true);
    }

    /// Notes the names between a name and the apex, the name itself not included. `leads`: the name is a service's.
    pub(crate) fn add_between(&mut self, name: &WireName, leads: bool) {
        let own = name.labels() - self.depth;
        for first in 1..own {
            self.edit(name.slice(first, own), |content| content.leads |= leads);
        }
    }

    /// Changes what stands at a name, and at the wildcard if it is one.
    pub(crate) fn edit(&mut self, key: &[u8], change: impl FnOnce(&mut Content)) {
        let content = self.names.entry(key.into()).or_default();
        change(content);
        if let Some(parent) = key.strip_prefix(b"\x01*") {
            self.wild.insert(parent.into(), *content);
        }
    }

    /// Makes the cut of each label, but for those whose name is taken. `zones_below` are mesh zones below this one.
    pub(crate) fn add_cuts(
        &mut self,
        labels: &BTreeSet<Label>,
        nodes: &[Node],
        zones_below: &[WireName],
        mine: &Mine<'_>,
        serial: u32,
        problems: &mut Vec<Problem>,
    ) {
        for label in labels {
            // A zone name so long that no label fits before it has no cuts: its services are answered at once.
            let Ok(apex) = self.apex.prepend_label(label.as_str()) else { continue };
            let key = WireName::new(&apex);
            let below = zones_below.iter().any(|zone| zone.suffix(self.depth + 1) == key.all());
            if below || self.names.contains_key(key.slice(0, 1)) || key.label(0) == WHOAMI {
                problems.push(Problem::CutTaken(apex));
                continue;
            }
            let servers = servers_of(label, nodes);
            let (nameservers, glue) = nameserver_records(&apex, &servers);
            let owner = node(nodes, label.as_str());
            let primary = primary(&apex, &servers.first().copied().or(owner).into_iter().collect::<Vec<_>>());
            let written = WrittenServers::new(&nameservers, &glue);
            let soa = records::soa(&apex, &self.apex, primary, serial);
            let mut cut = Cut { soa, label: label.clone(), apex, nameservers, glue, written, mine: None };
            cut.mine = role(mine.me, mine.serves, mine.lingering, &cut);
            self.by_label.insert(key.label(0).into(), self.cuts.len());
            self.cuts.push(cut);
        }
        let place = |node: &Node| u32::try_from(*self.by_label.get(node.label.as_str().as_bytes())?).ok();
        self.by_node = nodes.iter().map(place).collect();
    }
}

/// The nodes in the NS set of a mesh zone. Whether they are alive does not matter: the parent lists them anyway, and a
/// set that changes with every death would make resolvers learn it anew each time.
fn nameservers_of<'n>(zone: &Zone, nodes: &'n [Node], problems: &mut Vec<Problem>) -> Vec<&'n Node> {
    let mut servers: Vec<&Node> = Vec::new();
    for label in &zone.nameservers {
        match node(nodes, label.as_str()) {
            Some(node) if node.addresses.is_empty() => {
                problems.push(Problem::Nameserver(zone.apex.clone(), label.clone()));
            }
            Some(_) if servers.iter().any(|held| held.label == *label) => {}
            Some(node) => servers.push(node),
            None => problems.push(Problem::Nameserver(zone.apex.clone(), label.clone())),
        }
    }
    if zone.nameservers.is_empty() {
        let usable = |node: &&Node| !node.addresses.is_empty() && node.standing != crate::Standing::Left;
        servers = nodes.iter().filter(usable).take(MOST_NAMESERVERS).collect();
    }
    if servers.len() > MOST_NAMESERVERS {
        problems.push(Problem::TooManyNameservers(zone.apex.clone(), servers.len()));
        servers.truncate(MOST_NAMESERVERS);
    }
    if servers.is_empty() {
        problems.push(Problem::ZoneWithoutNameserver(zone.apex.clone()));
    }
    servers
}

/// The nodes that a resolver is told to ask for a cut: those that list it themselves and are there. Its own node comes
/// first, then those that stay, then by name.
fn servers_of<'n>(cut: &Label, nodes: &'n [Node]) -> Vec<&'n Node> {
    let mut servers: Vec<&Node> = nodes
        .iter()
        .filter(|node| node.standing.answers() && !node.addresses.is_empty() && node.serves.contains(cut))
        .collect();
    servers.sort_by_key(|node| (node.label != *cut, node.standing, node.label.clone()));
    servers.truncate(MOST_CUT_NAMESERVERS);
    servers
}

/// NS records with names inside the zone, and the addresses of those names. A server whose name would be too long is
/// left out, with its addresses.
fn nameserver_records(zone: &Name, servers: &[&Node]) -> (Vec<Record>, Vec<Record>) {
    let mut nameservers = Vec::with_capacity(servers.len());
    let mut glue = Vec::with_capacity(servers.len() * 2);
    for server in servers {
        let Ok(name) = zone.prepend_label(server.label.nameserver()) else { continue };
        glue.extend(server.addresses.iter().map(|address| records::address(&name, NAMESERVER_TTL, *address)));
        nameservers.push(records::nameserver(zone, name));
    }
    (nameservers, glue)
}

/// The primary name server that the SOA record names.
fn primary(zone: &Name, servers: &[&Node]) -> Name {
    servers
        .first()
        .and_then(|server| zone.prepend_label(server.label.nameserver()).ok())
        .unwrap_or_else(|| zone.clone())
}
