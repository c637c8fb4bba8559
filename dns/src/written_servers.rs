//! The name servers of a cut and their addresses, as the octets that go into replies.
//!
//! They are the same in each reply but for where in it they stand, and that is all that the compression of names depends
//! on (RFC 1035 section 4.1.4): a reply gets a copy, and the pointers in it are set. What stands before them says where the
//! cut's apex is.

use hickory_proto::rr::{Name, RData, Record};

use crate::fast::{TYPE_A, TYPE_AAAA, TYPE_NS, pointer, record_head};
use crate::records::NAMESERVER_TTL;
use crate::wire_name::WireName;

/// NS records of the authority section, and behind them addresses of the additional one.
#[derive(Default)]
pub(crate) struct WrittenServers {
    octets: Vec<u8>,
    /// Where pointers to the apex stand.
    to_apex: Vec<u16>,
    /// Where pointers to a server's name stand, and where in here the name does.
    to_names: Vec<[u16; 2]>,
    /// Records of both sections.
    counts: [u16; 2],
}

impl WrittenServers {
    /// Of the records of a cut: names of its servers are one label in front of its apex. There are a handful.
    pub(crate) fn new(nameservers: &[Record], glue: &[Record]) -> Self {
        let mut this = Self::default();
        let names = nameservers.iter().filter_map(|record| match &record.data {
            RData::NS(name) => Some(&name.0),
            _ => None,
        });
        let names: Vec<(&Name, u16)> = names.map(|name| (name, this.nameserver(name))).collect();
        for (name, at) in names {
            let addresses = glue.iter().filter(|record| record.name == *name);
            addresses.for_each(|record| this.address(&record.data, at));
        }
        this
    }

    /// Returns where its name stands.
    fn nameserver(&mut self, name: &Name) -> u16 {
        let label = WireName::new(name);
        let label = label.slice(0, 1);
        self.to_apex.push(self.end());
        self.octets.extend(record_head(0, TYPE_NS, NAMESERVER_TTL));
        self.octets.extend((label.len() as u16 + 2).to_be_bytes());
        let at = self.end();
        self.octets.extend_from_slice(label);
        self.to_apex.push(self.end());
        self.octets.extend(pointer(0));
        self.counts[0] += 1;
        at
    }

    fn address(&mut self, data: &RData, of: u16) {
        let mut write = |rtype, address: &[u8]| {
            self.to_names.push([self.octets.len() as u16, of]);
            self.octets.extend(record_head(0, rtype, NAMESERVER_TTL));
            self.octets.extend((address.len() as u16).to_be_bytes());
            self.octets.extend_from_slice(address);
            self.counts[1] += 1;
        };
        match data {
            RData::A(address) => write(TYPE_A, &address.0.octets()),
            RData::AAAA(address) => write(TYPE_AAAA, &address.0.octets()),
            _ => {}
        }
    }

    /// A few servers with a few addresses each: far below 65,536.
    fn end(&self) -> u16 {
        self.octets.len() as u16
    }

    /// Writes them to the end of a message. Returns how many records of both sections that makes.
    pub(crate) fn write(&self, apex: u16, out: &mut Vec<u8>) -> [u16; 2] {
        let start = out.len();
        out.extend_from_slice(&self.octets);
        let written = &mut out[start..];
        let mut set = |at: u16, to: u16| {
            if let Some(place) = written.get_mut(usize::from(at)..usize::from(at) + 2) {
                place.copy_from_slice(&pointer(to));
            }
        };
        self.to_apex.iter().for_each(|at| set(*at, apex));
        self.to_names.iter().for_each(|[at, name]| set(*at, start as u16 + name));
        self.counts
    }
}
