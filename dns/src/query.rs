//! A query, read where it lies: header, question and OPT of a packet, without allocation.
//!
//! ```text
//!   packet ─▶ header ─▶ question ─▶ answer and authority ─▶ additional ─▶ the end
//!               │          │          skipped                 │  OPT, TSIG
//!            silence    borrowed, case kept                 read, the rest skipped
//! ```
//!
//! **A fault does not end the reading where the rest can still be found**: RFC 8906 section 3 wants FORMERR rather than
//! silence, and an asker recognises the reply by its question and knows by its OPT record that we speak EDNS. So a
//! [`Query`] has whatever can be trusted, and beside it the first thing that is wrong.
//!
//! **Invariant:** no packet makes it panic, follow a pointer, or take more steps than the packet has octets. That is
//! what RFC 9267 asks for: every length is compared with what is left before it is used, counts are never believed,
//! and the compression that its section 2 warns of is not needed to answer a question.
//!
//! Rejected: hickory's decoder for queries. It allocates for every name and option, gives up the whole message for one
//! fault, follows pointers in records that nobody looks at, and lets malformed options through.

mod name;
mod opt;
mod tsig;

pub use name::AskedName;
use name::Extent;
pub(crate) use opt::{CLIENT_COOKIE, COOKIE, EXTENDED_ERROR, KEEPALIVE, NSID, SUBNET};
pub use opt::{CookieOption, Opt, OptFault, Subnet};
pub use tsig::Tsig;

/// Octets of a message's header (RFC 1035 section 4.1.1).
pub(crate) const HEADER: usize = 12;

/// Octets of type and class after the name of a question.
const QUESTION_TAIL: usize = 4;

/// Octets of type, class, TTL and length after the owner of a record (RFC 1035 section 4.1.3).
const RECORD_HEAD: usize = 10;

const TYPE_OPT: u16 = 41;
const TYPE_TSIG: u16 = 250;

/// A message to a server, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub struct Query<'p> {
    header: &'p [u8; HEADER],
    question: Option<Asked<'p>>,
    opt: Option<Opt<'p>>,
    tsig: Option<Tsig<'p>>,
    fault: Option<Fault>,
}

/// The question, in the octets of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'p> {
    /// The name, in the case in which it was asked.
    pub name: AskedName<'p>,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
    /// All of it, to be sent back as it came.
    pub octets: &'p [u8],
}

/// What is wrong with a message. The first one found, in the order of the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// QDCOUNT is not 1.
    Questions(u16),
    /// A name runs out of the packet, is too long, or has labels of an unknown kind.
    Name,
    /// The name of the question is a pointer to elsewhere, which would mean something else in the reply.
    Compressed,
    /// The message ends before what its counts promise.
    Short,
    /// The message goes on after what its counts promise.
    Trailing,
    /// An OPT record outside the additional section, or one whose owner is not the root.
    OptPlace,
    /// More than one OPT record.
    SeveralOpts,
    /// Something inside the OPT record.
    Opt(OptFault),
    /// A TSIG record that is not the last one, or cannot be read.
    Tsig,
}

impl Fault {
    /// What the asker is told, if it can read that (RFC 8914): whoever mends it looks at packets.
    pub fn text(self) -> &'static str {
        match self {
            Self::Questions(_) => "not one question",
            Self::Name => "a name that cannot be read",
            Self::Compressed => "a compressed question",
            Self::Short => "the message ends too soon",
            Self::Trailing => "octets after the message",
            Self::OptPlace => "an OPT record out of place",
            Self::SeveralOpts => "several OPT records",
            Self::Opt(OptFault::Length) => "EDNS options do not end where their record does",
            Self::Opt(OptFault::Subnet) => "malformed client subnet",
            Self::Opt(OptFault::Cookie) => "malformed cookie",
            Self::Tsig => "malformed TSIG, or not last",
        }
    }
}

impl<'p> Query<'p> {
    /// Reads a packet. Nothing: it deserves no reply, being too short to have an id, or a response itself. That must
    /// never be answered, however it is formed: two servers would talk for ever.
    pub fn read(packet: &'p [u8]) -> Option<Self> {
        let (header, _) = packet.split_first_chunk()?;
        if header[2] & 0x80 != 0 {
            return None;
        }
        let mut query = Self { header, question: None, opt: None, tsig: None, fault: None };
        if let Err(fault) = query.sections(packet) {
            query.blame(fault);
        }
        Some(query)
    }

    /// ID.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// OPCODE; 0 is QUERY.
    pub fn opcode(&self) -> u8 {
        self.header[2] >> 3 & 0x0f
    }

    /// The header's two octets of flags.
    pub fn flags(&self) -> [u8; 2] {
        [self.header[2], self.header[3]]
    }

    /// The only question, if it can be sent back.
    pub fn question(&self) -> Option<Asked<'p>> {
        self.question
    }

    /// The first OPT record.
    pub fn opt(&self) -> Option<&Opt<'p>> {
        self.opt.as_ref()
    }

    /// The TSIG record at the end.
    pub fn tsig(&self) -> Option<&Tsig<'p>> {
        self.tsig.as_ref()
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    fn count(&self, section: usize) -> u16 {
        let at = 4 + 2 * section;
        u16::from_be_bytes([self.header[at], self.header[at + 1]])
    }

    /// Writes down a fault; the first one stays.
    fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// An error: nothing after it can be found.
    fn sections(&mut self, packet: &'p [u8]) -> Result<(), Fault> {
        let mut at = HEADER;
        // RFC 9619 section 4: with OPCODE 0, QDCOUNT "MUST NOT be greater than 1".
        let questions = self.count(0);
        if questions > 1 {
            self.blame(Fault::Questions(questions));
        }
        for _ in 0..questions {
            at = self.one_question(packet, at, questions == 1)?;
        }
        for section in 1..=3 {
            for left in (0..self.count(section)).rev() {
                at = self.record(packet, at, section == 3, left == 0)?;
            }
        }
        match questions {
            _ if at < packet.len() => Err(Fault::Trailing),
            // Last, because it is none to who asks for a cookie (RFC 7873 section 5.4).
            0 => Err(Fault::Questions(0)),
            _ => Ok(()),
        }
    }

    fn one_question(&mut self, packet: &'p [u8], at: usize, only: bool) -> Result<usize, Fault> {
        let Extent { end, plain } = name::extent(packet, at).ok_or(Fault::Name)?;
        let octets = packet.get(at..end + QUESTION_TAIL).ok_or(Fault::Short)?;
        if !plain {
            self.blame(Fault::Compressed);
        } else if only {
            let (name, tail) = octets.split_at(end - at);
            self.question = Some(Asked {
                name: AskedName::new(name),
                qtype: u16::from_be_bytes([tail[0], tail[1]]),
                qclass: u16::from_be_bytes([tail[2], tail[3]]),
                octets,
            });
        }
        Ok(end + QUESTION_TAIL)
    }

    fn record(&mut self, packet: &'p [u8], at: usize, additional: bool, last: bool) -> Result<usize, Fault> {
        let Extent { end, plain } = name::extent(packet, at).ok_or(Fault::Name)?;
        let head: &[u8; RECORD_HEAD] = packet.get(end..).and_then(<[u8]>::first_chunk).ok_or(Fault::Short)?;
        let data = end + RECORD_HEAD;
        let after = data + usize::from(u16::from_be_bytes([head[8], head[9]]));
        let data = packet.get(data..after).ok_or(Fault::Short)?;
        match u16::from_be_bytes([head[0], head[1]]) {
            TYPE_OPT => self.edns(additional && packet[at] == 0, head, data),
            TYPE_TSIG => {
                // RFC 8945 section 5.2: TSIG anywhere but last "MUST be" FORMERR.
                let owner = packet.get(at..end).filter(|_| plain && additional && last);
                self.tsig = owner.and_then(|owner| Tsig::read(owner, data));
                if self.tsig.is_none() {
                    self.blame(Fault::Tsig);
                }
            }
            // SIG(0) as well: RFC 2931 section 3.2 requires nobody to check it on a mere query.
            _ => {}
        }
        Ok(after)
    }

    fn edns(&mut self, in_place: bool, head: &[u8; RECORD_HEAD], data: &'p [u8]) {
        if !in_place {
            // RFC 6891 section 6.1.1 allows it "anywhere within the additional data section", and 6.1.2: "NAME MUST be 0
            // (root domain)".
            self.blame(Fault::OptPlace);
        } else if self.opt.is_some() {
            // RFC 6891 section 6.1.1: "If a query message with more than one OPT RR is received, a FORMERR (RCODE=1)
            // MUST be returned."
            self.blame(Fault::SeveralOpts);
        } else {
            let (opt, fault) = Opt::read([head[2], head[3]], [head[4], head[5], head[6], head[7]], data);
            self.opt = Some(opt);
            if let Some(fault) = fault {
                self.blame(Fault::Opt(fault));
            }
        }
    }
}

#[cfg(test)]
mod tests;
