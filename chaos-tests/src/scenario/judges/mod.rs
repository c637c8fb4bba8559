//! What tools that know nothing of us say about a delegated mesh zone and its name servers.
//!
//! The bed is that of [`super::resolvers`], with one host for the judges where a resolver sat: the private root, a signed
//! `lab.`, and `lb.lab.` on five nodes, with services in both modes, static records, wildcards and an HTTPS record. A
//! validating resolver stands beside them.
//! Each judge runs there, and all that it complains of is a [`findings::Finding`]. One that is not in `accepted.txt`,
//! where each has its reason, fails the judge's check; so does one that is there and was not found any more, for a list
//! of excuses that nobody needs hides the next fault. Nothing is fetched: `install-packages` brings the judges.

pub mod dnsviz;
pub mod findings;
pub mod script;
pub mod tools;
pub mod zonemaster;

use super::resolvers::places::{ROOT, Seat, both};
use super::resolvers::world::World;
use super::{Options, Pick, Scenario, Step, play};
use crate::bed::bind::Bind;
use crate::bed::resolver::{self, Manner};
use crate::lab::process::{self, Said};
use crate::lab::wait::{Look, until};
use crate::lab::{Daemon, Run};
use crate::machine::Need;
use crate::report::{self, Report};
use crate::sys;
use anyhow::{Result, bail};
use findings::{Accepted, Finding};
use std::process::Command;
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "judges",
    about: "dnsviz, dnspython, Zonemaster, dig, kdig and delv find nothing in a mesh zone that is not known and explained",
    needs,
    plan,
    run,
};

/// The judges' host: `fra` claims its resolvers.
const HOST: &str = "judges";
/// Where they ask from; the resolver that some of them ask sits there too.
const SEAT: Seat = Seat(0);
/// A bed that is held is for a person's afternoon.
const HOLD: Duration = Duration::from_secs(4 * 3600);

/// What we are not obliged to do otherwise.
const ACCEPTED: &str = include_str!("accepted.txt");

/// All judges.
const JUDGES: [Step<Court>; 6] = [
    Step {
        key: "dig",
        claim: "dig in its odd modes gets what it should",
        prove: |court, _| court.tool("dig", include_str!("dig.txt")),
        essential: false,
    },
    Step {
        key: "kdig",
        claim: "kdig in its odd modes gets what it should",
        prove: |court, _| court.tool("kdig", include_str!("kdig.txt")),
        essential: false,
    },
    Step {
        key: "delv",
        claim: "delv, with the anchor of lab., finds that the mesh zone is delegated insecurely and proven so",
        prove: |court, _| court.tool("delv", include_str!("delv.txt")),
        essential: false,
    },
    Step {
        key: "dnspython",
        claim: "parent and nodes agree, and nodes do as RFC 8906 says with all that may be sent to them",
        prove: |court, _| {
            let found = script::judge(court)?;
            court.weigh("dnspython", found)
        },
        essential: false,
    },
    Step {
        key: "dnsviz",
        claim: "dnsviz finds no error and no warning in the chain from the root to each kind of name",
        prove: |court, report| {
            let found = dnsviz::judge(court, report)?;
            court.weigh("dnsviz", found)
        },
        essential: false,
    },
    Step {
        key: zonemaster::KEY,
        claim: "Zonemaster notices nothing in the mesh zone and in a cut (the slowest judge, not asked with --fast)",
        prove: |court, report| {
            let found = zonemaster::judge(court, report)?;
            court.weigh(zonemaster::KEY, found)
        },
        essential: false,
    },
];

/// Where the judges sit.
pub struct Court {
    /// A validating resolver for those that ask one.
    _resolver: Daemon,
    world: World,
    accepted: Vec<Accepted>,
    fast: bool,
}

impl Court {
    /// Runs a program on the judges' host.
    fn run(&self, command: Command, patience: Duration) -> Result<Said> {
        process::run_inside(Some(self.world.bed.space(HOST)?), command, patience)
    }

    fn tool(&mut self, judge: &'static str, text: &str) -> Result<String> {
        let found = tools::judge(self, judge, text)?;
        self.weigh(judge, found)
    }

    /// What a judge found, against what is accepted; an error lists what is new and what has gone.
    fn weigh(&mut self, judge: &str, (done, found): (usize, Vec<Finding>)) -> Result<String> {
        self.world.healthy()?;
        let (sentence, faults) = findings::weigh(&self.accepted, judge, &found, self.fast);
        if !faults.is_empty() {
            bail!("of {done} questions to the judge:\n          {}", faults.join("\n          "));
        }
        Ok(format!("{done} questions to the judge, {sentence}"))
    }
}

fn needs(options: &Options) -> Vec<Need> {
    vec![
        Need::Root,
        Need::Namespaces,
        Need::Tun,
        Need::Named,
        Need::Signer,
        Need::Nginx,
        Need::Dig,
        Need::Delv,
        Need::Kdig,
        Need::Dnsviz,
        Need::Dnspython,
        Need::Zonemaster,
        Need::Nigh(options.nigh.clone()),
    ]
}

fn picked(pick: &Pick) -> impl Iterator<Item = &'static Step<Court>> {
    JUDGES.iter().filter(|judge| {
        let named = pick.only.iter().any(|name| name == judge.key);
        named || (pick.only.is_empty() && !(pick.fast && judge.key == zonemaster::KEY))
    })
}

fn plan(pick: &Pick) -> Vec<(&'static str, String)> {
    picked(pick).map(|judge| (judge.key, judge.claim.to_owned())).collect()
}

/// An error if a judge is picked that is not there.
pub fn check(pick: &Pick) -> Result<()> {
    let judges: Vec<&str> = JUDGES.iter().map(|judge| judge.key).collect();
    match pick.only.iter().find(|name| !judges.contains(&name.as_str())) {
        Some(name) => bail!("no judge {name}; there are {}", judges.join(", ")),
        None => Ok(()),
    }
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let accepted = findings::accepted(ACCEPTED)?;
    let run = Run::begin(options.keep)?;
    if options.keep {
        report.say(&format!("configurations and logs stay in {}", run.directory().display()));
    }
    let world = World::build(run, options, report, &[(HOST, SEAT)])?;
    let manner = Manner { anchor: Some(world.anchor.clone()), ..Manner::default() };
    let resolver = resolver::start(&world.bed, &Bind, HOST, SEAT.address().into(), &both(ROOT), &manner)?;
    let mut court = Court { _resolver: resolver, world, accepted, fast: options.pick.fast };
    for judge in picked(&options.pick) {
        play(std::slice::from_ref(judge), &mut court, report);
    }
    if options.pick.hold {
        let space = court.world.bed.space(HOST)?.name();
        report.say(&format!("the bed is up until Ctrl-C: ip netns exec {space} dig @10.49.0.2 www.lb.lab"));
        drop(until::<()>("Ctrl-C", HOLD, || Ok(Look::NotYet("nobody came".to_owned()))));
    }
    if !report.passed() && !sys::interrupted() {
        report::line(&court.world.evidence());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{ACCEPTED, JUDGES, Pick, check, findings, plan, tools};

    #[test]
    fn every_judge_can_be_picked_and_no_other() {
        assert_eq!(plan(&Pick::default()).len(), JUDGES.len());
        assert_eq!(plan(&Pick { fast: true, ..Pick::default() }).len(), JUDGES.len() - 1);
        let pick = |name: &str| Pick { only: vec![name.to_owned()], ..Pick::default() };
        for judge in &JUDGES {
            check(&pick(judge.key)).unwrap();
            assert_eq!(plan(&pick(judge.key)).len(), 1);
        }
        assert!(check(&pick("drill")).is_err());
    }

    #[test]
    fn the_files_can_be_read_and_excuse_only_judges_that_there_are() {
        for accepted in findings::accepted(ACCEPTED).unwrap() {
            assert!(JUDGES.iter().any(|judge| judge.key == accepted.judge), "{accepted:?}");
        }
        for text in [include_str!("dig.txt"), include_str!("kdig.txt"), include_str!("delv.txt")] {
            assert!(!tools::read(text).unwrap().is_empty());
        }
    }
}
