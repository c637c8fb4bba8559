//! Every lookup of every client, judged as it ends; and for a wrong one, what its resolver asked and was told before it.
//!
//! **Invariant:** what is kept of the wire is bounded by time (`KEPT`), and what is told of wrong lookups by number.

use super::history::History;
use super::invariant::Findings;
use super::oracle::{self, Asked, Judged};
use super::world::World;
use crate::bed::pulse::Beat;
use crate::bed::wire::Said;
use crate::report::Report;
use anyhow::Result;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Messages are kept so long: no resolver avoids a server, or keeps a failure, for longer.
const KEPT: Duration = Duration::from_secs(45);
/// Wrong lookups of one ISP with less between them are one story, told once.
const ONE_STORY: Duration = Duration::from_secs(30);
/// Stories that are told.
const STORIES: usize = 5;
/// Messages of a story: the last ones.
const LINES: usize = 60;

/// What clients have got so far.
#[derive(Debug)]
pub struct Answers {
    /// Lookups judged so far, by client.
    seen: Vec<usize>,
    findings: Findings,
    excused: usize,
    /// What resolvers said and heard lately, the oldest first.
    heard: VecDeque<Said>,
    /// When the last wrong lookup of an ISP was, and how many stories were told.
    wrong: BTreeMap<usize, Duration>,
    told: usize,
}

/// A lookup, and what is thought of it.
pub struct Verdict {
    /// At which point of presence, when, and what came.
    pub asked: Asked,
    /// How long it took.
    pub took: Duration,
    /// The origin that was answered, if it is one.
    pub origin: Option<String>,
    /// What is thought of it.
    pub judged: Judged,
}

impl Answers {
    /// For so many clients.
    pub fn new(clients: usize) -> Self {
        Self {
            seen: vec![0; clients],
            findings: Findings::default(),
            excused: 0,
            heard: VecDeque::new(),
            wrong: BTreeMap::new(),
            told: 0,
        }
    }

    /// What was on the wire since the last look.
    pub fn hear(&mut self, said: &[Said], resolvers: &[IpAddr]) {
        let theirs = |said: &&Said| resolvers.contains(&said.from.ip()) || resolvers.contains(&said.to.ip());
        self.heard.extend(said.iter().filter(theirs).cloned());
        let Some(now) = self.heard.back().map(|last| last.at) else { return };
        while self.heard.front().is_some_and(|first| now.saturating_sub(first.at) > KEPT) {
            self.heard.pop_front();
        }
    }

    /// Judges the lookups that ended since the last look.
    pub fn judge(&mut self, world: &World, history: &History, start: Instant, report: &Report) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (pop, pulse) in world.pulses().iter().enumerate() {
            let beats = pulse.all();
            let Some(seen) = self.seen.get_mut(pop) else { continue };
            let fresh = beats.iter().skip(*seen);
            *seen = beats.len();
            for beat in fresh {
                let verdict = verdict(pop, beat, history, start, world);
                match &verdict.judged {
                    Judged::Good => {}
                    Judged::Excused(_) => self.excused += 1,
                    Judged::Wrong(why) => self.add(&verdict, why, world, report),
                }
                verdicts.push(verdict);
            }
        }
        verdicts
    }

    fn add(&mut self, verdict: &Verdict, why: &str, world: &World, report: &Report) {
        let Verdict { asked, took, .. } = verdict;
        let line = format!(
            "isp{:02} at {:.1} s, after {:.1} s: {why}",
            asked.pop + 1,
            asked.ended.as_secs_f64(),
            took.as_secs_f64()
        );
        let last = self.wrong.insert(asked.pop, asked.ended);
        if last.is_none_or(|last| asked.ended.saturating_sub(last) > ONE_STORY) && self.told < STORIES {
            self.told += 1;
            report.say(&format!("WRONG {line}"));
            if let Some(pop) = world.geography.pops.get(asked.pop) {
                let story = story(&self.heard, &[pop.resolver.into(), pop.renumbered.into()]);
                report.say(&format!("what {} asked and was told before it:\n{story}", pop.isp));
            }
        }
        self.findings.add(line);
    }

    /// All good or excused, or the first that were wrong.
    pub fn verdict(&self, good: u32, slow: u32) -> Result<String> {
        self.findings
            .verdict(format!("{good} lookups good, {slow} of them slower than a second; {} excused", self.excused))
    }
}

fn verdict(pop: usize, beat: &Beat, history: &History, start: Instant, world: &World) -> Verdict {
    let asked = Asked::of(pop, beat, start);
    let judged = oracle::judge(&asked, history, &world.geography);
    let first = asked.got.as_ref().ok().and_then(|addresses| addresses.first());
    let origin = first
        .and_then(|address| world.geography.origins.iter().find(|origin| IpAddr::from(origin.address) == *address));
    Verdict { took: beat.took, origin: origin.map(|origin| origin.id.clone()), judged, asked }
}

/// The last messages from and to a resolver, a line each.
fn story(heard: &VecDeque<Said>, resolver: &[IpAddr]) -> String {
    let theirs = heard.iter().filter(|said| resolver.contains(&said.from.ip()) || resolver.contains(&said.to.ip()));
    let lines: Vec<String> = theirs.map(|said| format!("    {}", said.line())).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Answers, KEPT, LINES, Said, story};
    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::{Name, RecordType};
    use std::net::SocketAddr;
    use std::time::Duration;

    fn said(at: u64, from: &str, to: &str) -> Said {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("www.lb.lab.").unwrap(), RecordType::A));
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 53);
        let at = Duration::from_secs(at);
        Said { at, from: address(from), to: address(to), tcp: false, passed: at.as_secs() != 7, size: 28, message }
    }

    #[test]
    fn a_story_is_what_one_resolver_said_and_heard_and_old_messages_go() {
        let (a, b) = ("10.1.0.53".parse().unwrap(), "10.2.0.53".parse().unwrap());
        let mut answers = Answers::new(2);
        answers.hear(&[said(6, "10.1.0.53", "10.9.0.2"), said(7, "10.9.0.2", "10.1.0.53")], &[a, b]);
        answers.hear(&[said(8, "10.2.0.53", "10.9.0.2"), said(9, "10.7.0.2", "10.9.0.2")], &[a, b]);
        let told = story(&answers.heard, &[a]);
        assert_eq!(told.lines().count(), 2, "{told}");
        assert!(told.lines().next().unwrap().contains("10.1.0.53:53 > 10.9.0.2:53"), "{told}");
        assert!(told.lines().nth(1).unwrap().ends_with("(did not pass)"), "{told}");
        let many: Vec<Said> = (0..100).map(|_| said(9 + KEPT.as_secs(), "10.2.0.53", "10.9.0.2")).collect();
        answers.hear(&many, &[a, b]);
        assert_eq!(story(&answers.heard, &[a]), "", "it is too long ago");
        assert_eq!(story(&answers.heard, &[b]).lines().count(), LINES);
    }
}
