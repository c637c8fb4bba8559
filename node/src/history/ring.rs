//! Samples at equal steps, the oldest giving way to the newest.

use std::collections::VecDeque;

use crate::admin::picture::{Columns, Sample};

/// A ring of samples, each made of `step_s` seconds.
#[derive(Debug)]
pub(super) struct Ring {
    samples: VecDeque<Sample>,
    most: usize,
    step_s: u32,
    open: Option<Open>,
}

/// The sample that is being made.
#[derive(Debug)]
struct Open {
    sum: Sample,
    count: u32,
    rtts: u32,
    step: u64,
}

impl Ring {
    pub(super) fn new(most: usize, step_s: u32) -> Self {
        Self { samples: VecDeque::with_capacity(most), most, step_s, open: None }
    }

    pub(super) fn step_s(&self) -> u32 {
        self.step_s
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Adds a second's sample.
    pub(super) fn add(&mut self, sample: &Sample) {
        if self.step_s <= 1 {
            return self.push(*sample);
        }
        // The sample at the end of a step belongs to it.
        let step = sample.time_s.saturating_sub(1) / u64::from(self.step_s);
        if let Some(open) = self.open.take_if(|open| open.step != step) {
            self.push(open.mean());
        }
        self.open.get_or_insert_with(|| Open { sum: Sample::default(), count: 0, rtts: 0, step }).add(sample);
        if sample.time_s.is_multiple_of(u64::from(self.step_s))
            && let Some(open) = self.open.take()
        {
            self.push(open.mean());
        }
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.len() == self.most {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    pub(super) fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        for sample in &self.samples {
            let Sample { time_s, serial: _, referrals, cut, direct, unclaimed, other, negative, limited, .. } = *sample;
            columns.time_s.push(time_s);
            columns.referrals.push(tidy(referrals));
            columns.cut.push(tidy(cut));
            columns.direct.push(tidy(direct));
            columns.unclaimed.push(tidy(unclaimed));
            columns.other.push(tidy(other));
            columns.negative.push(tidy(negative));
            columns.limited.push(tidy(limited));
            columns.rtt_ms.push(sample.rtt_ms.map(tidy));
            columns.rtt_worst_ms.push(sample.rtt_worst_ms.map(tidy));
            columns.changes.push(sample.changes);
            columns.alive.push(sample.alive);
            columns.members.push(sample.members);
        }
        columns
    }
}

/// Hundredths are more than a plot shows; further digits are only text to carry.
fn tidy(value: f32) -> f32 {
    (value * 100.0).round() / 100.0
}

impl Open {
    fn add(&mut self, sample: &Sample) {
        self.count += 1;
        let sum = &mut self.sum;
        sum.time_s = sample.time_s;
        sum.serial = sample.serial;
        sum.referrals += sample.referrals;
        sum.cut += sample.cut;
        sum.direct += sample.direct;
        sum.unclaimed += sample.unclaimed;
        sum.other += sample.other;
        sum.negative += sample.negative;
        sum.limited += sample.limited;
        if let Some(rtt) = sample.rtt_ms {
            self.rtts += 1;
            sum.rtt_ms = Some(sum.rtt_ms.unwrap_or(0.0) + rtt);
        }
        sum.rtt_worst_ms = match (sum.rtt_worst_ms, sample.rtt_worst_ms) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        sum.changes += sample.changes;
        (sum.alive, sum.members) = (sample.alive, sample.members);
    }

    /// Rates and round trips in the mean, the worst of the worst, changes in all, members as they were at the end.
    fn mean(self) -> Sample {
        let count = self.count.max(1) as f32;
        let sum = self.sum;
        Sample {
            referrals: sum.referrals / count,
            cut: sum.cut / count,
            direct: sum.direct / count,
            unclaimed: sum.unclaimed / count,
            other: sum.other / count,
            negative: sum.negative / count,
            limited: sum.limited / count,
            rtt_ms: sum.rtt_ms.map(|rtt| rtt / self.rtts.max(1) as f32),
            ..sum
        }
    }
}
