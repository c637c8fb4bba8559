//! Processes of a bed. They are known by their child handle and ended through it, never by name.

use super::netns::{self, Namespace};
use super::wait::{Look, until};
use crate::sys::{self, Signal};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of a log's end is looked at: some hundred lines.
const TAIL_BYTES: u64 = 16 << 10;
/// Lines of a log that the report of a process that died shows.
const TAIL_LINES: usize = 25;
/// Most output that is taken from a tool: a status of a small mesh is a few KB.
const OUTPUT_MAX: u64 = 8 << 20;

/// A process that runs until it is stopped, at the latest when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a process, in a namespace if one is given. What it says is appended to the log.
    ///
    /// It dies with the calling *thread* at the latest (see [`sys::tie_to_parent`]).
    pub fn start(name: &str, mut command: Command, namespace: Option<&Namespace>, log: PathBuf) -> Result<Self> {
        let sink = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let namespace = namespace.map(|namespace| netns::open(namespace.name())).transpose()?;
        sys::tie_to_parent(&mut command, namespace);
        let child = command
            .stdin(Stdio::null())
            .stdout(sink.try_clone().context("sharing the log")?)
            .stderr(sink)
            // Ctrl-C at the terminal is for the harness, which takes the bed down in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error with the end of the log if it has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait().context("asking for a child's state")? {
            None => Ok(()),
            Some(status) => {
                bail!("{} has ended ({status}); its log ends with\n{}", self.name, tail(&self.log, TAIL_LINES))
            }
        }
    }

    /// Ends it without a chance to say goodbye (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    /// Tells it something.
    pub fn tell(&self, signal: Signal) -> Result<()> {
        sys::tell(&self.child, signal).with_context(|| format!("telling {} to {signal:?}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.tell(Signal::End)?;
        let name = self.name.clone();
        until(&format!("{name} ends after SIGTERM"), patience, || {
            Ok(match self.child.try_wait()? {
                Some(status) => Look::Done(status),
                None => Look::NotYet("still running".to_owned()),
            })
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already; then both are errors that mean nothing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a tool that ended by itself has said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// Runs a tool to its end, at most for `patience`.
pub fn run(command: Command, patience: Duration) -> Result<Said> {
    run_inside(None, command, patience)
}

/// The same in a namespace, if one is given.
pub fn run_inside(namespace: Option<&Namespace>, mut command: Command, patience: Duration) -> Result<Said> {
    let shown = shown(&command);
    let namespace = namespace.map(|namespace| netns::open(namespace.name())).transpose()?;
    // Files, not pipes: a tool that says more than a pipe holds would wait for us while we wait for it.
    let output = tempfile::tempfile().context("making a file for a tool's output")?;
    let errors = tempfile::tempfile().context("making a file for a tool's output")?;
    sys::tie_to_parent(&mut command, namespace);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("sharing a file with a tool")?)
        .stderr(errors.try_clone().context("sharing a file with a tool")?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {shown}"))?;
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for {shown}"))? {
            break status;
        }
        if start.elapsed() > patience {
            drop(child.kill());
            drop(child.wait());
            bail!("{shown} did not end within {:.0} s", patience.as_secs_f64());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    Ok(Said { status, output: read_back(output)?, errors: read_back(errors)? })
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn read_back(mut file: File) -> Result<String> {
    file.seek(SeekFrom::Start(0)).context("reading what a tool said")?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_MAX).read_to_end(&mut bytes).context("reading what a tool said")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log, indented.
pub fn tail(log: &Path, most: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let skipped = lines.len().saturating_sub(most);
            lines.iter().skip(skipped).map(|line| format!("    {line}\n")).collect()
        }
        Err(error) => format!("    (no log: {error})\n"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Daemon, run, tail};
    use std::path::Path;
    use std::process::Command;
    use std::time::Duration;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_daemon_ends_with_its_handle() {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start("sleeper", shell("exec sleep 600"), None, directory.path().join("log")).unwrap();
        daemon.alive().unwrap();
        let pid = daemon.pid();
        drop(daemon);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_daemon_that_ended_is_an_error_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut daemon = Daemon::start("brief", shell("echo first; echo address in use >&2"), None, log).unwrap();
        let error = loop {
            if let Err(error) = daemon.alive() {
                break error.to_string();
            }
        };
        assert!(error.contains("brief has ended") && error.contains("address in use"), "{error}");
    }

    #[test]
    fn a_tool_that_hangs_is_ended() {
        let error = run(shell("exec sleep 600"), Duration::from_millis(20)).unwrap_err().to_string();
        assert!(error.contains("did not end"), "{error}");
    }

    #[test]
    fn a_tools_output_may_be_larger_than_a_pipe() {
        let said = run(shell("head -c 300000 /dev/zero | tr '\\0' x; echo no >&2; exit 3"), Duration::from_secs(30));
        let said = said.unwrap();
        assert_eq!((said.output.len(), said.errors.as_str(), said.status.code()), (300_000, "no\n", Some(3)));
    }

    #[test]
    fn the_tail_of_a_long_log_is_short() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        std::fs::write(&log, (0..10_000).map(|line| format!("line {line}\n")).collect::<String>()).unwrap();
        let tail = tail(&log, 7);
        assert_eq!(tail.lines().count(), 7);
        assert!(tail.ends_with("line 9999\n"));
    }
}
