//! One round of one contender, in a process of its own: five phases, and what was measured in each.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use crate::{
    Contender, Fallible, Plan,
    fleet::{self, Fleet},
    node,
    words::{DIGITS, Order},
};

/// Until all know all; foca asks for members it has not heard of every 30 s only.
const JOIN: Duration = Duration::from_secs(60);
/// After the join: what is still on its way, and what a new mesh does once.
const SETTLE: Duration = Duration::from_secs(2);
/// Until the last change is seen at all: three times what the slowest take. Not longer, for foca repeats a broadcast a
/// few times only: what has missed a node by then never comes.
const SEEN: Duration = Duration::from_secs(6);
/// Between two changes.
const GAP: Duration = Duration::from_millis(150);
/// After the last change was seen: copies that are no news travel on, gossipsub's heartbeat tells of them.
const TAIL: Duration = Duration::from_secs(1);
/// What is counted over a time is counted over whole seconds: chitchat's nodes, started together, all send in the same
/// few milliseconds of each.
const BEAT: u64 = 1000;
/// A node is stopped once the killed one is known to be dead, or after this.
const APART: Duration = Duration::from_secs(2);
/// What is written: the size of a page of a few rows.
const CHANGE: usize = 200;

/// What one round measured. Times are in milliseconds, bytes and CPU per node.
#[derive(Serialize, Deserialize, Default)]
pub struct Round {
    /// Seconds that the round took.
    pub took: f64,
    /// Seconds until all knew all.
    pub joined: f64,
    /// Percent of a core that an idle node takes.
    pub idle_cpu: f64,
    /// Bytes a second that an idle node sends.
    pub idle_bytes: Option<f64>,
    /// Resident megabytes of an idle node.
    pub resident: f64,
    /// From the writing of a change to its being seen, for each (change, other node), sorted.
    pub seen: Vec<f64>,
    /// The same for the last node of each change, sorted.
    pub last: Vec<f64>,
    /// (change, node) pairs in which it was not seen in time.
    pub missed: usize,
    /// Copies received for each that was news.
    pub copies: Option<f64>,
    /// Bytes on the wire beyond the idle rate, for each change at each node.
    pub bytes: Option<f64>,
    /// All bytes on the wire in that time, for each change at each node.
    pub all_bytes: Option<f64>,
    /// From `kill -9` until each other node knew, sorted.
    pub killed: Vec<f64>,
    /// From SIGSTOP until each other node knew, sorted.
    pub stopped: Vec<f64>,
    /// Nodes that never learnt of a death.
    pub unaware: usize,
    /// Reports of a death of a node that was well.
    pub false_deaths: usize,
}

/// Runs the round and writes it to standard output as JSON; ends early when standard input does.
pub async fn main(plan: &Plan, contender: Contender, alone: bool) -> Fallible<()> {
    let gone = async {
        let mut parent = node::orders();
        while parent.recv().await.is_some() {}
    };
    let round = tokio::select! {
        round = run(plan, contender, alone) => round?,
        () = gone => return Err("the parent has gone".into()),
    };
    println!("{}", serde_json::to_string(&round)?);
    // The reader of standard input cannot be woken; nothing else is left to do.
    std::process::exit(0);
}

async fn run(plan: &Plan, contender: Contender, alone: bool) -> Fallible<Round> {
    let begin = Instant::now();
    let mut round = Round::default();
    let mut random = ChaCha12Rng::seed_from_u64(plan.seed);
    let mut fleet = Fleet::start(plan, contender)?;
    let nodes = usize::from(plan.nodes);
    if !fleet.until(JOIN, |fleet| fleet.ready == nodes).await {
        return Err(format!("only {} of {nodes} nodes knew all others after {JOIN:?}", fleet.ready).into());
    }
    round.joined = begin.elapsed().as_secs_f64();
    fleet.listen(SETTLE).await;
    let carried = || alone.then(fleet::carried).flatten().map(|bytes| bytes as f64);

    let (cpu, bytes, at) = (fleet.cpu(), carried(), Instant::now());
    fleet.listen(Duration::from_secs(plan.idle)).await;
    let idle = at.elapsed().as_secs_f64();
    round.idle_cpu = (fleet.cpu() - cpu) / idle / nodes as f64 * 100.0;
    let rate = carried().zip(bytes).map(|(after, before)| (after - before) / idle);
    round.idle_bytes = rate.map(|rate| rate / nodes as f64);
    round.resident = fleet.resident();

    let copies = fleet.copies().await?;
    let (bytes, at) = (carried(), Instant::now());
    changes(plan, &mut fleet, &mut random, &mut round).await?;
    let over = u64::try_from(at.elapsed().as_millis())? % BEAT;
    fleet.listen(Duration::from_millis(BEAT - over)).await;
    if let (Some((bytes, after)), Some(rate)) = (bytes.zip(carried()), rate) {
        let delivered = round.seen.len() as f64;
        round.bytes = Some((after - bytes - rate * at.elapsed().as_secs_f64()) / delivered);
        round.all_bytes = Some((after - bytes) / delivered);
    }
    if let Some(((new, again), (new_after, again_after))) = copies.zip(fleet.copies().await?) {
        let news = (new_after - new) as f64;
        round.copies = Some(1.0 + (again_after - again) as f64 / news);
    }

    if contender.notices_death() {
        deaths(plan, &mut fleet, &mut random, &mut round).await?;
    }
    round.false_deaths = fleet.false_deaths;
    round.took = begin.elapsed().as_secs_f64();
    Ok(round)
}

async fn changes(plan: &Plan, fleet: &mut Fleet, random: &mut ChaCha12Rng, round: &mut Round) -> Fallible<()> {
    let nodes = usize::from(plan.nodes);
    let mut writers: Vec<usize> = (0..nodes).collect();
    writers.shuffle(random);
    for (change, &writer) in (0..u32::from(plan.changes)).zip(writers.iter().cycle()) {
        // Printable, so that it can be a string where values are strings, and too random to be worth compressing.
        let rest: String = (DIGITS..CHANGE).map(|_| char::from(random.random_range(b'!'..=b'~'))).collect();
        fleet.order(writer, &Order::Write(format!("{change:0DIGITS$}{rest}"))).await?;
        fleet.listen(GAP).await;
    }
    let all = usize::from(plan.changes) * (nodes - 1);
    fleet.until(SEEN, |fleet| fleet.seen.len() >= all).await;
    fleet.listen(TAIL).await;
    for (change, wrote) in &fleet.wrote {
        let seen = fleet.seen.range((*change, 0)..=(*change, nodes)).map(|(_, seen)| millis(*wrote, *seen));
        let before = round.seen.len();
        round.seen.extend(seen);
        let last = round.seen[before..].iter().copied().max_by(f64::total_cmp);
        round.last.extend(last);
    }
    round.missed = all - round.seen.len().min(all);
    round.seen.sort_by(f64::total_cmp);
    round.last.sort_by(f64::total_cmp);
    Ok(())
}

async fn deaths(plan: &Plan, fleet: &mut Fleet, random: &mut ChaCha12Rng, round: &mut Round) -> Fallible<()> {
    let nodes = usize::from(plan.nodes);
    // Not node 0: it is the others' first contact, which some ask again and again.
    let mut victims: Vec<usize> = (1..nodes).collect();
    victims.shuffle(random);
    let (killed, stopped) = (victims[0], victims[1]);
    let others = nodes - 2;
    let know = |fleet: &Fleet, victim: usize| {
        fleet.dead.keys().filter(|(dead, by)| *dead == victim && *by != killed && *by != stopped).count()
    };
    let killed_at = fleet.signal(killed, Signal::SIGKILL)?;
    fleet.until(APART, |fleet| know(fleet, killed) == others).await;
    let stopped_at = fleet.signal(stopped, Signal::SIGSTOP)?;
    let patience = Duration::from_secs(plan.patience);
    fleet.until(patience, |fleet| know(fleet, killed) == others && know(fleet, stopped) == others).await;
    for (victim, at, times) in [(killed, killed_at, &mut round.killed), (stopped, stopped_at, &mut round.stopped)] {
        let known = fleet.dead.range((victim, 0)..=(victim, nodes));
        times.extend(known.filter(|((_, by), _)| *by != killed && *by != stopped).map(|(_, seen)| millis(at, *seen)));
        times.sort_by(f64::total_cmp);
        round.unaware += others - times.len();
    }
    Ok(())
}

fn millis(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}
