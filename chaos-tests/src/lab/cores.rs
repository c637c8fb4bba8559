//! Which core does what, so that of two parties on one machine neither is measured by what the other takes.

use crate::sys;
use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// A core for the server that is measured, and one for everybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's.
    pub server: usize,
    /// Everybody else's.
    pub others: usize,
}

impl Cores {
    /// Two cores that this process may use; the same one twice if there is no other.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(SELF).context("asking which cores are ours")?;
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        let server = cores.next().context("no core is ours")?;
        Ok(Self { server, others: cores.next().unwrap_or(server) })
    }

    /// Whether server and others are kept apart.
    pub fn apart(self) -> bool {
        self.server != self.others
    }
}

/// Does something with the calling thread on one core. Processes and threads that it starts meanwhile stay there.
pub fn on<T>(core: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(SELF).context("asking which cores are ours")?;
    settle(core)?;
    let done = work();
    sched_setaffinity(SELF, &before).context("going back to all cores")?;
    done
}

/// Moves the calling thread to one core for good.
pub fn settle(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).context("no such core")?;
    sched_setaffinity(SELF, &set).with_context(|| format!("going to core {core}"))
}

/// Lets everybody else on its core go before the calling thread.
pub fn give_way() -> Result<()> {
    sys::give_way().context("lowering a thread's priority")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Cores, SELF, on};
    use nix::sched::{CpuSet, sched_getaffinity};

    #[test]
    fn work_is_done_on_the_core_that_was_named_and_only_it() {
        let cores = Cores::choose().unwrap();
        let own = || {
            let set = sched_getaffinity(SELF).unwrap();
            (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap()).collect::<Vec<_>>()
        };
        let before = own();
        assert_eq!(on(cores.others, || Ok(own())).unwrap(), [cores.others]);
        assert_eq!(own(), before);
    }
}
