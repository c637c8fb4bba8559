//! DNS messages as they stood on the wire, read from recorded packets.
//!
//! By UDP a packet is a message. By TCP a message is looked for in each segment by its length (RFC 7766 section 8): the
//! messages of a bed fit into one segment, and servers send both in one go; what does not is passed over.

use crate::wan::Captured;
use hickory_proto::op::{Message, MessageType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A message and its way.
#[derive(Clone, Debug)]
pub struct Said {
    /// When it was sent, from the start of the WAN.
    pub at: Duration,
    /// Who said it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// By TCP.
    pub tcp: bool,
    /// Whether the WAN let it pass.
    pub passed: bool,
    /// Octets of the message.
    pub size: usize,
    /// What was said.
    pub message: Message,
}

impl Said {
    /// Whether it is a question.
    pub fn is_question(&self) -> bool {
        self.message.metadata.message_type == MessageType::Query
    }

    /// The name that is asked for, as it was written, without the dot at the end.
    pub fn name(&self) -> String {
        self.message
            .queries
            .first()
            .map_or_else(String::new, |query| query.name().to_string().trim_end_matches('.').to_owned())
    }

    /// The name and the type that are asked for.
    pub fn what_is_asked(&self) -> String {
        let kind = self.message.queries.first().map(|query| query.query_type().to_string());
        format!("{} {}", self.name(), kind.unwrap_or_default())
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let way = if self.tcp { " tcp" } else { "" };
        let lost = if self.passed { "" } else { " (did not pass)" };
        let what = if self.is_question() {
            String::new()
        } else {
            let meta = &self.message.metadata;
            let flag = |set: bool, name: &'static str| if set { name } else { "" };
            let section = |records: &[hickory_proto::rr::Record]| {
                records.iter().map(|record| format!(" {} {}", record.ttl, record.data)).collect::<String>()
            };
            format!(
                " -> {}{}{} [{} ] ns[{} ] +{}",
                meta.response_code,
                flag(meta.authoritative, " aa"),
                flag(meta.truncation, " tc"),
                section(&self.message.answers),
                section(&self.message.authorities),
                self.message.additionals.len(),
            )
        };
        let at = self.at.as_secs_f64();
        format!("{at:9.3} {} > {}{way} {}{what}{lost}", self.from, self.to, self.what_is_asked())
    }
}

/// All messages in these packets.
pub fn read(heard: &[Captured]) -> Vec<Said> {
    heard.iter().filter_map(message).collect()
}

fn message(heard: &Captured) -> Option<Said> {
    let packet = &heard.packet;
    let (from, to, protocol, header) = match packet.first()? >> 4 {
        4 => {
            let octets: &[u8; 20] = packet.first_chunk()?;
            let at = |start: usize| Some(IpAddr::from(Ipv4Addr::from(*packet.get(start..)?.first_chunk::<4>()?)));
            (at(12)?, at(16)?, octets[9], usize::from(octets[0] & 0x0f) * 4)
        }
        6 => {
            let at = |start: usize| Some(IpAddr::from(Ipv6Addr::from(*packet.get(start..)?.first_chunk::<16>()?)));
            (at(8)?, at(24)?, *packet.get(6)?, 40)
        }
        _ => return None,
    };
    let segment = packet.get(header..)?;
    let &[a, b, c, d] = segment.first_chunk()?;
    let (from_port, to_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (tcp, bytes) = match protocol {
        17 => (false, segment.get(8..)?),
        6 => {
            let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
            let length = usize::from(u16::from_be_bytes(*payload.first_chunk()?));
            (true, payload.get(2..)?.get(..length)?)
        }
        _ => return None,
    };
    Some(Said {
        at: heard.at,
        from: SocketAddr::new(from, from_port),
        to: SocketAddr::new(to, to_port),
        tcp,
        passed: heard.passed,
        size: bytes.len(),
        message: Message::from_vec(bytes).ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::read;
    use crate::wan::Captured;
    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::{Name, RecordType};
    use std::time::Duration;

    fn question() -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("wWw.lb.lab.").unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    fn heard(packet: Vec<u8>) -> Captured {
        Captured { at: Duration::ZERO, packet, passed: true }
    }

    fn fourth(protocol: u8, ports: [u8; 4], rest: &[u8]) -> Captured {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(ports);
        packet.extend(rest);
        heard(packet)
    }

    fn by_tcp(payload: &[u8]) -> Captured {
        let mut rest = vec![0; 16];
        rest[8] = 0x50;
        rest.extend(payload);
        fourth(6, [0x13, 0x88, 0, 53], &rest)
    }

    #[test]
    fn a_message_is_read_by_udp_and_tcp_and_ipv6_with_its_case() {
        let mut udp = vec![0; 4];
        udp.extend(question());
        let mut framed = u16::try_from(question().len()).unwrap().to_be_bytes().to_vec();
        framed.extend(question());
        let mut sixth = vec![0; 40];
        (sixth[0], sixth[6], sixth[23], sixth[39]) = (0x60, 17, 1, 2);
        sixth.extend([0x13, 0x88, 0, 53]);
        sixth.extend(&udp);
        let said = read(&[fourth(17, [0x13, 0x88, 0, 53], &udp), by_tcp(&framed), heard(sixth)]);
        let seen: Vec<_> = said.iter().map(|said| (said.from.to_string(), said.to.to_string(), said.tcp)).collect();
        let (from, to) = ("10.0.0.1:5000".to_owned(), "10.0.0.2:53".to_owned());
        let expected =
            [(from.clone(), to.clone(), false), (from, to, true), ("[::1]:5000".into(), "[::2]:53".into(), false)];
        assert_eq!(seen, expected);
        assert!(said.iter().all(|said| said.is_question() && said.name() == "wWw.lb.lab"));
    }

    #[test]
    fn what_is_no_message_is_passed_over() {
        let odd =
            [heard(Vec::new()), heard(vec![0x45]), by_tcp(&[]), by_tcp(&[0, 200, 1]), fourth(17, [0; 4], &[0; 9])];
        assert!(read(&odd).is_empty());
    }
}
