//! What figures of a flood mean: pure.

use crate::bed::asker::Asked;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// The flood is to be so many times what the node can answer.
pub const FACTOR: f64 = 5.0;
/// Less than this is no flood: then nothing was measured.
const FACTOR_AT_LEAST: f64 = 1.5;
/// Those whom the node claims keep so much of the answers that they got before.
pub const KEPT: f64 = 0.95;
/// Noise at the mesh port may cost the node so much of a core.
pub const CPU_MORE: f64 = 0.05;
/// Without a flood, less than this says that the bed is broken.
const QUIET: f64 = 0.99;

/// What came of the questions of a while.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Questions.
    pub asked: usize,
    /// Of these, answered in time.
    pub answered: usize,
    /// Half of the answers took no longer.
    pub median: Duration,
    /// Of a hundred answers one took longer.
    pub slow: Duration,
}

impl Share {
    /// Of the questions sent within these times.
    pub fn of(asked: &[Asked], from: Instant, until: Instant) -> Self {
        let within: Vec<&Asked> = asked.iter().filter(|asked| (from..until).contains(&asked.at)).collect();
        let mut took: Vec<Duration> = within.iter().filter_map(|asked| asked.took).collect();
        took.sort_unstable();
        let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or_default();
        Self { asked: within.len(), answered: took.len(), median: at(0.5), slow: at(0.99) }
    }

    /// Answers of a question.
    pub fn part(&self) -> f64 {
        if self.asked == 0 { 0.0 } else { self.answered as f64 / self.asked as f64 }
    }

    /// For people.
    pub fn text(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "{} of {} ({:.2} %), median {:.1} ms, p99 {:.1} ms",
            self.answered,
            self.asked,
            self.part() * 100.0,
            ms(self.median),
            ms(self.slow)
        )
    }
}

/// What the bed is like before anything is done to it.
pub fn quiet(steady: &Share, unbound: &Share) -> Result<()> {
    for (who, share) in [("the steady resolver", steady), ("unbound's client", unbound)] {
        if share.asked == 0 || share.part() < QUIET {
            bail!("{who} got {} without any flood", share.text());
        }
    }
    Ok(())
}

/// Whether somebody has kept its answers.
pub fn kept(who: &str, before: &Share, now: &Share) -> Result<String> {
    if now.asked == 0 || before.answered == 0 {
        bail!("{who} asked nothing: {} before, {} now", before.text(), now.text());
    }
    let part = now.part() / before.part();
    let text = format!("{who} keeps {:.1} % of its answers: {}", part * 100.0, now.text());
    if part < KEPT { bail!("{text}") } else { Ok(text) }
}

/// Whether there was a flood, and how large it was.
pub fn factor(capacity: f64, offered: f64) -> Result<String> {
    let factor = offered / capacity.max(1.0);
    let text = format!("{offered:.0} questions a second, {factor:.1} times the capacity");
    match factor {
        factor if factor < FACTOR_AT_LEAST => bail!("{text}: no flood"),
        factor if factor < FACTOR * 0.95 => Ok(format!("{text}, as much as this bed can send")),
        _ => Ok(text),
    }
}

/// Whether the noise cost no more than it may: parts of a core before and now.
pub fn cost(before: f64, now: f64) -> Result<String> {
    let more = now - before;
    let text = format!(
        "the node takes {:.1} % of a core with it, {:.1} % without: {:+.1}",
        now * 100.0,
        before * 100.0,
        more * 100.0
    );
    if more > CPU_MORE { bail!("{text}") } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Share, cost, factor, kept, quiet};
    use crate::bed::asker::Asked;
    use std::time::{Duration, Instant};

    fn share(answered: usize, asked: usize) -> Share {
        Share { asked, answered, ..Share::default() }
    }

    #[test]
    fn only_questions_of_the_while_count_and_late_answers_are_none() {
        let start = Instant::now();
        let at = |ms: u64, took: Option<u64>| Asked {
            at: start + Duration::from_millis(ms),
            took: took.map(Duration::from_millis),
        };
        let asked = [at(0, None), at(10, Some(3)), at(20, Some(1)), at(30, None), at(40, Some(9))];
        let share = Share::of(&asked, start + Duration::from_millis(10), start + Duration::from_millis(40));
        assert_eq!((share.asked, share.answered), (3, 2));
        assert_eq!((share.median, share.slow), (Duration::from_millis(3), Duration::from_millis(3)));
        assert_eq!(Share::of(&asked, start, start).part(), 0.0);
    }

    #[test]
    fn answers_are_kept_beside_what_there_was_before() {
        assert!(kept("x", &share(1000, 1000), &share(950, 1000)).is_ok());
        assert!(kept("x", &share(1000, 1000), &share(949, 1000)).is_err());
        assert!(kept("x", &share(990, 1000), &share(941, 1000)).is_ok());
        assert!(kept("x", &share(1000, 1000), &share(0, 0)).is_err(), "nobody asked");
        assert!(quiet(&share(1000, 1000), &share(99, 100)).is_ok());
        assert!(quiet(&share(1000, 1000), &share(98, 100)).is_err());
        assert!(quiet(&share(0, 0), &share(99, 100)).is_err());
    }

    #[test]
    fn a_flood_is_more_than_the_node_can_answer_and_says_how_much() {
        assert!(factor(1000.0, 1400.0).is_err());
        assert!(factor(1000.0, 3000.0).unwrap().contains("as much as this bed can send"));
        assert!(!factor(1000.0, 5000.0).unwrap().contains("as much as"));
    }

    #[test]
    fn noise_may_cost_a_twentieth_of_a_core() {
        assert!(cost(0.10, 0.149).is_ok());
        assert!(cost(0.10, 0.151).is_err());
    }
}
