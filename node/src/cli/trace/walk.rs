//! The core of a walk: a machine that says whom to ask next, as a resolver with an empty cache would.
//!
//! ```text
//! Walk::begin ─▶ Next::Ask ─▶ heard ─▶ ... ─▶ Next::Done(Trace)
//!                Next::Explain ─▶ explained ─┘
//! ```
//!
//! It starts at the root's servers (or at any server that is named), follows referrals and aliases, looks up the address
//! of a name server that came without one, turns to the next server when one is silent or lame, and to TCP when a reply
//! was cut short. With a resolver whose view is wanted, that address goes along as client subnet (RFC 7871); a DNS-B answers
//! such a question at once, while a resolver without subnets gets an alias into a node's cut. So where the mesh can be
//! asked through its API too, a node explains what it says to that very resolver, and the walk goes on from that.
//!
//! Source: RFC 1034 section 5.3.3.
//! Invariant: pure, and every walk ends: each question counts against [`MAX_ASKED`], each alias against
//! [`MAX_ALIASES`], each way aside against [`MAX_DEPTH`], and referrals are followed downwards only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::reading::{self, Delegation, Found, NameServer, Reading, is_below, plain};
use super::report::{By, Came, Ending, Role, Step, Trace, View};
use super::{beside, roles, words};
use crate::catalogue::name::mnemonic;

/// Questions of one walk: all servers of three zones silent, and then some.
pub(crate) const MAX_ASKED: usize = 64;
/// Aliases of one walk; resolvers stop at 8 to 16.
const MAX_ALIASES: usize = 16;
/// Name servers whose addresses are looked up for one another.
const MAX_DEPTH: usize = 4;

/// What is known of the mesh from a node's API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Its zones.
    pub(crate) zones: Vec<Name>,
    /// Its nodes, by the addresses where they answer.
    pub(crate) nodes: BTreeMap<IpAddr, String>,
}

/// What to walk for, and from where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The name.
    pub(crate) name: Name,
    /// The type.
    pub(crate) rtype: RecordType,
    /// Whom to ask first.
    pub(crate) start: Delegation,
    /// The port of all servers.
    pub(crate) port: u16,
    /// Whose view is wanted.
    pub(crate) resolver: Option<IpAddr>,
    /// The mesh, if one can be asked.
    pub(crate) mesh: Option<Known>,
    /// Whether to ask the servers [beside the way](beside) as well.
    pub(crate) beside: bool,
}

/// A question to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// To whom.
    pub(crate) server: SocketAddr,
    /// The name.
    pub(crate) name: Name,
    /// The type.
    pub(crate) rtype: RecordType,
    /// Over a connection.
    pub(crate) tcp: bool,
    /// With an OPT record; some old servers choke on it.
    pub(crate) edns: bool,
    /// The address that goes along as client subnet.
    pub(crate) subnet: Option<IpAddr>,
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// A reply of so many octets.
    Reply(Box<Message>, usize),
    /// Nothing, and why.
    Nothing(String),
    /// This host has no way to addresses of that family.
    NoWay,
}

/// What a node explained.
#[derive(Clone, Debug)]
pub(crate) struct Explained {
    /// The records, as a message.
    pub(crate) message: Message,
    /// The records, as text.
    pub(crate) records: Vec<String>,
    /// Why, in the node's words.
    pub(crate) why: String,
}

/// What the shell has to do.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send this.
    Ask(Ask),
    /// Have this node explain what it answers the resolver to this name.
    Explain {
        /// The node.
        node: String,
        /// The name.
        name: Name,
    },
    /// It is over.
    Done(Box<Trace>),
}

/// One look-up on its way.
#[derive(Debug)]
struct Frame {
    name: Name,
    rtype: RecordType,
    aliases: usize,
    /// The name server whose address this looks up, and the zone that it serves.
    wanted_by: Option<(Name, Name)>,
}

/// A walk.
#[derive(Debug)]
pub(crate) struct Walk {
    plan: Plan,
    frames: Vec<Frame>,
    known: BTreeMap<Name, Delegation>,
    /// Servers that are of no use for a zone.
    bad: BTreeSet<(Name, IpAddr)>,
    /// Name servers without an address that were looked up.
    looked_up: BTreeSet<Name>,
    /// Families that this host has no way to.
    no_way: [bool; 2],
    asked: Option<(Name, Ask)>,
    /// What a server said, while a node is asked for what it says to the resolver.
    held: Option<Reading>,
    explained: bool,
    /// A mesh's server took the subnet.
    took_subnet: bool,
    sent: usize,
    steps: Vec<Step>,
    notes: Vec<String>,
    /// The aliases that the walk's own name went through.
    through: Vec<String>,
    /// How the walk ended, while those beside the way are asked.
    ended: Option<(Ending, Vec<String>)>,
    beside: VecDeque<(Name, Ask)>,
}

impl Walk {
    /// Begins.
    pub(crate) fn begin(plan: Plan) -> (Self, Next) {
        let frame = Frame { name: plan.name.clone(), rtype: plan.rtype, aliases: 0, wanted_by: None };
        let known = BTreeMap::from([(plan.start.zone.clone(), plan.start.clone())]);
        let mut walk = Self {
            plan,
            frames: vec![frame],
            known,
            bad: BTreeSet::new(),
            looked_up: BTreeSet::new(),
            no_way: [false; 2],
            asked: None,
            held: None,
            explained: false,
            took_subnet: false,
            sent: 0,
            steps: Vec::new(),
            notes: Vec::new(),
            through: Vec::new(),
            ended: None,
            beside: VecDeque::new(),
        };
        let next = walk.advance();
        (walk, next)
    }

    /// What came of the question.
    pub(crate) fn heard(&mut self, heard: Heard, took: Duration) -> Next {
        let Some((zone, ask)) = self.asked.take() else { return self.advance() };
        if let Some(ended) = self.ended.take() {
            return self.heard_beside(heard, (zone, ask), took, ended);
        }
        let mut step = self.step(&zone, &ask, took);
        let (message, octets) = match heard {
            Heard::NoWay => {
                let family = if ask.server.is_ipv4() { "IPv4" } else { "IPv6" };
                self.no_way[usize::from(ask.server.is_ipv6())] = true;
                self.notes
                    .push(format!("this host has no way to {family} addresses: servers were asked at others only"));
                return self.advance();
            }
            Heard::Nothing(why) => {
                step.faults.push(format!("{}: {why}", ask.server));
                step.means = "no reply; a resolver turns to the next server".to_owned();
                self.steps.push(step);
                self.bad.insert((zone, ask.server.ip()));
                return self.advance();
            }
            Heard::Reply(message, octets) => (message, octets),
        };
        step.octets = Some(octets);
        let said = words::options(&message, &mut step);
        if let Some(next) = self.again(&message, &zone, &ask, &mut step) {
            return next;
        }
        match reading::read(&message, &zone, &ask.name, ask.rtype) {
            Err(why) => {
                step.came = Came::Lame;
                step.means = "of no use; a resolver turns to the next server".to_owned();
                step.faults.push(why);
                self.steps.push(step);
                self.bad.insert((zone, ask.server.ip()));
                self.advance()
            }
            Ok(reading) => {
                words::tell(&reading, &mut step);
                self.took_subnet |= said.took_subnet && !matches!(reading.found, Found::Elsewhere(_));
                self.steps.push(step);
                match self.explainer(&zone, &ask, &reading) {
                    Some(node) => {
                        self.explained = true;
                        self.held = Some(reading);
                        self.asked = Some((zone, ask.clone()));
                        Next::Explain { node, name: ask.name }
                    }
                    None => self.follow(&zone, reading),
                }
            }
        }
    }

    /// What came of a question to a server beside the way.
    fn heard_beside(
        &mut self,
        heard: Heard,
        (zone, ask): (Name, Ask),
        took: Duration,
        ended: (Ending, Vec<String>),
    ) -> Next {
        let mut step = Step { beside: true, ..self.step(&zone, &ask, took) };
        match heard {
            Heard::NoWay => return self.go_beside(ended),
            Heard::Nothing(why) => {
                step.means = "no reply; a resolver that comes here turns to the next server".to_owned();
                step.faults.push(format!("{}: {why}", ask.server));
            }
            Heard::Reply(message, _) if message.metadata.truncation && !ask.tcp => {
                self.ended = Some(ended);
                return self.send(zone, Ask { tcp: true, ..ask });
            }
            Heard::Reply(message, octets) => {
                step.octets = Some(octets);
                words::options(&message, &mut step);
                match reading::read(&message, &zone, &ask.name, ask.rtype) {
                    Ok(reading) => {
                        words::tell(&reading, &mut step);
                        step.faults.extend(beside::contradiction(&self.steps, &step));
                    }
                    Err(why) => {
                        step.came = Came::Lame;
                        step.means = "of no use; a resolver that comes here turns to the next server".to_owned();
                        step.faults.push(why);
                    }
                }
            }
        }
        self.steps.push(step);
        self.go_beside(ended)
    }

    /// Asks the next server beside the way.
    fn go_beside(&mut self, ended: (Ending, Vec<String>)) -> Next {
        match self.beside.pop_front() {
            Some((zone, ask)) => {
                self.ended = Some(ended);
                self.send(zone, ask)
            }
            None => self.done(ended.0, ended.1, String::new()),
        }
    }

    /// What the node explained. `Err`: why it did not.
    pub(crate) fn explained(&mut self, explained: Result<Explained, String>, took: Duration) -> Next {
        let (Some((zone, ask)), Some(held)) = (self.asked.take(), self.held.take()) else { return self.advance() };
        let explained = match explained {
            Ok(explained) => explained,
            Err(why) => {
                self.explained = false;
                self.notes.push(format!("no node explains what it answers this resolver: {why}"));
                return self.follow(&zone, held);
            }
        };
        // A node answers for the name's mesh zone, whatever zone it was first asked as a server of.
        let mut step = Step { by: By::Explain, ..self.step(&zone, &ask, took) };
        step.node = self.node_at(ask.server.ip()).or(step.node);
        match reading::read(&explained.message, &zone, &ask.name, ask.rtype) {
            Err(why) => {
                self.explained = false;
                step.faults.push(why);
                self.steps.push(step);
                self.follow(&zone, held)
            }
            Ok(reading) => {
                words::tell(&reading, &mut step);
                step.records = explained.records;
                step.notes.push(explained.why);
                self.steps.push(step);
                self.follow(&zone, reading)
            }
        }
    }

    /// The same server once more, over TCP or without EDNS.
    fn again(&mut self, message: &Message, zone: &Name, ask: &Ask, step: &mut Step) -> Option<Next> {
        let code = message.metadata.response_code;
        let again = if message.metadata.truncation && !ask.tcp {
            step.came = Came::Truncated;
            step.means = "cut short (TC): asked again over TCP".to_owned();
            Ask { tcp: true, ..ask.clone() }
        } else if ask.edns && message.edns.is_none() && matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) {
            step.came = Came::Lame;
            step.means = "asked again without EDNS".to_owned();
            step.faults.push(format!("says {code} to a question with EDNS (RFC 6891), which all resolvers use"));
            Ask { edns: false, subnet: None, ..ask.clone() }
        } else {
            return None;
        };
        self.steps.push(step.clone());
        Some(self.send(zone.clone(), again))
    }

    /// The node that is to explain its answer, if this is where it counts.
    fn explainer(&self, zone: &Name, ask: &Ask, reading: &Reading) -> Option<String> {
        let mesh = self.plan.mesh.as_ref().filter(|_| self.plan.resolver.is_some() && !self.explained)?;
        if self.frames.len() > 1 || matches!(reading.found, Found::Elsewhere(_)) && reading.aliases.is_empty() {
            return None;
        }
        // Inside a cut the name decides, not who asks.
        let of_mesh =
            mesh.zones.iter().any(|of_mesh| of_mesh == zone || is_below(of_mesh, zone) && of_mesh.zone_of(&ask.name));
        mesh.nodes.get(&ask.server.ip()).filter(|_| of_mesh).cloned()
    }

    /// Goes on from what was read.
    fn follow(&mut self, zone: &Name, reading: Reading) -> Next {
        let Reading { aliases, end, found, .. } = reading;
        let Some(frame) = self.frames.last_mut() else { return self.finish(Ending::Failed, Vec::new(), String::new()) };
        frame.aliases += aliases.len();
        if frame.aliases > MAX_ALIASES {
            return self.fail(format!("more than {MAX_ALIASES} aliases, one after the other"));
        }
        frame.name = end;
        match found {
            Found::Elsewhere(_) | Found::Nothing if self.frames.len() == 1 && !aliases.is_empty() => {
                self.through.extend(aliases.iter().map(ToString::to_string));
                if let Found::Elsewhere(delegation) = found {
                    self.known.insert(delegation.zone.to_lowercase(), delegation);
                }
                self.advance()
            }
            Found::Elsewhere(delegation) => {
                self.known.insert(delegation.zone.to_lowercase(), delegation);
                self.advance()
            }
            Found::Nothing if aliases.is_empty() => {
                self.fail(format!("the servers of {} say nothing of it", plain(zone)))
            }
            Found::Nothing => self.advance(),
            Found::NoData => self.arrived(Ending::NoData, Vec::new()),
            Found::NxDomain => self.arrived(Ending::NxDomain, Vec::new()),
            Found::Records(records) => self.arrived(Ending::Answer, records),
        }
    }

    /// A look-up is over: the walk's own, or that of a name server's address.
    fn arrived(&mut self, ending: Ending, records: Vec<hickory_proto::rr::Record>) -> Next {
        let wanted_by = self.frames.last().and_then(|frame| frame.wanted_by.clone());
        let Some((server, zone)) = wanted_by else {
            let mut texts = std::mem::take(&mut self.through);
            texts.extend(self.steps.last().map(|step| step.records.clone()).unwrap_or_default());
            return self.finish(ending, texts, String::new());
        };
        self.frames.pop();
        let found: Vec<IpAddr> = records.iter().filter_map(reading::address).collect();
        let named = |at: &&mut NameServer| at.name.as_ref() == Some(&server);
        if let Some(at) = self.known.get_mut(&zone).and_then(|zone| zone.servers.iter_mut().find(named)) {
            at.addresses.extend(found);
        }
        self.advance()
    }

    /// A look-up cannot go on.
    fn fail(&mut self, why: String) -> Next {
        match self.frames.last().and_then(|frame| frame.wanted_by.clone()) {
            Some((server, zone)) => {
                self.notes.push(format!("no address of {}, a server of {}: {why}", plain(&server), plain(&zone)));
                self.frames.pop();
                self.advance()
            }
            None => self.finish(Ending::Failed, Vec::new(), why),
        }
    }

    /// Asks the next server of the deepest known zone.
    fn advance(&mut self) -> Next {
        let Some(frame) = self.frames.last() else { return self.finish(Ending::Failed, Vec::new(), String::new()) };
        if self.sent >= MAX_ASKED {
            self.frames.truncate(1);
            return self.fail(format!("{MAX_ASKED} questions were asked, more than any resolver does"));
        }
        let (name, rtype) = (frame.name.clone(), frame.rtype);
        let holds = self.known.values().filter(|known| known.zone.zone_of(&name));
        let Some(known) = holds.max_by_key(|known| known.zone.iter().count()) else {
            let why = format!("{} lies outside {}, where the walk began", plain(&name), plain(&self.plan.start.zone));
            return self.fail(why);
        };
        let zone = known.zone.to_lowercase();
        let mut addresses: Vec<IpAddr> =
            known.servers.iter().flat_map(|server| server.addresses.iter().copied()).collect();
        // Every resolver has IPv4, or NAT64; not every one has IPv6.
        addresses.sort_by_key(IpAddr::is_ipv6);
        let usable = |address: &IpAddr| {
            !self.no_way[usize::from(address.is_ipv6())] && !self.bad.contains(&(zone.clone(), *address))
        };
        if let Some(address) = addresses.into_iter().find(usable) {
            let server = SocketAddr::new(address, self.plan.port);
            // The root knows no mesh, and need not know who asks (RFC 7871 section 7.1.1).
            let told = self.frames.len() == 1 && !(zone.is_root() && self.starts_at_root());
            let subnet = self.plan.resolver.filter(|_| told);
            return self.send(zone, Ask { server, name, rtype, tcp: false, edns: true, subnet });
        }
        let nameless = known.servers.iter().filter(|server| server.addresses.is_empty());
        let mut names = nameless.filter_map(|server| server.name.clone());
        // What lies in the zone itself cannot be found without the zone.
        let next = names.find(|name| !zone.zone_of(name) && !self.looked_up.contains(name));
        match next {
            Some(server) if self.frames.len() <= MAX_DEPTH => {
                self.looked_up.insert(server.clone());
                let rtype = if self.no_way[0] { RecordType::AAAA } else { RecordType::A };
                self.frames.push(Frame { name: server.clone(), rtype, aliases: 0, wanted_by: Some((server, zone)) });
                self.advance()
            }
            _ => {
                let elsewhere = match zone == self.plan.start.zone {
                    true => "; begin elsewhere, with --root ADDRESS or --server ADDRESS --zone ZONE",
                    false => "",
                };
                self.fail(format!("no server of {} gives a usable reply{elsewhere}", plain(&zone)))
            }
        }
    }

    fn send(&mut self, zone: Name, ask: Ask) -> Next {
        self.sent += 1;
        self.asked = Some((zone, ask.clone()));
        Next::Ask(ask)
    }

    /// Whether the walk began at the root, not at a server that somebody named.
    fn starts_at_root(&self) -> bool {
        self.plan.start.zone.is_root() && self.plan.start.servers.iter().any(|server| server.name.is_some())
    }

    /// The zones that were met, with their servers as the parents named them.
    pub(crate) fn known(self) -> Vec<Delegation> {
        self.known.into_values().collect()
    }

    fn node_at(&self, address: IpAddr) -> Option<String> {
        self.plan.mesh.as_ref()?.nodes.get(&address).cloned()
    }

    fn step(&self, zone: &Name, ask: &Ask, took: Duration) -> Step {
        let servers = self.known.get(zone).map(|zone| zone.servers.as_slice()).unwrap_or_default();
        let server = servers.iter().find(|server| server.addresses.contains(&ask.server.ip()));
        Step {
            role: Role::Zone,
            zone: plain(zone),
            server: ask.server,
            server_name: server.and_then(|server| server.name.as_ref()).map(plain),
            node: None,
            asked: plain(&ask.name),
            rtype: mnemonic(ask.rtype.into()),
            by: if ask.tcp { By::Tcp } else { By::Udp },
            took_ms: took.as_secs_f64() * 1000.0,
            octets: None,
            came: Came::Silence,
            means: String::new(),
            records: Vec::new(),
            servers: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
            side_way: self.frames.last().and_then(|frame| frame.wanted_by.as_ref()).map(|(server, _)| plain(server)),
            beside: false,
        }
    }

    fn finish(&mut self, ending: Ending, records: Vec<String>, why: String) -> Next {
        self.give_roles();
        if !self.plan.beside || ending == Ending::Failed {
            return self.done(ending, records, why);
        }
        self.beside = beside::questions(&self.steps, &self.known, &self.plan);
        self.go_beside((ending, records))
    }

    fn give_roles(&mut self) {
        let zones = self.plan.mesh.as_ref().map(|mesh| mesh.zones.as_slice()).unwrap_or_default();
        let from_root = self.starts_at_root();
        roles::give(&mut self.steps, zones, from_root);
    }

    /// A zone of the mesh that nobody on the way knew of, though the name lies in it.
    fn undelegated(&self) -> Option<Name> {
        let mesh = self.plan.mesh.as_ref()?;
        let zone = mesh.zones.iter().find(|zone| zone.zone_of(&self.plan.name))?;
        let met = |step: &Step| {
            roles::name(&step.zone).is_some_and(|at| zone.zone_of(&at)) || mesh.nodes.contains_key(&step.server.ip())
        };
        (!self.steps.iter().any(met)).then(|| zone.clone())
    }

    fn done(&mut self, ending: Ending, records: Vec<String>, why: String) -> Next {
        self.give_roles();
        if matches!(ending, Ending::NoData | Ending::NxDomain)
            && let Some(zone) = self.undelegated()
            && let Some(last) = self.steps.iter_mut().rfind(|step| !step.beside)
        {
            let zone = plain(&zone);
            last.faults
                .push(format!("does not delegate {zone}, which the mesh serves: `nigh doctor` says what to write"));
        }
        let steps = std::mem::take(&mut self.steps);
        let mut notes = std::mem::take(&mut self.notes);
        let view = match (self.plan.resolver, self.explained, self.took_subnet) {
            (Some(_), true, _) => View::Explained,
            (Some(_), false, true) => View::Subnet,
            _ => View::Own,
        };
        if let Some(resolver) = self.plan.resolver {
            notes.insert(0, words::view(view, resolver, &steps));
        }
        notes.dedup();
        let real = steps.iter().filter(|step| step.by != By::Explain && !step.beside);
        Next::Done(Box::new(Trace {
            name: plain(&self.plan.name),
            rtype: mnemonic(self.plan.rtype.into()),
            resolver: self.plan.resolver,
            view,
            took_ms: real.map(|step| step.took_ms).fold(0.0, |sum, took| sum + took),
            faults: steps.iter().map(|step| step.faults.len()).sum(),
            steps,
            ending,
            records,
            why,
            notes,
        }))
    }
}
