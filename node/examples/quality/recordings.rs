//! Time series of round trips: what alternatives there were, at every moment.
//!
//! **Invariant:** all paths of a case have a value for every round; `None` says nothing, for both sets leave samples out
//! by the way in which they were made.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// More rounds than this is another kind of file.
const MOST_ROUNDS: usize = 1_000_000;
/// Overlay paths write a loss as this many ms or more.
const OVERLAY_LOST_MS: f64 = 2000.0;
/// Seattle's frames: 688 of them in three hours (Zhu et al., IEEE/ACM ToN 25, 2017), and each holds what was measured
/// for about five frames: of runs of equal values, five is by far the commonest length. So every fifth is a probe.
const SEATTLE_FRAME_MS: f64 = 15_700.0;
const SEATTLE_HELD: usize = 5;
const SEATTLE_TICK_MS: f64 = 10.0;

/// Samples of one path, in ms.
pub type Path = Vec<Option<f64>>;

/// Paths that one node may choose between.
pub struct Case {
    pub paths: Vec<Path>,
}

/// A file's cases, all sampled at one pace.
pub struct Recording {
    pub name: &'static str,
    pub step: Duration,
    pub cases: Vec<Case>,
}

impl Recording {
    /// The same with an end to patience: what takes longer is a failed probe, and costs a user at least that long.
    pub fn within(mut self, timeout_ms: f64) -> Self {
        for sample in self.cases.iter_mut().flat_map(|case| &mut case.paths).flatten().flatten() {
            *sample = sample.min(timeout_ms);
        }
        self
    }
}

/// One probe's trace with the moments at which people saw the path change.
pub struct Labelled {
    pub samples: Vec<(Duration, Option<Duration>)>,
    pub changes: Vec<Duration>,
}

impl Recording {
    /// Reads a file in one of the forms that the command's usage names.
    pub fn parse(text: &str, origins: usize, seed: u64, every_frame: bool) -> Result<Self, String> {
        let first = text.lines().next().unwrap_or_default();
        if first.starts_with("scenario,") {
            Self::overlay(text)
        } else if first.starts_with("# RTT in ticks") {
            let stride = if every_frame { 1 } else { SEATTLE_HELD };
            Self::seattle(text, origins, stride, &mut ChaCha8Rng::seed_from_u64(seed))
        } else {
            Err("neither overlay paths (`scenario,path,step_s,...`) nor Seattle frames".to_owned())
        }
    }

    /// `scenario,path,step_s,rtt_ms...`: one case a scenario.
    fn overlay(text: &str) -> Result<Self, String> {
        let mut cases: BTreeMap<&str, Vec<Path>> = BTreeMap::new();
        let mut step = None;
        for (at, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty()) {
            let fields: Vec<&str> = line.split(',').collect();
            let [scenario, _, seconds, samples @ ..] = fields.as_slice() else {
                return Err(format!("line {}: a scenario, a path, a step and samples are wanted", at + 1));
            };
            let seconds: f64 = seconds.parse().map_err(|_| format!("line {}: {seconds:?} is no step", at + 1))?;
            if !(0.001..=86_400.0).contains(&seconds) || step.is_some_and(|step| step != seconds) {
                return Err(format!("line {}: steps must be alike, and between 1 ms and a day", at + 1));
            }
            step = Some(seconds);
            let sample = |field: &&str| field.parse().ok().filter(|ms| (0.0..OVERLAY_LOST_MS).contains(ms));
            cases.entry(scenario).or_default().push(samples.iter().take(MOST_ROUNDS).map(sample).collect());
        }
        let step = Duration::from_secs_f64(step.ok_or("no paths")?);
        let cases = cases.into_values().map(Case::new).collect();
        Ok(Self { name: "overlay paths", step, cases })
    }

    /// `i,j,f1,f2,...`: ticks from i to j in each frame. Each device is a node, `origins` others are its servers.
    fn seattle(text: &str, origins: usize, stride: usize, rng: &mut impl Rng) -> Result<Self, String> {
        let mut by_device: BTreeMap<&str, Vec<Path>> = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let mut fields = line.split(',');
            let (Some(from), Some(_)) = (fields.next(), fields.next()) else {
                return Err(format!("line {}: two devices and frames are wanted", at + 1));
            };
            let sample = |field: &str| field.parse::<f64>().ok().filter(|ticks| *ticks > 0.0);
            let ms = fields.step_by(stride).take(MOST_ROUNDS).map(|field| sample(field).map(|t| t * SEATTLE_TICK_MS));
            by_device.entry(from).or_default().push(ms.collect());
        }
        let cases = by_device.into_values().map(|mut paths| {
            paths.shuffle(rng);
            paths.truncate(origins);
            Case::new(paths)
        });
        let step = Duration::from_secs_f64(SEATTLE_FRAME_MS * stride as f64 / 1e3);
        Ok(Self { name: "Seattle testbed", step, cases: cases.collect() })
    }
}

impl Case {
    /// Paths of unequal length are cut to the shortest.
    fn new(mut paths: Vec<Path>) -> Self {
        let rounds = paths.iter().map(Vec::len).min().unwrap_or(0);
        paths.iter_mut().for_each(|path| path.truncate(rounds));
        Self { paths }
    }

    /// How many moments there are.
    pub fn rounds(&self) -> usize {
        self.paths.first().map_or(0, Vec::len)
    }

    /// What each path was like then.
    pub fn at(&self, round: usize) -> Vec<Option<f64>> {
        self.paths.iter().map(|path| path[round]).collect()
    }
}

/// Does the file have marks?
pub fn is_labelled(text: &str) -> bool {
    text.starts_with("# RIPE Atlas")
}

/// `probe,epoch_s,rtt_ms,change_point`, later lines of a probe with no name and the seconds since the line before.
pub fn labelled(text: &str) -> Result<Vec<Labelled>, String> {
    let mut traces: Vec<Labelled> = Vec::new();
    let mut now = 0_i64;
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(',').collect();
        let [probe, seconds, rtt, ..] = fields.as_slice() else {
            return Err(format!("line {}: a probe, seconds and a round trip are wanted", at + 1));
        };
        let seconds: i64 = seconds.parse().map_err(|_| format!("line {}: {seconds:?} is no time", at + 1))?;
        let rtt: f64 = rtt.parse().map_err(|_| format!("line {}: {rtt:?} is no round trip", at + 1))?;
        if !probe.is_empty() {
            traces.push(Labelled { samples: Vec::new(), changes: Vec::new() });
        }
        // Probes' clocks were set back now and then.
        now = if probe.is_empty() { now.saturating_add(seconds) } else { seconds };
        let trace = traces.last_mut().ok_or(format!("line {}: no probe yet", at + 1))?;
        let at = Duration::from_secs(now.unsigned_abs());
        let answered = (rtt > 0.0 && rtt < 1e6).then(|| Duration::from_secs_f64(rtt / 1e3));
        trace.samples.push((at, answered));
        if fields.len() > 3 {
            trace.changes.push(at);
        }
    }
    Ok(traces)
}
