//! The phases of a run: build, steady, faults, settle, quiet, judge.
//!
//! **Invariant:** the plan is printed before anything is started, and a run that fails prints the line that repeats it.

use super::answers::Answers;
use super::checks::{
    ANSWERS, BACKUPS, BOUNDS, CLAIMS, CONVERGED, DEATHS, EXITS, FIGURES, HOSTILE, LOGS, MEMBERS, NEAREST, TWO_VERSIONS,
    WIRE, claims,
};
use super::fault::Fault;
use super::figures::Figures;
use super::geography::{Distances, Geography};
use super::history::{History, Spell};
use super::invariant::{
    Findings, backups::Backups, bounds::Bounds, claims::Claims, exits::Exits, hostile::Hostile, logs, members::Members,
    versions::Versions, wire::Wire,
};
use super::oracle::{self, Asked};
use super::outcome::{Death, Outcome, Use};
use super::plan::{Plan, VERSIONS};
use super::promise::{CNAME_TTL, LOOKS, VERDICT};
use super::timeline::Timeline;
use super::world::World;
use crate::bed::resolver::Resolver;
use crate::bed::{bind::Bind, kresd::Kresd, pdns::Pdns, unbound::Unbound, wire};
use crate::lab::Run;
use crate::machine;
use crate::report::Report;
use crate::scenario::{End, Options};
use crate::sys;
use anyhow::{Context, Result, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Before the first fault: clients and resolvers are warm.
const STEADY: Duration = Duration::from_secs(5);
/// After all has settled: what clients get now counts.
const QUIET: Duration = Duration::from_secs(4);
/// Every ISP must be back at its nearest origin so long after the last heal: a resolver that was sent into another cut
/// holds the CNAME for 60 s, and some ask a little later.
const NEAREST_WITHIN: Duration = Duration::from_secs(CNAME_TTL.as_secs() + 15);
/// Between two looks at the world.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When the harness itself gets no look for so long, the machine does too much else for the times to mean anything.
const STALL: Duration = Duration::from_secs(10);
/// How long replicas are looked at after the last heal.
const EQUAL_PATIENCE: Duration = Duration::from_secs(20);
/// Between two lines of the timeline.
const LINE_EVERY: Duration = Duration::from_secs(4);
/// A death must be known to all that can hear of it within this.
const KNOWN_WITHIN: Duration = Duration::from_secs(VERDICT.as_secs() + LOOKS.as_secs());
/// Of nodes that do not reach each other one is started anew so long after they were cut off.
const ANEW_AFTER: Duration = Duration::from_secs(3);
/// Sites of a generated globe.
const SITES: usize = 60;

/// Where the distances come from.
#[derive(Clone, Debug, Default)]
pub enum Source {
    /// Generated from the seed.
    #[default]
    Globe,
    /// A list of `name,latitude,longitude`.
    List(PathBuf),
    /// A square of round trips in milliseconds.
    Matrix(PathBuf),
}

/// What a run is given besides its scenario.
#[derive(Clone, Debug)]
pub struct Given {
    /// Points of presence.
    pub pops: usize,
    /// Origins.
    pub origins: usize,
    /// Distances.
    pub source: Source,
    /// Where the outcome is written.
    pub json: Option<PathBuf>,
}

/// Prints a plan, plays it, judges it; `again` is the command that repeats it.
pub fn run(plan: Plan, again: &str, given: &Given, options: &Options) -> Result<End> {
    let say = crate::report::line;
    let geography = geography(given, options.seed)?;
    say(&plan.text());
    let resolvers = installed();
    if plan.scenario == VERSIONS && plan.other.is_none() {
        say("SKIPPED: it wants another version of nigh: --other \"$(chaos-tests/versions/run --build)\"");
        return Ok(End::Skipped);
    }
    let missing = machine::missing(&needs(options, &plan));
    if !missing.is_empty() {
        say(&format!("SKIPPED: nothing of the above was tested, for this machine lacks\n  {}", missing.join("\n  ")));
        return Ok(End::Skipped);
    }
    sys::catch_signals().context("catching Ctrl-C")?;
    let mut report = Report::new(claims(), say);
    let mut storm = Storm {
        start: Instant::now(),
        history: History::of(Vec::new()),
        outcome: Outcome::new(plan.clone()),
        timeline: Timeline::new(given.pops),
        answers: Answers::new(given.pops),
        wire: Wire::default(),
        bounds: Bounds::default(),
        exits: Exits::default(),
        members: Members::default(),
        claims: Claims::default(),
        backups: Backups::default(),
        figures: Figures::default(),
        hostile: Hostile::default(),
        versions: Versions::default(),
        deaths: Vec::new(),
        stalled: Duration::ZERO,
    };
    let begun = Run::begin(options.keep)?;
    let directory = begun.directory().to_owned();
    let played = World::build(begun, options, &report, geography, &resolvers, &plan)
        .and_then(|mut world| storm.play(&mut world, &mut report).inspect_err(|_| say(&world.evidence())));
    if let Err(error) = played {
        report.check(ANSWERS, false, &format!("the run broke off: {error:#}"));
    }
    storm.outcome.checks = report.checks();
    if let Some(path) = &given.json {
        let text = serde_json::to_string_pretty(&storm.outcome).context("writing the outcome")?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        say(&format!("written to {}", path.display()));
    }
    say(&report.summary());
    if options.keep {
        say(&format!("configurations and logs are in {}", directory.display()));
    }
    if report.passed() {
        return Ok(End::Passed);
    }
    say(&format!("Again: {again}"));
    Ok(End::Failed)
}

fn geography(given: &Given, seed: u64) -> Result<Geography> {
    let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let distances = match &given.source {
        Source::Globe => Distances::generated(SITES, &mut ChaCha8Rng::seed_from_u64(seed)),
        Source::List(path) => Distances::of_list(&read(path)?).with_context(|| path.display().to_string())?,
        Source::Matrix(path) => Distances::of_matrix(&read(path)?).with_context(|| path.display().to_string())?,
    };
    Geography::draw(distances, given.pops, given.origins, seed)
}

fn needs(options: &Options, plan: &Plan) -> Vec<machine::Need> {
    use machine::Need;
    let mut needs = vec![Need::Root, Need::Namespaces, Need::Tun, Need::Named, Need::Unbound, Need::Nginx];
    needs.push(Need::Nigh(options.nigh.clone()));
    needs.extend(plan.other.clone().map(Need::Nigh));
    if plan.faults.iter().any(|planned| matches!(planned.fault, Fault::Clock { .. })) {
        needs.push(Need::Faketime);
    }
    needs
}

/// The resolvers that ISPs run, in turn: those that are installed.
fn installed() -> Vec<&'static dyn Resolver> {
    let known: [(&'static dyn Resolver, &str); 4] =
        [(&Unbound, "unbound"), (&Bind, "named"), (&Pdns, "pdns_recursor"), (&Kresd, "kresd")];
    known.into_iter().filter(|(_, program)| machine::program(program).is_some()).map(|(resolver, _)| resolver).collect()
}

/// A death that not all know yet.
struct Watched {
    death: usize,
    fault: usize,
    at: Instant,
    /// Who must still learn of it.
    unaware: BTreeSet<usize>,
}

/// A run at work.
struct Storm {
    start: Instant,
    history: History,
    outcome: Outcome,
    timeline: Timeline,
    answers: Answers,
    wire: Wire,
    bounds: Bounds,
    exits: Exits,
    members: Members,
    claims: Claims,
    backups: Backups,
    figures: Figures,
    hostile: Hostile,
    versions: Versions,
    deaths: Vec<Watched>,
    /// The longest that a look at the world, or the pause after it, has taken.
    stalled: Duration,
}

/// What is done at a time of the plan.
enum Deed {
    Strike(usize),
    Heal(usize),
    Bounce(usize),
    Roll(usize),
    /// Of the fault of this number, the next step.
    Step(usize, usize),
}

impl Storm {
    fn play(&mut self, world: &mut World, report: &mut Report) -> Result<()> {
        self.start = Instant::now();
        drop(world.bed.wan().listen());
        world.start_clients()?;
        report.say(&format!("clients ask at every ISP\n{}", self.timeline.head()));
        self.look_until(STEADY, world, report)?;
        let zero = self.start.elapsed();
        // The oracle must know of a fault before it judges what came of it, and of its end when that is known.
        let far = Duration::MAX;
        let mut numbers = vec![None; self.outcome.plan.faults.len()];
        for (at, deed) in self.deeds() {
            self.look_until(zero + at, world, report)?;
            match deed {
                Deed::Strike(number) => {
                    let Some(fault) = self.fault(number) else { continue };
                    report.say(&format!("-- {fault}"));
                    numbers[number] = Some(self.history.spells.len());
                    self.history.spells.push(Spell { fault: fault.clone(), from: self.start.elapsed(), until: far });
                    self.timeline.mark(number, &fault, true);
                    self.figures.struck(&fault, self.start.elapsed());
                    world.strike(&fault).with_context(|| fault.to_string())?;
                    self.watch_deaths(&fault, number, world);
                    if fault.is_a_moment() {
                        self.close(numbers[number]);
                        self.timeline.mark(number, &fault, false);
                    }
                }
                Deed::Bounce(node) | Deed::Roll(node) => {
                    let fault = Fault::Kill { nodes: vec![node] };
                    let spell = self.history.spells.len();
                    self.history.spells.push(Spell { fault, from: self.start.elapsed(), until: far });
                    if matches!(deed, Deed::Roll(_)) {
                        world.roll(node)?;
                    } else {
                        world.bounce(node)?;
                    }
                    self.close(Some(spell));
                }
                Deed::Step(number, step) => {
                    let Some(fault) = self.fault(number) else { continue };
                    world.step(&fault, step.checked_sub(1), Some(step))?;
                }
                Deed::Heal(number) => {
                    let Some(fault) = self.fault(number).filter(|fault| !fault.is_a_moment()) else { continue };
                    report.say(&format!("-- over: {fault}"));
                    self.deaths.retain(|watched| watched.fault != number);
                    self.figures.healed(&fault, self.start.elapsed());
                    world.heal(&fault).with_context(|| format!("healing: {fault}"))?;
                    self.close(numbers[number]);
                    self.timeline.mark(number, &fault, false);
                }
            }
        }
        let healed = Instant::now();
        self.settle(world, report, healed)
    }

    /// All is healed: wait until the mesh has settled, stay quiet, and judge.
    fn settle(&mut self, world: &mut World, report: &mut Report, healed: Instant) -> Result<()> {
        report.say("all is healed");
        while self.figures.awaits_equal() && healed.elapsed() < EQUAL_PATIENCE {
            self.look_until(self.start.elapsed() + LOOK_EVERY, world, report)?;
        }
        let settled = world.settled().and_then(|()| world.equal());
        self.outcome.recovered_after = settled.is_ok().then(|| healed.elapsed().as_secs_f64());
        let quiet_from = self.start.elapsed();
        self.look_until(quiet_from + QUIET, world, report)?;
        while self.nearest(world, quiet_from).is_err() && healed.elapsed() < NEAREST_WITHIN {
            self.look_until(self.start.elapsed() + LOOK_EVERY, world, report)?;
        }
        let after = healed.elapsed().as_secs_f64();
        match settled {
            Ok(hash) => report.check(
                CONVERGED,
                true,
                &format!("{:.1} s after the last heal; pages {hash}", self.outcome.recovered_after.unwrap_or_default()),
            ),
            Err(error) => report.check(CONVERGED, false, &format!("{error:#}\n{}", world.evidence())),
        }
        let nearest = self.nearest(world, quiet_from).map(|seen| format!("{seen}, {after:.0} s after the last heal"));
        record(report, NEAREST, nearest);
        self.finish(world, report)
    }

    fn finish(&mut self, world: &mut World, report: &mut Report) -> Result<()> {
        world.stop_clients();
        let total = self.outcome.total();
        record(report, ANSWERS, self.answers.verdict(total.good, total.slow));
        if self.stalled > STALL {
            report.say(&format!(
                "NOTE: a look at the world took {:.0} s: this machine does too much else to judge by what it timed",
                self.stalled.as_secs_f64()
            ));
        }
        record(report, DEATHS, self.deaths_verdict());
        record(report, WIRE, self.wire.verdict());
        record(report, BOUNDS, self.bounds.verdict());
        record(report, EXITS, self.exits.verdict());
        let mut secrets = logs::secrets(world.operator.key())?;
        for node in world.nodes() {
            secrets.extend(logs::secrets(&node.state().join("node.key"))?);
        }
        let files: Vec<PathBuf> = world.nodes().iter().filter_map(|node| node.log().map(PathBuf::from)).collect();
        record(report, LOGS, logs::verdict(files.iter().map(PathBuf::as_path), &secrets));
        record(report, MEMBERS, self.members.verdict());
        record(report, CLAIMS, self.claims.verdict());
        record(report, BACKUPS, self.backups.verdict());
        record(report, FIGURES, self.figures.verdict());
        record(report, HOSTILE, self.hostile.verdict(&self.history));
        record(report, TWO_VERSIONS, self.versions.verdict(&self.outcome.plan));
        self.outcome.spells.clone_from(&self.history.spells);
        self.outcome.nodes = world
            .nodes()
            .iter()
            .map(|node| Use {
                node: node.name().to_owned(),
                cpu_s: node.cpu().unwrap_or_default().as_secs_f64(),
                resident_kib: node.resident_kib().unwrap_or_default(),
            })
            .collect();
        Ok(())
    }

    fn fault(&self, number: usize) -> Option<Fault> {
        self.outcome.plan.faults.get(number).map(|planned| planned.fault.clone())
    }

    /// The plan as deeds, by time.
    fn deeds(&self) -> Vec<(Duration, Deed)> {
        let mut deeds = Vec::new();
        for (number, planned) in self.outcome.plan.faults.iter().enumerate() {
            deeds.push((planned.at, Deed::Strike(number)));
            let deed = |node| match planned.fault {
                Fault::Roll { .. } => Deed::Roll(node),
                _ => Deed::Bounce(node),
            };
            if let Fault::Restart { nodes } | Fault::Roll { nodes } = &planned.fault {
                let pause = planned.lasts / u32::try_from(nodes.len().max(1)).unwrap_or(1);
                let each = nodes.iter().zip(0_u32..);
                deeds.extend(each.map(|(node, turn)| (planned.at + pause * turn, deed(*node))));
            }
            if let Fault::Apart { nodes } = &planned.fault {
                // Its pages get a new version, which the others can only hear of through the rest.
                deeds.extend(nodes.first().map(|node| (planned.at + ANEW_AFTER, Deed::Bounce(*node))));
            }
            if let Fault::Steps { ms, .. } = &planned.fault {
                let pause = planned.lasts / u32::try_from(ms.len().max(1)).unwrap_or(1);
                let later = (0..ms.len()).zip(0_u32..).skip(1);
                deeds.extend(later.map(|(step, turn)| (planned.at + pause * turn, Deed::Step(number, step))));
            }
            deeds.push((planned.at + planned.lasts, Deed::Heal(number)));
        }
        deeds.sort_by_key(|(at, _)| *at);
        deeds
    }

    fn close(&mut self, spell: Option<usize>) {
        let now = self.start.elapsed();
        if let Some(spell) = spell.and_then(|spell| self.history.spells.get_mut(spell)) {
            spell.until = now;
        }
    }

    /// Looks at the world until a time of the run.
    fn look_until(&mut self, until: Duration, world: &mut World, report: &Report) -> Result<()> {
        loop {
            if sys::interrupted() {
                bail!("interrupted");
            }
            let begun = Instant::now();
            self.look(world, report)?;
            self.stalled = self.stalled.max(begun.elapsed());
            let left = until.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            let begun = Instant::now();
            // Who waits for equal replicas looks again at once: each look takes some tenths of a second.
            let pause = if self.figures.awaits_equal() { LOOK_EVERY / 5 } else { LOOK_EVERY };
            std::thread::sleep(left.min(pause));
            self.stalled = self.stalled.max(begun.elapsed());
        }
    }

    fn look(&mut self, world: &mut World, report: &Report) -> Result<()> {
        world.healthy()?;
        self.exits.note(world.unasked_ends()?);
        if let Ok(servers) = world.servers() {
            self.backups.look(world, &self.history, &servers, self.start.elapsed());
            let here = world.present().map(|(number, _)| number).collect();
            self.figures.servers(&servers, &here, self.start.elapsed());
            self.history.note_servers(self.start.elapsed(), servers);
        }
        if self.figures.awaits_equal() && world.hashes().is_ok_and(|hashes| hashes.len() == 1) {
            self.figures.equal(self.start.elapsed());
        }
        self.claims.look(world, &self.history, self.start.elapsed());
        self.members.look(world, &self.history, self.start.elapsed());
        self.hostile.look(world, &self.history, self.start.elapsed());
        self.versions.look(world, &self.outcome.plan, &self.history, self.start.elapsed());
        let mut said = wire::read(&world.bed.wan().listen());
        said.iter_mut().for_each(|said| world.geography.name_resolver(&mut said.to));
        let pops = &world.geography.pops;
        let node =
            |address: IpAddr| pops.iter().find(|pop| IpAddr::from(pop.address) == address).map(|pop| pop.node.clone());
        let resolvers: Vec<IpAddr> = pops.iter().map(|pop| pop.resolver.into()).collect();
        self.wire.look(&said, &resolvers, node);
        self.hostile.read(&said, &resolvers);
        let asking: Vec<IpAddr> = pops.iter().flat_map(|pop| [pop.resolver.into(), pop.renumbered.into()]).collect();
        self.answers.hear(&said, &asking);
        self.bounds.look(world, self.start.elapsed());
        self.judge(world, report);
        self.learn_of_deaths(world);
        let now = self.start.elapsed();
        let due = |at: Duration| at.as_millis() / LINE_EVERY.as_millis();
        if due(now) != due(now.saturating_sub(LOOK_EVERY)) {
            report.say(&self.timeline.line(now));
        }
        Ok(())
    }

    /// Judges the lookups that ended since the last look.
    fn judge(&mut self, world: &World, report: &Report) {
        for lookup in self.answers.judge(world, &self.history, self.start, report) {
            self.timeline.lookup(lookup.asked.pop, lookup.origin.as_deref(), &lookup.judged);
            self.outcome.count(lookup.asked.ended, lookup.took, &lookup.judged);
            self.figures.lookup(lookup.asked.begun, &lookup.judged, lookup.asked.got.is_err());
        }
    }

    fn watch_deaths(&mut self, fault: &Fault, number: usize, world: &World) {
        let Fault::Kill { nodes } = fault else { return };
        // Who is cut off or stands still cannot hear of it; with half of the mesh dead, quorums of watchers may be too.
        let unaware: BTreeSet<usize> = world
            .present()
            .map(|(node, _)| node)
            .filter(|node| !self.history.troubled(*node, self.start.elapsed(), self.start.elapsed()))
            .collect();
        for node in nodes {
            self.deaths.push(Watched {
                death: self.outcome.deaths.len(),
                fault: number,
                at: Instant::now(),
                unaware: unaware.clone(),
            });
            self.outcome.deaths.push(Death { node: *node, at: self.start.elapsed().as_secs_f64(), known_after: None });
        }
    }

    fn learn_of_deaths(&mut self, world: &World) {
        if self.deaths.is_empty() {
            return;
        }
        let mut dead_at: Vec<(usize, BTreeSet<String>)> = Vec::new();
        for (number, node) in world.present() {
            if let Ok(peers) = node.peers() {
                let dead = peers.into_iter().filter(|peer| peer.verdict == "dead").map(|peer| peer.name);
                dead_at.push((number, dead.collect()));
            }
        }
        let outcome = &mut self.outcome;
        self.deaths.retain_mut(|watched| {
            let Some(death) = outcome.deaths.get_mut(watched.death) else { return false };
            let name = world.nodes().get(death.node).map(|node| node.name().to_owned()).unwrap_or_default();
            for (number, dead) in &dead_at {
                if dead.contains(&name) {
                    watched.unaware.remove(number);
                }
            }
            watched.unaware.retain(|number| world.is_here(*number));
            if watched.unaware.is_empty() {
                death.known_after = Some(watched.at.elapsed().as_secs_f64());
            }
            death.known_after.is_none()
        });
    }

    fn deaths_verdict(&self) -> Result<String> {
        let mut findings = Findings::default();
        for death in &self.outcome.deaths {
            match death.known_after {
                Some(after) if after <= KNOWN_WITHIN.as_secs_f64() => {}
                Some(after) => findings.add(format!("n{:02}: known to all after {after:.1} s", death.node + 1)),
                None => findings.add(format!("n{:02}: never known to all", death.node + 1)),
            }
        }
        let slowest =
            self.outcome.slowest_death().map_or_else(String::new, |after| format!(", the slowest after {after:.1} s"));
        findings.verdict(format!("{} deaths{slowest}", self.outcome.deaths.len()))
    }

    /// What every client got last in the quiet phase.
    fn nearest(&mut self, world: &World, since: Duration) -> Result<String> {
        let mut findings = Findings::default();
        for (number, (pop, pulse)) in world.geography.pops.iter().zip(world.pulses()).enumerate() {
            let beats = pulse.all();
            let Some(asked) =
                beats.last().map(|beat| Asked::of(number, beat, self.start)).filter(|asked| asked.begun >= since)
            else {
                findings.add(format!("{} got nothing in the quiet phase", pop.isp));
                continue;
            };
            if let Err(why) = oracle::nearest(&asked, &world.geography, &self.history.flapped()) {
                findings.add(why);
            }
            let order = world.geography.by_distance(pop);
            let ms = |distance: Duration| distance.as_secs_f64() * 1e3;
            let got = asked.got.ok().and_then(|addresses| addresses.first().copied());
            let got = order.iter().find(|(_, origin)| Some(IpAddr::from(origin.address)) == got);
            if let (Some((got, _)), Some((best, _))) = (got, order.first()) {
                self.outcome.rtt_got_and_possible.insert(pop.isp.clone(), (ms(*got), ms(*best)));
            }
        }
        findings.verdict(format!(
            "{} ISPs, each with the nearest of {} origins",
            world.geography.pops.len(),
            world.geography.origins.len()
        ))
    }
}

fn record(report: &mut Report, key: &'static str, seen: Result<String>) {
    match seen {
        Ok(seen) => report.check(key, true, &seen),
        Err(error) => report.check(key, false, &format!("{error:#}")),
    }
}
