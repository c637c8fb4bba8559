//! A world, laid out for answering.
//!
//! **Invariant:** a packet is answered from one snapshot from start to end, and a snapshot never changes. The next one
//! is built aside and takes its place at once. Rejected: tables with locks, where one answer could mix the claims of
//! one moment with the servers of another and nobody could later say from what it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::rr::RData;
use ipnet::IpNet;

use crate::claims::Around;
use crate::label::NAMESERVER_PREFIX;
use crate::records::MOST_ADDRESSES;
use crate::static_names::{WHOAMI, misfit};
use crate::steer::{Pool, Seen};
use crate::wire_name::WireName;
use crate::zone::{Content, Cut, Mine, NameMap, ZoneData, node, role};
use crate::{Best, ClaimTable, Guess, Label, Networks, Node, Problem, Row, RrSet, Service, World, Zone};

/// One state of the world, immutable and numbered.
pub struct Snapshot {
    serial: u64,
    zone_serial: u32,
    me: Label,
    lingering: Vec<Label>,
    /// Sorted by name.
    nodes: Vec<Node>,
    claims: ClaimTable,
    networks: Networks,
    /// By the numbers that the table gives to nodes.
    claimants: Box<[Claimant]>,
    pools: Vec<Pool>,
    zones: NameMap<ZoneData>,
    /// Most labels of any zone's name: longer suffixes need not be looked up.
    deepest_zone: usize,
}

/// A node that claims something.
#[derive(Clone, Copy, Default)]
struct Claimant {
    /// Its place among the nodes; nothing: it is no member.
    node: Option<u32>,
    takes_referrals: bool,
}

/// As what a node answers for a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CutRole {
    /// It is its own cut.
    Own,
    /// It volunteered as a backup, or did until recently.
    Backup,
    /// It is nobody's any more: whoever is asked answers.
    Orphan,
}

/// Where a name lies.
pub(crate) struct Place<'s> {
    pub(crate) zone: &'s ZoneData,
    /// The cut at or above the name.
    pub(crate) cut: Option<&'s Cut>,
    /// How many labels of the name stand before the apex of the cut, or of the zone outside of cuts.
    pub(crate) own: usize,
}

/// A service, as it stands at a name.
#[derive(Clone, Copy)]
pub(crate) struct Stand<'s> {
    pub(crate) pool: &'s Pool,
    /// Other records stand at the name too, so no CNAME can.
    pub(crate) beside: bool,
}

/// What a name leads to in the tables.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) content: Content,
    /// Not at the name itself.
    pub(crate) wild: bool,
}

impl Snapshot {
    /// Lays out a world. What does not fit together is left out and named in the problems; there is always a snapshot.
    pub fn build(world: World) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let nodes = nodes_of(world.nodes, &world.me, &mut problems);
        // Copies of one label, so that comparing them looks at nothing else.
        let me = node(&nodes, world.me.as_str()).map_or(world.me, |node| node.label.clone());
        let mut this = Self {
            serial: world.serial,
            zone_serial: world.zone_serial,
            me,
            lingering: world.lingering,
            claimants: claimants_of(&world.claims, &nodes, &mut problems),
            claims: world.claims,
            networks: world.networks,
            nodes,
            pools: Vec::new(),
            zones: NameMap::default(),
            deepest_zone: 0,
        };
        let zone_names = this.add_zones(world.zones, &mut problems);
        this.add_services(world.services, &mut problems);
        this.add_records(world.records, &mut problems);
        this.add_cuts(&zone_names, &mut problems);
        this.add_rows(world.rows);
        (this, problems)
    }

    /// A snapshot without zones, which refuses everything: for the time before the first world is known.
    pub fn empty(me: Label) -> Self {
        Self::build(World::new(me)).0
    }

    /// The number of the world that this was built from.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The SOA serial of its zones.
    pub fn zone_serial(&self) -> u32 {
        self.zone_serial
    }

    /// The node that answers.
    pub fn me(&self) -> &Label {
        &self.me
    }

    /// Where a name lies, or nothing if it is in no zone of the mesh.
    pub(crate) fn place(&self, name: &WireName) -> Option<Place<'_>> {
        self.place_within(name, self.deepest_zone)
    }

    /// Where a name lies if only zones of at most so many labels are looked at.
    pub(crate) fn place_within(&self, name: &WireName, most_labels: usize) -> Option<Place<'_>> {
        let longest = name.labels().min(most_labels);
        let (depth, zone) = (0..=longest).rev().find_map(|depth| {
            // The root has no labels: its key is the empty slice, as `suffix(0)` is.
            self.zones.get(name.suffix(depth)).map(|zone| (depth, zone))
        })?;
        let own = name.labels() - depth;
        let cut = own.checked_sub(1).and_then(|first| zone.cut(name.label(first)));
        Some(Place { zone, cut, own: own - usize::from(cut.is_some()) })
    }

    /// As what the node answers for a cut; nothing: it is the parent, and delegates.
    pub(crate) fn role(&self, who: &Label, cut: &Cut) -> Option<CutRole> {
        if *who == self.me {
            return cut.mine;
        }
        let serves = self.node(who.as_str()).map_or(&[][..], |node| &node.serves);
        role(who, serves, &[], cut)
    }

    /// A member by name.
    pub(crate) fn node(&self, label: &str) -> Option<&Node> {
        node(&self.nodes, label)
    }

    /// The node whose name server has this label (`ns-fra`).
    pub(crate) fn nameserver(&self, label: &[u8]) -> Option<&Node> {
        self.node(std::str::from_utf8(label.strip_prefix(NAMESERVER_PREFIX.as_bytes())?).ok()?)
    }

    /// What stands at a name, or at the wildcard that it falls under: in the zone, or in the cut that the name lies in.
    pub(crate) fn find(&self, place: &Place<'_>, path: &WireName) -> Option<Found> {
        // In a cut there is only what CNAMEs lead to.
        let there = |content: &&Content| place.cut.is_none() || content.leads;
        let zone = place.zone;
        if let Some(content) = zone.names.get(path.slice(0, place.own)).filter(there) {
            return Some(Found { content: *content, wild: false });
        }
        if zone.wild.is_empty() {
            return None;
        }
        // RFC 4592 section 3.3.1: the closest encloser is "the node in the zone's tree of existing domain names that has the
        // most labels matching the query name", and the source of synthesis the "wildcard domain name immediately
        // descending from the closest encloser". Nothing else is: a name that exists, even empty, is not gone past.
        let encloser = (0..=place.own).find(|first| {
            let key = path.slice(*first, place.own);
            key.is_empty() || zone.names.get(key).filter(there).is_some() || self.is_our_own(place, path, *first)
        })?;
        let source = zone.wild.get(path.slice(encloser, place.own)).filter(there)?;
        // The name itself is the mesh's own: it is no wildcard's.
        (encloser > 0).then_some(Found { content: *source, wild: true })
    }

    /// Is the part of a name from the label `first` on one that the mesh itself has in every zone and cut, or in zones?
    fn is_our_own(&self, place: &Place<'_>, path: &WireName, first: usize) -> bool {
        let label = path.label(first);
        let nameserver = || self.nameserver(label).is_some_and(|node| !node.addresses.is_empty());
        place.own - first == 1 && (nameserver() || (place.cut.is_none() && label == WHOAMI))
    }

    /// The service at a name, if one is there.
    pub(crate) fn stand<'s>(&'s self, place: &Place<'s>, found: Found) -> Option<Stand<'s>> {
        let pool = self.pool(found.content)?;
        // In a cut there are no static records, and no CNAME for them to be in the way of.
        let beside = place.cut.is_none() && found.content.records.is_some();
        Some(Stand { pool, beside })
    }

    /// Does any node claim this address?
    pub(crate) fn is_claimed(&self, address: IpAddr) -> bool {
        self.claims.best(crate::claims::host(address), |number| self.claimant(number).is_some()).is_some()
    }

    /// The claim that wins for a client among those of nodes that take referrals.
    pub(crate) fn best_claim(&self, client: IpNet) -> Option<Best> {
        let takes_referrals = |claimant: &Claimant| claimant.takes_referrals;
        self.claims.best(client, |number| self.claimants.get(usize::from(number)).is_some_and(takes_referrals))
    }

    /// The node that decides for the resolvers of a prefix: the best of those that claim it and may be referred to.
    pub fn decider_of(&self, prefix: IpNet) -> Option<&Label> {
        Some(&self.claimant(self.best_claim(prefix)?.node)?.label)
    }

    /// The node that is estimated to be nearest to a client that nobody claims, and by what: that of its neighbours, unless
    /// they are known to be another operator's; that of its operator, that of its country, and at last that of strangers
    /// beside it.
    pub(crate) fn estimated(&self, client: IpNet, around: &Around) -> Option<(&Node, Guess)> {
        let takes_referrals = |claimant: &Claimant| claimant.takes_referrals;
        let usable = |number: u16| self.claimants.get(usize::from(number)).is_some_and(takes_referrals);
        let beside = self.claims.nearest_of(around, usable);
        let strange = beside.is_some_and(|(_, prefix)| self.networks.are_strangers(client.addr(), prefix.addr()));
        let neighbour = beside.and_then(|(best, _)| Some((self.claimant(best.node)?, Guess::Neighbours)));
        if neighbour.is_some() && !strange {
            return neighbour;
        }
        let usable = |label| self.node(Label::as_str(label)).filter(|node| node.standing.takes_referrals());
        self.networks.near(client.addr(), usable).or(neighbour)
    }

    /// The length of the largest block around a client, whom nobody claims, for which one node is estimated.
    pub(crate) fn estimated_block(&self, client: IpNet) -> u8 {
        self.networks.block(client)
    }

    /// The node that has this number in the table of claims.
    pub(crate) fn claimant(&self, number: u16) -> Option<&Node> {
        self.nodes.get(self.claimant_place(number)?)
    }

    /// Its place among the nodes.
    fn claimant_place(&self, number: u16) -> Option<usize> {
        Some(self.claimants.get(usize::from(number))?.node? as usize)
    }

    /// The cut in a zone of the node that has this number in the table of claims.
    pub(crate) fn cut_of_claimant<'s>(&self, zone: &'s ZoneData, number: u16) -> Option<&'s Cut> {
        zone.cut_of(self.claimant_place(number)?)
    }

    /// Whose addresses are, as far as it is known.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    pub(crate) fn claims(&self) -> &ClaimTable {
        &self.claims
    }

    pub(crate) fn pool(&self, content: Content) -> Option<&Pool> {
        self.pools.get(content.service?)
    }

    /// Returns the names of the zones.
    fn add_zones(&mut self, zones: Vec<Zone>, problems: &mut Vec<Problem>) -> Vec<WireName> {
        let mut names: Vec<WireName> = Vec::new();
        for mut zone in zones {
            zone.apex.set_fqdn(true);
            let name = WireName::new(&zone.apex);
            if self.zones.contains_key(name.all()) {
                problems.push(Problem::ZoneTwice(zone.apex));
                continue;
            }
            let data = ZoneData::new(&zone, self.zone_serial, &self.nodes, problems);
            self.zones.insert(name.all().into(), data);
            self.deepest_zone = self.deepest_zone.max(name.labels());
            names.push(name);
        }
        // A zone within a zone: the names between them are there, though empty.
        for name in &names {
            if let Some(parent) = self.zone_above(name) {
                parent.add_between(name, false);
            }
        }
        names
    }

    /// The closest zone that a name lies strictly below.
    fn zone_above(&mut self, name: &WireName) -> Option<&mut ZoneData> {
        let depth = (0..name.labels()).rev().find(|depth| self.zones.contains_key(name.suffix(*depth)))?;
        self.zones.get_mut(name.suffix(depth))
    }

    fn add_services(&mut self, services: Vec<Service>, problems: &mut Vec<Problem>) {
        for mut service in services {
            service.name.set_fqdn(true);
            let name = WireName::new(&service.name);
            let Some(place) = self.place(&name) else {
                problems.push(Problem::ServiceOutside(service.name));
                continue;
            };
            let own = place.own;
            if (1..own).any(|at| name.label(at) == b"*") {
                problems.push(Problem::Wildcard(service.name));
            } else if own > 0 && name.label(own - 1).starts_with(NAMESERVER_PREFIX.as_bytes()) {
                problems.push(Problem::ServiceOnNameserver(service.name));
            } else if own > 0 && name.label(own - 1) == WHOAMI {
                problems.push(Problem::ServiceOnWhoami(service.name));
            } else if place.zone.names.get(name.slice(0, own)).is_some_and(|held| held.service.is_some()) {
                problems.push(Problem::ServiceTwice(service.name));
            } else {
                let zone = name.suffix(name.labels() - own).to_vec();
                if let Some(zone) = self.zones.get_mut(zone.as_slice()) {
                    zone.add_service(&name, self.pools.len());
                }
                self.pools.push(Pool::new(self.me.clone(), service, problems));
            }
        }
    }

    fn add_records(&mut self, sets: Vec<RrSet>, problems: &mut Vec<Problem>) {
        let mut by_zone: BTreeMap<Box<[u8]>, Vec<(WireName, RrSet)>> = BTreeMap::new();
        for mut set in sets {
            set.name.set_fqdn(true);
            set.data.retain(|data| data.record_type() == set.rtype);
            set.data.iter_mut().for_each(make_absolute);
            let path = WireName::new(&set.name);
            let Some(place) = self.place(&path) else {
                problems.push(Problem::Records(set.name, set.rtype, "the name is in no zone of the mesh"));
                continue;
            };
            let zone = path.suffix(path.labels() - place.own).into();
            match misfit(&path, place.own, set.rtype) {
                _ if set.data.is_empty() => {
                    problems.push(Problem::Records(set.name, set.rtype, "there is no data of that type"));
                }
                Some(why) => problems.push(Problem::Records(set.name, set.rtype, why)),
                None => by_zone.entry(zone).or_default().push((path, set)),
            }
        }
        for (zone, sets) in by_zone {
            if let Some(zone) = self.zones.get_mut(&zone) {
                zone.add_records(sets, &self.pools, problems);
            }
        }
    }

    fn add_cuts(&mut self, zone_names: &[WireName], problems: &mut Vec<Problem>) {
        let mut labels: BTreeSet<Label> = self.nodes.iter().map(|node| node.label.clone()).collect();
        labels.extend(self.nodes.iter().flat_map(|node| node.serves.iter().cloned()));
        labels.extend(self.lingering.iter().cloned());
        labels.insert(self.me.clone());
        let me = node(&self.nodes, self.me.as_str());
        let serves = me.map_or(&[][..], |node| &node.serves);
        let mine = Mine { me: &self.me, serves, lingering: &self.lingering };
        for name in zone_names {
            let below: Vec<WireName> = zone_names
                .iter()
                .filter(|other| other.labels() > name.labels() && other.suffix(name.labels()) == name.all())
                .cloned()
                .collect();
            if let Some(zone) = self.zones.get_mut(name.all()) {
                zone.add_cuts(&labels, &self.nodes, &below, &mine, self.zone_serial, problems);
            }
        }
    }

    /// Puts each row beside its server. Rows of services or servers that are not in the catalogue are left out
    /// silently: rows and catalogue travel apart, so that is the usual state of things for a moment.
    fn add_rows(&mut self, rows: Vec<Row>) {
        let mut places: NameMap<usize> = NameMap::default();
        for (at, pool) in self.pools.iter().enumerate() {
            places.insert(WireName::new(&pool.service().name).all().into(), at);
        }
        for row in rows {
            let Some(at) = places.get(WireName::new(&row.service).all()) else { continue };
            let Row { state, rtt, loss, load, as_of, why, .. } = row;
            let seen = Seen { state, rtt, loss, load, as_of, why };
            self.pools[*at].see(row.node, &row.server, seen);
        }
    }
}

/// The names that are followed or looked up, as fully qualified ones: hickory's names tell the two apart.
fn make_absolute(data: &mut RData) {
    match data {
        RData::CNAME(name) => name.0.set_fqdn(true),
        RData::NS(name) => name.0.set_fqdn(true),
        _ => {}
    }
}

/// Sorts nodes by name, each once, with each address once.
fn nodes_of(mut nodes: Vec<Node>, me: &Label, problems: &mut Vec<Problem>) -> Vec<Node> {
    nodes.sort_by(|a, b| a.label.cmp(&b.label));
    nodes.dedup_by(|later, first| {
        let twice = later.label == first.label;
        if twice {
            problems.push(Problem::NodeTwice(later.label.clone()));
        }
        twice
    });
    for node in &mut nodes {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in node.addresses.iter().map(IpAddr::to_canonical) {
            if !addresses.contains(&address) && addresses.len() < MOST_ADDRESSES {
                addresses.push(address);
            }
        }
        node.addresses = addresses;
    }
    for node in nodes.iter().filter(|node| node.addresses.is_empty()) {
        problems.push(Problem::NodeWithoutAddress(node.label.clone()));
    }
    if node(&nodes, me.as_str()).is_none() {
        problems.push(Problem::MeMissing(me.clone()));
    }
    nodes
}

/// Finds the nodes that claim something. Claims of others count for nobody.
fn claimants_of(claims: &ClaimTable, nodes: &[Node], problems: &mut Vec<Problem>) -> Box<[Claimant]> {
    let mut claimants = vec![Claimant::default(); claims.numbers()];
    for (number, label, count) in claims.nodes() {
        let Ok(at) = nodes.binary_search_by(|node| node.label.cmp(label)) else {
            problems.push(Problem::ClaimsOfStrangers(label.clone(), count));
            continue;
        };
        claimants[usize::from(number)] =
            Claimant { node: u32::try_from(at).ok(), takes_referrals: nodes[at].standing.takes_referrals() };
    }
    claimants.into()
}
