//! The process, under the names that Prometheus' client libraries give these numbers everywhere.
//!
//! Read from `/proc/self` at each look (proc(5)); what cannot be read has no number. Its own code and not a crate's: it is
//! two files and a limit.

use std::fs;

use nigh_dns::{Exposition, Metric};
use rustix::process::{Resource, getrlimit};

static CPU: Metric = Metric::counter("process_cpu_seconds_total", "User and system time spent.");
static RESIDENT: Metric = Metric::gauge("process_resident_memory_bytes", "Memory that is resident.");
static VIRTUAL: Metric = Metric::gauge("process_virtual_memory_bytes", "Memory that is mapped.");
static OPEN: Metric = Metric::gauge("process_open_fds", "Open file descriptors.");
static MOST_OPEN: Metric = Metric::gauge("process_max_fds", "The most that may be open.");
static THREADS: Metric = Metric::gauge("process_threads", "Threads.");
static STARTED: Metric = Metric::gauge("process_start_time_seconds", "When the process started, in Unix time.");

/// What [`expose`] writes.
pub static FAMILIES: [&Metric; 7] = [&CPU, &RESIDENT, &VIRTUAL, &OPEN, &MOST_OPEN, &THREADS, &STARTED];

/// In which the kernel tells times of processes (`USER_HZ`): 100 a second on every architecture that Rust's standard
/// library runs on.
const TICKS: f64 = 100.0;

/// What `/proc/self/stat` says, in its own units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Ticks of user and system time.
    ticks: u64,
    threads: u64,
    /// Ticks from the boot to the start.
    started: u64,
    virtual_bytes: u64,
}

/// Writes all of them.
pub fn expose(text: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|line| Stat::read(&line));
    let resident = fs::read_to_string("/proc/self/status").ok().and_then(|text| resident_kib(&text));
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot(&text));
    // The folder that is read is open too.
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1)).ok();
    let started = stat.as_ref().zip(boot).map(|(stat, boot)| boot as f64 + stat.started as f64 / TICKS);
    let mut put = |family: &'static Metric, value: Option<f64>| {
        let mut samples = text.family(family);
        if let Some(value) = value {
            samples.put(&[], value);
        }
    };
    put(&CPU, stat.as_ref().map(|stat| stat.ticks as f64 / TICKS));
    put(&RESIDENT, resident.map(|kib| kib as f64 * 1024.0));
    put(&VIRTUAL, stat.as_ref().map(|stat| stat.virtual_bytes as f64));
    put(&OPEN, open.map(|count| count as f64));
    put(&MOST_OPEN, getrlimit(Resource::Nofile).current.map(|most| most as f64));
    put(&THREADS, stat.as_ref().map(|stat| stat.threads as f64));
    put(&STARTED, started);
}

impl Stat {
    /// The program's name stands in parentheses and may hold anything, spaces and parentheses too: what counts comes
    /// behind the last one. Fields are numbered as in proc(5), the state being the third.
    fn read(line: &str) -> Option<Self> {
        let (_, behind) = line.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            ticks: field(14)?.saturating_add(field(15)?),
            threads: field(20)?,
            started: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

/// The memory that is resident, in units of 1,024 bytes.
fn resident_kib(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// When the machine started, in Unix time.
fn boot(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let line =
            "42 (a) b (c) S 1 42 42 0 -1 4194304 5 0 0 0 120 30 0 0 20 0 7 0 9000 21000192 512 18446744073709551615 1";
        let wanted = Stat { ticks: 150, threads: 7, started: 9000, virtual_bytes: 21_000_192 };
        assert_eq!(Stat::read(line), Some(wanted));
        for broken in ["", "42", "42 (nigh) S", "42 (nigh) S 1 2 3 4 5 6 7 8 9 10 x 12 13"] {
            assert_eq!(Stat::read(broken), None, "{broken}");
        }
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t   10264 kB\nThreads:\t9\n"), Some(10_264));
        assert_eq!(boot("cpu  1 2 3\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
    }

    #[test]
    fn this_process_has_all_numbers() {
        let mut text = Exposition::new();
        expose(&mut text);
        let text = text.finish();
        for family in FAMILIES {
            let number = text.lines().find_map(|line| line.strip_prefix(family.name)?.strip_prefix(' '));
            assert!(number.is_some_and(|number| number.parse::<f64>().is_ok()), "{text}");
        }
    }
}
