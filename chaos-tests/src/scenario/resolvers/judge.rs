//! What clients got and what was on the wire, judged without a bed.
//!
//! **Invariant (in every case, for every resolver):** a node that stands in the NS set of a cut, as this resolver was
//! told it, answers with AA for all names of the cut. A referral, REFUSED or SERVFAIL from it would make the resolver
//! avoid it for minutes (lame).

use super::places::{ORIGINS, POPS, ZONE, both, web_addresses};
use crate::bed::pulse::Beat;
use crate::bed::stub::Reply;
use crate::bed::wire::Said;
use anyhow::{Context, Result, bail};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A good answer, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The region of the origin.
    pub origin: &'static str,
    /// The node in whose cut the service was looked up; none if the address came at once.
    pub via: Option<String>,
    /// Least TTL left of the addresses.
    pub ttl: u32,
    /// Least TTL left of the aliases.
    pub alias_ttl: Option<u32>,
    /// How many addresses.
    pub addresses: usize,
}

/// Where a reply leads: all its addresses must be of one origin.
pub fn landing(reply: &Reply) -> Result<Landing> {
    if reply.code != ResponseCode::NoError || reply.addresses.is_empty() {
        bail!("{} with {} addresses (aliases {:?})", reply.code, reply.addresses.len(), reply.aliases);
    }
    let origins: BTreeSet<&str> =
        reply.addresses.iter().map(|(address, _)| origin_at(*address)).collect::<Result<_>>()?;
    let [origin] = Vec::from_iter(origins)[..] else { bail!("addresses of several origins: {:?}", reply.addresses) };
    Ok(Landing {
        origin,
        via: reply.aliases.last().and_then(|(target, _)| cut_of(target)).map(str::to_owned),
        ttl: reply.addresses.iter().map(|(_, ttl)| *ttl).min().unwrap_or_default(),
        alias_ttl: reply.aliases.iter().map(|(_, ttl)| *ttl).min(),
        addresses: reply.addresses.len(),
    })
}

fn origin_at(address: IpAddr) -> Result<&'static str> {
    ORIGINS
        .iter()
        .find(|origin| web_addresses(origin).contains(&address))
        .map(|origin| origin.region)
        .with_context(|| format!("{address} is no origin"))
}

/// The node whose cut a name is in, or is the apex of.
pub fn cut_of(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let before = name.strip_suffix(ZONE)?.strip_suffix('.')?;
    let label = before.rsplit('.').next()?;
    POPS.iter().map(|pop| pop.node).find(|node| *node == label)
}

/// The node at an address.
pub fn node_at(address: IpAddr) -> Option<&'static str> {
    POPS.iter().find(|pop| both(pop.address).contains(&address)).map(|pop| pop.node)
}

/// The questions that a resolver asked of nodes, by its addresses.
pub fn questions<'a>(said: &'a [Said], egress: &'a [IpAddr]) -> impl Iterator<Item = (&'static str, &'a Said)> {
    said.iter()
        .filter(|said| said.is_question() && egress.contains(&said.from.ip()))
        .filter_map(|said| Some((node_at(said.to.ip())?, said)))
}

/// The replies that a resolver got of nodes.
pub fn replies<'a>(said: &'a [Said], egress: &'a [IpAddr]) -> impl Iterator<Item = (&'static str, &'a Said)> {
    said.iter()
        .filter(|said| !said.is_question() && egress.contains(&said.to.ip()))
        .filter_map(|said| Some((node_at(said.from.ip())?, said)))
}

/// How many questions each node got.
pub fn tally(said: &[Said], egress: &[IpAddr]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for (node, _) in questions(said, egress) {
        *counts.entry(node).or_default() += 1;
    }
    counts
}

/// The servers of each cut that a resolver was told of.
pub fn servers_told(said: &[Said], egress: &[IpAddr]) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut servers: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (_, reply) in replies(said, egress) {
        for record in reply.message.answers.iter().chain(&reply.message.authorities) {
            let RData::NS(target) = &record.data else { continue };
            let owner = record.name.to_string();
            let Some(cut) = cut_of(owner.trim_end_matches('.')) else { continue };
            let target = target.0.to_string();
            let label = target.split('.').next().unwrap_or_default();
            if let Some(pop) = POPS.iter().find(|pop| label.strip_prefix("ns-") == Some(pop.node)) {
                servers.entry(cut).or_default().insert(pop.node);
            }
        }
    }
    servers
}

/// Whether a resolver knows by whom a cut is served: by a delegation, or because it asked for the NS records itself.
/// (NS records beside other answers are ignored by most.)
pub fn knows_cut(said: &[Said], egress: &[IpAddr], cut: &str) -> bool {
    replies(said, egress).any(|(_, reply)| {
        let of_cut = |record: &Record| {
            matches!(record.data, RData::NS(_)) && cut_of(record.name.to_string().trim_end_matches('.')) == Some(cut)
        };
        let message = &reply.message;
        let delegation = !message.metadata.authoritative && message.authorities.iter().any(of_cut);
        delegation || message.answers.iter().any(of_cut)
    })
}

/// What a fault cost a client that asks all the time, and when it was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Lookups begun after the fault.
    pub lookups: usize,
    /// Those that failed after all their tries.
    pub failed: usize,
    /// From the fault to the beginning of the first lookup after which none failed; none while they fail.
    pub good_since: Option<Duration>,
    /// From the fault to the end of the last good lookup.
    pub good_until: Option<Duration>,
    /// The longest that a good lookup took.
    pub slowest: Duration,
}

impl Recovery {
    /// How long all has been good, by lookups that have ended: one that is under way may yet fail.
    pub fn good_for(&self) -> Duration {
        match (self.good_since, self.good_until) {
            (Some(since), Some(until)) => until.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let since = self.good_since.map_or("never".to_owned(), |since| format!("after {:.1} s", since.as_secs_f64()));
        let (failed, lookups, slowest) = (self.failed, self.lookups, self.slowest.as_secs_f64());
        format!("{failed} of {lookups} lookups failed, good for ever {since}, slowest good {slowest:.1} s")
    }
}

/// The cost of a fault, from the lookups of a client.
pub fn recovery(beats: &[Beat], fault: Instant) -> Recovery {
    let mut seen = Recovery::default();
    for beat in beats.iter().filter(|beat| beat.begun >= fault) {
        seen.lookups += 1;
        if beat.is_good() {
            seen.good_since.get_or_insert(beat.begun - fault);
            seen.good_until = Some(beat.ended() - fault);
            seen.slowest = seen.slowest.max(beat.took);
        } else {
            seen.failed += 1;
            (seen.good_since, seen.good_until) = (None, None);
        }
    }
    seen
}

/// Replies that a resolver may hold against a node, each as a line.
pub fn lame(said: &[Said], egress: &[IpAddr]) -> Vec<String> {
    let servers = servers_told(said, egress);
    let mut found = Vec::new();
    for (node, reply) in replies(said, egress) {
        let meta = &reply.message.metadata;
        let good = matches!(meta.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        let serves = cut_of(&reply.name()).is_some_and(|cut| servers.get(cut).is_some_and(|cut| cut.contains(node)));
        if !good {
            found.push(format!("{node} said {}: {}", meta.response_code, reply.line()));
        } else if serves && !meta.authoritative {
            found.push(format!("{node} serves the cut and referred for it: {}", reply.line()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Recovery, cut_of, knows_cut, lame, landing, questions, recovery, tally};
    use crate::bed::pulse::Beat;
    use crate::bed::stub::Reply;
    use crate::bed::wire::Said;
    use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
    use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
    use std::net::{IpAddr, SocketAddr};
    use std::time::{Duration, Instant};

    const ISP: &str = "10.49.10.53";

    fn egress() -> [IpAddr; 1] {
        [ISP.parse().unwrap()]
    }

    fn said(from: &str, to: &str, name: &str) -> Said {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), RecordType::A));
        let at = |host: &str| SocketAddr::new(host.parse().unwrap(), 53);
        let (from, to) = (at(from), at(to));
        Said { at: Duration::ZERO, from, to, tcp: false, passed: true, size: 0, message }
    }

    fn reply(from: &str, name: &str, code: ResponseCode, authoritative: bool) -> Said {
        let mut said = said(from, ISP, name);
        said.message.metadata.message_type = MessageType::Response;
        said.message.metadata.response_code = code;
        said.message.metadata.authoritative = authoritative;
        said
    }

    fn ns(said: &mut Said, owner: &str, target: &str) {
        let data = RData::NS(rdata::NS(target.parse().unwrap()));
        said.message.authorities.push(Record::from_rdata(owner.parse().unwrap(), 3600, data));
    }

    fn answer(addresses: &[&str], alias: &str) -> Reply {
        Reply {
            code: ResponseCode::NoError,
            aliases: vec![(alias.to_owned(), 60)],
            addresses: addresses.iter().map(|address| (address.parse().unwrap(), 2)).collect(),
            others: Vec::new(),
            validated: false,
        }
    }

    #[test]
    fn an_answer_leads_to_one_origin_by_way_of_a_cut() {
        let landed = landing(&answer(&["fd00::10:49:1:80"], "www.fra.lb.lab")).unwrap();
        assert_eq!((landed.origin, landed.via.as_deref(), landed.alias_ttl), ("eu-central-1", Some("fra"), Some(60)));
        assert_eq!(landing(&answer(&["10.1.1.80"], "www.elsewhere")).unwrap().via, None);
        let failed = Reply { code: ResponseCode::ServFail, ..answer(&["10.1.1.80"], "x") };
        for odd in [answer(&[], "x"), answer(&["10.1.1.80", "10.49.1.80"], "x"), answer(&["10.9.9.9"], "x"), failed] {
            assert!(landing(&odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_name_is_in_a_cut_if_a_node_has_the_label_below_the_zone() {
        assert_eq!(cut_of("a.b.FRA.lb.lab"), Some("fra"));
        assert_eq!(cut_of("fra.lb.lab"), Some("fra"));
        for outside in ["www.lb.lab", "lb.lab", "fra.lab", "xlb.lab", "fra.lb.lab.org"] {
            assert_eq!(cut_of(outside), None, "{outside}");
        }
    }

    #[test]
    fn questions_are_counted_by_node_and_only_those_of_the_resolver() {
        let all = [
            said(ISP, "10.49.0.2", "www.lb.lab"),
            said(ISP, "fd00::10:49:0:2", "www.lb.lab"),
            said("10.49.11.53", "10.49.0.2", "www.lb.lab"),
            said(ISP, "10.0.1.53", "lb.lab"),
            reply("10.49.0.2", "www.lb.lab", ResponseCode::NoError, true),
        ];
        assert_eq!(tally(&all, &egress()), [("fra", 2)].into());
        assert_eq!(questions(&all, &egress()).count(), 2);
    }

    #[test]
    fn a_cut_is_known_by_a_delegation_and_not_by_what_stands_beside_an_answer() {
        let mut beside = reply("10.81.0.2", "www.lb.lab", ResponseCode::NoError, true);
        ns(&mut beside, "fra.lb.lab.", "ns-lon.fra.lb.lab.");
        assert!(!knows_cut(&[beside.clone()], &egress(), "fra"));
        beside.message.metadata.authoritative = false;
        assert!(knows_cut(&[beside.clone()], &egress(), "fra") && !knows_cut(&[beside], &egress(), "nyc"));
    }

    #[test]
    fn a_fault_is_over_when_no_lookup_fails_any_more() {
        let fault = Instant::now();
        let beat = |at: u64, good: bool| {
            let outcome = if good { Ok(answer(&["10.1.1.80"], "x")) } else { Err("no answer".to_owned()) };
            Beat { begun: fault + Duration::from_secs(at), took: Duration::from_secs(1), tries: 1, outcome }
        };
        let beats = [beat(0, true), beat(1, false), beat(2, true), beat(3, false), beat(4, true), beat(5, true)];
        let seen = recovery(&beats, fault);
        let [second, since, until] = [1, 4, 6].map(Duration::from_secs);
        let (good_since, good_until) = (Some(since), Some(until));
        assert_eq!(seen, Recovery { lookups: 6, failed: 2, good_since, good_until, slowest: second });
        assert_eq!(seen.good_for(), 2 * second);
        assert_eq!(recovery(&beats[..4], fault).good_since, None);
        assert_eq!(recovery(&beats, fault + Duration::from_secs(4)).lookups, 2);
    }

    #[test]
    fn a_referral_from_a_server_of_the_cut_is_lame_and_from_another_node_is_not() {
        let mut delegation = reply("10.81.0.2", "www.fra.lb.lab", ResponseCode::NoError, false);
        ns(&mut delegation, "fra.lb.lab.", "ns-lon.fra.lb.lab.");
        let good = reply("10.44.0.2", "www.fra.lb.lab", ResponseCode::NoError, true);
        assert_eq!(lame(&[delegation.clone(), good], &egress()), Vec::<String>::new());
        let lateral = reply("10.44.0.2", "www.FRA.lb.lab", ResponseCode::NoError, false);
        assert_eq!(lame(&[delegation.clone(), lateral], &egress()).len(), 1);
        let refused = reply("10.1.0.2", "www.lb.lab", ResponseCode::Refused, false);
        assert_eq!(lame(&[delegation, refused], &egress()).len(), 1);
    }
}
