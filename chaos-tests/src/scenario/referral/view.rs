//! What clients saw, judged without a bed: where an answer leads, who decided it, and what a fault cost.

use super::places::{Isp, ORIGINS, SERVICE_LABEL, ZONE};
use crate::bed::pulse::Beat;
use crate::bed::stub::Reply;
use crate::report;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A good answer, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// The origin.
    pub origin: &'static str,
    /// The node whose cut the service was looked up in; none without a referral.
    pub via: Option<String>,
    /// TTL left of the referral.
    pub alias_ttl: u32,
    /// TTL left of the address.
    pub address_ttl: u32,
}

/// Where a reply leads. Exactly one address is expected, for the service gives one.
pub fn landing(reply: &Reply) -> Result<Landing> {
    if !reply.is_good() {
        bail!("{} with {} addresses", reply.code, reply.addresses.len());
    }
    let [(address, address_ttl)] = reply.addresses.as_slice() else {
        bail!("{} addresses instead of one: {:?}", reply.addresses.len(), reply.addresses);
    };
    let origin = origin_at(*address)?;
    let (via, alias_ttl) = match reply.aliases.as_slice() {
        [] => (None, 0),
        [(target, ttl)] => (Some(node_of(target)?.to_owned()), *ttl),
        more => bail!("a chain of {} aliases: {more:?}", more.len()),
    };
    Ok(Landing { origin, via, alias_ttl, address_ttl: *address_ttl })
}

fn origin_at(address: IpAddr) -> Result<&'static str> {
    ORIGINS
        .iter()
        .find(|origin| IpAddr::from(origin.address) == address)
        .map(|origin| origin.region)
        .with_context(|| format!("{address} is no origin"))
}

/// The node in `www.<node>.lb.lab`.
fn node_of(target: &str) -> Result<&str> {
    target
        .strip_prefix(SERVICE_LABEL)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(ZONE))
        .and_then(|rest| rest.strip_suffix('.'))
        .filter(|node| !node.is_empty() && !node.contains('.'))
        .with_context(|| format!("{target} is in no node's cut"))
}

/// Fails unless the client of `isp` landed at `origin`, by way of `via`.
pub fn require(isp: &Isp, landing: &Landing, via: &str, origin: &str) -> Result<()> {
    if landing.via.as_deref() != Some(via) {
        bail!(
            "{} was answered by way of {} instead of {via}'s cut",
            isp.name,
            landing.via.as_deref().unwrap_or("nobody's cut")
        );
    }
    if landing.origin != origin {
        bail!("{} got {} instead of {origin}", isp.name, landing.origin);
    }
    Ok(())
}

/// Counts how often a name was looked up anew: its TTL only rises when the resolver asks again.
pub fn refreshes(address_ttls: &[u32]) -> usize {
    address_ttls.windows(2).filter(|pair| matches!(pair, [before, after] if after > before)).count()
}

/// A lookup that took this long was not answered from the cache of a resolver on the client's own host.
const NOT_CACHED: Duration = Duration::from_millis(20);

/// Whether a good lookup shows something that the resolver has fetched anew: it took long, or its TTL is higher than in
/// the lookup before it.
fn is_refresh(before: &Beat, beat: &Beat) -> bool {
    let ttl = |beat: &Beat| {
        let reply = beat.outcome.as_ref().ok().filter(|reply| reply.is_good())?;
        reply.addresses.first().map(|(_, ttl)| *ttl)
    };
    beat.is_good() && (beat.took >= NOT_CACHED || ttl(beat) > ttl(before))
}

/// What a fault cost the clients of one ISP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Lookups.
    pub lookups: usize,
    /// Those that failed after all their tries.
    pub failed: usize,
    /// Those that needed more than one try.
    pub retried: usize,
    /// The longest that a lookup took.
    pub slowest: Duration,
    /// From the fault to the end of the first good lookup that was begun after it.
    pub next_good: Option<Duration>,
    /// From the fault to the end of the first good lookup that the resolver did not answer from its cache.
    pub next_fresh: Option<Duration>,
    /// The longest time without a good answer, from the fault on.
    pub longest_gap: Duration,
}

/// What `beats` show of a fault at `fault`. Lookups that were begun before it are not counted, but the last of them is
/// what the first one after it is compared with.
pub fn outage(beats: &[Beat], fault: Instant) -> Outage {
    let after: Vec<&Beat> = beats.iter().filter(|beat| beat.begun >= fault).collect();
    let mut outage = Outage {
        lookups: after.len(),
        failed: after.iter().filter(|beat| !beat.is_good()).count(),
        retried: after.iter().filter(|beat| beat.tries > 1).count(),
        slowest: after.iter().map(|beat| beat.took).max().unwrap_or_default(),
        next_good: None,
        next_fresh: beats
            .windows(2)
            .filter_map(|pair| match pair {
                [before, beat] if beat.begun >= fault && is_refresh(before, beat) => Some(beat.ended() - fault),
                _ => None,
            })
            .next(),
        longest_gap: Duration::ZERO,
    };
    let mut last_good = fault;
    for beat in after {
        if beat.is_good() {
            outage.next_good.get_or_insert(beat.ended() - fault);
            outage.longest_gap = outage.longest_gap.max(beat.ended() - last_good);
            last_good = beat.ended();
        } else {
            outage.longest_gap = outage.longest_gap.max(beat.ended() - last_good);
        }
    }
    outage
}

impl Outage {
    /// In a sentence.
    pub fn sentence(&self) -> String {
        let after =
            |time: Option<Duration>| time.map_or("never".to_owned(), |time| format!("after {:.0} ms", ms(time)));
        format!(
            "next good answer {}, next one not from the cache {}; {} of {} lookups failed, {} needed a retry, slowest {:.0} ms, longest time between answers {:.0} ms",
            after(self.next_good),
            after(self.next_fresh),
            self.failed,
            self.lookups,
            self.retried,
            ms(self.slowest),
            ms(self.longest_gap)
        )
    }
}

/// In milliseconds, for people.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What each client got at each phase.
#[derive(Debug, Default)]
pub struct Story {
    rows: Vec<Vec<String>>,
}

impl Story {
    /// Adds a line.
    pub fn tell(&mut self, at: Duration, phase: &str, isp: &str, landing: &Landing, took: Duration) {
        self.rows.push(vec![
            format!("{:.1} s", at.as_secs_f64()),
            phase.to_owned(),
            isp.to_owned(),
            landing.origin.to_owned(),
            landing.via.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{:.1} ms", ms(took)),
            format!("{} s, {} s", landing.alias_ttl, landing.address_ttl),
        ]);
    }

    /// All lines.
    pub fn table(&self) -> String {
        let head = ["at", "phase", "client at", "origin", "cut of", "lookup", "TTL left: CNAME, A"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.rows.iter().cloned());
        report::table(&rows)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::places::ISPS;
    use super::{Landing, landing, outage, refreshes, require};
    use crate::bed::pulse::Beat;
    use crate::bed::stub::Reply;
    use hickory_proto::op::ResponseCode;
    use std::net::Ipv4Addr;
    use std::time::{Duration, Instant};

    fn reply(alias: &str, addresses: &[Ipv4Addr]) -> Reply {
        Reply {
            code: ResponseCode::NoError,
            aliases: vec![(alias.to_owned(), 60)],
            addresses: addresses.iter().map(|address| ((*address).into(), 1)).collect(),
            others: Vec::new(),
            validated: false,
        }
    }

    const EU: Ipv4Addr = super::ORIGINS[0].address;
    const US: Ipv4Addr = super::ORIGINS[1].address;

    #[test]
    fn an_answer_leads_to_an_origin_by_way_of_a_cut() {
        let landed = landing(&reply("www.fra.lb.lab", &[EU])).unwrap();
        let expected = Landing { origin: "eu-central-1", via: Some("fra".to_owned()), alias_ttl: 60, address_ttl: 1 };
        assert_eq!(landed, expected);
        require(&ISPS[0], &landed, "fra", "eu-central-1").unwrap();
    }

    #[test]
    fn a_wrong_origin_is_caught() {
        let landed = landing(&reply("www.fra.lb.lab", &[US])).unwrap();
        let error = require(&ISPS[0], &landed, "fra", "eu-central-1").unwrap_err().to_string();
        assert_eq!(error, "isp-fra got us-east-1 instead of eu-central-1");
    }

    #[test]
    fn a_wrong_cut_is_caught_even_with_the_right_origin() {
        let landed = landing(&reply("www.nyc.lb.lab", &[EU])).unwrap();
        let error = require(&ISPS[0], &landed, "fra", "eu-central-1").unwrap_err().to_string();
        assert_eq!(error, "isp-fra was answered by way of nyc instead of fra's cut");
        let direct = Landing { via: None, ..landed };
        assert!(require(&ISPS[0], &direct, "fra", "eu-central-1").is_err());
    }

    #[test]
    fn an_answer_that_leads_nowhere_known_is_an_error() {
        for odd in [
            reply("www.fra.lb.lab", &[]),
            reply("www.fra.lb.lab", &[EU, US]),
            reply("www.fra.lb.lab", &[Ipv4Addr::new(10, 9, 9, 9)]),
            reply("www.lb.lab", &[EU]),
            reply("www.a.b.lb.lab", &[EU]),
            reply("mail.fra.lb.lab", &[EU]),
            Reply { code: ResponseCode::ServFail, ..reply("www.fra.lb.lab", &[EU]) },
        ] {
            assert!(landing(&odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_refresh_is_a_ttl_that_rose() {
        assert_eq!(refreshes(&[1, 1, 0, 1, 1, 0, 0, 1]), 2);
        assert_eq!(refreshes(&[1, 0, 0]), 0);
        assert_eq!(refreshes(&[]), 0);
    }

    fn beat(begun: Instant, took_ms: u64, tries: u32, good: bool) -> Beat {
        let outcome = if good { Ok(reply("www.fra.lb.lab", &[EU])) } else { Err("no answer".to_owned()) };
        Beat { begun, took: Duration::from_millis(took_ms), tries, outcome }
    }

    #[test]
    fn the_cost_of_a_fault_is_counted_from_the_fault() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let beats = [
            beat(at(0), 1, 1, true),
            beat(at(500), 6_000, 3, false),
            beat(at(6_500), 2_500, 2, true),
            beat(at(9_500), 10, 1, true),
        ];
        let seen = outage(&beats, at(100));
        assert_eq!((seen.lookups, seen.failed, seen.retried), (3, 1, 2));
        assert_eq!(seen.slowest, Duration::from_secs(6));
        assert_eq!(seen.next_good, Some(Duration::from_millis(8_900)));
        assert_eq!(seen.next_fresh, Some(Duration::from_millis(8_900)));
        assert_eq!(seen.longest_gap, Duration::from_millis(8_900));
        let slow = beat(at(1_000), 90, 1, true);
        let cached = [beat(at(0), 1, 1, true), beat(at(500), 1, 1, true), slow];
        let seen = outage(&cached[..2], at(100));
        assert_eq!((seen.next_good, seen.next_fresh), (Some(Duration::from_millis(401)), None));
        assert_eq!(outage(&cached, at(100)).next_fresh, Some(Duration::from_millis(990)));
        let dead = outage(&beats[..2], at(100));
        assert_eq!((dead.next_good, dead.longest_gap), (None, Duration::from_millis(6_400)));
    }
}
