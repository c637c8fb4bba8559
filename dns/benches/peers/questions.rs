//! The questions, as packets: each service once, in an order without order.

use crate::world::{ME, Random, SERVICES, ZONE, service};

/// What is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A service, without EDNS. nigh refers with a CNAME into a cut, an address in it, NS and glue; others say an address.
    Plain,
    /// The same name in the node's own cut: an address.
    Cut,
    /// With a cookie that the server gave.
    Cookie,
    /// With a client subnet, another one each time.
    Subnet,
    /// With letters in mixed case ("0x20").
    MixedCase,
}

/// Octets of a cookie: the client's, and with the server's.
pub const CLIENT_COOKIE: usize = 8;
pub const WHOLE_COOKIE: usize = 24;

const HEADER: usize = 12;
const COOKIE: u16 = 10;
const SUBNET: u16 = 8;

/// A question for each service; `cookie` is what is sent along with [`Form::Cookie`].
pub fn questions(form: Form, cookie: &[u8]) -> Vec<Vec<u8>> {
    let mut random = Random::new(2);
    let mut order: Vec<usize> = (0..SERVICES).collect();
    for at in (1..SERVICES).rev() {
        order.swap(at, random.below(at as u64 + 1) as usize);
    }
    order.into_iter().map(|at| question(&service(at), form, cookie, &mut random)).collect()
}

/// Asks for the addresses of a name in the zone.
pub fn question(own: &str, form: Form, cookie: &[u8], random: &mut Random) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet[5] = 1; // QDCOUNT
    let cut = if form == Form::Cut { format!(".{ME}") } else { String::new() };
    for label in format!("{own}{cut}.{ZONE}").split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.bytes().map(|letter| {
            let other = form == Form::MixedCase && letter.is_ascii_alphabetic() && random.below(2) == 1;
            if other { letter ^ 0x20 } else { letter }
        }));
    }
    packet.extend([0, 0, 1, 0, 1]); // root, A, IN
    match form {
        Form::Plain | Form::Cut | Form::MixedCase => {}
        Form::Cookie => add_option(&mut packet, COOKIE, cookie),
        Form::Subnet => {
            let first = random.below(100) as u8 + 1;
            add_option(&mut packet, SUBNET, &[0, 1, 24, 0, first, random.next() as u8, random.next() as u8]);
        }
    }
    packet
}

/// An OPT record with 1,232 octets of room and one option.
fn add_option(packet: &mut Vec<u8>, code: u16, data: &[u8]) {
    packet[11] = 1; // ARCOUNT
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    packet.extend((data.len() as u16 + 4).to_be_bytes());
    packet.extend(code.to_be_bytes());
    packet.extend((data.len() as u16).to_be_bytes());
    packet.extend(data);
}

/// NOERROR, with something in the answer section.
pub fn is_answer(packet: &[u8]) -> bool {
    packet.len() > HEADER && packet[2] & 0x80 != 0 && packet[3] & 0x0f == 0 && packet[6..8] != [0, 0]
}

/// The cookie in a reply, whose OPT record ends with it.
pub fn cookie_in(reply: &[u8]) -> Option<&[u8]> {
    let head = [0, COOKIE as u8, 0, WHOLE_COOKIE as u8];
    let (rest, cookie) = reply.split_last_chunk::<WHOLE_COOKIE>()?;
    rest.ends_with(&head).then_some(cookie.as_slice())
}
