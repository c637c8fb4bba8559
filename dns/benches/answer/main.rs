//! What an answer costs without sockets: time, and instructions.
//!
//! ```text
//! cargo bench -p nigh-dns --bench answer                      # nanoseconds per packet, over a million claims
//! dns/benches/count-instructions                              # instructions per packet, and whether they are too many
//! ```
//!
//! Times are medians of many short batches, so that what else the machine does falls out. Instructions are counted by
//! valgrind (callgrind) within [`batch`] only, over 20,000 claims; they are the same on every machine and in every run, but
//! for a few in a hundred by compiler and libc. With `--count` each count is held to its bound, and the run fails above.
//! Where they are spent:
//!
//! ```text
//! valgrind --tool=callgrind --collect-atstart=no '--toggle-collect=*answer*batch*' \
//!     --callgrind-out-file=spent target/release/deps/answer-… --one referral
//! callgrind_annotate spent
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench: it measures time, prints, and stops when something is amiss"
)]

#[path = "../peers/questions.rs"]
#[allow(dead_code, reason = "of the questions of the other bench")]
mod questions;
#[path = "../peers/world.rs"]
mod world;

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use nigh_dns::{Arrival, Counters, Handler, LARGEST_UDP, Query, Snapshot};

use questions::{CLIENT_COOKIE, Form, cookie_in, question, questions};
use world::{Random, SERVICES, world};

/// Claims where time is measured, and where instructions are counted: valgrind is fifty times slower.
const CLAIMS: usize = 1_000_000;
const FEW_CLAIMS: usize = 20_000;

/// Batches of each kind, of one question for each service.
const BATCHES: usize = 300;
const COUNTED: usize = 3;

/// What is done to a packet. `usual` is about how many instructions it takes; more by [`MARGIN`] is an error. Who makes it
/// cheaper writes the new number down.
struct Kind {
    name: &'static str,
    questions: fn(&Handler) -> Vec<Vec<u8>>,
    parse_only: bool,
    usual: u64,
}

/// One fifth: compilers differ by a few in a hundred, and a change that costs less does not show in any server.
const MARGIN: f64 = 1.2;

const KINDS: [Kind; 7] = [
    Kind { name: "parse", questions: plain, parse_only: true, usual: 284 },
    Kind { name: "referral", questions: plain, parse_only: false, usual: 2_500 },
    Kind { name: "own-cut", questions: |_| questions(Form::Cut, &[]), parse_only: false, usual: 2_010 },
    Kind { name: "subnet", questions: |_| questions(Form::Subnet, &[]), parse_only: false, usual: 3_350 },
    Kind { name: "cookie", questions: with_cookie, parse_only: false, usual: 3_720 },
    Kind { name: "mixed-case", questions: |_| questions(Form::MixedCase, &[]), parse_only: false, usual: 2_500 },
    // A name that is not there goes the long way, through records and hickory's encoder.
    Kind { name: "nxdomain", questions: absent, parse_only: false, usual: 13_500 },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect::<Vec<_>>()[..] {
        ["--one", name] => run_one(name),
        ["--count"] => return count(),
        // `cargo test --all-targets` runs benches too, without this word: nothing to test here.
        [] if arguments.is_empty() => {}
        [] => time(),
        _ => panic!("there is --count, or nothing"),
    }
    ExitCode::SUCCESS
}

fn plain(_: &Handler) -> Vec<Vec<u8>> {
    questions(Form::Plain, &[])
}

fn with_cookie(handler: &Handler) -> Vec<Vec<u8>> {
    let asked = questions(Form::Cookie, &[1; CLIENT_COOKIE]).swap_remove(0);
    let reply = handler.respond(&asked, arrival()).unwrap();
    questions(Form::Cookie, cookie_in(&reply).unwrap())
}

fn absent(_: &Handler) -> Vec<Vec<u8>> {
    (0..SERVICES).map(|at| question(&format!("absent-{at}"), Form::Plain, &[], &mut Random::new(0))).collect()
}

fn arrival() -> Arrival {
    Arrival::udp(([127, 0, 1, 1], 4242).into(), Duration::from_secs(1_800_000_000))
}

fn handler(claims: usize) -> Handler {
    let snapshot = Snapshot::build(world(claims)).0;
    Handler::new(Arc::new(ArcSwap::from_pointee(snapshot)), Arc::new(Counters::new())).with_cookies([7; 16])
}

/// The only thing that is measured. Its name is known to callgrind: it must stay a function.
#[inline(never)]
fn batch(handler: &Handler, packets: &[Vec<u8>], parse_only: bool, reply: &mut Vec<u8>) {
    for packet in packets {
        if parse_only {
            black_box(Query::read(black_box(packet)).and_then(|query| query.question()));
        } else {
            black_box(handler.respond_into(black_box(packet), arrival(), reply));
        }
    }
}

fn time() {
    let handler = handler(CLAIMS);
    let mut reply = Vec::with_capacity(usize::from(LARGEST_UDP));
    let subjects = KINDS.map(|kind| ((kind.questions)(&handler), kind));
    let mut nanos: [Vec<f64>; KINDS.len()] = Default::default();
    // In turn, so that a slow moment of the machine meets all of them.
    for _ in 0..BATCHES {
        for ((packets, kind), nanos) in subjects.iter().zip(&mut nanos) {
            // What the kinds before have pushed out of the caches comes back first.
            batch(&handler, packets, kind.parse_only, &mut reply);
            let begin = Instant::now();
            batch(&handler, packets, kind.parse_only, &mut reply);
            nanos.push(begin.elapsed().as_nanos() as f64 / packets.len() as f64);
        }
    }
    println!("{:<12}{:>8}{:>8}   median and fastest of {BATCHES} batches; {CLAIMS} claims", "ns/packet", "", "");
    for ((_, kind), mut nanos) in subjects.into_iter().zip(nanos) {
        nanos.sort_by(f64::total_cmp);
        println!("{:<12}{:>8.0}{:>8.0}", kind.name, nanos[BATCHES / 2], nanos[0]);
    }
}

/// What runs under valgrind.
fn run_one(name: &str) {
    let kind = KINDS.into_iter().find(|kind| kind.name == name).unwrap();
    let handler = handler(FEW_CLAIMS);
    let packets = (kind.questions)(&handler);
    let mut reply = Vec::with_capacity(usize::from(LARGEST_UDP));
    // The order of a service's servers is found once for a snapshot, by the first who asks: no packet's usual cost.
    for packet in &packets {
        handler.respond_into(packet, arrival(), &mut reply);
    }
    for _ in 0..COUNTED {
        batch(&handler, &packets, kind.parse_only, &mut reply);
    }
}

fn count() -> ExitCode {
    let mut too_many = false;
    println!("{:<12}{:>12}{:>10}", "", "instructions", "at most");
    for kind in KINDS {
        let most = kind.usual as f64 * MARGIN;
        let Some(counted) = instructions(kind.name) else {
            println!("skipped: no valgrind here (package valgrind; dns/benches/install-peers)");
            return ExitCode::SUCCESS;
        };
        let verdict = if counted > most { "  too many" } else { "" };
        too_many |= counted > most;
        println!("{:<12}{counted:>12.0}{most:>10.0}{verdict}", kind.name);
    }
    if too_many {
        println!(
            "callgrind_annotate tells where they are (the command is in dns/benches/answer/main.rs). If they are worth \
             it, write the new number down there"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Instructions per packet, if there is valgrind.
fn instructions(name: &str) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*answer*batch*"])
        .arg("--callgrind-out-file=/dev/null")
        .arg(std::env::current_exe().unwrap())
        .args(["--one", name])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<f64>().ok());
    let collected = collected.unwrap_or_else(|| panic!("valgrind counted nothing: {said}"));
    Some(collected / (COUNTED * SERVICES) as f64)
}
