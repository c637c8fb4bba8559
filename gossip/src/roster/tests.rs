#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// `n` nodes with ids and serials that depend on `seed`.
pub(crate) fn admitted(n: usize, seed: u64) -> Vec<(NodeId, u64)> {
    (0_u64..)
        .filter_map(|i| {
            let mut hasher = blake3::Hasher::new();
            let hash = *hasher.update(&seed.to_be_bytes()).update(&i.to_be_bytes()).finalize().as_bytes();
            let serial = hash.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b)) ^ seed;
            NodeId::from_bytes(hash).ok().map(|id| (id, serial)) // about half are points on the curve
        })
        .take(n)
        .collect()
}

pub(crate) fn roster(n: usize, seed: u64) -> Roster {
    Roster::new(admitted(n, seed))
}

/// Draws a share of the seats, the same for the same arguments.
fn share(roster: &Roster, percent: u64, seed: u64) -> BTreeSet<Seat> {
    let drawn = |seat: &Seat| {
        let hash = blake3::hash(&[u64::from(seat.0).to_be_bytes(), seed.to_be_bytes()].concat());
        u64::from(hash.as_bytes()[0]) * 100 < percent * 256
    };
    roster.seats().filter(drawn).collect()
}

/// Hops that a flood needs from `start` until no new seat is reached, and how many were reached.
fn flood(roster: &Roster, start: Seat, live: impl Fn(Seat) -> bool + Copy) -> (usize, usize) {
    let mut reached = vec![false; roster.len()];
    reached[start.index()] = true;
    let (mut front, mut hops, mut count) = (vec![start], 0, 1);
    loop {
        let mut next = Vec::new();
        for other in front.iter().flat_map(|seat| roster.neighbours(*seat, live)) {
            if !std::mem::replace(&mut reached[other.index()], true) {
                next.push(other);
            }
        }
        if next.is_empty() {
            return (hops, count);
        }
        (hops, count, front) = (hops + 1, count + next.len(), next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn links_are_mutual_and_few(n in 1..120_usize, seed: u64, dead in 0..60_u64) {
        let roster = roster(n, seed);
        let dead = share(&roster, dead, seed);
        let live = |seat| !dead.contains(&seat);
        for seat in roster.seats().filter(|seat| live(*seat)) {
            let neighbours = roster.neighbours(seat, live);
            prop_assert!(neighbours.len() <= 2 * RINGS && neighbours.is_sorted() && !neighbours.contains(&seat));
            if n <= FULL_MESH {
                prop_assert_eq!(neighbours.len(), n - dead.len() - 1);
            }
            for other in neighbours {
                prop_assert!(live(other) && roster.neighbours(other, live).contains(&seat));
            }
        }
    }

    #[test]
    fn watching_is_the_mirror_of_being_watched_even_past_the_dead(n in 1..120_usize, seed: u64, dead in 0..90_u64) {
        let roster = roster(n, seed);
        let dead = share(&roster, dead, seed);
        let live = |seat| !dead.contains(&seat);
        let watched: Vec<Vec<Seat>> = roster.seats().map(|seat| roster.watched_by(seat, live)).collect();
        for seat in roster.seats() {
            let watchers: Vec<Seat> =
                roster.seats().filter(|other| live(*other) && watched[other.index()].contains(&seat)).collect();
            prop_assert_eq!(roster.watchers(seat, live), watchers);
        }
    }

    #[test]
    fn the_order_of_admission_means_nothing(n in 1..60_usize, seed: u64, shift: usize) {
        let mut nodes = admitted(n, seed);
        let one = Roster::new(nodes.clone());
        nodes.rotate_left(shift % n);
        nodes.reverse();
        let other = Roster::new(nodes.iter().copied().chain(nodes.iter().copied()));
        prop_assert_eq!((&one.ids, &one.rings, &one.places), (&other.ids, &other.rings, &other.places));
    }

    #[test]
    fn a_seat_is_found_by_its_id_and_by_its_first_bytes(n in 0..60_usize, seed: u64) {
        let roster = roster(n, seed);
        for seat in roster.seats() {
            let id = roster.id(seat);
            prop_assert_eq!(roster.seat(&id), Some(seat));
            prop_assert_eq!(roster.seat_of_prefix(first_bytes(&id)), Some(seat));
            prop_assert_eq!(roster.seat_of_prefix(first_bytes(&id) + 1), None);
        }
        prop_assert_eq!(roster.seat(&admitted(1, seed ^ 1)[0].0), None);
    }
}

#[test]
fn two_ids_that_begin_alike_are_named_by_neither_beginning() {
    let twin = |last| {
        (0_u8..).find_map(|i| {
            NodeId::from_bytes(std::array::from_fn(|at| match at {
                31 => last,
                30 => i,
                _ => 7,
            }))
            .ok()
        })
    };
    let twins = [twin(1).unwrap(), twin(2).unwrap()];
    let prefix = first_bytes(&twins[0]);
    assert!(Roster::new([(twins[0], 1)]).seat_of_prefix(prefix).is_some());
    assert_eq!(Roster::new(twins.map(|id| (id, 1))).seat_of_prefix(prefix), None);
}

#[test]
fn the_operator_s_serial_moves_a_node_and_nobody_else() {
    let mut nodes = admitted(200, 1);
    let before = Roster::new(nodes.clone());
    let moved = nodes[0].0;
    nodes[0].1 += 1;
    let after = Roster::new(nodes);
    let seat = before.seat(&moved).unwrap();
    assert_ne!(before.watchers(seat, |_| true), after.watchers(seat, |_| true));
    let others = |roster: &Roster, ring: usize| -> Vec<u32> {
        let order = &roster.rings[ring * 200..(ring + 1) * 200];
        let from = order.iter().position(|other| *other == if seat.0 == 0 { 1 } else { 0 }).unwrap();
        let turned = order[from..].iter().chain(&order[..from]).copied();
        turned.filter(|other| *other != seat.0).collect()
    };
    for ring in 0..RINGS {
        assert_eq!(others(&before, ring), others(&after, ring));
    }
}

#[test]
fn a_flood_reaches_ten_thousand_seats_in_six_hops_even_with_every_third_dead() {
    let roster = roster(10_000, 7);
    for start in roster.seats().step_by(1234) {
        let (hops, reached) = flood(&roster, start, |_| true);
        assert!(hops <= 6 && reached == 10_000, "{hops} hops to {reached}");
    }
    let dead = share(&roster, 30, 7);
    let live = |seat| !dead.contains(&seat);
    for start in roster.seats().filter(|seat| live(*seat)).step_by(1234) {
        let (hops, reached) = flood(&roster, start, live);
        assert!(hops <= 6 && reached == 10_000 - dead.len(), "{hops} hops to {reached}");
    }
}

/// `cargo test --release -p nigh-gossip --lib roster -- --ignored --nocapture`
#[test]
#[ignore = "measures; run it in release on an idle machine"]
#[allow(clippy::disallowed_methods, clippy::print_stderr, reason = "a measurement")]
fn cost_of_ten_thousand() {
    let nodes = admitted(10_000, 3);
    let start = std::time::Instant::now();
    let roster = Roster::new(nodes);
    let built = start.elapsed();
    let start = std::time::Instant::now();
    let links: usize = roster.seats().map(|seat| roster.watchers(seat, |_| true).len()).sum();
    let bytes = size_of_val(&*roster.ids) + size_of_val(&*roster.rings) + size_of_val(&*roster.places);
    eprintln!("built in {built:?}; {bytes} bytes; {links} watchers of all in {:?}", start.elapsed());
}
