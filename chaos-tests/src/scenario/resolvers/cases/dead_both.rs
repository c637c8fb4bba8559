//! The own node's host is gone and all its backups with it: until the CNAME ends, nobody listed for the cut answers.

use super::super::judge::{knows_cut, recovery};
use super::super::lanes::{Lane, each};
use super::super::places::{APPS, NEAREST, OWN, REFERRAL_TTL, SERVICE};
use super::super::world::World;
use super::Case;
use crate::bed::pulse::Pulse;
use crate::lab::wait::{Look, until};
use crate::report::Report;
use crate::scenario::referral::view::ms;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// How often clients ask.
const PULSE: Duration = Duration::from_millis(500);
/// The mesh's verdict on the dead, and its way to every node.
const VERDICT: Duration = Duration::from_secs(2);
/// Most of the zone's name servers are dead too, and a resolver finds the living by timeouts of its own; and a busy machine.
const SLACK: Duration = Duration::from_secs(30);
/// Good answers in a row, over so long, that show that it is over.
const GOOD: Duration = Duration::from_secs(15);

/// Each name has at least one chance in three to come by a node that does not serve the cut.
const NAMES_MAX: usize = 12;

/// See the module.
pub const CASE: Case = Case {
    key: "dead-both",
    claim: "with its own node and all backups dead, a resolver gets good answers after the verdict and one CNAME TTL",
    fast: false,
    play,
    ..Case::PLAIN
};

/// Asks for one name after another until each resolver was sent to the cut's servers by a delegation: one that happens
/// to ask only nodes which serve the cut knows no cut, and has all nodes to choose from. (PowerDNS learns of it from the
/// records beside the CNAME, and is never sent by a delegation.)
fn learn(world: &mut World, lanes: &mut [Lane]) -> Result<()> {
    each(lanes, |lane| lane.reach("first", SERVICE, NEAREST).map(drop));
    for turn in 0..NAMES_MAX {
        let said = world.said();
        let knows = |lane: &Lane| knows_cut(said, &lane.kind.seat.egress(), OWN);
        let ignorant: Vec<&str> = lanes.iter().filter(|lane| !knows(lane)).map(Lane::name).collect();
        if ignorant.is_empty() {
            return Ok(());
        }
        let name = APPS.replace('*', &format!("name-{turn}"));
        each(lanes, |lane| {
            if ignorant.contains(&lane.name()) {
                lane.reach("another", &name, NEAREST)?;
            }
            Ok(())
        });
    }
    Ok(())
}

fn play(world: &mut World, lanes: &mut [Lane], report: &Report) -> Result<()> {
    learn(world, lanes)?;
    let servers = world.servers(OWN)?;
    let pulses: Vec<Pulse> =
        lanes.iter().map(|lane| Pulse::start(lane.client(&world.bed, None)?, SERVICE, PULSE)).collect::<Result<_>>()?;
    for node in &servers {
        world.die(node)?;
    }
    let fault = Instant::now();
    report.say(&format!("{} are dead", servers.join(", ")));
    let limit = VERDICT + REFERRAL_TTL + SLACK;
    let ended = until("all resolvers have good answers again", limit + GOOD, || {
        let runs: Vec<Duration> = pulses.iter().map(|pulse| recovery(&pulse.all(), fault).good_for()).collect();
        // What is in the cache from before is no recovery: look until the CNAME has ended in any case.
        let over = fault.elapsed() > REFERRAL_TTL + GOOD && runs.iter().all(|run| *run >= GOOD);
        Ok(if over { Look::Done(()) } else { Look::NotYet(format!("good for {runs:?}")) })
    });
    for (lane, pulse) in lanes.iter_mut().zip(&pulses) {
        let seen = recovery(&pulse.all(), fault);
        lane.notes.push(seen.sentence());
        let good = seen.good_since.is_some_and(|since| since <= limit);
        if !good && lane.fault.is_none() {
            lane.fault = Some(format!("not good within {:.0} ms", ms(limit)));
        }
    }
    drop(pulses);
    each(lanes, |lane| {
        let landing = lane.land("after", SERVICE, hickory_proto::rr::RecordType::A)?;
        match landing.via.as_deref() {
            // unbound keeps the CNAME for longer than it says when following it takes long. Every node answers in a cut
            // that nobody serves, so that is a good answer too; that there are no bad ones is what the pulses show.
            Some(via) if servers.contains(&via) => {
                lane.notes.push(format!("still by way of the cut of {via}, in which the others answer"));
            }
            via => lane.notes.push(format!("now by way of {via:?}")),
        }
        Ok(())
    });
    world.revive().context("bringing the dead back")?;
    ended
}
