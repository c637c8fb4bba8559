//! Shell: a program of the node's own that says how a server is.
//!
//! The catalogue names the program and comes from the network, so whoever may write it must not thereby run what they
//! like on every node. Only programs in one directory are run, which the node's own configuration names
//! (`measure.commands`; without it none is); the catalogue gives a plain file name and arguments, and no shell reads them.
//!
//! The program finds the address in `NIGH_ADDRESS`, the port in `NIGH_PORT` and its time in `NIGH_TIMEOUT_MS`; nothing
//! else is in its environment but a `PATH`. Exit code 0 is well, and then the first line of its output may be a latency in
//! milliseconds; without one the time it ran counts. Any other code is not well, and that line says why.
//!
//! **Bounds:** at most [`MOST_RUNNING`] run at a time, others wait within their timeout; at its end the program's
//! process group is killed; no more than `MAX_LINE` of its output is kept, the rest is read and dropped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::outcome::{Failure, Outcome, not_made};

/// Programs that run at a time. Each is a process: dozens of them are felt by the DNS on a small machine.
pub const MOST_RUNNING: usize = 16;
/// What is kept of the output.
const MAX_LINE: usize = 256;
/// Where programs find others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the last output of a program that has ended is waited for: it is in the pipe already.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The programs that probes may run.
#[derive(Debug)]
pub struct Commands {
    directory: Option<PathBuf>,
    running: Semaphore,
}

impl Commands {
    /// Those in that directory; without one there are none.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, running: Semaphore::new(MOST_RUNNING) }
    }

    /// Runs one once.
    pub async fn probe(&self, server: SocketAddr, argv: &[String], timeout: Duration) -> Outcome {
        let deadline = tokio::time::Instant::now() + timeout;
        let (Some(directory), [name, arguments @ ..]) = (&self.directory, argv) else {
            return Outcome::NotMade(
                "not probed: this node's configuration has no measure.commands to find programs in".into(),
            );
        };
        if !is_plain(name) {
            return Outcome::NotMade(format!("not probed: {name:?} is no plain file name"));
        }
        let Ok(Ok(_place)) = tokio::time::timeout_at(deadline, self.running.acquire()).await else {
            return Outcome::NotMade(format!("not probed: {MOST_RUNNING} programs were running all the time"));
        };
        let path = directory.join(name);
        let spawned = Command::new(&path)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("NIGH_ADDRESS", server.ip().to_string())
            .env("NIGH_PORT", server.port().to_string())
            .env("NIGH_TIMEOUT_MS", timeout.as_millis().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let start = Instant::now();
        let mut group = match spawned {
            Ok(child) => Group(child),
            Err(error) => return not_made(&format!("cannot run {}", path.display()), &error),
        };
        let stdout = group.0.stdout.take();
        match tokio::time::timeout_at(deadline, run(&mut group.0, stdout)).await {
            Err(_) => Outcome::Failed(Failure::Timeout(timeout)),
            Ok(Err(error)) => not_made("waiting for a program", &error),
            Ok(Ok((status, line))) if status.success() => match millis(&line) {
                Some(took) => Outcome::Answered(took),
                None => Outcome::Answered(start.elapsed()),
            },
            Ok(Ok((status, line))) if line.is_empty() => Failure::of("command", status),
            Ok(Ok((_, line))) => Failure::of("command", line),
        }
    }
}

/// A name without a way into other directories, and none that is hidden.
pub fn is_plain(name: &str) -> bool {
    let right = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(right) && !name.starts_with('.')
}

/// A program and all that it started; killed when this is dropped before its end.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once its end was seen: its number may be another's by then.
        if let Some(pid) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

async fn run(child: &mut Child, stdout: Option<ChildStdout>) -> std::io::Result<(std::process::ExitStatus, String)> {
    let mut kept = Vec::new();
    let status = {
        let mut reading = std::pin::pin!(read(stdout, &mut kept));
        tokio::select! {
            status = child.wait() => {
                // What it started may hold the pipe open; its own words are in it already.
                let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
                status
            }
            () = &mut reading => child.wait().await,
        }?
    };
    let text = String::from_utf8_lossy(&kept);
    Ok((status, text.lines().next().unwrap_or_default().trim().to_owned()))
}

/// Reads to the end, and keeps the beginning.
async fn read(stdout: Option<ChildStdout>, kept: &mut Vec<u8>) {
    let Some(mut stdout) = stdout else { return };
    let mut chunk = [0; MAX_LINE];
    while let Ok(length @ 1..) = stdout.read(&mut chunk).await {
        let free = MAX_LINE.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(chunk.get(..free).unwrap_or_default());
    }
}

/// A latency in milliseconds: a number, with a fraction or without, and a unit if it is "ms".
fn millis(line: &str) -> Option<Duration> {
    let number: f64 = line.strip_suffix("ms").unwrap_or(line).trim().parse().ok()?;
    let seconds = number / 1000.0;
    (seconds.is_finite() && (0.0..=60.0).contains(&seconds)).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(20);

    fn commands(scripts: &[(&str, &str)]) -> (tempfile::TempDir, Commands) {
        let directory = tempfile::tempdir().unwrap();
        for (name, script) in scripts {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let commands = Commands::new(Some(directory.path().to_owned()));
        (directory, commands)
    }

    fn server() -> SocketAddr {
        "192.0.2.1:8080".parse().unwrap()
    }

    async fn ask(commands: &Commands, argv: &[&str], timeout: Duration) -> Outcome {
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        commands.probe(server(), &argv, timeout).await
    }

    fn words(outcome: Outcome) -> String {
        match outcome {
            Outcome::Failed(failure) => failure.to_string(),
            Outcome::NotMade(why) => why,
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_exit_code_decides_and_the_first_line_has_the_latency_or_the_reason() {
        let (_directory, commands) = commands(&[
            ("good", "echo 12.5; echo more"),
            ("unit", "echo 3 ms"),
            ("timed", "echo fine"),
            ("bad", "echo \"$NIGH_ADDRESS $NIGH_PORT $1 ${HOME-none}\"; exit 3"),
            ("silent", "exit 4"),
            ("noisy", "head -c 300000 /dev/zero; exit 0"),
        ]);
        let ms = |ms: f64| Outcome::Answered(Duration::from_secs_f64(ms / 1000.0));
        assert_eq!(ask(&commands, &["good"], PATIENT).await, ms(12.5));
        assert_eq!(ask(&commands, &["unit"], PATIENT).await, ms(3.0));
        assert!(matches!(ask(&commands, &["timed"], PATIENT).await, Outcome::Answered(took) if took > Duration::ZERO));
        let arguments = ask(&commands, &["bad", "a b;c"], PATIENT).await;
        assert_eq!(words(arguments), "command: 192.0.2.1 8080 a b;c none");
        assert_eq!(words(ask(&commands, &["silent"], PATIENT).await), "command: exit status: 4");
        assert!(matches!(ask(&commands, &["noisy"], PATIENT).await, Outcome::Answered(_)));
    }

    #[tokio::test]
    async fn at_the_deadline_all_that_it_started_is_killed() {
        // Both hold a pipe that ends when the last of them does.
        let (directory, commands) = commands(&[("stuck", "echo $$ > pid.new; sleep 600 & sleep 600")]);
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = format!("#!/bin/sh\nexec 3>{}\nsleep 600 &\nsleep 600\n", fifo.display());
        std::fs::write(directory.path().join("stuck"), script).unwrap();
        let reader = tokio::task::spawn_blocking(move || std::fs::read(fifo));
        assert_eq!(words(ask(&commands, &["stuck"], Duration::from_millis(300)).await), "timeout after 300ms");
        let ended = tokio::time::timeout(PATIENT, reader).await;
        assert!(ended.is_ok(), "something of it still runs");
    }

    #[tokio::test]
    async fn only_programs_of_the_directory_are_run() {
        let (directory, commands) = commands(&[("good", "exit 0")]);
        std::fs::write(directory.path().join("data"), "no program").unwrap();
        for name in ["../good", "/bin/true", ".good", "", "a b"] {
            let why = words(ask(&commands, &[name], PATIENT).await);
            assert!(why.contains("no plain file name"), "{name}: {why}");
        }
        for name in ["missing", "data"] {
            let why = words(ask(&commands, &[name], PATIENT).await);
            assert!(why.starts_with("not probed: cannot run"), "{name}: {why}");
        }
        let none = Commands::new(None);
        assert!(words(ask(&none, &["good"], PATIENT).await).contains("measure.commands"));
    }

    #[tokio::test]
    async fn no_more_run_at_a_time_than_there_are_places() {
        let (_directory, commands) = commands(&[("slow", "sleep 600"), ("good", "exit 0")]);
        let slow = ["slow".to_owned()];
        let all = (0..MOST_RUNNING).map(|_| commands.probe(server(), &slow, PATIENT));
        let mut all = std::pin::pin!(futures::future::join_all(all));
        assert!(futures::poll!(&mut all).is_pending());
        let late = ask(&commands, &["good"], Duration::from_millis(20)).await;
        assert!(words(late).contains("programs were running"));
        all.set(futures::future::join_all(Vec::new()));
        assert!(matches!(ask(&commands, &["good"], PATIENT).await, Outcome::Answered(_)), "places come back");
    }

    #[test]
    fn only_sensible_numbers_are_latencies() {
        for line in ["", "fine", "-1", "nan", "inf", "1e99", "60001"] {
            assert_eq!(millis(line), None, "{line}");
        }
        assert_eq!(millis("0.25"), Some(Duration::from_micros(250)));
    }
}
