//! What an answer costs, beside other authoritative servers and beside what the kernel's sockets allow.
//!
//! ```text
//! dns/benches/install-peers                                  # once, as root: Debian's packages, nothing is started
//! cargo bench -p nigh-dns --bench peers                      # all that is installed, 5 rounds: five minutes
//! cargo bench -p nigh-dns --bench peers -- --rounds 3 --seconds 1 --only echo,nigh,gdnsd --json
//! ```
//!
//! Each server runs on core 0, the load on core 1 (`--cores SERVER,LOAD`), all on loopback, with the same 1,000 names. A
//! round asks each server in turn, first with 128 questions outstanding, then at random moments at half the rate that it
//! just reached. CPU time is what the kernel accounts to the server's threads, so a load that is held up makes a round
//! longer but hardly changes it. What else the machine does changes the figures from round to round: the ratios are
//! medians of the ratios within each round.
//!
//! nigh refers: it decides over a million claims (`--claims N`) and 120,000 rows, and says a CNAME, an address, NS and
//! glue. "own cut" asks for what the others say, an address. The echo sends questions back as they are.
//!
//! Latencies hold the load's own pauses, so on a busy machine they say little. To see where the time goes, run
//! `--only nigh --rounds 1 --seconds 20`, and meanwhile `perf record` on the process whose command line has `--serve 1000000`.
//!
//! No bound is asserted: the figures of two machines are not comparable, those of one run are.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench: it measures time, prints, and stops when something is amiss"
)]

mod load;
mod ours;
mod process;
mod questions;
mod report;
mod rivals;
mod world;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use load::{Outcome, Pace, SOCKETS, run, source};
use process::{Bed, Cpu, pin};
use questions::{CLIENT_COOKIE, Form, cookie_in, is_answer, questions};
use report::{Round, Row, print_json, print_table};

/// Enough that the server never waits, few enough that no buffer overflows.
const OUTSTANDING: usize = 128;

/// A server that says nothing by then has not started.
const START: Duration = Duration::from_secs(60);

/// What our own processes are called by.
const SERVE: &str = "--serve";

/// nigh as it is asked, in the order of the table: name, socket, form, and how often the snapshot changes (ms).
const WAYS: [(&str, &str, Form, u64); 9] = [
    ("nigh", "front", Form::Plain, 0),
    ("nigh, own cut", "front", Form::Cut, 0),
    ("nigh, mixed case", "front", Form::MixedCase, 0),
    ("nigh, cookies", "front", Form::Cookie, 0),
    ("nigh, client subnets", "front", Form::Subnet, 0),
    ("nigh, rate limit", "limited", Form::Plain, 0),
    ("nigh, 20 pages/s, snapshot each 1 s", "front", Form::Plain, 1000),
    ("nigh, 20 pages/s, each 100 ms", "front", Form::Plain, 100),
    ("nigh by hickory's Server", "hickory", Form::Plain, 0),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [first, kind, ..] if first == SERVE && kind == "echo" => ours::echo(),
        [first, claims, ..] if first == SERVE => ours::run(claims.parse().unwrap()),
        // `cargo test --all-targets` runs benches too, without this word: nothing to test here.
        _ if arguments.iter().any(|argument| argument == "--bench") => compare(&Options::new(&arguments)),
        _ => {}
    }
}

struct Options {
    rounds: usize,
    length: Duration,
    claims: usize,
    cores: [usize; 2],
    /// Words, one of which a server's name must be or begin with.
    only: Vec<String>,
    json: bool,
}

impl Options {
    fn new(arguments: &[String]) -> Self {
        let mut this = Self {
            rounds: 5,
            length: Duration::from_millis(1500),
            claims: 1_000_000,
            cores: [0, 1],
            only: Vec::new(),
            json: false,
        };
        let mut words = arguments.iter().filter(|word| *word != "--bench");
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
            match word.as_str() {
                "--rounds" => this.rounds = value().parse().unwrap(),
                "--seconds" => this.length = Duration::from_secs_f64(value().parse().unwrap()),
                "--claims" => this.claims = value().parse().unwrap(),
                "--only" => this.only = value().split(',').map(str::to_owned).collect(),
                "--json" => this.json = true,
                "--cores" => {
                    let cores: Vec<usize> = value().split(',').map(|core| core.parse().unwrap()).collect();
                    this.cores = cores.try_into().expect("--cores wants two numbers: SERVER,LOAD");
                }
                other => panic!("{other} is none of --rounds, --seconds, --claims, --cores, --only and --json"),
            }
        }
        this
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name == only || name.starts_with(&format!("{only},")))
    }
}

/// A server, and how it is asked.
struct Subject {
    row: Row,
    address: SocketAddr,
    process: u32,
    /// For each of the load's sockets.
    questions: Vec<Vec<Vec<u8>>>,
    /// How often its snapshot changes, in milliseconds.
    swap: u64,
}

fn compare(options: &Options) {
    pin(options.cores[1]);
    let mut bed = Bed::new();
    let (mut subjects, mut swaps) = ours(&mut bed, options);
    subjects.extend(rivals(&mut bed, options));
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for subject in &mut subjects {
            let cpu = || Cpu::of(subject.process);
            let load = |pace| -> Outcome { run(subject.address, &subject.questions, pace, options.length, cpu) };
            tell(&mut swaps, subject.swap);
            let saturated = load(Pace::Outstanding(OUTSTANDING));
            let rate = saturated.answers as f64 / saturated.length.as_secs_f64() / 2.0;
            let paced = load(Pace::Rate(rate));
            tell(&mut swaps, 0);
            subject.row.rounds.push(Round::new(&saturated, &paced));
        }
    }
    let rows: Vec<Row> = subjects.into_iter().map(|subject| subject.row).collect();
    if options.json {
        print_json(&rows, options.claims);
    } else {
        println!(
            "{} rounds of {:?} at saturation, and at half load; 1,000 names, {} claims at nigh",
            options.rounds, options.length, options.claims
        );
        print_table(&rows);
    }
}

fn tell(swaps: &mut Option<ChildStdin>, interval: u64) {
    if let Some(swaps) = swaps {
        writeln!(swaps, "{interval}").unwrap();
    }
}

/// The echo and nigh, and where to say how often its snapshot changes.
fn ours(bed: &mut Bed, options: &Options) -> (Vec<Subject>, Option<ChildStdin>) {
    let this = std::env::current_exe().unwrap();
    let mut subjects = Vec::new();
    if options.wants("echo") {
        let child = bed.start("echo", options.cores[0], &this, &[SERVE.to_owned(), "echo".to_owned()], true);
        let [(_, address)] = addresses(child);
        subjects.push(subject("echo", Form::Plain, address, child.id()));
    }
    if !WAYS.iter().any(|(name, ..)| options.wants(name)) {
        return (subjects, None);
    }
    let child = bed.start("nigh", options.cores[0], &this, &[SERVE.to_owned(), options.claims.to_string()], true);
    let addresses: [(String, SocketAddr); ours::KINDS.len()] = addresses(child);
    let (process, swaps) = (child.id(), child.stdin.take());
    for (name, socket, form, swap) in WAYS {
        let address = addresses.iter().find(|(kind, _)| kind == socket).unwrap().1;
        if options.wants(name) {
            prove(name, address, form);
            subjects.push(Subject { swap, ..subject(name, form, address, process) });
        }
    }
    (subjects, swaps)
}

/// What the process says on its first lines.
fn addresses<const N: usize>(child: &mut Child) -> [(String, SocketAddr); N] {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::array::from_fn(|_| {
        let line = lines.next().expect("our own server has not started").unwrap();
        let (kind, address) = line.split_once(' ').unwrap();
        (kind.to_owned(), address.parse().unwrap())
    })
}

fn rivals(bed: &mut Bed, options: &Options) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for rival in rivals::RIVALS.iter().filter(|rival| options.wants(rival.name)) {
        let Some(program) = rival.program() else {
            eprintln!(
                "skipped: {} is not installed (package {}; dns/benches/install-peers)",
                rival.name, rival.package
            );
            continue;
        };
        let name = format!("{} {}", rival.name, rival.version(&program));
        match start(bed, rival, &program, options.cores[0]) {
            Some((address, process)) => subjects.push(subject(&name, Form::Plain, address, process)),
            None => eprintln!("skipped: {name} does not answer. It said:\n{}", bed.log(rival.program)),
        }
    }
    subjects
}

fn start(bed: &mut Bed, rival: &rivals::Rival, program: &Path, core: usize) -> Option<(SocketAddr, u32)> {
    // Free now. Should somebody else take it, the server says so and is skipped.
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let arguments = rival.configure(&bed.folder(rival.program), address.port());
    let child = bed.start(rival.program, core, program, &arguments, false);
    let until = Instant::now() + START;
    while Instant::now() < until && child.try_wait().unwrap().is_none() {
        if ask(address, Form::Plain).is_some() {
            prove(rival.name, address, Form::Plain);
            return Some((address, child.id()));
        }
    }
    None
}

fn subject(name: &str, form: Form, address: SocketAddr, process: u32) -> Subject {
    let questions = (0..SOCKETS).map(|at| match form {
        Form::Cookie => questions(form, &cookie(address, at)),
        _ => questions(form, &[]),
    });
    let row = Row { name: name.to_owned(), rounds: Vec::new() };
    Subject { row, address, process, questions: questions.collect(), swap: 0 }
}

/// One question, from a socket of the load.
fn exchange(address: SocketAddr, from: usize, question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((source(from), 0)).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.send(question).ok()?;
    let mut reply = vec![0; 4096];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

fn ask(address: SocketAddr, form: Form) -> Option<Vec<u8>> {
    let cookie = [1; CLIENT_COOKIE];
    let question = questions(form, &cookie).swap_remove(0);
    exchange(address, 0, &question).filter(|reply| is_answer(reply))
}

/// It really says an address, with NOERROR.
fn prove(name: &str, address: SocketAddr, form: Form) {
    let reply = ask(address, form).unwrap_or_else(|| panic!("{name} does not answer"));
    let message = Message::from_vec(&reply).unwrap();
    // Subnets are claimed by others, too: to them nigh refers with a CNAME alone.
    let enough = message.answers.iter().any(|record| {
        record.record_type() == RecordType::A || form == Form::Subnet && record.record_type() == RecordType::CNAME
    });
    assert!(enough, "{name} says no address: {message:?}");
}

/// The cookie that the server gives to a socket's address.
fn cookie(address: SocketAddr, from: usize) -> Vec<u8> {
    let question = questions(Form::Cookie, &[1; CLIENT_COOKIE]).swap_remove(0);
    let reply = exchange(address, from, &question).expect("no reply to a client cookie");
    cookie_in(&reply).expect("no cookie in the reply").to_vec()
}
