//! The servers' processes: started on a core of their own, their CPU time, and their end, whatever becomes of us.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A folder, and processes that end with it.
///
/// Each server leads a process group. A shell outside of them all, and of ours, knows the groups; when its standard input
/// closes it ends them and removes the folder. So the servers also end when we do by a signal.
pub struct Bed {
    folder: PathBuf,
    guard: Child,
    servers: Vec<Child>,
}

const GUARD: &str = r#"
trap '' INT TERM HUP
while read -r group; do groups="$groups -$group"; done
[ -z "$groups" ] || kill -s KILL -- $groups 2>/dev/null
rm -rf "$1"
"#;

impl Bed {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("nigh-peers-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", GUARD, "guard"]).arg(&folder);
        let guard = guard.stdin(Stdio::piped()).process_group(0).spawn().unwrap();
        Self { folder, guard, servers: Vec::new() }
    }

    /// A new folder for a server.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Starts a server on a core. What it says goes to a file, but for what the caller has redirected by `piped`.
    pub fn start(&mut self, name: &str, core: usize, program: &Path, arguments: &[String], piped: bool) -> &mut Child {
        let log = fs::File::create(self.folder.join(format!("{name}.log"))).unwrap();
        let (input, output) =
            if piped { (Stdio::piped(), Stdio::piped()) } else { (Stdio::null(), log.try_clone().unwrap().into()) };
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program).args(arguments);
        let child = command.stdin(input).stdout(output).stderr(log).process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("taskset (util-linux) does not start {name}: {error}"));
        writeln!(self.guard.stdin.as_mut().unwrap(), "{}", child.id()).unwrap();
        self.servers.push(child);
        self.servers.last_mut().unwrap()
    }

    /// What a server said so far.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Only now are the servers' ids free for other processes.
        let _ = self.guard.wait();
        for server in &mut self.servers {
            let _ = server.wait();
        }
    }
}

/// Moves this process to a core.
pub fn pin(core: usize) {
    let id = std::process::id().to_string();
    let status = Command::new("taskset").args(["-apc", &core.to_string(), &id]).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "taskset (util-linux) cannot move us to core {core}");
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// To the nanosecond.
    total: Duration,
    /// In ticks of the clock, by which the total is shared out.
    user: u64,
    system: u64,
}

impl Cpu {
    /// What a process and its descendants have used so far.
    pub fn of(process: u32) -> Self {
        let mut sum = Self::default();
        for process in family(process) {
            let nanos: u64 = tasks(process).map(|task| first_number(&task.join("schedstat"))).sum();
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // The name, in brackets, may hold spaces; the times are the 12th and 13th field behind it.
            let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            let mut times = fields.skip(11).map(|field| field.parse().unwrap_or(0));
            sum.total += Duration::from_nanos(nanos);
            sum.user += times.next().unwrap_or(0);
            sum.system += times.next().unwrap_or(0);
        }
        sum
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    /// Seconds, all told.
    pub fn seconds(&self) -> f64 {
        self.total.as_secs_f64()
    }

    /// The share of it in user mode, over several runs. The kernel counts that by looking once a tick who runs, so one
    /// run alone tells little.
    pub fn user_share<'c>(runs: impl Iterator<Item = &'c Self> + Clone) -> f64 {
        let user: u64 = runs.clone().map(|run| run.user).sum();
        let all: u64 = runs.map(|run| run.user + run.system).sum();
        user as f64 / all.max(1) as f64
    }
}

/// A process and all that come from it.
fn family(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let mut next = 0;
    while let Some(parent) = all.get(next) {
        let children = tasks(*parent).map(|task| fs::read_to_string(task.join("children")).unwrap_or_default());
        let children: Vec<String> = children.collect();
        all.extend(children.iter().flat_map(|list| list.split_whitespace()).filter_map(|id| id.parse::<u32>().ok()));
        next += 1;
    }
    all
}

fn tasks(process: u32) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    tasks.filter_map(|task| Some(task.ok()?.path()))
}

fn first_number(path: &Path) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}
