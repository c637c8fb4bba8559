//! Answers that do not fit: a TXT record, and a long name with eight addresses of IPv6, for 512 octets by UDP.

use super::super::judge::{questions, replies};
use super::super::lanes::{Lane, each};
use super::super::places::{LARGE, NEAREST, WIDE};
use super::Case;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use anyhow::{Result, bail};
use hickory_proto::rr::RecordType;

/// What every UDP client takes (RFC 1035 section 4.2.1).
const SIZE: u16 = 512;
/// Addresses that the wide answer holds.
const ADDRESSES: usize = 8;

/// See the module.
pub const CASE: Case = Case {
    key: "truncated",
    claim: "an answer that does not fit comes with TC, and whole by TCP; nothing larger than asked for goes by UDP",
    manner: |_| Manner { udp_size: Some(SIZE), ..Manner::default() },
    play: |_, lanes, _| {
        each(lanes, |lane| {
            let (name, strings, octets) = LARGE;
            let reply = lane.ask("large", name, RecordType::TXT)?;
            let letters = reply.others.iter().flat_map(|text| text.chars()).filter(|letter| *letter == 'x').count();
            if letters != strings * octets {
                bail!("{} with {letters} octets of text instead of {}", reply.code, strings * octets);
            }
            // With the name server records that come beside a CNAME it does not fit; without them it may.
            let landing = lane.land("wide", WIDE, RecordType::AAAA)?;
            if (landing.origin, landing.addresses) != (NEAREST, ADDRESSES) {
                bail!("{} addresses of {}", landing.addresses, landing.origin);
            }
            Ok(())
        });
        Ok(())
    },
    wire,
    ..Case::PLAIN
};

fn wire(lane: &mut Lane, said: &[Said]) -> Result<()> {
    let egress = lane.kind.seat.egress();
    if let Some((_, long)) = replies(said, &egress).find(|(_, said)| !said.tcp && said.size > usize::from(SIZE)) {
        bail!("{} octets by UDP: {}", long.size, long.line());
    }
    let cut_short = replies(said, &egress).filter(|(_, said)| said.message.metadata.truncation).count();
    let by_tcp = questions(said, &egress).filter(|(_, said)| said.tcp).count();
    lane.notes.push(format!("{cut_short} replies with TC, {by_tcp} questions by TCP"));
    if cut_short == 0 || by_tcp == 0 {
        bail!("{cut_short} replies with TC, {by_tcp} questions by TCP");
    }
    Ok(())
}
