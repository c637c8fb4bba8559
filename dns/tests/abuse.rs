//! Floods: what goes out for what comes in, by the limits that a running node has.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: panics are its verdict")]

mod world_text;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nigh_dns::{Arrival, Counters, Handler};

const START: Duration = Duration::from_secs(1_700_000_000);

const LIMIT: u32 = 200;

const WORLD: [&str; 9] = [
    "zone lb.example.com",
    "node fra alive 198.51.100.7,2001:db8::7 fra",
    "claim 203.0.113.0/24 fra 10",
    "claim 198.18.0.0/15 fra 10",
    "service www.lb.example.com",
    "server a 192.0.2.1",
    "server b 2001:db8:a::1",
    "row fra www.lb.example.com a up 1",
    "row fra www.lb.example.com b up 1",
];

/// BADCOOKIE, in an OPT record and a header.
const BADCOOKIE: (u8, u8) = (1, 7);

fn handler() -> Handler {
    let mut world = world_text::WorldText::default();
    WORLD.iter().for_each(|line| world.line(line).unwrap());
    let snapshot = Arc::new(ArcSwap::from_pointee(world.snapshot(None).0));
    Handler::new(snapshot, Arc::new(Counters::new()))
        .with_cookies([1; 16])
        .with_rate_limit(LIMIT.try_into().unwrap(), [2; 16])
}

/// A question for addresses, with an OPT record that has the cookie, if there is one.
fn question(name: &str, cookie: Option<&[u8]>) -> Vec<u8> {
    let mut packet = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01".to_vec();
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.extend(b"\x00\x00\x01\x00\x01\x00\x00\x29\x04\xd0\x00\x00\x00\x00");
    let option = cookie.map_or(Vec::new(), |cookie| [&[0, 10, 0, cookie.len() as u8], cookie].concat());
    packet.extend([0, option.len() as u8]);
    packet.extend(option);
    packet
}

fn from(client: &str) -> SocketAddr {
    SocketAddr::new(client.parse().unwrap(), 4000)
}

/// What came back of a flood: whole replies, short ones, octets sent and received.
#[derive(Default)]
struct Flood {
    whole: u32,
    slipped: u32,
    sent: usize,
    received: usize,
}

/// Asks as often per second, for so many seconds, and keeps the last short reply.
fn flood(handler: &Handler, client: &str, packet: &[u8], rate: u32, seconds: u32) -> (Flood, Vec<u8>) {
    let (mut flood, mut last) = (Flood::default(), Vec::new());
    for at in 0..rate * seconds {
        let at = START + Duration::from_secs(1) * at / rate;
        flood.sent += packet.len();
        let Some(reply) = handler.respond(packet, Arrival::udp(from(client), at)) else { continue };
        flood.received += reply.len();
        let truncated = reply[2] & 0x02 != 0;
        let badcookie = reply[3] & 0x0f == BADCOOKIE.1;
        if truncated || badcookie {
            flood.slipped += 1;
            last = reply;
        } else {
            flood.whole += 1;
        }
    }
    (flood, last)
}

#[test]
fn a_reflected_flood_is_cut_to_the_limit_and_nobody_else_notices() {
    let (handler, packet) = (handler(), question("www.lb.example.com", None));
    let alone = handler.respond(&packet, Arrival::udp(from("8.8.4.4"), START)).unwrap();
    // Two floods at 20,000 a second, of a network that nobody claims and of one that somebody does.
    let (seen, slip) = flood(&handler, "8.8.8.8", &packet, 20_000, 5);
    assert_eq!(seen.whole, 6 * LIMIT - 1);
    assert_eq!(seen.slipped, (100_000 - seen.whole).div_ceil(2));
    // A slip is no longer than what it answers, and has the question and TC only.
    assert_eq!((slip.len(), slip[2], slip[3], &slip[6..12]), (packet.len(), 0x82, 0, &[0, 0, 0, 0, 0, 1][..]));
    assert!(seen.received < seen.sent, "{} for {}", seen.received, seen.sent);
    // Nor is it if there was more to say: which node this is.
    let mut asking = question("www.lb.example.com", None);
    asking.truncate(asking.len() - 2);
    asking.extend(b"\x00\x04\x00\x03\x00\x00");
    let (_, slip) = flood(&handler, "8.8.8.8", &asking, 1000, 1);
    assert_eq!(slip.len(), packet.len());
    let (claimed, _) = flood(&handler, "203.0.113.9", &packet, 20_000, 5);
    assert!((13_000..=6 * 11 * LIMIT).contains(&claimed.whole), "{}", claimed.whole);
    // Someone else, meanwhile.
    let (other, _) = flood(&handler, "8.8.4.4", &packet, LIMIT - 1, 5);
    assert_eq!((other.whole, other.received), (5 * (LIMIT - 1), 5 * (LIMIT - 1) as usize * alone.len()));
    let counts = handler.counters().read();
    assert!(counts.rate_limited > 80_000 && counts.slipped.abs_diff(counts.rate_limited) < 10, "{counts:?}");
}

#[test]
fn errors_and_denials_do_not_use_up_the_answers() {
    let handler = handler();
    let (denied, _) = flood(&handler, "8.8.8.8", &question("no.lb.example.com", None), 10_000, 1);
    let (refused, _) = flood(&handler, "8.8.8.8", &question("www.example.org", None), 10_000, 1);
    assert!(denied.whole < 2 * LIMIT);
    // An error slips as it is.
    assert!(refused.slipped == 0 && refused.whole > 4000 && refused.whole < 6000, "{}", refused.whole);
    assert!(refused.received < refused.sent);
    let (answered, _) = flood(&handler, "8.8.8.8", &question("www.lb.example.com", None), LIMIT, 1);
    assert_eq!(answered.whole, LIMIT);
}

#[test]
fn a_valid_cookie_lifts_the_limit_and_who_has_none_gets_one() {
    let (handler, asking) = (handler(), question("www.lb.example.com", Some(&[7; 8])));
    let (seen, slip) = flood(&handler, "8.8.8.8", &asking, 10_000, 1);
    assert_eq!(seen.whole, 2 * LIMIT - 1);
    // The short reply carries the cookie: header, question, OPT with an extended code, option.
    let opt = slip.len() - 28 - 11;
    assert_eq!((slip[opt + 5], slip[3] & 0x0f), BADCOOKIE);
    let cookie = &slip[slip.len() - 24..];
    assert_eq!(cookie[..8], [7; 8]);
    let (proven, _) = flood(&handler, "8.8.8.8", &question("www.lb.example.com", Some(cookie)), 10_000, 1);
    assert_eq!((proven.whole, proven.slipped), (10_000, 0));
    // From elsewhere it proves nothing.
    let (forged, _) = flood(&handler, "8.8.4.4", &question("www.lb.example.com", Some(cookie)), 10_000, 1);
    assert_eq!(forged.whole, 2 * LIMIT - 1);
}

#[test]
fn tcp_is_not_limited() {
    let (handler, packet) = (handler(), question("www.lb.example.com", None));
    flood(&handler, "8.8.8.8", &packet, 10_000, 1);
    let at = START + Duration::from_millis(999);
    for _ in 0..1000 {
        let reply = handler.respond(&packet, Arrival::tcp(from("8.8.8.8"), at, Duration::from_secs(10))).unwrap();
        assert_eq!((reply[2] & 0x02, reply[3] & 0x0f), (0, 0));
    }
}
