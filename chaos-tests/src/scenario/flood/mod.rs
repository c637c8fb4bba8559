//! More questions than a node can answer, in other people's names, and noise at its mesh port: what is left for those
//! whom it claims.
//!
//! ```text
//!   core 0   node fra ◀═ cable ═ flood     100.64.0.0/10, as fast as core 1 can send
//!   core 1      ▲  ▲◀═══ cable ═ steady    claimed; a question every 2 ms, none sent twice
//!               │  ╚════ cable ═ isp-fra   claimed; unbound, eight names with a TTL of 1 s
//!   ============ WAN: root, DNS-A, nodes nyc and tyo, origins ============
//! ```
//!
//! The cables are veth pairs beside the emulated WAN, whose one thread would be what is flooded. [`judge`] is pure.

pub mod judge;
pub mod steps;
pub mod world;

use super::{Options, Scenario, plan_of, play};
use crate::lab::{Run, cores::Cores};
use crate::machine::Need;
use crate::report::{self, Report};
use crate::sys;
use anyhow::Result;
use world::World;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "flood",
    about: "five times what a node can answer, from outside, and noise at its mesh port",
    needs,
    plan: |_| plan_of(&steps::STEPS),
    run,
};

fn needs(options: &Options) -> Vec<Need> {
    let mut needs = vec![Need::Root, Need::Namespaces, Need::Tun, Need::Named, Need::Unbound, Need::Nginx];
    needs.push(Need::Nigh(options.nigh.clone()));
    needs
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let cores = Cores::choose()?;
    if !cores.apart() {
        report.say("NOTE: one core for the node and for the flood: each takes from the other what is measured");
    }
    let run = Run::begin(options.keep)?;
    if options.keep {
        report.say(&format!("configurations and logs stay in {}", run.directory().display()));
    }
    let mut world = World::build(run, options, cores, report)?;
    play(&steps::STEPS, &mut world, report);
    if !report.passed() && !sys::interrupted() {
        report::line(&world.evidence());
    }
    Ok(())
}
