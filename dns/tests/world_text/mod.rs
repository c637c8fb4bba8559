//! A world as lines of text, for scenarios.
//!
//! ```text
//! me fra
//! zone lb.example.com [NAMESERVER ...]
//! node fra alive 198.51.100.7,2001:db8::7 [CUT ...]
//! standing fra dead
//! linger ams                                cut that `me` still answers for
//! claim 203.0.113.0/24 fra 10
//! network 203.0.0.0/12 [as=64500] [country=DE]     whose addresses are
//! service www.lb.example.com [answer] [ttl=20] [answers=1] [spread=5]     spread in milliseconds
//!         [choose=first] [latency=1] [loss=0] [load=0] [cost=0]      what the score is made of
//!         [sticky=none] [min_up=1] [all_down=all|none|ADDRESS,ADDRESS] [ttl_min=5] [fall=6000] [rise=4000]
//!         [https [alpn=h2,h3] [port=8443] ...] [svcb ...]    what HTTPS and SVCB records say beside the addresses
//! server fra-1 192.0.2.1 [weight=1] [tier=0] [drain|off] [canary=5] [cost=1.5] [cost@fra=0.2]    of the service above
//! override [prefix=203.0.113.0/24] [node=fra] servers=fra-1,nyc-1|tier=1                       of the service above
//! duty www.lb.example.com fra-1 up|drain|off
//! record mail.lb.example.com 300 MX 10 mx.example.net.     static records; of one name, type and TTL: one RRset
//! row fra www.lb.example.com fra-1 up 1.2 [loss=0.1] [load=0.5] [at=99] [why ...]    round-trip time in milliseconds, or -
//! ```

mod policy;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::rdata::{NULL, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use ipnet::IpNet;
use nigh_dns::{
    Claim, ClaimChange, Duty, Label, Mode, NetworkTable, Networks, Node, Problem, Ranges, Row, RowState, RrSet, Server,
    Service, Snapshot, Standing, SvcParams, World, Zone, country_value,
};

/// A world that is read line by line.
pub struct WorldText(World, Whose);

/// Networks by operator and by country.
type Whose = [Vec<(IpNet, u32)>; 2];

impl Default for WorldText {
    fn default() -> Self {
        let mut world = World::new("fra".parse().unwrap());
        world.serial = 7;
        world.zone_serial = 2026;
        Self(world, Whose::default())
    }
}

impl WorldText {
    /// The snapshot of this world, as seen by another node if one is named.
    pub fn snapshot(&self, me: Option<&Label>) -> (Snapshot, Vec<Problem>) {
        let mut world = self.0.clone();
        if let Some(me) = me
            && *me != world.me
        {
            world.lingering.clear();
            world.me = me.clone();
        }
        let [operators, countries] = self.1.clone().map(|networks| Ranges::new(networks).unwrap_or_default());
        world.networks = Networks::new(Arc::new(NetworkTable { operators, countries }));
        for claim in world.claims.claims() {
            let come = vec![(claim.prefix, claim.rank().0)];
            world.networks.apply(&[(claim.node, ClaimChange { gone: Vec::new(), come })]);
        }
        Snapshot::build(world)
    }

    /// Takes in one line.
    pub fn line(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_whitespace();
        let Some(first) = words.next().filter(|first| !first.starts_with('#')) else {
            return Ok(());
        };
        let words: Vec<&str> = words.collect();
        let world = &mut self.0;
        match (first, words.as_slice()) {
            ("me", [me]) => world.me = label(me)?,
            ("linger", [cut]) => world.lingering.push(label(cut)?),
            ("zone", [apex, nameservers @ ..]) => {
                world.zones.push(Zone { apex: name(apex)?, nameservers: labels(nameservers)? });
            }
            ("node", [node, standing, addresses, serves @ ..]) => world.nodes.push(Node {
                label: label(node)?,
                pop: String::new(),
                addresses: list(addresses)?,
                serves: labels(serves)?,
                standing: self::standing(standing)?,
            }),
            ("standing", [node, standing]) => {
                let (node, standing) = (label(node)?, self::standing(standing)?);
                world.nodes.iter_mut().filter(|held| held.label == node).for_each(|held| held.standing = standing);
            }
            ("claim", [prefix, node, preference, options @ ..]) => world.claims.insert(Claim {
                node: label(node)?,
                prefix: prefix.parse().map_err(text)?,
                preference: preference.parse().map_err(text)?,
                proven: options.contains(&"proven"),
                rtt: option(options, "rtt_us=")?.map(Duration::from_micros),
            }),
            ("network", [prefix, options @ ..]) => {
                let prefix = prefix.parse().map_err(text)?;
                let country = option::<String>(options, "country=")?.and_then(|code| country_value(&code));
                let whose = [option(options, "as=")?, country];
                self.1.iter_mut().zip(whose).for_each(|(list, value)| list.extend(value.map(|value| (prefix, value))));
            }
            ("service", [service, options @ ..]) => world.services.push(Service {
                name: name(service)?,
                mode: if options.contains(&"answer") { Mode::Answer } else { Mode::Refer },
                ttl: option(options, "ttl=")?.unwrap_or(20),
                answers: option(options, "answers=")?.unwrap_or(1),
                spread: Duration::from_millis(option(options, "spread=")?.unwrap_or(0)),
                https: params(RecordType::HTTPS, options)?,
                svcb: params(RecordType::SVCB, options)?,
                policy: policy::policy(options)?,
                servers: Vec::new(),
            }),
            ("record", [owner, ttl, rtype, data @ ..]) => {
                let (name, rtype) = (name(owner)?, RecordType::from_str(rtype).map_err(text)?);
                let data = rdata(rtype, &data.join(" "))?;
                let ttl = ttl.parse().map_err(text)?;
                match world.records.iter_mut().find(|set| (&set.name, set.rtype) == (&name, rtype)) {
                    Some(set) if set.ttl == ttl => set.data.push(data),
                    _ => world.records.push(RrSet { name, rtype, ttl, data: vec![data] }),
                }
            }
            ("server", [id, address, options @ ..]) => {
                let servers = &mut world.services.last_mut().ok_or("a server before any service")?.servers;
                servers.push(Server {
                    id: (*id).to_owned(),
                    address: address.parse().map_err(text)?,
                    weight: option(options, "weight=")?.unwrap_or(1),
                    terms: policy::terms(options, servers.len())?,
                });
            }
            ("override", words) => {
                let service = world.services.last_mut().ok_or("an override before any service")?;
                service.policy.overrides.push(policy::overriding(words)?);
            }
            ("duty", [service, server, duty]) => {
                let (name, duty) = (name(service)?, self::duty(duty)?);
                let servers =
                    world.services.iter_mut().filter(|held| held.name == name).flat_map(|held| &mut held.servers);
                servers.filter(|held| held.id == *server).for_each(|held| held.terms.duty = duty);
            }
            ("row", [node, service, server, state, rtt, options @ ..]) => {
                let (node, service, server) = (label(node)?, name(service)?, (*server).to_owned());
                world.rows.retain(|row| (&row.node, &row.service, &row.server) != (&node, &service, &server));
                let why = options.iter().skip_while(|word| **word != "why").skip(1).copied().collect::<Vec<_>>();
                world.rows.push(Row {
                    node,
                    service,
                    server,
                    state: state_of(state)?,
                    rtt: rtt.parse().ok().map(|millis: f64| Duration::from_secs_f64(millis / 1000.0)),
                    loss: option(options, "loss=")?.unwrap_or(0.0),
                    load: option(options, "load=")?,
                    as_of: Duration::from_secs_f64(option(options, "at=")?.unwrap_or(99.5)),
                    why: why.join(" "),
                });
            }
            _ => return Err(format!("cannot read {line:?}")),
        }
        Ok(())
    }
}

fn label(word: &str) -> Result<Label, String> {
    word.parse().map_err(text)
}

fn labels(words: &[&str]) -> Result<Vec<Label>, String> {
    words.iter().map(|word| label(word)).collect()
}

fn list<T: std::str::FromStr>(word: &str) -> Result<Vec<T>, String>
where
    T::Err: ToString,
{
    word.split(',').filter(|part| *part != "-").map(|part| part.parse().map_err(text)).collect()
}

fn name(word: &str) -> Result<Name, String> {
    Name::from_ascii(word).map_err(text)
}

/// The parameters behind `https` or `svcb`, up to the other of them.
fn params(rtype: RecordType, options: &[&str]) -> Result<Option<SvcParams>, String> {
    let word = rtype.to_string().to_lowercase();
    let Some(at) = options.iter().position(|option| *option == word) else { return Ok(None) };
    let own: Vec<&str> = options[at + 1..].iter().take_while(|option| **option != "svcb").copied().collect();
    match RData::try_from_str(RecordType::SVCB, &format!("1 . {}", own.join(" "))).map_err(text)? {
        RData::SVCB(svcb) => Ok(Some(svcb.svc_params)),
        other => Err(format!("{other} is no SVCB data")),
    }
}

/// Record data as in a zone file; of DS only the bytes, in hexadecimal, since hickory cannot read it.
fn rdata(rtype: RecordType, words: &str) -> Result<RData, String> {
    match rtype {
        RecordType::DS => {
            let digits = |at: usize| words.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
            let bytes: Option<Vec<u8>> = (0..words.len()).step_by(2).map(digits).collect();
            Ok(RData::Unknown { code: rtype, rdata: NULL::with(bytes.ok_or("DS wants hexadecimal digits")?) })
        }
        RecordType::TXT => Ok(RData::TXT(TXT::new(vec![words.to_owned()]))),
        _ => RData::try_from_str(rtype, words).map_err(text),
    }
}

fn standing(word: &str) -> Result<Standing, String> {
    match word {
        "alive" => Ok(Standing::Alive),
        "draining" => Ok(Standing::Draining),
        "dead" => Ok(Standing::Dead),
        "left" => Ok(Standing::Left),
        other => Err(format!("no standing {other:?}")),
    }
}

fn duty(word: &str) -> Result<Duty, String> {
    match word {
        "up" => Ok(Duty::Up),
        "drain" => Ok(Duty::Drain),
        "off" => Ok(Duty::Off),
        other => Err(format!("no duty {other:?}")),
    }
}

fn state_of(word: &str) -> Result<RowState, String> {
    match word {
        "up" => Ok(RowState::Up),
        "down" => Ok(RowState::Down),
        "unknown" => Ok(RowState::Unknown),
        other => Err(format!("no state {other:?}")),
    }
}

/// The value of `key=value` among the words.
fn option<T: std::str::FromStr>(words: &[&str], key: &str) -> Result<Option<T>, String>
where
    T::Err: ToString,
{
    words.iter().find_map(|word| word.strip_prefix(key)).map(|value| value.parse().map_err(text)).transpose()
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
