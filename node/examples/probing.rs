//! What probing thousands of servers costs, and whether it ever storms.
//!
//! `cargo run --release -p nigh --example probing -- [targets] [seconds] [tcp|http|reuse]`
//!
//! A second process answers on one port of all of 127.0.0.0/8; the prober measures that many addresses of it every 2 s, one
//! service each, with the node's own code. Printed at the end: the processor time of the prober's process as a share of one
//! core, in all and for each probe, and the most probes begun within 10 ms, as the server saw them come.

#![allow(clippy::print_stdout)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use nigh::measure::target::{HttpSpec, ProbeKind, ProbeSpec, Target, WebSpec};
use nigh::measure::{self, Means, Settings, State, Wanted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

/// What bursts are counted over.
const SLICE: Duration = Duration::from_millis(10);
const INTERVAL: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    // As much as the unit gives a node; both processes hold thousands of sockets.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum.or(Some(65_536)), ..limit },
    )?;
    let mut arguments = std::env::args().skip(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        return runtime.block_on(serve());
    }
    let targets = first.map_or(Ok(5_000), |text| text.parse()).context("how many targets?")?;
    let seconds = arguments.next().map_or(Ok(20), |text| text.parse()).context("how many seconds?")?;
    runtime.block_on(probe(targets, seconds, &arguments.next().unwrap_or_else(|| "tcp".into())))
}

/// Answers everybody; says on standard output where, and at the end how many came at most within a slice.
async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:0").await?;
    println!("{}", listener.local_addr()?.port());
    let (asked, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let recent = Arc::new(std::sync::Mutex::new(VecDeque::<Instant>::new()));
    let begun = {
        let (asked, most) = (asked.clone(), most.clone());
        move || {
            let now = Instant::now();
            let mut recent = recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            recent.push_back(now);
            while recent.front().is_some_and(|first| *first + SLICE < now) {
                recent.pop_front();
            }
            most.fetch_max(recent.len(), Ordering::Relaxed);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    let accept = async {
        while let Ok((mut stream, _)) = listener.accept().await {
            let begun = begun.clone();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let mut first = true;
                begun();
                while let Ok(1..) = stream.read(&mut request).await {
                    if !std::mem::take(&mut first) {
                        begun();
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    };
    // The other process closes our standard input when it is done.
    let done = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    tokio::select! {
        () = accept => {}
        _ = done => {}
    }
    println!("{} {}", asked.load(Ordering::Relaxed), most.load(Ordering::Relaxed));
    std::process::exit(0)
}

async fn probe(count: u32, seconds: u64, kind: &str) -> anyhow::Result<()> {
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the server")?;
    let mut lines = BufReader::new(server.stdout.take().context("no output of the server")?).lines();
    let port: u16 = lines.next().context("the server ended")??.parse()?;

    let kind = match kind {
        "tcp" => ProbeKind::Tcp,
        "http" | "reuse" => {
            let web = WebSpec { host: "example.com".into(), tls: None, http2: false, reuse: kind == "reuse" };
            ProbeKind::Http(HttpSpec { web, path: "/".into(), expect: (200, 299), body: None })
        }
        other => anyhow::bail!("{other} is none of tcp, http and reuse"),
    };
    let timeout = Duration::from_secs(1);
    let spec = ProbeSpec { kind, port, interval: INTERVAL, timeout, retries: 0, rise: 2, fall: 3 };
    let targets = (0..count).map(|n| Target {
        service: format!("s{n}.lb.example.com"),
        server: "a".into(),
        // 127.1.0.1 and up.
        address: IpAddr::V4(Ipv4Addr::from_bits(0x7f01_0001 + n)),
        probe: spec.clone().into(),
    });
    let wanted = Wanted { targets: Arc::new(targets.collect()), ..Wanted::default() };
    let (_sender, receiver) = watch::channel(wanted);
    let settings = Settings { seed: [7; 32], means: Means::default(), epoch: Instant::now() };
    let prober = measure::spawn(settings, receiver);
    // The first interval begins everything; what is measured is the steady state.
    tokio::time::sleep(INTERVAL * 2).await;
    let (before, start) = (processor()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let took = start.elapsed().as_secs_f64();
    let (user, kernel) = processor()?;
    let (user, kernel) = (user - before.0, kernel - before.1);

    let measured = prober.measurements().borrow().clone();
    let up = measured.rows.iter().filter(|row| row.reading.state == State::Up).count();
    let mut rtts: Vec<f64> =
        measured.rows.iter().filter_map(|row| Some(row.reading.rtt?.as_secs_f64() * 1e3)).collect();
    rtts.sort_by(f64::total_cmp);
    server.stdin.take().context("no input of the server")?.write_all(b"\n")?;
    let last = lines.next().context("the server ended")??;
    server.wait()?;
    let (asked, most) = last.split_once(' ').context("what did the server say?")?;
    let probes = f64::from(count) / INTERVAL.as_secs_f64();
    println!(
        "targets {count}, up {up}, {asked} probes seen, median RTT {:.2} ms",
        rtts.get(rtts.len() / 2).unwrap_or(&0.0)
    );
    let each = |used: f64| used / took / probes * 1e6;
    println!(
        "processor {:.1} % of a core: {:.1} µs a probe and {:.1} µs of the kernel, which on loopback answers too",
        (user + kernel) / took * 100.0,
        each(user),
        each(kernel)
    );
    println!("most begun within {SLICE:?}: {most}, on average {:.1}", probes * SLICE.as_secs_f64());
    Ok(())
}

/// Seconds of processor time of this process: its own, and the kernel's for it.
fn processor() -> anyhow::Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no /proc/self/stat");
    // Linux has counted in hundredths since 2.4.
    Ok((ticks(11)? / 100.0, ticks(12)? / 100.0))
}
