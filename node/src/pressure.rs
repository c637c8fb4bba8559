//! A node that is asked more than it can answer gives resolvers away, a quarter at a time.
//!
//! The operator says what a node can answer (`dns.capacity`). Near that, its preference is raised for a quarter of its
//! claims, and these resolvers go to the next claimant when their CNAME ends; if that does not help, for the next quarter.
//! Which quarter a claim is in follows from its prefix, so every node agrees on it, and all that travels is one number in
//! the node's profile: a flood at one node must not become a flood of claims in the mesh.
//!
//! ```text
//!   rate / capacity   >= 0.9 ─▶ one step up, at most every 5 s          (>= 1.5: two)
//!                     <  0.6 for 60 s ─▶ one step down                  (twice as long after each return, up to 16 min)
//! ```
//!
//! The gap between the two, and the growing patience, keep resolvers from going to and fro: what was given away may well be
//! what would bring the pressure back. Rejected: raising all claims at once, which moves the whole load to the next node,
//! and then back.

use std::time::Duration;

use ipnet::IpNet;

/// Steps: after the last one every claim is raised.
pub const STEPS: u8 = 4;
/// What a raised claim's preference grows by: above what operators tell claimants of one place apart by.
pub const RAISE: u16 = 1000;
/// The rate is taken over this time, and told to the mesh no oftener.
pub const SAMPLE: Duration = Duration::from_secs(5);
const HIGH: f64 = 0.9;
const FAR_TOO_HIGH: f64 = 1.5;
const LOW: f64 = 0.6;
/// For so long the rate must be low until a step is taken back.
const CALM: Duration = Duration::from_secs(60);
/// The longest that this grows to.
const LONGEST_CALM: Duration = Duration::from_secs(16 * 60);

/// Watches this node's rate.
#[derive(Debug)]
pub struct Pressure {
    /// Questions a second; none: it is never too much.
    capacity: Option<u32>,
    step: u8,
    last: Option<(Duration, u64)>,
    rate: f64,
    calm_since: Option<Duration>,
    patience: Duration,
    eased: Option<Duration>,
}

impl Pressure {
    /// For a node that can answer so many questions a second.
    pub fn new(capacity: Option<u32>) -> Self {
        Self { capacity, step: 0, last: None, rate: 0.0, calm_since: None, patience: CALM, eased: None }
    }

    /// How many quarters of the claims are raised.
    pub fn step(&self) -> u8 {
        self.step
    }

    /// What someone should know.
    pub fn warning(&self) -> Option<String> {
        let capacity = self.capacity.filter(|_| self.step > 0)?;
        Some(format!(
            "under pressure: {:.0} questions a second, of {capacity} that dns.capacity allows: {} of 4 parts of its claims \
             are left to the next claimants",
            self.rate, self.step
        ))
    }

    /// Takes in how many questions came since the start. True: the step has changed.
    pub fn handle(&mut self, now: Duration, questions: u64) -> bool {
        let Some(capacity) = self.capacity else { return false };
        let Some((at, before)) = self.last else {
            self.last = Some((now, questions));
            return false;
        };
        let took = now.saturating_sub(at);
        if took < SAMPLE {
            return false;
        }
        self.last = Some((now, questions));
        self.rate = questions.saturating_sub(before) as f64 / took.as_secs_f64();
        let load = self.rate / f64::from(capacity.max(1));
        let before = self.step;
        if load >= HIGH {
            self.calm_since = None;
            self.step = (self.step + if load >= FAR_TOO_HIGH { 2 } else { 1 }).min(STEPS);
            // It was eased not long ago, and that was too early.
            if self.step > before
                && let Some(eased) = self.eased.take()
            {
                let soon = now.saturating_sub(eased) < LONGEST_CALM;
                self.patience = if soon { (self.patience * 2).min(LONGEST_CALM) } else { CALM };
            }
        } else if load < LOW {
            let since = *self.calm_since.get_or_insert(now);
            if self.step > 0 && now.saturating_sub(since) >= self.patience {
                self.step -= 1;
                self.calm_since = Some(now);
                self.eased = Some(now);
            }
        } else {
            self.calm_since = None;
        }
        self.step != before
    }
}

/// The preference of a claim whose node has raised so many quarters.
pub fn raised(prefix: &IpNet, preference: u16, step: u8) -> u16 {
    if quarter(prefix) < step { preference.saturating_add(RAISE) } else { preference }
}

/// Which quarter a claim is in: the same at every node.
fn quarter(prefix: &IpNet) -> u8 {
    let mut hasher = blake3::Hasher::new_derive_key("nigh claim quarter 1");
    match prefix.network() {
        std::net::IpAddr::V4(v4) => hasher.update(&v4.octets()),
        std::net::IpAddr::V6(v6) => hasher.update(&v6.octets()),
    };
    hasher.update(&[prefix.prefix_len()]);
    hasher.finalize().as_bytes()[0] % STEPS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Node {
        pressure: Pressure,
        now: Duration,
        questions: u64,
    }

    impl Node {
        fn new(capacity: u32) -> Self {
            let mut node = Self { pressure: Pressure::new(Some(capacity)), now: Duration::ZERO, questions: 0 };
            node.pressure.handle(Duration::ZERO, 0);
            node
        }

        /// Some seconds at this rate. Returns how often the step changed.
        fn run(&mut self, seconds: u64, rate: impl Fn(u8) -> u64) -> usize {
            let mut changes = 0;
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                self.questions += rate(self.pressure.step());
                changes += usize::from(self.pressure.handle(self.now, self.questions));
            }
            changes
        }
    }

    #[test]
    fn pressure_gives_away_a_quarter_after_the_other_and_takes_back_slowly() {
        let mut node = Node::new(1000);
        assert_eq!(node.run(600, |_| 890), 0);
        assert_eq!((node.run(5, |_| 950), node.pressure.step()), (1, 1));
        assert!(node.pressure.warning().unwrap().contains("950 questions a second, of 1000"));
        assert_eq!((node.run(100, |_| 700), node.pressure.step()), (0, 1), "neither too much nor little");
        assert_eq!((node.run(5, |_| 2000), node.pressure.step()), (1, 3), "far too much");
        node.run(5, |_| 950);
        assert_eq!((node.run(500, |_| 5000), node.pressure.step()), (0, STEPS));
        assert_eq!((node.run(64, |_| 100), node.pressure.step()), (0, STEPS), "not before it was calm for a minute");
        assert_eq!(node.run(5 * 60, |_| 100), 4);
        assert!(node.pressure.step() == 0 && node.pressure.warning().is_none());
    }

    #[test]
    fn what_comes_back_with_what_was_taken_back_does_not_go_to_and_fro() {
        // Each quarter is 300 a second of 1,200; what is left after one is 900, which is below the low mark of 1,600 * 0.6.
        let mut node = Node::new(1300);
        let hour = node.run(3600, |step| 300 * u64::from(STEPS - step));
        let next = node.run(3600, |step| 300 * u64::from(STEPS - step));
        assert!(hour <= 16 && next <= 9, "{hour}, then {next} changes an hour");
    }

    #[test]
    fn quarters_are_even_and_a_node_without_a_capacity_is_never_under_pressure() {
        let prefixes: Vec<IpNet> =
            (0..1000u32).map(|n| IpNet::new(std::net::Ipv4Addr::from(n << 8).into(), 24).unwrap()).collect();
        for step in 0..=STEPS {
            let raised = prefixes.iter().filter(|prefix| raised(prefix, 10, step) == 10 + RAISE).count();
            assert!(raised.abs_diff(250 * usize::from(step)) < 60, "{raised} at {step}");
        }
        assert_eq!(raised(&prefixes[0], u16::MAX, STEPS), u16::MAX);
        let mut pressure = Pressure::new(None);
        assert!(!pressure.handle(Duration::ZERO, 0) && !pressure.handle(Duration::from_secs(60), u64::MAX));
    }
}
