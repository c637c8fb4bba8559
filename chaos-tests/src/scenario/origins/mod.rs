//! What the mesh takes from DNS-A and what it keeps there, on BIND, Knot DNS and PowerDNS.
//!
//! ```text
//!   bind   lab.   origin.lab.   ┐  origins polled, transferred (AXFR, IXFR, TSIG), NOTIFY  ┌ fra  nyc   with the key
//!   knot   knot.  origin.knot.  ┼──────────────────────────────────────────────────────────┼
//!   pdns   pdns.  origin.pdns.  ┘  delegations of lb.lab, lb.knot, lb.pdns by UPDATE       └ tyo  syd   without
//! ```
//!
//! Two nodes have the key; all four must hold what they import. Of what is polled one service names the server of DNS-A, and
//! one leaves it to the nodes' own resolver, an unbound that starts at a private root. Whether the mesh answers well is asked of
//! the nodes themselves. [`world`] has the bed, [`steps`] what is proven.

pub mod steps;
pub mod world;

use super::{Options, Scenario, plan_of, play};
use crate::lab::Run;
use crate::machine::Need;
use crate::report::{self, Report};
use crate::sys;
use anyhow::Result;
use world::World;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "origins",
    about: "pools follow DNS-A, outlive it, and its delegations follow the nodes",
    needs,
    plan: |_| plan_of(&steps::STEPS),
    run,
};

fn needs(options: &Options) -> Vec<Need> {
    vec![
        Need::Root,
        Need::Namespaces,
        Need::Tun,
        Need::Named,
        Need::Knotd,
        Need::PdnsServer,
        Need::Unbound,
        Need::Nsupdate,
        Need::Nigh(options.nigh.clone()),
    ]
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let run = Run::begin(options.keep)?;
    if options.keep {
        report.say(&format!("configurations and logs stay in {}", run.directory().display()));
    }
    let mut world = World::build(run, options, report)?;
    play(&steps::STEPS, &mut world, report);
    if !report.passed() && !sys::interrupted() {
        report::line(&world.evidence());
    }
    Ok(())
}
