//! Four resolvers in every corner: each case is played by all of them side by side against one mesh.
//!
//! ```text
//!   London      root "."           Ohio  DNS-A "lab." (signed), "shop.lab."
//!               Frankfurt            London    New York    Ohio        Tokyo
//!   node        fra                  lon       nyc         ohi         tyo
//!   claims      resolvers (10)       (20)                  (30)        their second addresses
//!   origin      eu-central-1                   us-east-1               ap-northeast-1
//!   resolvers   unbound bind pdns kresd
//! ```
//!
//! A case starts the resolvers anew (a cold cache), configured as the case wants them, and asks through them as their
//! clients would. Who asked which node for what is read from the wire, so the four do not get into each other's counts.
//! What holds in every case for every resolver is in [`judge`]; what a case is about, in its file in [`cases`].

pub mod cases;
pub mod judge;
pub mod lanes;
pub mod places;
pub mod table;
pub mod world;

use super::{Options, Pick, Scenario};
use crate::bed::wire::Said;
use crate::lab::Run;
use crate::machine::Need;
use crate::report::{self, Report};
use crate::sys;
use anyhow::{Result, bail};
use cases::{CASES, Case};
use lanes::{KINDS, Kind, Lane, each};
use table::{Row, Verdict};
use world::World;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "resolvers",
    about: "unbound, BIND, PowerDNS Recursor and Knot Resolver get good answers in every corner",
    needs,
    plan,
    run,
};

/// Lines of the wire that are shown of a resolver that did not do as claimed.
const WIRE_LINES: usize = 60;

fn needs(options: &Options) -> Vec<Need> {
    vec![
        Need::Root,
        Need::Namespaces,
        Need::Tun,
        Need::Named,
        Need::Signer,
        Need::Unbound,
        Need::Pdns,
        Need::Kresd,
        Need::Nginx,
        Need::Nigh(options.nigh.clone()),
    ]
}

fn plan(pick: &Pick) -> Vec<(&'static str, String)> {
    picked(pick).map(|case| (case.key, case.claim.to_owned())).collect()
}

fn picked(pick: &Pick) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|case| {
        let named = pick.cases.is_empty() || pick.cases.iter().any(|name| name == case.key);
        named && (case.fast || !pick.fast)
    })
}

/// An error if something is picked that is not there.
pub fn check(pick: &Pick) -> Result<()> {
    let cases: Vec<&str> = CASES.iter().map(|case| case.key).collect();
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.resolver.name()).collect();
    if let Some(name) = pick.cases.iter().find(|name| !cases.contains(&name.as_str())) {
        bail!("no case {name}; there are {}", cases.join(", "));
    }
    if let Some(name) = pick.only.iter().find(|name| !kinds.contains(&name.as_str())) {
        bail!("no resolver {name}; there are {}", kinds.join(", "));
    }
    if picked(pick).next().is_none() {
        bail!("of the cases picked none is quick: leave --fast out");
    }
    Ok(())
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let run = Run::begin(options.keep)?;
    if options.keep {
        report.say(&format!("configurations and logs stay in {}", run.directory().display()));
    }
    let seats: Vec<_> = KINDS.iter().map(|kind| (kind.resolver.name(), kind.seat)).collect();
    let mut world = World::build(run, options, report, &seats)?;
    let wanted = |kind: &&Kind| {
        options.pick.only.is_empty() || options.pick.only.iter().any(|name| name == kind.resolver.name())
    };
    let kinds: Vec<&'static Kind> = KINDS.iter().filter(wanted).collect();
    let mut rows = Vec::new();
    for case in picked(&options.pick) {
        if sys::interrupted() {
            report.say("interrupted: taking the bed down");
            break;
        }
        report.say(&format!("{}: {}", case.key, case.claim));
        let seen = match play(&mut world, case, &kinds, report) {
            Ok(seen) => seen,
            Err(error) => {
                report.check(case.key, false, &format!("{error:#}"));
                continue;
            }
        };
        let sentences: Vec<String> = seen.iter().map(Row::sentence).collect();
        let good = seen.iter().all(|row| row.verdict != Verdict::Bad);
        report.check(case.key, good, &sentences.join(" | "));
        rows.extend(seen);
    }
    if options.json {
        report::line(&serde_json::to_string_pretty(&rows)?);
    } else {
        report::line("\nIn full");
        report::line(&table::details(&rows));
        report::line("Resolver by case: questions that nodes got, and the slowest lookup");
        report::line(&table::matrix(&rows));
    }
    if !report.passed() && !sys::interrupted() {
        report.say(&world.evidence());
    }
    Ok(())
}

/// Plays one case with fresh resolvers.
fn play(world: &mut World, case: &Case, kinds: &[&'static Kind], report: &Report) -> Result<Vec<Row>> {
    world.healthy()?;
    let manner = (case.manner)(world);
    let mut rows = Vec::new();
    let mut lanes = Vec::new();
    for kind in kinds {
        match kind.resolver.lacks(&manner) {
            Some(why) => rows.push(Row::lacks(case.key, kind.resolver.name(), why)),
            None => lanes.push(Lane::launch(&world.bed, kind, &manner, case.by_ipv6)?),
        }
    }
    each(&mut lanes, Lane::ready);
    world.forget();
    let played = (case.play)(world, &mut lanes, report);
    each(&mut lanes, Lane::alive);
    let said = world.said();
    for lane in &mut lanes {
        rows.push(row(case, lane, said, played.as_ref().err(), report));
    }
    drop(lanes);
    rows.sort_by_key(|row| KINDS.iter().position(|kind| kind.resolver.name() == row.resolver));
    Ok(rows)
}

fn row(case: &Case, lane: &mut Lane, said: &[Said], broken: Option<&anyhow::Error>, report: &Report) -> Row {
    let egress = lane.kind.seat.egress();
    let mut faults: Vec<String> = lane.fault.take().into_iter().collect();
    faults.extend(broken.map(|error| format!("{error:#}")));
    faults.extend(judge::lame(said, &egress));
    if let Err(error) = (case.wire)(lane, said) {
        faults.push(format!("{error:#}"));
    }
    let mut row = Row::new(case.key, lane.name(), &lane.asked);
    row.queries = judge::tally(said, &egress);
    row.notes.append(&mut lane.notes);
    if !faults.is_empty() {
        row.verdict = Verdict::Bad;
        row.notes.append(&mut faults);
        let own: Vec<&Said> =
            said.iter().filter(|said| egress.contains(&said.from.ip()) || egress.contains(&said.to.ip())).collect();
        for said in own.iter().skip(own.len().saturating_sub(WIRE_LINES)) {
            report.say(&format!("{}: {}", lane.name(), said.line()));
        }
    }
    row
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{CASES, Pick, check, plan};

    #[test]
    fn what_is_picked_is_played_and_what_is_not_there_is_an_error() {
        assert_eq!(plan(&Pick::default()).len(), CASES.len());
        let one = Pick { cases: vec!["cold".to_owned()], only: vec!["bind".to_owned()], fast: true, hold: false };
        check(&one).unwrap();
        assert_eq!(plan(&one).len(), 1);
        assert!(check(&Pick { cases: vec!["warm".to_owned()], ..Pick::default() }).is_err());
        assert!(check(&Pick { only: vec!["named".to_owned()], ..Pick::default() }).is_err());
        let slow = CASES.iter().find(|case| !case.fast).unwrap().key.to_owned();
        assert!(check(&Pick { cases: vec![slow], fast: true, ..Pick::default() }).is_err());
    }
}
