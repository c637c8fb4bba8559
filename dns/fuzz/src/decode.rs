//! A decoder of whole DNS messages that shares nothing with the server's: neither its parser nor hickory.
//!
//! It is strict where a receiver might not be (pointers lead backwards, nothing stands behind the end, names within
//! data are whole), and slow where that is simpler.

/// A message. Names are their labels, as they are written.
#[derive(Debug)]
pub struct Message {
    pub id: u16,
    pub flags: u16,
    pub questions: Vec<Question>,
    pub records: Vec<Record>,
}

pub type Name = Vec<Vec<u8>>;

#[derive(Debug)]
pub struct Question {
    /// Where it ends in the packet.
    pub end: usize,
}

#[derive(Debug)]
pub struct Record {
    /// 1 is answer, 2 authority, 3 additional.
    pub section: usize,
    pub owner: Name,
    /// The owner is the root, in one octet: what OPT needs (RFC 6891 section 6.1.2, "MUST be 0"). A pointer to a zero octet
    /// is the same name and not the same octets.
    pub bare: bool,
    pub kind: u16,
    pub class: u16,
    pub ttl: u32,
    /// Uncompressed.
    pub data: Vec<u8>,
}

pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const MX: u16 = 15;
pub const OPT: u16 = 41;
pub const TSIG: u16 = 250;

/// The message in a packet, if that is well formed.
pub fn message(packet: &[u8]) -> Option<Message> {
    let count = |at: usize| number(packet, 4 + 2 * at);
    let mut at = 12;
    let mut questions = Vec::new();
    for _ in 0..count(0)? {
        let (_, end) = name(packet, at)?;
        // Type and class are there.
        packet.get(end..end + 4)?;
        questions.push(Question { end: end + 4 });
        at = end + 4;
    }
    let mut records = Vec::new();
    for section in 1..=3 {
        for _ in 0..count(section)? {
            let (owner, end) = name(packet, at)?;
            let length = usize::from(number(packet, end + 8)?);
            let data = packet.get(end + 10..end + 10 + length)?;
            let kind = number(packet, end)?;
            let ttl = u32::from(number(packet, end + 4)?) << 16 | u32::from(number(packet, end + 6)?);
            let data = match kind {
                NS | CNAME => whole(packet, end + 10, 0, 1, length)?,
                SOA => whole(packet, end + 10, 0, 2, length)?,
                MX => whole(packet, end + 10, 2, 1, length)?,
                _ => data.to_vec(),
            };
            let bare = packet.get(at) == Some(&0);
            records.push(Record { section, owner, bare, kind, class: number(packet, end + 2)?, ttl, data });
            at = end + 10 + length;
        }
    }
    let (id, flags) = (number(packet, 0)?, number(packet, 2)?);
    (at == packet.len()).then_some(Message { id, flags, questions, records })
}

fn number(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// The name at a place, and where it ends there.
fn name(packet: &[u8], start: usize) -> Option<(Name, usize)> {
    let (mut labels, mut at, mut end, mut length) = (Vec::new(), start, None, 1);
    // Where the labels began that are being read: a pointer leads to before it, so that it ends.
    let mut run = start;
    loop {
        let first = *packet.get(at)?;
        match first >> 6 {
            0 if first == 0 => return (length <= 255).then_some((labels, end.unwrap_or(at + 1))),
            0 => {
                let label = packet.get(at + 1..at + 1 + usize::from(first))?;
                length += label.len() + 1;
                labels.push(label.to_vec());
                at += 1 + label.len();
            }
            3 => {
                let target = usize::from(number(packet, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                if target >= run || target < 12 {
                    return None;
                }
                (at, run) = (target, target);
            }
            _ => return None,
        }
    }
}

/// Data with names in it, uncompressed: so many octets before, so many names, the rest; all of it as long as it says.
fn whole(packet: &[u8], start: usize, before: usize, names: usize, length: usize) -> Option<Vec<u8>> {
    let mut data = packet.get(start..start + before)?.to_vec();
    let mut at = start + before;
    for _ in 0..names {
        let (labels, end) = name(packet, at)?;
        for label in labels {
            data.push(label.len() as u8);
            data.extend(label);
        }
        data.push(0);
        at = end;
    }
    data.extend(packet.get(at..start + length)?);
    (at <= start + length).then_some(data)
}

impl Message {
    pub fn section(&self, section: usize) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.section == section && record.kind != OPT)
    }

    /// The first OPT record that is where it belongs.
    pub fn opt(&self) -> Option<&Record> {
        self.opts().find(|opt| opt.section == 3 && opt.bare)
    }

    /// The OPT records, wherever they are.
    pub fn opts(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.kind == OPT)
    }
}

impl Record {
    /// The options of an OPT record, if they fill it.
    pub fn options(&self) -> Option<Vec<(u16, &[u8])>> {
        let (mut options, mut at) = (Vec::new(), 0);
        while at < self.data.len() {
            let length = usize::from(number(&self.data, at + 2)?);
            options.push((number(&self.data, at)?, self.data.get(at + 4..at + 4 + length)?));
            at += 4 + length;
        }
        Some(options)
    }
}
