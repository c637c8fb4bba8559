//! No resolver ever sees a lame or lateral referral, or an answer that makes it avoid a server.
//!
//! A resolver that was told that a node serves a cut, and then gets from it a referral, REFUSED or SERVFAIL for a name of
//! that cut, holds the node for lame and avoids it for minutes (15 with BIND and unbound). What was told is read from the
//! NS records of all that passed before.

use super::Findings;
use crate::bed::wire::Said;
use crate::storm::world::ZONE;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RData;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The invariant.
#[derive(Debug, Default)]
pub struct Wire {
    /// By resolver and cut: the addresses of its servers, as they were told, by the names of their nodes.
    told: BTreeMap<(IpAddr, String), BTreeSet<String>>,
    replies: u64,
    findings: Findings,
}

/// The label before the mesh zone: the cut that a name is in.
fn cut_of(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let before = name.strip_suffix(ZONE)?.strip_suffix('.')?;
    before.rsplit('.').next().filter(|label| label.starts_with('n')).map(str::to_owned)
}

impl Wire {
    /// Reads replies to resolvers; `node` names the node at an address.
    pub fn look(&mut self, said: &[Said], resolvers: &[IpAddr], node: impl Fn(IpAddr) -> Option<String>) {
        for reply in said.iter().filter(|said| !said.is_question() && resolvers.contains(&said.to.ip())) {
            let Some(node) = node(reply.from.ip()) else { continue };
            self.replies += 1;
            if let Some(wrong) = self.wrong(reply, &node) {
                self.findings.add(format!("{node}: {wrong}: {}", reply.line()));
            }
            self.learn(reply);
        }
    }

    fn wrong(&self, reply: &Said, node: &str) -> Option<&'static str> {
        let message = &reply.message;
        if !matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Some("a code that is held against a server");
        }
        if message.metadata.authoritative || message.metadata.truncation {
            return None;
        }
        let delegated = message.authorities.iter().filter(|record| matches!(record.data, RData::NS(_)));
        let cuts: BTreeSet<String> = delegated.filter_map(|record| cut_of(&record.name.to_string())).collect();
        if cuts.is_empty() && message.answers.is_empty() {
            return Some("neither an answer nor a delegation into the mesh");
        }
        let asked = cut_of(&reply.name());
        let lame = |cut: &String| {
            asked.as_ref() == Some(cut)
                && self.told.get(&(reply.to.ip(), cut.clone())).is_some_and(|servers| servers.contains(node))
        };
        cuts.iter().any(lame).then_some("lame: it was told to this resolver as a server of the cut that it delegates")
    }

    fn learn(&mut self, reply: &Said) {
        if !reply.passed {
            return;
        }
        let mut fresh: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for record in reply.message.answers.iter().chain(&reply.message.authorities) {
            let RData::NS(target) = &record.data else { continue };
            let Some(cut) = cut_of(&record.name.to_string()) else { continue };
            let target = target.0.to_string();
            if let Some(node) = target.split('.').next().and_then(|label| label.strip_prefix("ns-")) {
                fresh.entry(cut).or_default().insert(node.to_ascii_lowercase());
            }
        }
        for (cut, servers) in fresh {
            self.told.entry((reply.to.ip(), cut)).or_default().extend(servers);
        }
    }

    /// What was seen.
    pub fn verdict(&self) -> anyhow::Result<String> {
        self.findings.verdict(format!("{} replies of nodes to resolvers were read from the wire", self.replies))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Wire;
    use crate::bed::wire::Said;
    use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
    use hickory_proto::rr::rdata::NS;
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::time::Duration;

    const RESOLVER: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(10, 9, 0, 53))];

    fn node(address: IpAddr) -> Option<String> {
        Some(format!("n{}", address.to_string().rsplit('.').next()?))
    }

    fn reply(from: u8, name: &str, authoritative: bool, servers: &[&str]) -> Said {
        let mut message = Message::query();
        message.metadata.message_type = MessageType::Response;
        message.metadata.authoritative = authoritative;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        for server in servers {
            let ns = RData::NS(NS(Name::from_ascii(format!("ns-{server}.n1.lb.lab.")).unwrap()));
            message.authorities.push(Record::from_rdata(Name::from_ascii("n1.lb.lab.").unwrap(), 60, ns));
        }
        Said {
            at: Duration::ZERO,
            from: SocketAddr::from(([10, 0, 0, from], 53)),
            to: SocketAddr::from(([10, 9, 0, 53], 4711)),
            tcp: false,
            passed: true,
            size: 0,
            message,
        }
    }

    #[test]
    fn a_delegation_downwards_is_right_and_one_by_a_server_of_the_cut_is_lame() {
        let mut wire = Wire::default();
        wire.look(&[reply(5, "www.n1.lb.lab.", false, &["n1", "n2"])], &RESOLVER, node);
        assert!(wire.verdict().is_ok(), "n5 serves no cut: it delegates");
        wire.look(&[reply(2, "www.n1.lb.lab.", true, &[])], &RESOLVER, node);
        assert!(wire.verdict().is_ok());
        wire.look(&[reply(2, "www.n1.lb.lab.", false, &["n1", "n3"])], &RESOLVER, node);
        assert!(format!("{:#}", wire.verdict().unwrap_err()).contains("lame"));
    }

    #[test]
    fn codes_that_resolvers_hold_against_a_server_are_found() {
        for code in [ResponseCode::Refused, ResponseCode::ServFail] {
            let mut wire = Wire::default();
            let mut said = reply(5, "www.lb.lab.", true, &[]);
            said.message.metadata.response_code = code;
            wire.look(&[said], &RESOLVER, node);
            assert!(wire.verdict().is_err(), "{code}");
        }
    }

    #[test]
    fn what_others_are_told_is_no_matter() {
        let mut wire = Wire::default();
        let mut said = reply(5, "www.lb.lab.", true, &[]);
        said.message.metadata.response_code = ResponseCode::FormErr;
        said.to = SocketAddr::from(([10, 250, 0, 66], 4711));
        wire.look(&[said], &RESOLVER, node);
        assert!(wire.verdict().is_ok());
    }
}
