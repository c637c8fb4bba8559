//! What is different from one look to the next, in rates and in words.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nigh_dns::Counts;

use crate::admin::picture::{HappeningKind, Sample, Tone};
use crate::admin::report::{ServerState, Verdict};

/// Happenings of one kind that are told one by one at one look; of more it is said how many there are.
const MOST_AT_ONCE: usize = 8;
/// The longest text of a happening, in characters: some hold words of other nodes.
const LONGEST_TEXT: usize = 240;

/// What happened, before it has a number.
pub(super) type Found = (HappeningKind, Tone, String);

/// Counted since the start, in the groups that are plotted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Into a cut.
    pub referrals: u64,
    /// In a cut.
    pub cut: u64,
    /// At once, the client's place known.
    pub direct: u64,
    /// At once, nobody claiming the client.
    pub unclaimed: u64,
    /// Zones, static records, name servers.
    pub other: u64,
    /// Denials and errors.
    pub negative: u64,
    /// Over the rate limit.
    pub limited: u64,
}

impl From<&Counts> for Totals {
    fn from(counts: &Counts) -> Self {
        Self {
            referrals: counts.referrals,
            cut: counts.cut_answers + counts.backup_answers + counts.orphan_answers,
            direct: counts.referrals_with_addresses + counts.direct_answers,
            unclaimed: counts.unclaimed_answers + counts.estimated_answers,
            other: counts.delegations
                + counts.zone_answers
                + counts.static_answers
                + counts.whoami_answers
                + counts.cookies,
            negative: counts.negative + counts.refused + counts.errors,
            limited: counts.slipped + counts.rate_limited,
        }
    }
}

/// What a node is at one moment, as far as it is remembered. The maps are shared: most looks find them as they were.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The snapshot's number.
    pub serial: u64,
    /// What was counted.
    pub totals: Totals,
    /// Members by name.
    pub members: Shared<String, Verdict>,
    /// What this node's clients get, by service: the servers that get a share, the largest first.
    pub answers: Shared<String, Vec<String>>,
    /// The round trips to the first of those, in milliseconds.
    pub rtts_ms: Arc<Vec<f32>>,
    /// Servers as this node sees them, by service and id.
    pub servers: Shared<(String, String), ServerState>,
    /// The catalogue's number.
    pub catalogue: u32,
    /// What someone should look at.
    pub warnings: BTreeSet<String>,
    /// This node is leaving.
    pub draining: bool,
    /// All its probes fail at once.
    pub isolated: bool,
}

/// A map that is cheap to hand on unchanged, and is copied when it is changed.
#[derive(Clone, Debug)]
pub struct Shared<K, V>(pub Arc<BTreeMap<K, V>>);

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Shared<K, V> {
    /// Adds or replaces.
    pub fn insert(&mut self, key: K, value: V) {
        Arc::make_mut(&mut self.0).insert(key, value);
    }

    /// What is not in both alike: the key with what was and what is.
    fn differences<'a>(&'a self, now: &'a Self) -> Vec<(&'a K, Option<&'a V>, Option<&'a V>)> {
        if Arc::ptr_eq(&self.0, &now.0) {
            return Vec::new();
        }
        let gone = self.0.iter().filter(|(key, _)| !now.0.contains_key(key)).map(|(key, was)| (key, Some(was), None));
        let come = now.0.iter().filter_map(|(key, is)| {
            let was = self.0.get(key);
            (was != Some(is)).then_some((key, was, Some(is)))
        });
        gone.chain(come).collect()
    }
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: Option<(u64, Observation)>,
}

impl Changes {
    /// A sample of the time since the last look, and what happened in it.
    pub(super) fn handle(&mut self, time_s: u64, now: Observation) -> (Option<Sample>, Vec<Found>) {
        let Some((then, was)) = self.last.replace((time_s, now.clone())) else { return (None, Vec::new()) };
        let mut found = Vec::new();
        let changes = answers(&was, &now, &mut found);
        members(&was, &now, &mut found);
        servers(&was, &now, &mut found);
        this_node(&was, &now, &mut found);
        for (_, _, text) in &mut found {
            if text.chars().count() > LONGEST_TEXT {
                *text = text.chars().take(LONGEST_TEXT).chain(['…']).collect();
            }
        }
        // A clock that was set back gives no rate; what happened, happened.
        let elapsed = time_s.saturating_sub(then) as f32;
        let sample = (elapsed > 0.0).then(|| sample(&was, &now, elapsed, changes));
        (sample, found)
    }
}

fn sample(was: &Observation, now: &Observation, elapsed: f32, changes: u32) -> Sample {
    let rate = |of: fn(&Totals) -> u64| of(&now.totals).saturating_sub(of(&was.totals)) as f32 / elapsed;
    let mut rtts: Vec<f32> = now.rtts_ms.to_vec();
    rtts.sort_by(f32::total_cmp);
    let count = |of: fn(&Verdict) -> bool| now.members.0.values().filter(|verdict| of(verdict)).count();
    Sample {
        time_s: 0,
        serial: 0,
        referrals: rate(|totals| totals.referrals),
        cut: rate(|totals| totals.cut),
        direct: rate(|totals| totals.direct),
        unclaimed: rate(|totals| totals.unclaimed),
        other: rate(|totals| totals.other),
        negative: rate(|totals| totals.negative),
        limited: rate(|totals| totals.limited),
        rtt_ms: rtts.get(rtts.len() / 2).copied(),
        rtt_worst_ms: rtts.last().copied(),
        changes,
        alive: u32::try_from(count(|verdict| *verdict == Verdict::Alive)).unwrap_or(u32::MAX),
        members: u32::try_from(count(|verdict| *verdict != Verdict::Left)).unwrap_or(u32::MAX),
    }
}

/// Who gets something else. A service that is new or gone is an edit, no change of answer.
fn answers(was: &Observation, now: &Observation, found: &mut Vec<Found>) -> u32 {
    let changed: Vec<(&String, &[String], &[String])> = was
        .answers
        .differences(&now.answers)
        .into_iter()
        .filter_map(|(service, was, now)| Some((service, was?.as_slice(), now?.as_slice())))
        .collect();
    let list = |ids: &[String]| match ids {
        [] => "nothing".to_owned(),
        ids => ids.join(" and "),
    };
    let lines =
        changed.iter().map(|(service, was, now)| (Tone::Plain, format!("{service}: {} → {}", list(was), list(now))));
    tell(HappeningKind::Answer, lines.collect(), "services give other answers", found);
    u32::try_from(changed.len()).unwrap_or(u32::MAX)
}

fn members(was: &Observation, now: &Observation, found: &mut Vec<Found>) {
    let lines = was.members.differences(&now.members).into_iter().map(|(name, was, now)| match (was, now) {
        (_, None) => (Tone::Look, format!("{name} is no member any more")),
        (_, Some(Verdict::Dead)) => (Tone::Bad, format!("{name} is dead: its watchers hear nothing of it")),
        (_, Some(Verdict::Left)) => (Tone::Plain, format!("{name} has left, as it was told to")),
        (_, Some(Verdict::Draining)) => (Tone::Plain, format!("{name} drains: it takes no new resolvers")),
        (_, Some(Verdict::Absent)) => (Tone::Plain, format!("{name} is admitted, and has not spoken yet")),
        (None | Some(Verdict::Absent), Some(Verdict::Alive)) => (Tone::Good, format!("{name} has joined")),
        (Some(_), Some(Verdict::Alive)) => (Tone::Good, format!("{name} is back")),
    });
    tell(HappeningKind::Member, lines.collect(), "members changed", found);
}

fn servers(was: &Observation, now: &Observation, found: &mut Vec<Found>) {
    let lines = was.servers.differences(&now.servers).into_iter().filter_map(|((service, id), was, now)| {
        let what = format!("{id} of {service}");
        match (was, now?) {
            (_, ServerState::Down) => Some((Tone::Bad, format!("{what} is down from here"))),
            (Some(ServerState::Down), ServerState::Up) => Some((Tone::Good, format!("{what} is up again"))),
            (Some(ServerState::Up), ServerState::Unknown) => {
                Some((Tone::Look, format!("{what} is not measured any more")))
            }
            _ => None,
        }
    });
    tell(HappeningKind::Server, lines.collect(), "servers changed", found);
}

fn this_node(was: &Observation, now: &Observation, found: &mut Vec<Found>) {
    if was.catalogue != now.catalogue {
        found.push((HappeningKind::Catalogue, Tone::Plain, "the catalogue changed: an edit has arrived".into()));
    }
    if !was.draining && now.draining {
        found.push((HappeningKind::Node, Tone::Look, "this node drains: it was told to leave".into()));
    }
    match (was.isolated, now.isolated) {
        (false, true) => {
            let text = "no probe is answered any more: this node is cut off, or all servers are down";
            found.push((HappeningKind::Node, Tone::Bad, text.into()));
        }
        (true, false) => {
            found.push((HappeningKind::Node, Tone::Good, "probes are answered again: this node is back".into()))
        }
        _ => {}
    }
    let come = now.warnings.difference(&was.warnings).map(|text| (Tone::Look, text.clone()));
    let gone = was.warnings.difference(&now.warnings).map(|text| (Tone::Good, format!("over: {text}")));
    tell(HappeningKind::Warning, come.chain(gone).collect(), "warnings came or went", found);
}

/// Lines one by one, or how many they are.
fn tell(kind: HappeningKind, lines: Vec<(Tone, String)>, many: &str, found: &mut Vec<Found>) {
    let (count, more) = (lines.len(), lines.len().saturating_sub(MOST_AT_ONCE));
    let worst = lines.iter().map(|(tone, _)| *tone).max_by_key(|tone| *tone as u8).unwrap_or(Tone::Plain);
    found.extend(lines.into_iter().take(MOST_AT_ONCE).map(|(tone, text)| (kind, tone, text)));
    if more > 0 {
        found.push((kind, worst, format!("{count} {many} at once, {more} more than are told here")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(was: Observation, now: Observation) -> Vec<(Tone, String)> {
        let mut changes = Changes::default();
        changes.handle(1, was);
        changes.handle(2, now).1.into_iter().map(|(_, tone, text)| (tone, text)).collect()
    }

    #[test]
    fn what_happens_to_members_is_told_in_words() {
        let with = |verdicts: &[(&str, Verdict)]| {
            let mut seen = Observation::default();
            verdicts.iter().for_each(|(name, verdict)| seen.members.insert((*name).to_owned(), *verdict));
            seen
        };
        let was = with(&[("a", Verdict::Alive), ("b", Verdict::Dead), ("c", Verdict::Alive), ("d", Verdict::Absent)]);
        let now = with(&[("a", Verdict::Dead), ("b", Verdict::Alive), ("c", Verdict::Left), ("d", Verdict::Alive)]);
        let texts = told(was.clone(), now);
        let expected = [
            (Tone::Bad, "a is dead: its watchers hear nothing of it"),
            (Tone::Good, "b is back"),
            (Tone::Plain, "c has left, as it was told to"),
            (Tone::Good, "d has joined"),
        ];
        assert_eq!(texts, expected.map(|(tone, text)| (tone, text.to_owned())));
        assert_eq!(told(was.clone(), was), []);
    }

    #[test]
    fn what_clients_get_is_told_and_a_flood_is_counted() {
        let give = |what: &str| {
            let mut seen = Observation::default();
            (0..30).for_each(|n| seen.answers.insert(format!("s{n:02}"), vec![what.to_owned()]));
            seen
        };
        let texts = told(give("dub"), give("iad"));
        assert_eq!(texts.len(), MOST_AT_ONCE + 1);
        assert_eq!(texts[0], (Tone::Plain, "s00: dub → iad".to_owned()));
        assert_eq!(texts[MOST_AT_ONCE].1, "30 services give other answers at once, 22 more than are told here");
        let mut none = Observation::default();
        none.answers.insert("s00".into(), Vec::new());
        let mut one = Observation::default();
        one.answers.insert("s00".into(), vec!["dub".into(), "iad".into()]);
        assert_eq!(told(none, one), [(Tone::Plain, "s00: nothing → dub and iad".to_owned())]);
    }

    #[test]
    fn servers_warnings_edits_and_the_node_itself_are_told() {
        let mut was = Observation::default();
        was.servers.insert(("www".into(), "dub".into()), ServerState::Up);
        was.servers.insert(("www".into(), "new".into()), ServerState::Unknown);
        was.warnings.insert("old".into());
        let mut now = Observation { catalogue: 7, draining: true, isolated: true, ..was.clone() };
        now.servers.insert(("www".into(), "dub".into()), ServerState::Down);
        now.servers.insert(("www".into(), "new".into()), ServerState::Up);
        now.warnings = BTreeSet::from(["x".repeat(1000)]);
        let texts = told(was.clone(), now.clone());
        let starts = [
            "dub of www is down",
            "the catalogue changed",
            "this node drains",
            "no probe is answered",
            "xxx",
            "over: old",
        ];
        assert_eq!(texts.len(), starts.len(), "{texts:?}");
        for ((_, text), start) in texts.iter().zip(starts) {
            assert!(text.starts_with(start) && text.chars().count() <= LONGEST_TEXT + 1, "{text}");
        }
        let back = told(now, Observation { draining: true, ..was });
        assert!(back.iter().any(|(tone, text)| (*tone, text.as_str()) == (Tone::Good, "dub of www is up again")));
    }
}
