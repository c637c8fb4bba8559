#![allow(clippy::unwrap_used)]
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::{Fault, OptFault, Query};

/// Hexadecimal, with `name` standing for `Www.lb`.
fn packet(text: &str) -> Vec<u8> {
    let text = text.replace("name", "03577777 026c62 00");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// One question and so many records in each section.
fn query(counts: &str, rest: &str) -> Vec<u8> {
    packet(&format!("1234 0120 0001 {counts} name 0001 0001 {rest}"))
}

fn fault_of(packet: &[u8]) -> Option<Fault> {
    Query::read(packet).unwrap().fault()
}

#[test]
fn a_question_is_borrowed_with_its_case() {
    let packet = query("0000 0000 0000", "");
    let query = Query::read(&packet).unwrap();
    let asked = query.question().unwrap();
    assert_eq!((query.id(), query.opcode(), query.fault()), (0x1234, 0, None));
    assert_eq!((asked.qtype, asked.qclass, asked.octets), (1, 1, &packet[12..]));
    assert_eq!(asked.name.labels().collect::<Vec<_>>(), [&b"Www"[..], b"lb"]);
    assert_eq!(asked.name.octets(), b"\x03Www\x02lb\x00");
    assert_eq!(format!("{:?}", asked.name), "Www.lb.");
}

#[test]
fn too_short_or_a_response_is_silence() {
    let whole = query("0000 0000 0000", "");
    assert!((0..12).all(|length| Query::read(&whole[..length]).is_none()));
    let mut response = whole;
    response[2] |= 0x80;
    assert!(Query::read(&response).is_none());
}

#[test]
fn every_cut_of_a_query_is_a_fault_and_keeps_what_was_whole() {
    let whole = query("0000 0000 0001", "00 0029 04d0 00008000 000c 000a 0008 0102030405060708");
    assert_eq!(fault_of(&whole), None);
    for length in 12..whole.len() {
        let query = Query::read(&whole[..length]).unwrap();
        assert!(query.fault().is_some(), "{length}");
        assert_eq!(query.question().is_some(), length >= 24, "{length}");
        assert!(query.opt().is_none(), "{length}");
    }
}

#[test]
fn what_an_opt_record_says() {
    let options =
        "0003 0000  0008 0007 0001 18 00 cb0071  000a 0008 0102030405060708  000b 0000  000c 0002 0000  fde9 0001 ff";
    let data = packet(options).len();
    let packet = query("0000 0000 0001", &format!("00 0029 0500 00008000 {data:04x} {options}"));
    let query = Query::read(&packet).unwrap();
    assert_eq!(query.fault(), None);
    let opt = query.opt().unwrap();
    assert_eq!((opt.size, opt.version, opt.dnssec_ok), (0x500, 0, true));
    assert!(opt.nsid && opt.keepalive && opt.padding);
    assert_eq!(opt.subnet.unwrap().net, Some("203.0.113.0/24".parse().unwrap()));
    assert_eq!(opt.subnet.unwrap().octets(), b"\x00\x01\x18\x00\xcb\x00\x71");
    assert_eq!((opt.cookie.unwrap().client, opt.cookie.unwrap().server), ([1, 2, 3, 4, 5, 6, 7, 8], &b""[..]));
}

#[test]
fn faults_by_name() {
    let opt = "00 0029 04d0 00000000 0000";
    let a = "c00c 0001 0001 00000000 0004 01020304";
    let cases = [
        (query("0000 0000 0000", "00"), Fault::Trailing),
        (query("0000 0000 0001", ""), Fault::Name),
        (query("0000 0000 0001", "00 0029 04d0"), Fault::Short),
        (query("0001 0000 0000", opt), Fault::OptPlace),
        (query("0000 0001 0000", opt), Fault::OptPlace),
        (query("0000 0000 0001", &format!("name {}", &opt[2..])), Fault::OptPlace),
        (query("0000 0000 0002", &format!("{opt} {opt}")), Fault::SeveralOpts),
        (query("0000 0000 0001", "00 0029 04d0 00000000 0004 0003 0001"), Fault::Opt(OptFault::Length)),
        (query("0000 0000 0001", "00 0029 04d0 00000000 0003 000300"), Fault::Opt(OptFault::Length)),
        (packet("1234 0000 0001 0000 0000 0000 c00c 0001 0001"), Fault::Compressed),
        (packet("1234 0000 0001 0000 0000 0000 41 0001 0001"), Fault::Name),
        (packet("1234 0000 0001 0000 0000 0000 80 0001 0001"), Fault::Name),
        (packet("1234 0000 0000 0000 0000 0000"), Fault::Questions(0)),
        (packet("1234 0000 0002 0000 0000 0000 name 0001 0001 name 0001 0001"), Fault::Questions(2)),
        (packet("1234 0000 ffff 0000 0000 0000 name 0001 0001"), Fault::Questions(0xffff)),
    ];
    for (packet, fault) in cases {
        assert_eq!(fault_of(&packet), Some(fault), "{packet:02x?}");
    }
    // Records that nobody asked for are passed over, and OPT is found behind them.
    let packet = query("0001 0000 0002", &format!("{a} {a} {opt}"));
    assert_eq!((fault_of(&packet), Query::read(&packet).unwrap().opt().is_some()), (None, true));
}

#[test]
fn subnets_are_exact() {
    let read = |data: &str| {
        let packet = query(
            "0000 0000 0001",
            &format!("00 0029 04d0 00000000 {0:04x} 0008 {1:04x} {data}", packet(data).len() + 4, packet(data).len()),
        );
        let query = Query::read(&packet).unwrap();
        let net = query.opt().unwrap().subnet.map(|subnet| subnet.net.map(|net| net.to_string()));
        query.fault().map_or(Ok(net), Err)
    };
    assert_eq!(read("0001 18 00 cb0071"), Ok(Some(Some("203.0.113.0/24".to_owned()))));
    assert_eq!(read("0002 38 00 20010db8000000"), Ok(Some(Some("2001:db8::/56".to_owned()))));
    for nothing in ["0000 00 00", "0001 00 00", "0002 00 00", "0009 00 00"] {
        assert_eq!(read(nothing), Ok(Some(None)), "{nothing}");
    }
    // Too many octets, too few, bits beyond the prefix, a scope, too long a prefix, no such family, no room.
    for wrong in [
        "0001 18 00 cb007100",
        "0001 18 00 cb00",
        "0001 14 00 cb0071",
        "0001 18 18 cb0071",
        "0001 21 00 cb00710000",
        "0002 81 00 20010db8000000000000000000000000 00",
        "0003 08 00 cb",
        "0001 00 00 00",
        "0001 18",
    ] {
        assert_eq!(read(wrong), Err(Fault::Opt(OptFault::Subnet)), "{wrong}");
    }
}

#[test]
fn cookies_have_one_of_the_lengths() {
    for length in 0..50_usize {
        let data = format!("{:04x} 000a {length:04x} {}", length + 4, "07".repeat(length));
        let right = matches!(length, 8 | 16..=40);
        let fault = fault_of(&query("0000 0000 0001", &format!("00 0029 04d0 00000000 {data}")));
        assert_eq!(fault, (!right).then_some(Fault::Opt(OptFault::Cookie)), "{length}");
    }
}

#[test]
fn a_signature_stands_last_and_whole() {
    let tsig = "name 00fa 00ff 00000000 0019 026c6200 000000000001 012c 0002 aabb 1234 0000 0003 010203";
    let packet = query("0000 0000 0001", tsig);
    let query_read = Query::read(&packet).unwrap();
    let read = query_read.tsig().unwrap();
    assert_eq!((query_read.fault(), read.key, read.algorithm), (None, &b"\x03Www\x02lb\x00"[..], &b"\x02lb\x00"[..]));
    assert_eq!((read.time, read.original_id), ([0, 0, 0, 0, 0, 1, 1, 0x2c], [0x12, 0x34]));
    let short = tsig.replace("0003 010203", "0004 010203");
    assert_eq!(fault_of(&query("0000 0000 0001", &short)), Some(Fault::Tsig));
    assert_eq!(fault_of(&query("0000 0000 0002", &format!("{tsig} 00 0029 04d0 00000000 0000"))), Some(Fault::Tsig));
    assert_eq!(fault_of(&query("0001 0000 0000", tsig)), Some(Fault::Tsig));
}

/// RFC 1035 section 2.3.4: 255 octets, and one more is too long.
#[test]
fn the_longest_name_is_read_and_a_longer_one_is_not() {
    let name =
        |last: usize| [63, 63, 63, last].iter().map(|n| format!("{n:02x}{}", "61".repeat(*n))).collect::<String>();
    let packet_of = |last| packet(&format!("1234 0000 0001 0000 0000 0000 {}00 0001 0001", name(last)));
    let longest = packet_of(61);
    assert_eq!(Query::read(&longest).unwrap().question().unwrap().name.octets().len(), 255);
    assert_eq!(fault_of(&packet_of(62)), Some(Fault::Name));
    let pointed = packet(&format!("1234 0000 0001 0000 0000 0000 {}c00c 0001 0001", name(62)));
    assert_eq!(fault_of(&pointed), Some(Fault::Name));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_lies_in_the_packet(
        head in any::<[u8; 4]>(), counts in any::<[bool; 4]>(), rest in vec(any::<u8>(), 0..200),
    ) {
        let mut packet = head.to_vec();
        packet[2] &= 0x7f;
        packet.extend(counts.iter().flat_map(|one| [0, u8::from(*one)]));
        packet.extend(&rest);
        let query = Query::read(&packet).unwrap();
        prop_assert_eq!(query.flags(), [packet[2], packet[3]]);
        if let Some(asked) = query.question() {
            prop_assert_eq!(asked.octets, &packet[12..12 + asked.octets.len()]);
            prop_assert_eq!(asked.name.labels().map(|label| label.len() + 1).sum::<usize>() + 5, asked.octets.len());
        }
        prop_assert!(query.fault().is_some() || counts[0]);
    }
}
