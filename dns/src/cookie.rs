//! DNS cookies: a client that sends back what it was given is where it says it is (RFC 7873, RFC 9018).
//!
//! ```text
//!   server cookie:  version 1 | 0 0 0 | timestamp | SipHash-2-4(client cookie | version .. timestamp | address)
//!                       1        3        4                              8 octets
//! ```
//!
//! Nobody is turned away for want of one, as most resolvers send none: a cookie lifts the rate limit, and under that
//! limit a client that speaks of cookies is told its own instead of being sent to TCP.
//!
//! **Secrets roll over without being kept.** Each day's is drawn from a seed that is random at start, and a cookie is
//! checked with the secret of the day in which its timestamp lies. So there is neither a task that changes it nor a
//! moment when cookies of a minute ago are refused, and who should find one day's by trying has that day's only.
//!
//! **Invariant:** everything here is a function of seed, octets, address and time.
//!
//! Rejected: one secret for the whole mesh. It would have to be kept from members that are not trusted with it, and
//! would save a resolver only the first answer of each node (an address belongs to one node; RFC 9018's clusters share
//! theirs).

use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::query::{CLIENT_COOKIE, CookieOption};

/// Octets of a server cookie of version 1.
const SERVER_COOKIE: usize = 16;

/// How long a secret makes cookies, in seconds. RFC 7873 section 7.1 wants at most 36 days, and thinks of one.
const ROLLOVER: u32 = 24 * 3600;

/// RFC 9018 section 4.3: "The DNS server SHOULD allow cookies within a 1-hour period in the past and a 5-minute period
/// into the future".
const OLDEST: u32 = 3600;
const FROM_THE_FUTURE: u32 = 300;

/// The same: "The DNS server SHOULD generate a new Server Cookie at least if the received Server Cookie from the client
/// is more than half an hour old."
const RENEWED_FROM: u32 = 1800;

/// Makes and checks cookies.
#[derive(Clone)]
pub(crate) struct Cookies {
    seed: [u8; 16],
}

/// What a client's cookie shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It asks for one.
    Nothing,
    /// It has one of ours: it receives what is sent to its address.
    Valid,
    /// It has one that is not ours, or too old.
    Invalid,
}

/// A cookie option for the reply.
pub(crate) type CookieReply = [u8; CLIENT_COOKIE + SERVER_COOKIE];

impl Cookies {
    /// Cookies that nobody can make who does not know the seed.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        Self { seed }
    }

    /// What a cookie shows, and what goes back.
    pub(crate) fn meet(&self, option: &CookieOption<'_>, address: IpAddr, now: Duration) -> (Shown, CookieReply) {
        // RFC 9018 section 4.3 counts seconds modulo 2^32.
        let now = now.as_secs() as u32;
        let (shown, server) = match checked(option, address, now, |made| self.secret(made)) {
            _ if option.server.is_empty() => (Shown::Nothing, None),
            None => (Shown::Invalid, None),
            Some((server, age)) => (Shown::Valid, Some(server).filter(|_| age < RENEWED_FROM)),
        };
        let server = server.unwrap_or_else(|| made(&self.secret(now), &option.client, [0; 3], address, now));
        let mut reply = [0; CLIENT_COOKIE + SERVER_COOKIE];
        reply[..CLIENT_COOKIE].copy_from_slice(&option.client);
        reply[CLIENT_COOKIE..].copy_from_slice(&server);
        (shown, reply)
    }

    /// The secret of the day in which a moment lies.
    fn secret(&self, moment: u32) -> [u8; 16] {
        let day = u64::from(moment / ROLLOVER);
        let half = |which: u64| {
            let mut hasher = SipHasher24::new_with_key(&self.seed);
            hasher.write(&(day << 1 | which).to_be_bytes());
            hasher.finish()
        };
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&half(0).to_le_bytes());
        secret[8..].copy_from_slice(&half(1).to_le_bytes());
        secret
    }
}

/// The server cookie within the option and its age in seconds, if it is one of ours and of now.
fn checked(
    option: &CookieOption<'_>,
    address: IpAddr,
    now: u32,
    secret: impl Fn(u32) -> [u8; 16],
) -> Option<([u8; SERVER_COOKIE], u32)> {
    let server: [u8; SERVER_COOKIE] = option.server.try_into().ok()?;
    let [1, r0, r1, r2, t0, t1, t2, t3, ..] = server else { return None };
    let time = u32::from_be_bytes([t0, t1, t2, t3]);
    // RFC 9018 section 4.3: "All comparisons involving these fields MUST use serial number arithmetic".
    let age = now.wrapping_sub(time);
    if age > OLDEST && age.wrapping_neg() > FROM_THE_FUTURE {
        return None;
    }
    // Section 4.2: the reserved octets are hashed as they came.
    let ours = made(&secret(time), &option.client, [r0, r1, r2], address, time);
    is_equal(&ours, &server).then_some((server, if age > OLDEST { 0 } else { age }))
}

/// A server cookie (RFC 9018 section 4.4).
fn made(
    secret: &[u8; 16],
    client: &[u8; CLIENT_COOKIE],
    reserved: [u8; 3],
    address: IpAddr,
    time: u32,
) -> [u8; SERVER_COOKIE] {
    let mut server = [0; SERVER_COOKIE];
    server[0] = 1;
    server[1..4].copy_from_slice(&reserved);
    server[4..8].copy_from_slice(&time.to_be_bytes());
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(client);
    hasher.write(&server[..8]);
    match address.to_canonical() {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    server[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    server
}

/// Takes as long for any two cookies, so that the time tells nothing about how much of a guess was right.
fn is_equal(ours: &[u8; SERVER_COOKIE], theirs: &[u8; SERVER_COOKIE]) -> bool {
    std::hint::black_box(ours.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::IpAddr;
    use std::time::Duration;

    use super::{Cookies, Shown, checked, made};
    use crate::query::CookieOption;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn option(octets: &[u8]) -> CookieOption<'_> {
        CookieOption { client: octets[..8].try_into().unwrap(), server: &octets[8..] }
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    /// RFC 9018 appendix A: secret, client's address, its cookie, when, and the whole cookie that goes back.
    #[test]
    fn the_cookies_of_the_rfc() {
        let cases = [
            (SECRET, "198.51.100.100", "2464c4abcf10c957", 0x5cf7_9f11, "010000005cf79f111f8130c3eee29480"),
            (SECRET, "198.51.100.100", "2464c4abcf10c957", 0x5cf7_a871, "010000005cf7a871d4a564a1442aca77"),
            (SECRET, "203.0.113.203", "fc93fc62807ddb86", 0x5cf7_a9ac, "010000005cf7a9acf73a7810aca2381e"),
            (
                "445536bcd2513298075a5d379663c962",
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                "22681ab97d52c298",
                0x5cf7_c609,
                "010000005cf7c609a6bb79d16625507a",
            ),
        ];
        for (secret, address, client, time, server) in cases {
            let (secret, client) = (hex(secret).try_into().unwrap(), hex(client).try_into().unwrap());
            assert_eq!(
                made(&secret, &client, [0; 3], address.parse().unwrap(), time).to_vec(),
                hex(server),
                "{server}"
            );
        }
    }

    /// Appendix A.3 and A.4: cookies with reserved octets, and from before a rollover, are taken in their time.
    #[test]
    fn the_cookies_that_the_rfc_shows_are_taken_for_an_hour() {
        let cases = [
            (SECRET, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 0x5cf7_8f71_u32),
            (
                "dd3bdf9344b678b185a6f5cb60fca715",
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
                0x5cf7_c579,
            ),
        ];
        for (secret, address, cookie, time) in cases {
            let (secret, cookie): (_, Vec<u8>) = (hex(secret).try_into().unwrap(), hex(cookie));
            let age =
                |now: u32| checked(&option(&cookie), address.parse().unwrap(), now, |_| secret).map(|(_, age)| age);
            assert_eq!((age(time), age(time + 3600), age(time + 3601)), (Some(0), Some(3600), None));
            assert_eq!((age(time - 300), age(time - 301)), (Some(0), None));
            assert_eq!(age(time.wrapping_add(1 << 31)), None);
        }
    }

    #[test]
    fn a_cookie_holds_for_one_client_and_is_renewed_in_time() {
        let cookies = Cookies::new([7; 16]);
        let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        // A quarter of an hour before a secret rolls over.
        let start = Duration::from_secs(20_000 * 86_400 - 900);
        let after = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let (shown, given) = cookies.meet(&option(&[1; 8]), here, start);
        assert_eq!((shown, &given[..8]), (Shown::Nothing, &[1; 8][..]));
        assert_eq!(cookies.meet(&option(&given), here, after(29)), (Shown::Valid, given));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(cookies.meet(&option(&given), mapped, start).0, Shown::Valid);
        let (shown, renewed) = cookies.meet(&option(&given), here, after(31));
        assert_eq!((shown, renewed == given), (Shown::Valid, false));
        assert_eq!(cookies.meet(&option(&renewed), here, after(62)).0, Shown::Valid);
        for (address, at) in [(here, after(61)), (there, start)] {
            let (shown, fresh) = cookies.meet(&option(&given), address, at);
            assert_eq!(shown, Shown::Invalid);
            assert_eq!(cookies.meet(&option(&fresh), address, at).0, Shown::Valid);
        }
        assert_eq!(Cookies::new([8; 16]).meet(&option(&given), here, start).0, Shown::Invalid);
        let mut other_client = given;
        other_client[0] ^= 1;
        assert_eq!(cookies.meet(&option(&other_client), here, start).0, Shown::Invalid);
        assert_eq!(cookies.meet(&option(&given[..16]), here, start).0, Shown::Invalid, "another length");
    }
}
