//! What an answer costs: CPU time of the server per UDP answer over 1,000 services, on loopback.
//!
//! ```text
//! cargo bench -p nigh-dns --bench hickory_path
//! ```
//!
//! The server is a process of its own on CPU 0, the client this one on CPU 1 (by `taskset`, where there is one), with 64
//! questions outstanding. Two servers are compared over the same handler, in alternating rounds: our front, and
//! hickory's `Server`. CPU time is what the kernel accounts to the server's threads, so a client that is too slow makes
//! rounds longer but hardly changes the result; wake-ups cost, so an idle server does look dearer.
//!
//! No bound is asserted: the figures of two machines are not comparable, those of one run are.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench: it measures time, prints, and stops when something is amiss"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use nigh_dns::{
    Claim, Counters, Handler, Label, Mode, Node, Row, RowState, Server, Service, Snapshot, Standing, World, Zone, serve,
};

const SERVICES: usize = 1000;
const OUTSTANDING: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

/// The server waits on its standard input: when the client is gone, it ends.
const SERVE: &str = "--serve";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == SERVE) {
        Some(at) => run_server(&arguments[at + 1]),
        // `cargo test --all-targets` runs benches too, without this word: nothing to test here.
        None if arguments.iter().any(|argument| argument == "--bench") => compare(),
        None => {}
    }
}

fn compare() {
    pin(std::process::id(), 1);
    let questions: Vec<Vec<u8>> = (0..SERVICES).map(question).collect();
    let mut servers: Vec<(&str, Running, Vec<f64>)> =
        ["our front", "hickory's Server"].map(|kind| (kind, Running::start(kind), Vec::new())).into();
    for (_, server, _) in &servers {
        server.round(&questions, ROUND / 4);
    }
    for _ in 0..ROUNDS {
        for (_, server, rounds) in &mut servers {
            rounds.push(server.round(&questions, ROUND));
        }
    }
    println!("answers per CPU second of the server, median of {ROUNDS} rounds (least to most), {SERVICES} services:");
    for (kind, _, mut rounds) in servers {
        rounds.sort_by(f64::total_cmp);
        let median = rounds[ROUNDS / 2];
        println!(
            "{kind:<18} {median:>9.0}   {:.2} µs each   ({:.0} to {:.0})",
            1e6 / median,
            rounds[0],
            rounds[ROUNDS - 1]
        );
    }
}

/// A server process.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(kind: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([SERVE, kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().unwrap(), child }
    }

    /// Asks for a while. Answers per second of the server's CPU time.
    fn round(&self, questions: &[Vec<u8>], length: Duration) -> f64 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut buffer = [0; 4096];
        let mut next = questions.iter().cycle();
        let mut ask = || {
            socket.send(next.next().unwrap()).unwrap();
        };
        let cpu = self.cpu();
        let start = Instant::now();
        (0..OUTSTANDING).for_each(|_| ask());
        let mut answers = 0_u64;
        while start.elapsed() < length {
            match socket.recv(&mut buffer) {
                // NOERROR with a CNAME and an address: what is counted is answers, not refusals.
                Ok(length) => {
                    assert!(length > 12 && buffer[3] & 0x0f == 0 && buffer[7] == 2, "not an answer");
                    answers += 1;
                    ask();
                }
                // All that was outstanding is lost: start anew.
                Err(_) => (0..OUTSTANDING).for_each(|_| ask()),
            }
        }
        answers as f64 / (self.cpu() - cpu).as_secs_f64()
    }

    /// CPU time of all threads: the first field of schedstat, in nanoseconds.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn run_server(kind: &str) {
    pin(std::process::id(), 0);
    // As in a node, with a limit that is counted and not reached.
    let limit = NonZeroU32::new(1_000_000).unwrap();
    let handler = Handler::new(Arc::new(ArcSwap::from_pointee(snapshot())), Arc::new(Counters::new()))
        .with_cookies([1; 16])
        .with_rate_limit(limit, [2; 16]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        println!("{}", socket.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        let gone = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        if kind == "our front" {
            let front = serve(handler, vec![socket], Vec::new()).unwrap();
            let _ = gone.await;
            front.stop().await;
        } else {
            let mut server = hickory_server::Server::new(handler);
            socket.set_nonblocking(true).unwrap();
            server.register_socket(tokio::net::UdpSocket::from_std(socket).unwrap());
            let _ = gone.await;
            server.shutdown_gracefully().await.unwrap();
        }
    });
}

/// Without `taskset` the processes run where they like, and the spread of the rounds shows it.
fn pin(process: u32, cpu: u32) {
    let _ =
        Command::new("taskset").args(["-pc", &cpu.to_string(), &process.to_string()]).stdout(Stdio::null()).status();
}

fn service_name(at: usize) -> Name {
    Name::from_ascii(format!("service-{at}.lb.example.com.")).unwrap()
}

fn question(at: usize) -> Vec<u8> {
    let mut message = Message::new(at as u16, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(service_name(at), RecordType::A));
    message.to_vec().unwrap()
}

/// A node that claims everybody and serves its own cut: each answer is a CNAME, an address, NS and glue.
fn snapshot() -> Snapshot {
    let me: Label = "fra".parse().unwrap();
    let mut world = World::new(me.clone());
    world.zones.push(Zone { apex: Name::from_ascii("lb.example.com.").unwrap(), nameservers: Vec::new() });
    world.claims.push(Claim { node: me.clone(), prefix: "0.0.0.0/0".parse().unwrap(), preference: 10 });
    world.nodes.push(Node {
        label: me.clone(),
        pop: String::new(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        serves: vec![me.clone()],
        standing: Standing::Alive,
    });
    for at in 0..SERVICES {
        let servers = (0..4_u8).map(|server| Server {
            id: format!("s{server}"),
            address: std::net::Ipv4Addr::new(192, 0, 2, server).into(),
            weight: 1,
        });
        world.rows.extend((0..4_u8).map(|server| Row {
            node: me.clone(),
            service: service_name(at),
            server: format!("s{server}"),
            state: RowState::Up,
            rtt: Some(Duration::from_millis(10 + u64::from(server))),
            loss: 0.0,
            as_of: Duration::ZERO,
            why: String::new(),
        }));
        world.services.push(Service {
            name: service_name(at),
            mode: Mode::Refer,
            ttl: 20,
            answers: 1,
            spread: Duration::ZERO,
            https: None,
            svcb: None,
            servers: servers.collect(),
        });
    }
    Snapshot::build(world).0
}
