//! What a million claims cost: to lay out, to hold, to ask, and to change.
//!
//! ```text
//! cargo bench -p nigh-dns --bench claims                                                   # generated prefixes
//! cargo bench -p nigh-dns --bench claims -- ../shared/data/asn_country_v4_2026-06.csv.gz   # and real ones
//! ```
//!
//! Each set of prefixes is claimed by 1,000 nodes, whose standings are looked up as a snapshot does it. Questions come from
//! random addresses within random prefixes, in an order that no cache foresees. A change takes 64 claims out and puts 64
//! others in, which is a page; the table before it is still answered from, so whatever changes is copied.
//!
//! A file has lines of FIRST,LAST,…; where it is, is told from the checkout.
//!
//! "best" is a question after the other, where the processor waits for the memory of several at once; "alone" is one that
//! has to wait for the answer before it, which is nearer to a packet's lot. What a read of memory takes stands above them,
//! because a look-up is little else: alone it takes as long as two.
//!
//! Medians of short batches, so that what else the machine does falls out; the slowest of a hundred changes stands beside.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench: it measures time, prints, and stops when something is amiss"
)]

#[path = "../prefixes/mod.rs"]
mod prefixes;

use std::hint::black_box;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nigh_dns::{Best, Claim, ClaimChange, ClaimTable, Label, Rank};

use prefixes::{Draws, generated_hosts, generated_v4, generated_v6, labels, read, within};

const CLAIMS: usize = 1_000_000;
const NODES: usize = 1000;

/// Questions of one batch, and batches.
const BATCH: usize = 500;
const BATCHES: usize = 2000;

/// Claims on a page, and pages that change.
const PAGE: usize = 64;
const CHANGES: usize = 400;

/// With how many bits of the client's address a question comes that has a client subnet.
const SUBNET: u8 = 24;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benches too, without this word: nothing to test here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    println!("a read of 32 MB at random, each after the one before: {:.0} ns", chase());
    println!("{CLAIMS} claims of {NODES} nodes    build   memory     best    alone     away    scope   change slowest");
    for path in arguments.iter().filter(|word| *word != "--bench") {
        let name = std::path::Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or("real");
        measure(name.split('.').next().unwrap_or(name), read(path, CLAIMS));
    }
    measure("as routed", generated_v4(CLAIMS));
    measure("addresses", generated_hosts(CLAIMS));
    measure("IPv6", generated_v6(CLAIMS));
    measure("all nodes, /8 to /12", crowd());
    measure("nested, /8 to /32", nested());
}

fn measure(name: &str, prefixes: Vec<IpNet>) {
    let labels = labels(NODES);
    let claims = prefixes.iter().enumerate().map(|(at, prefix)| claim(&labels[at % NODES], *prefix));
    let claims: Vec<Claim> = claims.collect();
    let begin = Instant::now();
    let table: ClaimTable = claims.iter().cloned().collect();
    let build = begin.elapsed();
    assert_eq!(table.len(), prefixes.len());

    let mut draws = Draws::new(1);
    let clients: Vec<IpNet> =
        (0..BATCH * 1000).map(|_| within(&prefixes[draws.below(prefixes.len())], &mut draws)).collect();
    let standings = vec![true; table.numbers()];
    let best = per_question(&clients, |client| table.best(client, |node| standings[usize::from(node)]));
    assert!(clients.iter().all(|client| table.best(*client, |_| true).is_some()));
    let alone = per_question_in_turn(&clients, |client| table.best(client, |node| standings[usize::from(node)]));
    // Every other node is away.
    let away: Vec<bool> = (0..table.numbers()).map(|node| node % 2 == 0).collect();
    let passed_by = per_question(&clients, |client| table.best(client, |node| away[usize::from(node)]));
    let scope = per_question(&clients, |client| {
        let subnet = IpNet::new(client.addr(), SUBNET.max(client.prefix_len() / 2)).unwrap();
        table.scope(subnet, table.best(subnet, |_| true).map(|best| best.length))
    });

    let mut changes = change(table.clone(), &prefixes, &labels);
    changes.sort_unstable();
    println!(
        "{name:<28}{:>5} ms {:>5.1} MB {:>5.0} ns {:>5.0} ns {:>5.0} ns {:>5.0} ns {:>5} µs {:>5} µs",
        build.as_millis(),
        table.bytes() as f64 / 1e6,
        best,
        alone,
        passed_by,
        scope,
        changes[CHANGES / 2].as_micros(),
        changes[CHANGES * 99 / 100].as_micros(),
    );
}

/// What the machine's memory costs while others use it too, to read the figures by.
fn chase() -> f64 {
    const WORDS: usize = 8 << 20;
    let mut draws = Draws::new(5);
    let memory: Vec<u32> = (0..WORDS).map(|_| draws.below(WORDS) as u32).collect();
    let mut at = 0;
    let mut nanos: Vec<f64> = (0..BATCHES)
        .map(|batch| {
            let begin = Instant::now();
            for step in 0..BATCH {
                at = (memory[at] as usize + batch + step) % WORDS;
            }
            begin.elapsed().as_nanos() as f64 / BATCH as f64
        })
        .collect();
    black_box(at);
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

fn claim(node: &Label, prefix: IpNet) -> Claim {
    Claim { node: node.clone(), prefix, preference: 10, proven: false, rtt: None }
}

/// Nanoseconds per question: the median of the batches.
fn per_question<T>(clients: &[IpNet], ask: impl Fn(IpNet) -> T) -> f64 {
    let mut nanos: Vec<f64> = Vec::new();
    for batch in clients.chunks_exact(BATCH).cycle().take(BATCHES) {
        let begin = Instant::now();
        for client in batch {
            black_box(ask(black_box(*client)));
        }
        nanos.push(begin.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

/// The same where each question waits for the answer before it, so that no two of them wait for memory together.
fn per_question_in_turn(clients: &[IpNet], ask: impl Fn(IpNet) -> Option<Best>) -> f64 {
    let nothing = black_box(0);
    let mut answer = 0;
    let mut nanos: Vec<f64> = Vec::new();
    for batch in clients.chunks_exact(BATCH).cycle().take(BATCHES) {
        let begin = Instant::now();
        for at in 0..BATCH {
            answer = ask(batch[at + answer * nothing]).map_or(0, |best| usize::from(best.length));
        }
        nanos.push(begin.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    black_box(answer);
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

/// Page after page of random claims goes to other nodes' hands.
fn change(mut table: ClaimTable, prefixes: &[IpNet], labels: &[Label]) -> Vec<Duration> {
    let rank = Rank::new(10, false, None);
    let mut draws = Draws::new(2);
    let mut took = Vec::new();
    for _ in 0..CHANGES {
        let at = draws.below(prefixes.len() / NODES - PAGE) * NODES + draws.below(NODES);
        let page: Vec<(IpNet, Rank)> = (0..PAGE).map(|row| (prefixes[at + row * NODES], rank)).collect();
        let answered_from = table.clone();
        let begin = Instant::now();
        let proven: Vec<(IpNet, Rank)> = page.iter().map(|(prefix, _)| (*prefix, Rank::new(9, true, None))).collect();
        table.apply([(labels[at % NODES].clone(), ClaimChange { gone: page.clone(), come: proven.clone() })]);
        took.push(begin.elapsed());
        drop(answered_from);
        table.apply([(labels[at % NODES].clone(), ClaimChange { gone: proven, come: page })]);
    }
    took
}

/// A thousand nodes that all claim the same thousand large blocks.
fn crowd() -> Vec<IpNet> {
    let blocks = generated_v4(1).into_iter().chain((0..CLAIMS / NODES).map(|at| {
        let length = 8 + (at % 5) as u8;
        let address = std::net::Ipv4Addr::from((at as u32) << 22);
        IpNet::new(address.into(), length).unwrap().trunc()
    }));
    blocks.skip(1).flat_map(|block| std::iter::repeat_n(block, NODES)).collect()
}

/// Prefixes as deep within each other as they can be: each address with all that it lies in.
fn nested() -> Vec<IpNet> {
    let mut draws = Draws::new(3);
    let addresses = (0..CLAIMS / 25).map(|_| std::net::Ipv4Addr::from((1 << 24) + (draws.next() as u32) % (223 << 24)));
    let all: Vec<std::net::Ipv4Addr> = addresses.collect();
    let around =
        |address: std::net::Ipv4Addr| (8..=32).map(move |length| IpNet::new(address.into(), length).unwrap().trunc());
    all.into_iter().flat_map(around).collect()
}
