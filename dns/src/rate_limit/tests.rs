#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

use super::{BURST, Class, PLACES, RateLimit, SETS, Verdict};

/// Some time after 1970, so that moments wrap.
const START: Duration = Duration::from_secs(1_700_000_000);

fn table(per_second: u32) -> RateLimit {
    RateLimit::new(per_second.try_into().unwrap(), [9; 16])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Queries at an even pace: how many passed, slipped, were dropped.
fn flood(table: &RateLimit, client: &str, claimed: bool, per_second: u32, seconds: u32, from: Duration) -> [u32; 3] {
    let mut counts = [0; 3];
    for at in 0..per_second * seconds {
        let now = from + Duration::from_secs(1) * at / per_second;
        counts[table.meet(ip(client), Class::Answer, || claimed, now) as usize] += 1;
    }
    counts
}

#[test]
fn a_flood_is_cut_to_the_limit_and_half_of_the_rest_slips() {
    let table = table(200);
    let [passed, slipped, dropped] = flood(&table, "192.0.2.1", false, 10_000, 5, START);
    // A second's worth at once, then the limit.
    assert_eq!((passed, slipped), (200 + 5 * 200 - 1, (50_000 - passed).div_ceil(2)));
    assert_eq!(passed + slipped + dropped, 50_000);
    // Its neighbours share its bucket, others do not.
    let end = START + Duration::from_micros(4_999_900);
    assert_ne!(table.meet(ip("192.0.2.255"), Class::Answer, || false, end), Verdict::Pass);
    assert_eq!(table.meet(ip("192.0.3.1"), Class::Answer, || false, end), Verdict::Pass);
    // Nor do other kinds of replies.
    assert_eq!(table.meet(ip("192.0.2.1"), Class::Negative, || false, end), Verdict::Pass);
    assert_eq!(table.meet(ip("192.0.2.1"), Class::Error, || false, end), Verdict::Pass);
    // After a second of rest the bucket is full again.
    assert_eq!(flood(&table, "192.0.2.1", false, 200, 3, end + Duration::from_secs(1)), [600, 0, 0]);
}

#[test]
fn networks_of_ipv6_have_56_bits() {
    let table = table(1);
    let meet = |client| table.meet(ip(client), Class::Answer, || false, START);
    assert_eq!(meet("2001:db8:0:ff00::1"), Verdict::Pass);
    assert_eq!(meet("2001:db8:0:ffff::2"), Verdict::Slip);
    assert_eq!(meet("2001:db8:0:fe00::1"), Verdict::Pass);
    // An IPv4 address within IPv6 is one of IPv4.
    assert_eq!((meet("::ffff:192.0.2.1"), meet("192.0.2.9")), (Verdict::Pass, Verdict::Slip));
}

#[test]
fn a_claimed_network_has_ten_times_as_much_on_top() {
    assert_eq!(flood(&table(200), "192.0.2.1", true, 2000, 5, START), [10_000, 0, 0]);
    let [passed, ..] = flood(&table(200), "192.0.2.1", true, 20_000, 5, START);
    assert!((13_100..=11 * 6 * 200).contains(&passed), "{passed}");
}

#[test]
fn who_is_claimed_is_asked_only_over_the_limit() {
    let table = table(1);
    table.meet(ip("192.0.2.1"), Class::Answer, || panic!("asked"), START);
    table.meet(ip("192.0.2.1"), Class::Error, || panic!("asked"), START);
}

/// Neither moment is there for any bucket: before the clock was set back, and 19 hours ago.
#[test]
fn a_clock_that_jumps_starves_nobody() {
    let table = table(10);
    assert_eq!(flood(&table, "192.0.2.1", false, 1000, 1, START)[0], 19);
    assert_eq!(flood(&table, "192.0.2.1", false, 10, 1, START - Duration::from_secs(86_400)), [10, 0, 0]);
    assert_eq!(flood(&table, "192.0.2.1", false, 10, 1, START + Duration::from_secs(86_400)), [10, 0, 0]);
}

#[test]
fn the_table_never_grows_and_is_half_a_megabyte() {
    let table = table(1);
    assert_eq!(size_of_val(&*table.sets), SETS * PLACES * 8);
    assert_eq!(SETS * PLACES * 8, 512 * 1024);
    // A million networks at one moment: places are given away, and nobody is held to what another did.
    let passed = (0..1_000_000_u32)
        .filter(|at| table.meet(Ipv4Addr::from(at << 8).into(), Class::Answer, || false, START) == Verdict::Pass);
    // Tags of 27 bits: about 8 of 2^27 strangers look alike to each newcomer.
    assert!(passed.count() > 999_900);
}

/// A busy network keeps its place while there are free ones: nearly a third of the table is taken here.
#[test]
fn thousands_of_busy_networks_are_each_held_to_their_limit() {
    let table = table(5);
    let mut passed = 0;
    for _ in 0..20 {
        let meet = |at: u32| table.meet(Ipv4Addr::from(at << 8).into(), Class::Answer, || false, START);
        passed += (0..20_000_u32).filter(|at| meet(*at) == Verdict::Pass).count();
    }
    // A few sets have more than eight of them.
    assert!((99_000..102_000).contains(&passed), "{passed}");
}

#[test]
fn threads_share_a_bucket_exactly() {
    let table = table(500);
    let passed: usize = std::thread::scope(|scope| {
        let count = || (0..1000).filter(|_| flood(&table, "192.0.2.1", false, 1, 1, START)[0] == 1).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 500);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// As a token bucket that is read out slowly.
    #[test]
    fn it_does_what_a_token_bucket_does(
        limit in 1..3000_u32, asked in vec((0..5_u8, 0..30_000_u64), 1..300),
    ) {
        let table = table(limit);
        let cost = BURST / u64::from(limit);
        // What is left in each, in microseconds, and when that was.
        let mut buckets: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        let mut now = 0;
        for (network, later) in asked {
            now += later;
            let (left, since) = buckets.get(&network).copied().unwrap_or((BURST, now));
            let left = (left + (now - since)).min(BURST);
            let passes = left >= cost;
            buckets.insert(network, (if passes { left - cost } else { left }, now));
            let verdict = table.meet(
                Ipv4Addr::new(192, 0, network, 1).into(), Class::Answer, || false, START + Duration::from_micros(now),
            );
            prop_assert_eq!(verdict == Verdict::Pass, passes);
        }
    }
}
