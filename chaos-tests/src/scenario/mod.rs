//! Scenarios: a plan of steps against a bed, played in order. Each step proves one sentence.
//!
//! **Invariant:** a scenario passes only if every step of its plan ran and passed. A step that fails does not stop
//! those after it (each says so itself when it cannot go on), except one that everything else stands on.

pub mod delays;
pub mod discover;
pub mod flood;
pub mod judges;
pub mod origins;
pub mod referral;
pub mod resolvers;

use crate::machine::{self, Need};
use crate::report::{self, Report};
use crate::sys;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Leave configurations and logs.
    pub keep: bool,
    /// For everything that chance decides in the bed.
    pub seed: u64,
    /// Our program.
    pub nigh: PathBuf,
    /// What of the scenario is played; all, if it does not know parts.
    pub pick: Pick,
    /// What comes out is printed as JSON, and everything else to standard error.
    pub json: bool,
}

/// Parts of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Pick {
    /// Only these resolvers or judges; all if empty.
    pub only: Vec<String>,
    /// Only these cases; all if empty.
    pub cases: Vec<String>,
    /// Only what is quick.
    pub fast: bool,
    /// The bed stays up until Ctrl-C, for people.
    pub hold: bool,
}

/// One step of a plan.
pub struct Step<S> {
    /// A word for it.
    pub key: &'static str,
    /// The sentence that it proves.
    pub claim: &'static str,
    /// Proves it and tells what was seen, or tells why not.
    pub prove: fn(&mut S, &Report) -> Result<String>,
    /// Without it nothing after it means anything.
    pub essential: bool,
}

/// A scenario as the list of scenarios knows it.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// What it needs of the machine.
    pub needs: fn(&Options) -> Vec<Need>,
    /// What it will prove: keys and sentences.
    pub plan: fn(&Pick) -> Vec<(&'static str, String)>,
    /// Plays it. An error is one of the harness; what the steps found is in the report.
    pub run: fn(&Options, &mut Report) -> Result<()>,
}

/// All scenarios.
pub const ALL: [Scenario; 6] =
    [referral::SCENARIO, resolvers::SCENARIO, judges::SCENARIO, discover::SCENARIO, origins::SCENARIO, flood::SCENARIO];

/// How a run ended, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was proven.
    Passed,
    /// Something was not.
    Failed,
    /// This machine cannot run it.
    Skipped,
}

/// Runs a scenario from its plan to its list of checks.
pub fn run(scenario: &Scenario, options: &Options) -> Result<End> {
    let say = if options.json { report::aside } else { report::line };
    let plan = (scenario.plan)(&options.pick);
    say(&format!("{}: {}", scenario.name, scenario.about));
    say(&format!("seed {}, nigh at {}", options.seed, options.nigh.display()));
    say("To be proven:");
    for (key, claim) in &plan {
        say(&format!("  {key}: {claim}"));
    }
    let missing = machine::missing(&(scenario.needs)(options));
    if !missing.is_empty() {
        say(&format!("SKIPPED: nothing of the above was tested, for this machine lacks\n  {}", missing.join("\n  ")));
        return Ok(End::Skipped);
    }
    sys::catch_signals().context("catching Ctrl-C")?;
    let mut report = Report::new(plan, say);
    if let Err(error) = (scenario.run)(options, &mut report) {
        report.check("bed", false, &format!("{error:#}"));
    }
    say(&report.summary());
    Ok(if report.passed() { End::Passed } else { End::Failed })
}

/// The plan of these steps.
pub fn plan_of<S>(steps: &[Step<S>]) -> Vec<(&'static str, String)> {
    steps.iter().map(|step| (step.key, step.claim.to_owned())).collect()
}

/// Plays steps in order and records how each ended.
pub fn play<S>(steps: &[Step<S>], state: &mut S, report: &mut Report) {
    for step in steps {
        if sys::interrupted() {
            report.say("interrupted: taking the bed down");
            return;
        }
        report.say(&format!("{}: {}", step.key, step.claim));
        match (step.prove)(state, report) {
            Ok(seen) => report.check(step.key, true, &seen),
            Err(error) => {
                report.check(step.key, false, &format!("{error:#}"));
                if step.essential {
                    report.say("the rest stands on this: stopping here");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Pick, Step, plan_of, play};
    use crate::report::Report;
    use anyhow::bail;

    fn step(key: &'static str, essential: bool) -> Step<Vec<&'static str>> {
        Step {
            key,
            claim: "holds",
            prove: |ran, _| {
                let turn = ran.len();
                ran.push("ran");
                if turn == 1 { bail!("the second does not hold") } else { Ok("seen".to_owned()) }
            },
            essential,
        }
    }

    #[test]
    fn a_failed_step_fails_the_scenario_and_the_others_still_run() {
        let steps = [step("first", true), step("second", false), step("third", false)];
        let mut report = Report::new(plan_of(&steps), |_| ());
        let mut ran = Vec::new();
        play(&steps, &mut ran, &mut report);
        assert_eq!(ran.len(), 3);
        assert!(!report.passed());
        assert!(report.summary().contains("\n2 passed, 1 failed"), "{}", report.summary());
    }

    #[test]
    fn nothing_is_played_on_top_of_an_essential_step_that_failed() {
        let steps = [step("first", true), step("second", true), step("third", false)];
        let mut report = Report::new(plan_of(&steps), |_| ());
        let mut ran = Vec::new();
        play(&steps, &mut ran, &mut report);
        assert_eq!(ran.len(), 2);
        assert!(report.summary().contains("\n1 passed, 2 failed"), "{}", report.summary());
    }

    #[test]
    fn the_plans_of_all_scenarios_name_each_check_once() {
        for scenario in ALL {
            let mut keys: Vec<_> = (scenario.plan)(&Pick::default()).into_iter().map(|(key, _)| key).collect();
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count, "{}", scenario.name);
            assert!(count > 0);
        }
    }
}
