//! What holds for the reply to any packet.

use super::decode::{CNAME, Message, NS, OPT, Record, SOA, TSIG, message};

const SUBNET: u16 = 8;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const EXTENDED_ERROR: u16 = 15;
const NSID: u16 = 3;

const FORMERR: u16 = 1;
const REFUSED: u16 = 5;
const NOTAUTH: u16 = 9;

/// Says what is wrong with a reply, or with silence.
pub fn check(packet: &[u8], reply: Option<&[u8]>, udp: bool) -> Result<(), String> {
    // RFC 8906 section 3: whatever has a header and is no response is answered.
    let deserves = packet.len() >= 12 && packet[2] & 0x80 == 0;
    let Some(reply) = reply else {
        return if deserves { Err("no reply".to_owned()) } else { Ok(()) };
    };
    let rule = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    rule(deserves, "a reply to what deserves none")?;
    let said = message(reply).ok_or("the reply is malformed")?;
    header(packet, &said).map_err(str::to_owned)?;

    // Whether the packet was well formed is read by the same decoder.
    let asked = message(packet);
    let code = said.flags & 15;
    rule(said.questions.len() <= 1, "several questions")?;
    if let [question] = said.questions.as_slice() {
        rule(reply.get(12..question.end) == packet.get(12..question.end), "the question came back changed")?;
    } else {
        // The upper bits of the code are in our OPT record: BADVERS has none below.
        let high = said.opts().any(|opt| opt.ttl >> 24 != 0);
        rule(code != 0 || high || packet[4..6] == [0, 0], "no question, and no error")?;
    }
    if let Some(asked) = &asked
        && asked.questions.len() == 1
        && !packet[12..asked.questions[0].end].iter().any(|octet| *octet >= 0xc0)
    {
        rule(said.questions.len() == 1, "the question is missing")?;
    }
    sizes(asked.as_ref(), &said, reply.len(), packet.len(), udp)?;
    edns(asked.as_ref(), &said, udp)?;
    records(&said)?;
    let empty = said.records.iter().all(|record| record.kind == OPT || record.kind == TSIG);
    rule(empty || !matches!(code, FORMERR | REFUSED | NOTAUTH | 4), "records in a refusal")?;
    rule(code != NOTAUTH || said.records.iter().any(|record| record.kind == TSIG), "NOTAUTH without BADKEY")
}

/// Id, QR, opcode and RD of RFC 1035 section 4.1.1, CD of RFC 4035; RA, Z and AD are never set.
fn header(packet: &[u8], said: &Message) -> Result<(), &'static str> {
    let asked = u16::from_be_bytes([packet[2], packet[3]]);
    if said.id != u16::from_be_bytes([packet[0], packet[1]]) {
        return Err("another id");
    }
    if said.flags & 0x8000 == 0 || said.flags & 0x00e0 != 0 {
        return Err("flags that are not ours to set");
    }
    if (said.flags ^ asked) & 0x7910 != 0 {
        return Err("opcode, RD or CD changed");
    }
    Ok(())
}

fn sizes(asked: Option<&Message>, said: &Message, length: usize, query: usize, udp: bool) -> Result<(), String> {
    let truncated = said.flags & 0x0200 != 0;
    if !udp {
        return if truncated { Err("TC by TCP".to_owned()) } else { Ok(()) };
    }
    let size = asked.and_then(Message::opt).map_or(512, |opt| usize::from(opt.class).clamp(512, 1232));
    // A malformed query's OPT record may be readable where the query is not; and BADKEY sends names back that came.
    let limit = if asked.is_some() { size } else { 1232 };
    let limit = if said.flags & 15 == NOTAUTH { limit.max(query + 64) } else { limit };
    if length > limit {
        return Err(format!("{length} octets, {limit} are taken"));
    }
    if truncated && said.section(1).next().is_some() && said.section(3).next().is_some() {
        return Err("TC, and yet something is added".to_owned());
    }
    Ok(())
}

fn edns(asked: Option<&Message>, said: &Message, udp: bool) -> Result<(), String> {
    let ours: Vec<&Record> = said.opts().collect();
    if let Some(asked) = asked {
        let theirs = asked.opt().is_some();
        if theirs == ours.is_empty() {
            return Err(format!("{} OPT records in reply to {theirs}", ours.len()));
        }
    }
    let [ours] = ours.as_slice() else {
        return if ours.is_empty() { Ok(()) } else { Err("several OPT records".to_owned()) };
    };
    if ours.section != 3 || !ours.owner.is_empty() || ours.class != 1232 || ours.ttl & 0x00ff_7fff != 0 {
        return Err(format!("not our OPT record: {ours:?}"));
    }
    let options = ours.options().ok_or("our options are malformed")?;
    let Some(opt) = asked.and_then(Message::opt) else { return Ok(()) };
    if (opt.ttl ^ ours.ttl) & 0x8000 != 0 {
        return Err("DO changed".to_owned());
    }
    // Of options that do not fill their record, the first ones may have been read.
    let Some(asked_options) = opt.options() else { return Ok(()) };
    let first = |code: u16| asked_options.iter().find(|(other, _)| *other == code).map(|(_, data)| *data);
    let version_0 = opt.ttl & 0x00ff_0000 == 0;
    for (at, (code, data)) in options.iter().enumerate() {
        if options[..at].iter().any(|(other, _)| other == code) {
            return Err(format!("option {code} twice"));
        }
        let theirs = first(*code);
        let right = match *code {
            EXTENDED_ERROR => data.len() >= 2 && version_0,
            NSID => theirs.is_some() && version_0,
            KEEPALIVE => theirs.is_some() && !udp && data.len() == 2,
            COOKIE => theirs.is_some_and(|theirs| data.len() == 24 && theirs.get(..8) == data.get(..8)),
            // RFC 7871 section 7.2.1: as it came, but for the scope; and it holds for no more than was asked about.
            SUBNET => theirs.is_some_and(|theirs| {
                theirs.len() == data.len() && theirs[..3] == data[..3] && theirs[4..] == data[4..]
            }),
            _ => false,
        };
        if !right {
            return Err(format!("option {code} {data:02x?} in reply to {theirs:02x?}"));
        }
    }
    let subnet = options.iter().any(|(code, _)| *code == SUBNET);
    if subnet && (said.flags & 0x0400 == 0 || !matches!(said.flags & 15, 0 | 3)) {
        return Err("a client subnet in a delegation or an error".to_owned());
    }
    Ok(())
}

fn records(said: &Message) -> Result<(), String> {
    let authoritative = said.flags & 0x0400 != 0;
    let code = said.flags & 15;
    let has = |section: usize, kind: u16| said.section(section).any(|record| record.kind == kind);
    if authoritative && !matches!(code, 0 | 3) {
        return Err(format!("AA with code {code}"));
    }
    let answers = said.section(1).count();
    // RFC 1034 section 4.3.2: a delegation is not said by an authority.
    if answers == 0 && has(2, NS) && authoritative {
        return Err("an authoritative delegation".to_owned());
    }
    // RFC 2308 section 2: who denies says for how long.
    let truncated = said.flags & 0x0200 != 0;
    if answers == 0 && authoritative && !truncated && !has(2, SOA) {
        return Err("neither an answer nor an SOA".to_owned());
    }
    if has(1, CNAME) && said.section(1).filter(|record| record.kind == CNAME).count() > 16 {
        return Err("an endless chain".to_owned());
    }
    for (at, record) in said.records.iter().enumerate() {
        let twin = |other: &&Record| {
            (other.section, other.kind, other.class) == (record.section, record.kind, record.class)
                && other.owner == record.owner
        };
        for other in said.records[..at].iter().filter(twin) {
            // RFC 2181 sections 5 and 5.2.
            if other.data == record.data || other.ttl != record.ttl {
                return Err(format!("{other:?} beside {record:?}"));
            }
        }
    }
    Ok(())
}
