//! How often a way of probing would have cried wolf: the same counting as in use, over samples of a path whose server is
//! known to have been well.
//!
//! For choosing interval, timeout, retries and fall from recorded paths, before servers pay for the choice. A probe takes as
//! many samples as it makes tries; a sample that is slower than a try may be is a try that failed, as it would be in use.

use std::time::Duration;

use super::filter::{Filter, State};
use super::outcome::{Failure, Outcome};
use super::target::ProbeSpec;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Probes made.
    pub probes: usize,
    /// Those that failed.
    pub failed: usize,
    /// Times that the server was found down.
    pub falls: usize,
    /// Probes during which it was held to be down.
    pub down: usize,
}

/// Probes as `spec` says over the samples of a path, each one try: its round trip, or nothing if it was lost.
pub fn count(spec: &ProbeSpec, samples: impl IntoIterator<Item = Option<Duration>>) -> Alarms {
    let spec = spec.clamped();
    let timeout = spec.timeout / (spec.retries + 1);
    let mut filter = Filter::new(spec.rise, spec.fall);
    let mut samples = samples.into_iter().map(|sample| sample.filter(|rtt| *rtt <= timeout)).peekable();
    let (mut alarms, mut now) = (Alarms::default(), Duration::ZERO);
    while samples.peek().is_some() {
        let answer = samples.by_ref().take(spec.retries as usize + 1).find_map(|rtt| rtt);
        let outcome = answer.map_or(Outcome::Failed(Failure::Timeout(timeout)), Outcome::Answered);
        let before = filter.state();
        now += spec.interval;
        filter.record(now, &outcome);
        alarms.probes += 1;
        alarms.failed += usize::from(answer.is_none());
        alarms.falls += usize::from(before != State::Down && filter.state() == State::Down);
        alarms.down += usize::from(filter.state() == State::Down);
    }
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::target::ProbeKind;

    fn spec(retries: u32, fall: u32) -> ProbeSpec {
        let (interval, timeout) = (Duration::from_millis(500), Duration::from_millis(400));
        ProbeSpec { kind: ProbeKind::Tcp, port: 80, interval, timeout, retries, rise: 2, fall }
    }

    /// One letter a sample: answered, lost, late for half of the timeout, late for all of it.
    fn path(letters: &str) -> Vec<Option<Duration>> {
        let sample = |letter| match letter {
            '+' => Some(Duration::from_millis(20)),
            'h' => Some(Duration::from_millis(300)),
            'l' => Some(Duration::from_millis(500)),
            _ => None,
        };
        letters.chars().map(sample).collect()
    }

    #[test]
    fn failures_are_counted_as_in_use() {
        for (retries, fall, samples, wanted) in [
            (0, 3, "++++", (4, 0, 0, 0)),
            (0, 3, "+--+--+", (7, 4, 0, 0)),
            (0, 3, "+---++", (6, 3, 1, 2)),
            (0, 3, "+lll+h", (6, 3, 1, 2)),
            // Two tries each: (+) (-+) (-+) (--) (h+) (--).
            (1, 1, "+-+-+--h+--", (6, 2, 1, 3)),
        ] {
            let alarms = count(&spec(retries, fall), path(samples));
            assert_eq!((alarms.probes, alarms.failed, alarms.falls, alarms.down), wanted, "{samples}");
        }
    }
}
