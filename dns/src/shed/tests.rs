#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: panics are its verdict")]

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use socket2::SockRef;

use super::{FEW_BATCHES, LEAST, MOST_GUESTS, MOST_HEARD, Order, PERIOD, Shed, filter, key};

const START: Duration = Duration::from_secs(1_700_000_000);

/// A period of batches, all full or none, at whose end so many packets were lost so far.
fn period(shed: &mut Shed, now: &mut Duration, full: bool, lost: u32) -> Option<Order> {
    for _ in 0..FEW_BATCHES {
        assert_eq!(shed.batch(*now, full, || panic!("nobody needs to know")), None);
    }
    *now += PERIOD;
    shed.batch(*now, full, || Some(lost))
}

#[test]
fn only_loss_makes_a_filter_and_it_goes_when_all_can_be_answered() {
    let (mut shed, mut now) = (Shed::new(START), START);
    assert_eq!(period(&mut shed, &mut now, true, 0), None, "busy, and nothing lost");
    assert_eq!(period(&mut shed, &mut now, false, 7), None, "lost in a moment that is over");
    assert_eq!(period(&mut shed, &mut now, true, 7), Some(Order::Guard(vec![], 0.5)));
    assert!(shed.guards());
    assert_eq!(period(&mut shed, &mut now, true, 7), Some(Order::Guard(vec![], 0.25)));
    let mut last = 0.25;
    while let Some(Order::Guard(_, others)) = period(&mut shed, &mut now, false, 0) {
        assert!(others > last);
        last = others;
    }
    assert!(!shed.guards() && last > 0.8);
    assert_eq!(period(&mut shed, &mut now, true, 9_000), None, "what the filter kept out was not lost");
    assert_eq!(period(&mut shed, &mut now, true, 9_000), None, "nor is anything now");
    assert!(period(&mut shed, &mut now, true, 9_001).is_some());
    for _ in 0..20 {
        shed.others = shed.others.or(Some(0.5));
        period(&mut shed, &mut now, true, 9_001);
    }
    assert_eq!(shed.others, Some(LEAST), "some are always let in");
    now += PERIOD * 40;
    assert_eq!(shed.batch(now, false, || None), Some(Order::Open), "nobody has asked for long");
}

#[test]
fn who_asks_often_is_let_in_whoever_else_asks() {
    let (mut shed, mut now) = (Shed::new(START), START);
    let often: Vec<IpAddr> =
        (0..MOST_GUESTS as u32 - 1).map(|host| Ipv4Addr::from(0x0a00_0000 + host).into()).collect();
    for round in 0..40_u32 {
        (0..8).for_each(|_| often.iter().for_each(|client| shed.hear(*client)));
        for stranger in 0..MOST_HEARD as u32 {
            shed.hear(Ipv4Addr::from(0xc000_0000 + round * 10_000 + stranger).into());
        }
    }
    let Some(Order::Guard(guests, _)) = period(&mut shed, &mut now, true, 1) else { panic!("no filter") };
    assert!(often.iter().all(|client| guests.contains(&key(*client))), "{} guests", guests.len());
    assert!(guests.len() <= MOST_GUESTS && guests.is_sorted() && shed.heard.len() <= MOST_HEARD);
}

/// Two sockets on loopback, of which the second has the filter: which of these sources get through.
fn through(sources: &[IpAddr], guests: &[IpAddr], others: f64) -> Vec<bool> {
    let ipv6 = sources[0].is_ipv6();
    let server = UdpSocket::bind(if ipv6 { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
    let mut keys: Vec<u32> = guests.iter().map(|guest| key(*guest)).collect();
    keys.sort_unstable();
    SockRef::from(&server).attach_filter(&filter(ipv6, &keys, others)).unwrap();
    server.set_nonblocking(true).unwrap();
    let passes = |source: &IpAddr| {
        let client = UdpSocket::bind((*source, 0)).unwrap();
        client.send_to(b"?", server.local_addr().unwrap()).unwrap();
        server.recv_from(&mut [0; 8]).is_ok()
    };
    sources.iter().map(passes).collect()
}

#[test]
fn the_kernel_lets_in_the_guests_and_a_part_of_the_others() {
    let client = |number: u32| IpAddr::from(Ipv4Addr::from(0x7f01_0000 + number * 77));
    let clients: Vec<IpAddr> = (0..300).map(client).collect();
    let guests: Vec<IpAddr> = clients.iter().step_by(3).copied().take(MOST_GUESTS).collect();
    for count in [0, 1, 2, 3, guests.len()] {
        let (guests, none) = (&guests[..count], through(&clients, &guests[..count], 0.0));
        let expected: Vec<bool> = clients.iter().map(|client| guests.contains(client)).collect();
        assert_eq!(none, expected, "{count} guests");
    }
    let half = through(&clients, &guests, 0.5).iter().filter(|passes| **passes).count();
    assert!((150..250).contains(&half), "100 guests, and about half of 200: {half}");
    assert!(through(&clients, &[], 1.0).iter().all(|passes| *passes));
}

#[test]
fn an_ipv6_source_is_known_by_all_of_its_words() {
    let here: IpAddr = "::1".parse().unwrap();
    assert_eq!(through(&[here], &[here], 0.0), [true]);
    assert_eq!(through(&[here], &["2001:db8::1".parse().unwrap()], 0.0), [false]);
    assert_eq!(key("1:2:3:4:5:6:7:8".parse().unwrap()), 0x1_0002 ^ 0x3_0004 ^ 0x5_0006 ^ 0x7_0008);
}
