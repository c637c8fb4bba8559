//! The whole path on real input: unbound at two ISPs, delegations from a private root, three nodes, three origins.
//!
//! ```text
//!   London      root "."          Ohio  DNS-A "lab."
//!                 Frankfurt           New York (us-east-1)      Tokyo
//!   node          fra                 nyc                       tyo
//!   claims        isp-fra (10)        isp-fra (20), isp-tyo (20) isp-tyo (10)
//!   origin        eu-central-1        us-east-1                 ap-northeast-1
//!   ISP           isp-fra: unbound                              isp-tyo: unbound
//! ```
//!
//! What a client gets is asked through unbound only; who answered is read from the counters of the nodes. [`steps`] has
//! what is proven in the order in which it is, [`places`]
//! who stands where, [`world`] the bed, [`view`] the pure judgement of what clients saw.

pub mod places;
pub mod steps;
mod tools;
pub mod view;
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
    name: "referral",
    about: "real resolvers are referred to their own node, and keep getting answers when it dies",
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
        Need::Unbound,
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
    play(&steps::STEPS, &mut world, report);
    report::line("\nWhat clients got, phase by phase");
    report::line(&world.story.table());
    world.stop_clients();
    if !report.passed() && !sys::interrupted() {
        report::line(&world.evidence());
    }
    Ok(())
}
