//! The state behind the screen: samples come in, rates and events come out, keys move what is shown.
//!
//! **Invariant:** pure; time comes in with each sample. Rates are differences of counters, so that a node that restarts
//! (counters begin anew) shows a pause and no nonsense. All that is kept is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::sample::Sample;
use crate::admin::report::{LatencyLine, ServerState};

/// Points of the plot: more than a wide terminal has columns.
pub(super) const MOST_POINTS: usize = 400;
/// Events that are kept.
pub(super) const MOST_EVENTS: usize = 500;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    /// A bit of everything.
    #[default]
    Overview,
    /// All nodes.
    Members,
    /// All services, with what they give here.
    Services,
    /// All rows.
    Rows,
    /// What happened since the start of this program.
    Events,
}

impl View {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Self; 5] = [Self::Overview, Self::Members, Self::Services, Self::Rows, Self::Events];

    /// Its title.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Members => "members",
            Self::Services => "services",
            Self::Rows => "measurements",
            Self::Events => "events",
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|view| *view == self).unwrap_or_default()
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Show(View),
    Next,
    Previous,
    Up(u16),
    Down(u16),
    Top,
    Pause,
    Help,
}

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Plain,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Since the start of this program.
    pub(super) at: Duration,
    pub(super) tone: Tone,
    pub(super) what: String,
}

/// Everything that the screen is drawn from.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) view: View,
    pub(super) scroll: u16,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) sample: Option<Sample>,
    /// When the sample was taken.
    pub(super) taken: Duration,
    /// Why there is no newer one; empty if there is.
    pub(super) trouble: String,
    /// Queries per second, oldest first.
    pub(super) queries: VecDeque<u64>,
    /// Each counter's change per second.
    pub(super) rates: BTreeMap<String, f64>,
    pub(super) events: VecDeque<Event>,
}

impl Board {
    /// A look came back, or did not. `false`: nothing is to be drawn anew.
    pub(super) fn handle_look(&mut self, now: Duration, look: Result<Sample, String>) -> bool {
        if self.paused {
            return false;
        }
        match look {
            Err(why) => {
                if self.trouble.is_empty() {
                    self.happened(now, Tone::Bad, "the node does not answer any more");
                }
                self.trouble = why;
            }
            Ok(sample) => {
                if !std::mem::take(&mut self.trouble).is_empty() {
                    self.happened(now, Tone::Good, "the node answers again");
                }
                if let Some(before) = self.sample.take() {
                    self.count(&before, &sample, now.saturating_sub(self.taken));
                    for (tone, what) in changes(&before, &sample) {
                        self.happened(now, tone, what);
                    }
                }
                self.sample = Some(sample);
                self.taken = now;
            }
        }
        true
    }

    /// A key was pressed. `false`: it is time to end.
    pub(super) fn handle(&mut self, wish: Wish) -> bool {
        let view = self.view.place();
        match wish {
            Wish::Quit if self.help => self.help = false,
            Wish::Quit => return false,
            Wish::Show(view) => self.show(view),
            Wish::Next => self.show(View::ALL[(view + 1) % View::ALL.len()]),
            Wish::Previous => self.show(View::ALL[(view + View::ALL.len() - 1) % View::ALL.len()]),
            Wish::Up(lines) => self.scroll = self.scroll.saturating_sub(lines),
            // Never past the last line.
            Wish::Down(lines) => self.scroll = self.scroll.saturating_add(lines).min(self.lines().saturating_sub(1)),
            Wish::Top => self.scroll = 0,
            Wish::Pause => self.paused = !self.paused,
            Wish::Help => self.help = !self.help,
        }
        true
    }

    fn show(&mut self, view: View) {
        (self.view, self.scroll, self.help) = (view, 0, false);
    }

    /// How many lines the view has.
    fn lines(&self) -> u16 {
        let Some(sample) = &self.sample else { return 0 };
        let lines = match self.view {
            View::Overview => 0,
            View::Members => sample.peers.len(),
            View::Services => sample.services.len(),
            View::Rows => sample.rows.len(),
            View::Events => self.events.len(),
        };
        u16::try_from(lines).unwrap_or(u16::MAX)
    }

    fn count(&mut self, before: &Sample, after: &Sample, passed: Duration) {
        let seconds = passed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let (before, after) = (&before.status.dns.counters, &after.status.dns.counters);
        self.rates = after
            .iter()
            .map(|(name, count)| {
                let risen = count.saturating_sub(before.get(name).copied().unwrap_or_default());
                (name.clone(), risen as f64 / seconds)
            })
            .collect();
        let queries = self.rates.get("queries").copied().unwrap_or_default();
        self.queries.push_back(queries.round() as u64);
        while self.queries.len() > MOST_POINTS {
            self.queries.pop_front();
        }
    }

    fn happened(&mut self, at: Duration, tone: Tone, what: impl Into<String>) {
        self.events.push_front(Event { at, tone, what: what.into() });
        self.events.truncate(MOST_EVENTS);
    }
}

/// What is different.
fn changes(before: &Sample, after: &Sample) -> Vec<(Tone, String)> {
    let mut told = Vec::new();
    if after.status.node.uptime_s < before.status.node.uptime_s {
        told.push((Tone::Plain, "the node was started anew".to_owned()));
    }
    members(before, after, &mut told);
    servers(before, after, &mut told);
    for (service, chosen) in &after.chosen {
        if let Some(was) = before.chosen.get(service).filter(|was| was.servers != chosen.servers) {
            let list = |servers: &[String]| if servers.is_empty() { "nothing".to_owned() } else { servers.join(" ") };
            told.push((
                Tone::Plain,
                format!("{service} gives {} instead of {}", list(&chosen.servers), list(&was.servers)),
            ));
        }
    }
    let new = after.status.warnings.iter().filter(|warning| !before.status.warnings.contains(warning));
    told.extend(new.map(|warning| (Tone::Bad, format!("warning: {warning}"))));
    let over = before.status.warnings.iter().filter(|warning| !after.status.warnings.contains(warning));
    told.extend(over.map(|warning| (Tone::Good, format!("over: {warning}"))));
    told
}

fn members(before: &Sample, after: &Sample, told: &mut Vec<(Tone, String)>) {
    for peer in &after.peers {
        let who = if peer.name.is_empty() { peer.id.chars().take(8).collect() } else { peer.name.clone() };
        let Some(was) = before.peers.iter().find(|was| was.id == peer.id) else {
            told.push((Tone::Good, format!("{who} has come: {}", peer.verdict.as_str())));
            continue;
        };
        if was.verdict != peer.verdict {
            let tone = if peer.verdict.as_str() == "alive" { Tone::Good } else { Tone::Bad };
            told.push((tone, format!("{who} is {} (was {})", peer.verdict.as_str(), was.verdict.as_str())));
        }
        if was.linked != peer.linked {
            told.push((
                Tone::Plain,
                format!("{} {who}", if peer.linked { "linked to" } else { "no link any more to" }),
            ));
        }
    }
    for was in before.peers.iter().filter(|was| !after.peers.iter().any(|peer| peer.id == was.id)) {
        told.push((Tone::Plain, format!("{} is known no more", was.name)));
    }
}

fn servers(before: &Sample, after: &Sample, told: &mut Vec<(Tone, String)>) {
    let me = &after.status.node.name;
    let key = |row: &LatencyLine| (row.service.clone(), row.server.clone());
    let own = |sample: &Sample| -> BTreeMap<(String, String), ServerState> {
        sample.rows.iter().filter(|row| row.node == *me).map(|row| (key(row), row.state)).collect()
    };
    let (before, after) = (own(before), own(after));
    for ((service, server), state) in &after {
        let was = before.get(&(service.clone(), server.clone())).copied().unwrap_or(ServerState::Unknown);
        if was != *state {
            let tone = match state {
                ServerState::Up => Tone::Good,
                ServerState::Down => Tone::Bad,
                ServerState::Unknown => Tone::Plain,
            };
            told.push((tone, format!("{server} of {service} is {} (was {})", state.as_str(), was.as_str())));
        }
    }
}
