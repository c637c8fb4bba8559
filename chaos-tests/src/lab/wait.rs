//! Waiting on a condition with a deadline: the only way in which a scenario lets time pass.

use crate::sys;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Between two looks: short beside any delay in a bed, long enough to leave the processor to the daemons.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a look at the condition showed.
#[derive(Debug)]
pub enum Look<T> {
    /// It holds.
    Done(T),
    /// Not yet, and this is what was seen instead.
    NotYet(String),
}

/// Looks until the condition holds. An error of `look` ends the waiting at once, so does Ctrl-C.
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if sys::interrupted() {
            bail!("interrupted while waiting until {what}");
        }
        let seen = match look()? {
            Look::Done(value) => return Ok(value),
            Look::NotYet(seen) => seen,
        };
        if start.elapsed() >= patience {
            bail!("waited {:.1} s until {what}; last seen: {seen}", patience.as_secs_f64());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Look, until};
    use anyhow::bail;
    use std::time::Duration;

    #[test]
    fn it_ends_when_the_condition_holds() {
        let mut looks = 0;
        let value = until("the third look", Duration::from_secs(60), || {
            looks += 1;
            Ok(if looks == 3 { Look::Done(looks) } else { Look::NotYet("no".to_owned()) })
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_deadline_that_passes_tells_what_was_seen_last() {
        let error = until::<()>("pigs fly", Duration::ZERO, || Ok(Look::NotYet("grass".to_owned()))).unwrap_err();
        assert_eq!(error.to_string(), "waited 0.0 s until pigs fly; last seen: grass");
    }

    #[test]
    fn an_error_does_not_wait_for_the_deadline() {
        assert!(until::<()>("forever", Duration::from_secs(3600), || bail!("the daemon died")).is_err());
    }
}
