//! The seed of a test over a simulated mesh.

/// A seed that a failing test shows.
pub struct Seed(pub u64);

impl Seed {
    /// From `NIGH_SEED`, or the one of every day.
    pub fn new() -> Self {
        Self(std::env::var("NIGH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(2026))
    }
}

impl Drop for Seed {
    #[allow(clippy::print_stderr, reason = "what reruns a failure belongs on the terminal")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("rerun with NIGH_SEED={}", self.0);
        }
    }
}
