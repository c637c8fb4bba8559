//! What is proven, in the order in which it is.

use super::judge::{self, CPU_MORE, FACTOR, KEPT, Share};
use super::world::{World, name};
use crate::bed::asker;
use crate::bed::knock::Knock;
use crate::bed::spray::{Load, Spray, initials, noise, questions};
use crate::report::Report;
use crate::scenario::Step;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// The steps.
pub const STEPS: [Step<World>; 5] = [
    Step { key: "capacity", claim: CAPACITY, prove: capacity, essential: true },
    Step { key: "quiet", claim: QUIET, prove: quiet, essential: true },
    Step { key: "flood", claim: FLOOD, prove: flood, essential: false },
    Step { key: "member", claim: MEMBER, prove: member, essential: false },
    Step { key: "mesh-port", claim: MESH_PORT, prove: mesh_port, essential: false },
];

const CAPACITY: &str = "a resolver that the node claims finds out how many answers a second it is good for";
const QUIET: &str = "without a flood, unbound and a steady resolver get their answers";
const FLOOD: &str = "with five times the capacity from outside, both keep 95 % of them";
const MEMBER: &str = "the mesh holds the flooded node for alive after it";
const MESH_PORT: &str = "noise at the mesh port costs 5 % of a core at most, and no answers";

/// How long the capacity is looked for, and how often; the best counts.
const LOAD_FOR: Duration = Duration::from_secs(3);
const LOADS: usize = 3;
/// Questions a second of the steady resolver: a quarter of what the rate limit gives those who are claimed.
const STEADY: u32 = 500;
/// How long each phase is looked at.
const WHILE: Duration = Duration::from_secs(12);
/// Between the beginning of a phase and that of its figures: queues fill, resolvers notice.
const WARM: Duration = Duration::from_secs(3);
/// Noise at the mesh port, a second: datagrams of 100 octets, what looks like the beginning of a QUIC connection, and TCP
/// connections, of which a third each stays half open, says nothing, and says noise.
const NOISE: f64 = 5_000.0;
const INITIALS: f64 = 1_000.0;
const KNOCKS: u32 = 150;
const NOISE_LENGTH: usize = 100;
const INITIAL_LENGTH: usize = 1200;

/// What was seen in a while.
struct Seen {
    steady: Share,
    unbound: Share,
    /// Parts of a core that the node took.
    cpu: f64,
    /// Questions that found no room in its sockets, a second.
    overflowed: f64,
}

impl Seen {
    fn text(&self) -> String {
        format!(
            "steady {}; unbound's clients {}; the node takes {:.0} % of a core, {:.0} a second found no room",
            self.steady.text(),
            self.unbound.text(),
            self.cpu * 100.0,
            self.overflowed
        )
    }
}

/// Has the claimed clients ask for a while, and looks at what they get and what the node takes.
fn look(world: &mut World) -> Result<Seen> {
    world.start_clients(STEADY)?;
    world.pass(WARM)?;
    let cpu = |world: &World| world.node()?.cpu().context("the node has no process");
    let (from, cpu_before, overflowed) = (Instant::now(), cpu(world)?, world.overflowed()?);
    world.pass(WHILE)?;
    let until = Instant::now();
    let length = (until - from).as_secs_f64();
    let cpu = cpu(world)?.saturating_sub(cpu_before).as_secs_f64() / length;
    let overflowed = world.overflowed()?.saturating_sub(overflowed) as f64 / length;
    let (steady, unbound) = world.stop_clients();
    Ok(Seen { steady: Share::of(&steady, from, until), unbound: Share::of(&unbound, from, until), cpu, overflowed })
}

fn capacity(world: &mut World, report: &Report) -> Result<String> {
    let cpu = |world: &World| world.node()?.cpu().context("the node has no process");
    let mut busy = 0.0;
    for _ in 0..LOADS {
        let (begun, before) = (Instant::now(), cpu(world)?);
        let found = asker::capacity(world.resolver()?, world.dns().into(), &name(), LOAD_FOR, world.cores.others)?;
        let part = cpu(world)?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
        report.say(&format!("{found:.0} answers a second, with {:.0} % of a core", part * 100.0));
        if found > world.capacity {
            (world.capacity, busy) = (found, part);
        }
    }
    if world.capacity < 1.0 {
        bail!("the node answers nothing");
    }
    let limit = if busy < 0.9 { "; the asker was the limit, not the node" } else { "" };
    Ok(format!("{:.0} answers a second on one core ({:.0} % of it){limit}", world.capacity, busy * 100.0))
}

fn quiet(world: &mut World, _: &Report) -> Result<String> {
    let seen = look(world)?;
    judge::quiet(&seen.steady, &seen.unbound)?;
    world.before = Some((seen.steady, seen.unbound));
    Ok(seen.text())
}

/// Starts the flood; what it sends a second is told when it has been stopped.
fn flood(world: &mut World, report: &Report) -> Result<String> {
    let question = asker::question(&name(), None)?;
    let load = Load {
        to: world.dns(),
        length: question.len(),
        fill: questions(question),
        per_second: world.capacity * FACTOR,
    };
    let spray = Spray::start(world.outside()?, load, world.seed, world.cores.others)?;
    let begun = Instant::now();
    let seen = look(world);
    let offered = spray.sent() as f64 / begun.elapsed().as_secs_f64();
    let alive = world.alive_at_others();
    drop(spray);
    let seen = seen?;
    report.say(&format!("{}; {alive} of the other nodes held the node for alive at the end of it", seen.text()));
    let size = judge::factor(world.capacity, offered)?;
    let (steady, unbound) = world.before.context("nothing was measured before")?;
    let verdicts = [
        judge::kept("the steady resolver", &steady, &seen.steady),
        judge::kept("unbound's client", &unbound, &seen.unbound),
    ];
    let texts: Vec<String> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Ok(text) => text.clone(),
            Err(error) => format!("NOT: {error:#}"),
        })
        .collect();
    let text = format!("{size}; {}; at least {:.0} % wanted", texts.join("; "), KEPT * 100.0);
    if verdicts.iter().any(Result::is_err) { bail!("{text}") } else { Ok(text) }
}

fn member(world: &mut World, _: &Report) -> Result<String> {
    let begun = Instant::now();
    world.all_alive()?;
    Ok(format!("all see all alive {:.1} s after it", begun.elapsed().as_secs_f64()))
}

/// A kind of noise, which lasts until this is dropped, and how much of it there was.
enum Noise {
    Datagrams(Spray),
    Connections(Knock),
}

impl Noise {
    fn sent(&self) -> u64 {
        match self {
            Self::Datagrams(spray) => spray.sent(),
            Self::Connections(knock) => knock.begun(),
        }
    }
}

/// What it is called, and what starts it.
type Kind = (&'static str, fn(&World) -> Result<Noise>);

/// What knocks at the mesh port.
const KINDS: [Kind; 3] = [
    ("datagrams of noise", |world| {
        let load = Load { to: world.mesh(), length: NOISE_LENGTH, fill: noise(), per_second: NOISE };
        Ok(Noise::Datagrams(Spray::start(world.outside()?, load, world.seed, world.cores.others)?))
    }),
    ("beginnings of QUIC connections", |world| {
        let load = Load { to: world.mesh(), length: INITIAL_LENGTH, fill: initials(), per_second: INITIALS };
        Ok(Noise::Datagrams(Spray::start(world.outside()?, load, world.seed, world.cores.others)?))
    }),
    ("beginnings of TCP connections", |world| {
        let knock = Knock::start(world.outside()?, world.mesh(), KNOCKS, world.seed, world.cores.others)?;
        Ok(Noise::Connections(knock))
    }),
];

/// Looks while these kinds of noise last; what they were, each with how many a second, and what was seen.
fn under(world: &mut World, kinds: &[Kind]) -> Result<(String, Seen)> {
    let noises = kinds.iter().map(|(name, start)| Ok((*name, start(world)?))).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let seen = look(world)?;
    let took = begun.elapsed().as_secs_f64();
    let sizes: Vec<String> =
        noises.iter().map(|(name, noise)| format!("{:.0} {name}", noise.sent() as f64 / took)).collect();
    Ok((format!("{} a second", sizes.join(", ")), seen))
}

fn mesh_port(world: &mut World, report: &Report) -> Result<String> {
    let before = look(world)?;
    report.say(&format!("without noise: {}", before.text()));
    for kind in KINDS {
        let (size, seen) = under(world, &[kind])?;
        report.say(&format!("with {size}: {:+.1} % of a core", (seen.cpu - before.cpu) * 100.0));
    }
    let (size, seen) = under(world, &KINDS)?;
    report.say(&format!("with {size}: {}", seen.text()));
    let cost = judge::cost(before.cpu, seen.cpu);
    let steady = judge::kept("the steady resolver", &before.steady, &seen.steady)?;
    let unbound = judge::kept("unbound's client", &before.unbound, &seen.unbound)?;
    let text =
        |cost: &str| format!("{size}: {cost}; {steady}; {unbound}; {:.0} % more wanted at most", CPU_MORE * 100.0);
    match cost {
        Ok(cost) => Ok(text(&cost)),
        Err(error) => bail!("{}", text(&format!("{error:#}"))),
    }
}
