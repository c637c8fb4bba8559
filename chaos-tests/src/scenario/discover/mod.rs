//! Nodes find the resolvers that they are clients of, and other nodes vouch for it: four real resolvers at four ISPs.
//!
//! ```text
//!   London      root "."           Ohio  DNS-A "lab."
//!                Frankfurt       London         New York       Tokyo
//!   node         fra             lon            nyc            tyo          claims nothing by configuration
//!   DNS-ISP      unbound         BIND           PowerDNS       Knot Resolver
//!   certificate  10.49.0.0/16 …  10.44.0.0/16 … 10.1.0.0/16 …  10.81.0.0/16, and by IPv6
//! ```
//!
//! A node learns of its resolver from a file in the form of resolv.conf, as on a host; what is measured is the time from
//! the moment at which that file is written until every node lists the claim as proven. The resolvers are cold: they
//! learn the way from the root on.

pub mod places;
pub mod steps;
pub mod world;

use super::{Options, Scenario, plan_of, play};
use crate::lab::Run;
use crate::machine::Need;
use crate::report::Report;
use crate::sys;
use anyhow::Result;
use world::World;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "discover",
    about: "nodes find the resolvers they are clients of, and other nodes prove it",
    needs,
    plan: |pick| plan_of(steps::steps(pick.fast)),
    run,
};

fn needs(options: &Options) -> Vec<Need> {
    vec![
        Need::Root,
        Need::Namespaces,
        Need::Tun,
        Need::Named,
        Need::Unbound,
        Need::Pdns,
        Need::Kresd,
        Need::Nginx,
        Need::Nigh(options.nigh.clone()),
    ]
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let run = Run::begin(options.keep)?;
    if options.keep {
        report.say(&format!("configurations and logs stay in {}", run.directory().display()));
    }
    let mut world = World::build(run, options, report)?;
    play(steps::steps(options.pick.fast), &mut world, report);
    if !report.passed() && !sys::interrupted() {
        report.say(&world.evidence());
    }
    Ok(())
}
