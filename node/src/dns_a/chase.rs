//! From a name to its addresses, by way of aliases (RFC 1034 section 3.6.2), one reply at a time.
//!
//! A resolver has the whole chain in its answer, an authoritative server as much of it as lies in its zones: the rest is
//! asked for. The whole lives as long as its shortest TTL.

use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::tables::pools::MAX_IMPORTED;

/// Aliases in one chain: as many as BIND follows.
pub const MAX_CHAIN: usize = 16;

/// What a name has, of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses, in order, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// There is nothing: no such name, or no such type at it.
    Empty,
    /// It could not be found out.
    Failed(String),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for this name.
    Ask(Name),
    /// This is it.
    Done(Outcome),
}

/// One chase.
#[derive(Clone, Debug)]
pub struct Chase {
    rtype: RecordType,
    /// All names of the chain so far; the last one is what is asked for.
    chain: Vec<Name>,
    ttl: u32,
}

impl Chase {
    /// Begins at a name, for A or AAAA.
    pub fn new(name: Name, rtype: RecordType) -> Self {
        Self { rtype, chain: vec![name], ttl: u32::MAX }
    }

    /// Reads the reply to the last name asked.
    pub fn handle(&mut self, reply: &Message) -> Step {
        let code = reply.metadata.response_code;
        if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
            return failed(format!("{} says {code}", self.shown()));
        }
        let asked = self.chain.len();
        // Every round is one alias further, and their number is bounded.
        loop {
            let Some(name) = self.chain.last().cloned() else { return failed("no name".to_owned()) };
            let addresses = self.addresses(reply, &name);
            if !addresses.is_empty() {
                return Step::Done(Outcome::Addresses(addresses, self.ttl));
            }
            let alias = reply.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(to) if record.name == name => Some((to.0.clone(), record.ttl)),
                _ => None,
            });
            let Some((mut to, ttl)) = alias else { break };
            to.set_fqdn(true);
            self.ttl = self.ttl.min(ttl);
            if self.chain.contains(&to) {
                return failed(format!("{} leads in a circle", self.shown()));
            }
            if self.chain.len() >= MAX_CHAIN {
                return failed(format!("{} leads through more than {MAX_CHAIN} aliases", self.shown()));
            }
            self.chain.push(to);
        }
        // RFC 2308 sections 2.1 and 2.2: both kinds of nothing have an SOA record of the zone that they are about, and for
        // a chain they are about its end.
        let denied = reply.authorities.iter().any(|record| {
            record.record_type() == RecordType::SOA && self.last().is_some_and(|n| record.name.zone_of(n))
        });
        if denied || code == ResponseCode::NXDomain {
            return Step::Done(Outcome::Empty);
        }
        if self.chain.len() > asked {
            return self.last().cloned().map_or_else(|| failed("no name".to_owned()), Step::Ask);
        }
        // Without an SOA record: from who is in charge it is nothing, from anybody else it is a referral.
        let referral = reply.authorities.iter().any(|record| record.record_type() == RecordType::NS);
        if referral && !reply.metadata.authoritative {
            return failed(format!("{} is not answered, but referred elsewhere", self.shown()));
        }
        Step::Done(Outcome::Empty)
    }

    fn addresses(&mut self, reply: &Message, name: &Name) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for record in reply.answers.iter().filter(|record| record.name == *name) {
            let address = match (&record.data, self.rtype) {
                (RData::A(a), RecordType::A) => IpAddr::V4(a.0),
                (RData::AAAA(aaaa), RecordType::AAAA) => IpAddr::V6(aaaa.0),
                _ => continue,
            };
            self.ttl = self.ttl.min(record.ttl);
            addresses.push(address);
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_IMPORTED);
        addresses
    }

    fn last(&self) -> Option<&Name> {
        self.chain.last()
    }

    fn shown(&self) -> String {
        let name = self.last().map(crate::catalogue::name::text).unwrap_or_default();
        format!("{name} {}", self.rtype)
    }
}

fn failed(why: String) -> Step {
    Step::Done(Outcome::Failed(why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};
    use proptest::prelude::*;

    use super::*;
    use crate::dns_a::message::Question;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn reply(answers: Vec<Record>) -> Message {
        let mut message = Question::query(1, name("www.example.com."), RecordType::A).message(true).into_response();
        message.add_answers(answers);
        message
    }

    fn a(owner: &str, ttl: u32, last: u8) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A::new(192, 0, 2, last)))
    }

    fn cname(owner: &str, ttl: u32, to: &str) -> Record {
        Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(to))))
    }

    fn soa(owner: &str) -> Record {
        let data = SOA::new(name("ns.example.com."), name("h.example.com."), 1, 1, 1, 1, 1);
        Record::from_rdata(name(owner), 60, RData::SOA(data))
    }

    fn chase() -> Chase {
        Chase::new(name("www.example.com."), RecordType::A)
    }

    fn addresses(last: &[u8], ttl: u32) -> Step {
        Step::Done(Outcome::Addresses(last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect(), ttl))
    }

    #[test]
    fn addresses_come_in_order_once_with_the_shortest_ttl_of_the_chain() {
        let all = vec![
            cname("www.example.com.", 30, "a.example.net."),
            cname("a.example.net.", 300, "b.example.net."),
            a("b.example.net.", 60, 2),
            a("b.example.net.", 60, 1),
            a("b.example.net.", 60, 2),
            a("other.example.net.", 1, 9),
        ];
        assert_eq!(chase().handle(&reply(all)), addresses(&[1, 2], 30));
    }

    #[test]
    fn what_one_server_does_not_have_is_asked_for() {
        let mut chase = chase();
        let first = chase.handle(&reply(vec![cname("www.example.com.", 300, "cdn.example.net.")]));
        assert_eq!(first, Step::Ask(name("cdn.example.net.")));
        assert_eq!(chase.handle(&reply(vec![a("cdn.example.net.", 20, 7)])), addresses(&[7], 20));
    }

    #[test]
    fn nothing_is_told_from_a_referral_and_from_an_error() {
        assert_eq!(chase().handle(&reply(Vec::new())), Step::Done(Outcome::Empty));
        let mut gone = reply(vec![cname("www.example.com.", 300, "gone.example.com.")]);
        gone.metadata.response_code = ResponseCode::NXDomain;
        assert_eq!(chase().handle(&gone), Step::Done(Outcome::Empty));
        let mut none = reply(vec![cname("www.example.com.", 300, "other.example.com.")]);
        none.add_authority(soa("example.com."));
        assert_eq!(chase().handle(&none), Step::Done(Outcome::Empty), "denied at the end of the chain");
        let mut referral = reply(Vec::new());
        referral.add_authority(Record::from_rdata(name("example.com."), 60, RData::NS(NS(name("ns.example.com.")))));
        assert!(matches!(chase().handle(&referral), Step::Done(Outcome::Failed(_))));
        let mut refused = reply(Vec::new());
        refused.metadata.response_code = ResponseCode::Refused;
        assert!(matches!(chase().handle(&refused), Step::Done(Outcome::Failed(_))));
    }

    #[test]
    fn circles_and_endless_chains_end() {
        let circle =
            vec![cname("www.example.com.", 1, "b.example.com."), cname("b.example.com.", 1, "www.example.com.")];
        assert!(matches!(chase().handle(&reply(circle)), Step::Done(Outcome::Failed(_))));
        let mut chase = Chase::new(name("n0.example.com."), RecordType::A);
        for n in 0..MAX_CHAIN {
            let step = chase.handle(&reply(vec![cname(
                &format!("n{n}.example.com."),
                1,
                &format!("n{}.example.com.", n + 1),
            )]));
            match step {
                Step::Ask(_) => assert!(n + 1 < MAX_CHAIN),
                Step::Done(Outcome::Failed(_)) => return,
                other => panic!("{other:?}"),
            }
        }
        panic!("it went on");
    }

    #[test]
    fn a_giant_answer_is_cut_down() {
        let many = (0..60_000u32).map(|n| {
            Record::from_rdata(name("www.example.com."), 9, RData::A(A(std::net::Ipv4Addr::from(0x0a00_0000 + n))))
        });
        let Step::Done(Outcome::Addresses(addresses, 9)) = chase().handle(&reply(many.collect())) else { panic!() };
        assert_eq!(addresses.len(), MAX_IMPORTED);
    }

    proptest! {
        #[test]
        fn whatever_is_said_a_chase_ends(links in prop::collection::vec((0..9u8, 0..9u8), 0..40)) {
            let records: Vec<Record> =
                links.iter().map(|(from, to)| cname(&format!("n{from}.x."), 1, &format!("n{to}.x."))).collect();
            let mut chase = Chase::new(name("n0.x."), RecordType::A);
            let mut asked = 0;
            while let Step::Ask(_) = chase.handle(&reply(records.clone())) {
                asked += 1;
                prop_assert!(asked <= MAX_CHAIN);
            }
        }
    }
}
