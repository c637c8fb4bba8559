#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn apex() -> Name {
    name("origin.example.com.")
}

fn soa(serial: u32) -> Record {
    let data = SOA::new(name("ns.origin.example.com."), name("h.example.com."), serial, 3600, 600, 86_400, 30);
    Record::from_rdata(apex(), 300, RData::SOA(data))
}

fn a(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 60, RData::A(A::new(192, 0, 2, last)))
}

fn message(answers: Vec<Record>) -> Message {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.add_answers(answers);
    message
}

fn take(transfer: &mut Transfer, messages: Vec<Vec<Record>>) -> Result<Progress, Broken> {
    let mut progress = Progress::More;
    for answers in messages {
        progress = transfer.handle(&message(answers), 100)?;
    }
    Ok(progress)
}

fn zone(serial: u32, last: &[u8]) -> Zone {
    let RData::SOA(head) = soa(serial).data else { panic!() };
    let mut zone = Zone::new(head);
    last.iter().for_each(|last| zone.add(&a("www.origin.example.com.", *last)).unwrap());
    zone
}

fn done(zone: Zone) -> Result<Progress, Broken> {
    Ok(Progress::Done(Box::new(zone)))
}

const WWW: &str = "www.origin.example.com.";

#[test]
fn a_whole_zone_comes_in_any_number_of_messages() {
    let records = [soa(5), a("WWW.origin.example.com.", 1), a(WWW, 2), a("glue.example.net.", 9), soa(5)];
    let one_each = records.iter().map(|record| vec![record.clone()]).collect();
    assert_eq!(take(&mut Transfer::new(apex(), None), one_each), done(zone(5, &[1, 2])));
    assert_eq!(take(&mut Transfer::new(apex(), None), vec![records.to_vec()]), done(zone(5, &[1, 2])));
    assert_eq!(take(&mut Transfer::new(apex(), Some(zone(4, &[9]))), vec![records.to_vec()]), done(zone(5, &[1, 2])));
    assert_eq!(take(&mut Transfer::new(apex(), None), vec![records[..4].to_vec()]), Ok(Progress::More), "cut short");
}

#[test]
fn differences_are_applied_one_after_the_other() {
    let differences = vec![soa(7), soa(5), a(WWW, 1), soa(6), a(WWW, 3), soa(6), a(WWW, 2), soa(7), a(WWW, 4), soa(7)];
    let mut transfer = Transfer::new(apex(), Some(zone(5, &[1, 2])));
    assert_eq!(transfer.request(1).queries[0].query_type(), RecordType::IXFR);
    assert_eq!(take(&mut transfer, vec![differences.clone()]), done(zone(7, &[3, 4])));
    let one_each = differences.iter().map(|record| vec![record.clone()]).collect();
    assert_eq!(take(&mut Transfer::new(apex(), Some(zone(5, &[1, 2]))), one_each), done(zone(7, &[3, 4])));
    assert_eq!(take(&mut Transfer::new(apex(), Some(zone(4, &[1]))), vec![differences]), Err(Broken::Gap));
}

#[test]
fn a_lone_soa_says_that_nothing_is_new() {
    assert_eq!(take(&mut Transfer::new(apex(), Some(zone(5, &[1]))), vec![vec![soa(5)]]), Ok(Progress::Current));
    assert_eq!(take(&mut Transfer::new(apex(), Some(zone(5, &[1]))), vec![vec![soa(4)]]), Ok(Progress::Current));
    assert_eq!(take(&mut Transfer::new(apex(), Some(zone(5, &[1]))), vec![vec![soa(6)]]), Ok(Progress::More));
    assert_eq!(take(&mut Transfer::new(apex(), None), vec![vec![soa(6)]]), Ok(Progress::More));
}

#[test]
fn what_is_no_transfer_is_refused() {
    let broken = |messages| take(&mut Transfer::new(apex(), None), messages).unwrap_err();
    assert!(matches!(broken(vec![vec![a(WWW, 1)]]), Broken::Malformed(_)));
    assert!(matches!(broken(vec![vec![soa(1), a(WWW, 1), soa(2)]]), Broken::Malformed(_)));
    assert!(matches!(broken(vec![vec![soa(1)], Vec::new()]), Broken::Malformed(_)), "nothing, for ever");
    assert!(matches!(broken(vec![vec![soa(1), a(WWW, 1), soa(1), a(WWW, 2)]]), Broken::Malformed(_)));
    assert!(matches!(broken(vec![vec![soa(2), soa(1), a(WWW, 1), soa(2)]]), Broken::Malformed(_)));
    let mut refused = message(Vec::new());
    refused.metadata.response_code = ResponseCode::Refused;
    assert_eq!(Transfer::new(apex(), None).handle(&refused, 12), Err(Broken::Refused(ResponseCode::Refused)));
}

#[test]
fn a_giant_zone_and_an_endless_transfer_are_refused() {
    let mut transfer = Transfer::new(apex(), None);
    transfer.handle(&message(vec![soa(1)]), 100).unwrap();
    let many = message((0..=255).map(|last| a(WWW, last)).collect());
    let messages = (0..1_000_000).take_while(|_| transfer.handle(&many, 8000).is_ok()).count();
    assert!(messages * 256 <= MAX_RECORDS && messages * 8000 <= MAX_OCTETS, "{messages}");
    let mut zone = zone(1, &[]);
    let added = (0..=u32::MAX)
        .take_while(|n| zone.add(&Record::from_rdata(apex(), 1, RData::A(A((*n).into())))).is_ok())
        .count();
    assert_eq!(added, MAX_KEPT);
}

#[test]
fn a_zone_answers_for_the_names_that_it_has() {
    let mut zone = zone(5, &[1]);
    let alias = Record::from_rdata(name("alias.origin.example.com."), 9, RData::CNAME(CNAME(name(WWW))));
    zone.add(&alias).unwrap();
    assert_eq!(zone.reply(&name("WWW.origin.example.com."), RecordType::A).unwrap().answers.len(), 1);
    assert!(zone.reply(&name(WWW), RecordType::AAAA).unwrap().answers.is_empty());
    assert_eq!(zone.reply(&name("alias.origin.example.com."), RecordType::AAAA).unwrap().answers, [alias]);
    assert_eq!(zone.reply(&name("other.origin.example.com."), RecordType::A), None);
}

#[test]
fn the_timers_of_the_soa_are_obeyed_within_bounds() {
    let at = Duration::from_secs;
    let RData::SOA(mut head) = soa(1).data else { panic!() };
    let mut timers = Timers::default();
    timers.failed(at(1), None);
    assert_eq!(timers.next(), at(1) + FIRST_RETRY);
    timers.refreshed(at(100), &head);
    assert_eq!(timers.next(), at(3700));
    timers.notified(at(200));
    assert_eq!(timers.next(), at(200));
    timers.refreshed(at(200), &head);
    timers.notified(at(200));
    assert_eq!(timers.next(), at(200) + NOTIFY_PAUSE, "a stream of them is one");
    timers.failed(at(300), Some(&head));
    assert_eq!(timers.next(), at(900));
    assert!(!timers.is_expired(at(200 + 86_400)) && timers.is_expired(at(201 + 86_400)));
    (head.refresh, head.retry, head.expire) = (-1, i32::MAX, 0);
    timers.refreshed(at(0), &head);
    assert_eq!((timers.next(), timers.is_expired(at(3600))), (REFRESH.0, false));
    timers.failed(at(0), Some(&head));
    assert_eq!(timers.next(), RETRY.1);
}

proptest! {
    /// Whatever comes, it neither panics nor ends as a zone without its last SOA.
    #[test]
    fn any_stream_is_a_zone_or_an_error(stream in prop::collection::vec(prop::collection::vec((0..3u8, 0..4u32), 0..6), 0..8), held: bool) {
        let mut transfer = Transfer::new(apex(), held.then(|| zone(1, &[1])));
        for answers in stream {
            let records: Vec<Record> = answers
                .iter()
                .map(|(kind, n)| match kind {
                    0 => soa(*n),
                    1 => a(WWW, *n as u8),
                    _ => a("elsewhere.example.net.", *n as u8),
                })
                .collect();
            let last = records.iter().rev().find(|record| apex().zone_of(&record.name)).cloned();
            match transfer.handle(&message(records), 50) {
                Ok(Progress::Done(zone)) => {
                    let Some(RData::SOA(last)) = last.map(|record| record.data) else { panic!("no SOA at the end") };
                    prop_assert_eq!(last.serial, zone.soa.serial);
                    break;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}
