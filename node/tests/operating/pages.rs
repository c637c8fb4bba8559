//! The pages that operators learn from do what they say: their commands are typed into a shell, in the order of the page,
//! and what the page shows must come.
//!
//! In a page a block of `sh` is run, and a block of `text` right behind it is what it prints: each line of it must be
//! somewhere in the output, in that order, the number of spaces aside, and `…` stands for anything. A line that begins
//! with "Repeat until" before a block of `sh` has it run again until that is so. Blocks of `console` are for other
//! machines: they are only shown.
//!
//! The shell runs in namespaces of its own (network, processes, user), so that ports are free, no rights are needed, and
//! nothing outlives it. How-to pages begin where the tutorial's mesh answers.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::{program, read, root};

/// What a page calls soon has come by then, on a machine that is busy with other tests: some of it takes a CNAME's minute.
const SOON: Duration = Duration::from_secs(90);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);
/// How long one block may take.
const BLOCK: Duration = Duration::from_secs(60);
/// The section of the tutorial that how-to pages stand in the place of.
const MESH_IS_THERE: &str = "## 8. ";

/// A line that begins so has the block of commands behind it run until it shows what it should.
const AGAIN_AND_AGAIN: &str = "Repeat until ";

/// A block of commands, and what must be seen.
struct Step {
    /// Where it stands.
    line: usize,
    commands: String,
    soon: bool,
    shown: Vec<String>,
}

/// The steps of a page.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut soon, mut block) = (false, None::<(String, usize, String)>);
    for (at, line) in page.lines().enumerate() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(tag)) => block = Some((tag.to_owned(), at + 1, String::new())),
            (Some(_), Some(_)) => {
                let (tag, line, text) = block.take().unwrap();
                match tag.as_str() {
                    "sh" => {
                        let soon = std::mem::take(&mut soon);
                        steps.push(Step { line, commands: text, soon, shown: Vec::new() });
                    }
                    "text" => {
                        let step = steps.last_mut().unwrap_or_else(|| panic!("{line}: nothing was run before this"));
                        step.shown = text.lines().map(str::to_owned).collect();
                    }
                    _ => {}
                }
            }
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => soon |= line.starts_with(AGAIN_AND_AGAIN),
        }
    }
    steps
}

/// What of the lines to be seen is not in the output.
fn missing<'s>(output: &str, shown: &'s [String]) -> Option<&'s str> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines = output.lines().map(words);
    let is_in = |line: &str, shown: &str| {
        let parts: Vec<String> = shown.split('…').map(words).filter(|part| !part.is_empty()).collect();
        let mut rest = line;
        parts.iter().all(|part| rest.find(part.as_str()).map(|at| rest = &rest[at + part.len()..]).is_some())
    };
    let wanted = shown.iter().map(String::as_str).filter(|line| !line.trim().is_empty());
    wanted.into_iter().find(|shown| !lines.any(|line| is_in(&line, shown)))
}

/// A shell that is spoken to.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// Blocks so far.
    blocks: usize,
    folder: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let ours = Path::new(env!("CARGO_BIN_EXE_nigh")).parent().unwrap().display();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash"]);
        command.current_dir(folder.path()).env("PATH", format!("{ours}:{path}:/usr/sbin:/sbin"));
        command.env_remove("NIGH_SOCKET").env_remove("NIGH_LOG");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, input, lines, blocks: 0, folder }
    }

    /// Runs a block; gives what it printed, or with what it failed.
    fn run(&mut self, commands: &str) -> Result<String, String> {
        self.blocks += 1;
        let end = format!("-- end of block {} --", self.blocks);
        let block = format!("{{\n{commands}}} < /dev/null 2>&1\nprintf '\\n%s %s\\n' '{end}' $?\n");
        self.input.write_all(block.as_bytes()).map_err(|error| format!("the shell is gone: {error}"))?;
        let deadline = Instant::now() + BLOCK;
        let mut output = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).map_err(|_| format!("no end within {BLOCK:?}:\n{output}"))?;
            match line.strip_prefix(&end) {
                Some(" 0") => return Ok(output),
                Some(code) => return Err(format!("exit code{code}:\n{output}")),
                None => output.push_str(&format!("{line}\n")),
            }
        }
    }

    /// Runs a step until it shows what it should.
    fn follow(&mut self, page: &str, step: &Step) {
        let deadline = Instant::now() + SOON;
        loop {
            let found = match self.run(&step.commands) {
                Err(failed) => Some(failed),
                Ok(output) => missing(&output, &step.shown).map(|line| format!("`{line}` is not in:\n{output}")),
            };
            let Some(problem) = found else { return };
            let (line, commands) = (step.line, &step.commands);
            assert!(step.soon && Instant::now() < deadline, "{page}:{line}:\n{commands}\n{problem}");
            rest();
        }
    }
}

/// Between two looks at something that comes soon.
#[allow(clippy::disallowed_methods, reason = "nothing else runs on this thread")]
fn rest() {
    std::thread::sleep(AGAIN);
}

impl Drop for Shell {
    fn drop(&mut self) {
        // With unshare its child ends, and with that all processes of its namespace.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the tutorial says is needed, and in which package it is.
const NEEDED: [(&str, &str); 6] = [
    ("named", "bind9"),
    ("unbound", "unbound"),
    ("dig", "bind9-dnsutils"),
    ("ip", "iproute2"),
    ("python3", "python3"),
    ("pgrep", "procps"),
];

/// Follows a how-to page, on the mesh that the tutorial makes; without one the tutorial itself, to its end.
fn follow(page: Option<&str>, programs: &[(&str, &str)]) {
    if NEEDED.iter().chain(programs).any(|(name, package)| server(name, package).is_none()) {
        return;
    }
    let mut shell = Shell::new();
    let tutorial = read("deploy/docs/tutorial.md");
    let first = page.map_or(tutorial.as_str(), |_| tutorial.split(MESH_IS_THERE).next().unwrap());
    steps(first).iter().for_each(|step| shell.follow("deploy/docs/tutorial.md", step));
    if let Some(page) = page {
        let steps = steps(&read(page));
        assert!(!steps.is_empty(), "{page} has nothing to run");
        steps.iter().for_each(|step| shell.follow(page, step));
    }
}

/// Follows a page that needs no mesh, in an empty folder; gives the folder as it left it.
pub fn follow_alone(page: &str) -> tempfile::TempDir {
    let mut shell = Shell::new();
    steps(&read(page)).iter().for_each(|step| shell.follow(page, step));
    std::mem::replace(&mut shell.folder, tempfile::tempdir().unwrap())
}

/// Servers lie where the PATH of users does not lead.
fn server(name: &str, package: &str) -> Option<PathBuf> {
    let sbin = Path::new("/usr/sbin").join(name);
    if sbin.is_file() { Some(sbin) } else { program(name, package) }
}

#[test]
fn the_tutorial_leads_from_nothing_to_a_delegated_zone() {
    follow(None, &[]);
}

#[test]
fn how_to_delegate() {
    let programs = [("knotd", "knot"), ("pdns_server", "pdns-server")];
    follow(Some("deploy/docs/how-to/delegate.md"), &programs);
}

#[test]
fn how_to_add_a_pop() {
    follow(Some("deploy/docs/how-to/add-a-pop.md"), &[]);
}

#[test]
fn how_to_dashboard() {
    follow(Some("deploy/docs/how-to/dashboard.md"), &[("curl", "curl")]);
}

#[test]
fn how_to_drain() {
    follow(Some("deploy/docs/how-to/drain.md"), &[]);
}

#[test]
fn how_to_find_a_fault() {
    follow(Some("deploy/docs/how-to/find-a-fault.md"), &[]);
}

#[test]
fn how_to_lose_a_region() {
    follow(Some("deploy/docs/how-to/lose-a-region.md"), &[]);
}

#[test]
fn how_to_rotate_keys() {
    follow(Some("deploy/docs/how-to/rotate-keys.md"), &[]);
}

#[test]
fn how_to_restore() {
    follow(Some("deploy/docs/how-to/restore.md"), &[]);
}

#[test]
fn how_to_upgrade() {
    follow(Some("deploy/docs/how-to/upgrade.md"), &[]);
}

#[test]
fn how_to_look_at_the_traffic() {
    let programs = [("fstrm_capture", "fstrm-bin"), ("dnstap-read", "bind9-dnsutils"), ("curl", "curl")];
    follow(Some("deploy/docs/how-to/dnstap.md"), &programs);
}

/// All pages below a folder.
fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != ' ' && c != '-' && c != '_', "");
    kept.trim().replace(' ', "-")
}

#[test]
fn links_lead_somewhere_and_every_page_is_in_the_index() {
    let mut pages = Vec::new();
    markdown(&root().join("deploy/docs"), &mut pages);
    markdown(&root().join("deploy/monitoring"), &mut pages);
    assert!(pages.len() > 15, "{pages:?}");
    let index = read("deploy/docs/README.md");
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !heading.is_empty() {
                let there = std::fs::read_to_string(&target).unwrap();
                let headings = there.lines().filter(|line| line.starts_with('#'));
                let known = headings.map(|line| anchor(line.trim_start_matches('#'))).any(|known| known == heading);
                assert!(known, "{}: {link}: there is no such heading", page.display());
            }
        }
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || index.contains(&format!("{name})")), "{name} is not in the index");
    }
}

#[test]
fn what_is_shown_must_come_in_that_order() {
    let output = "NAME   VERDICT\nfra    alive   12 ms\nnyc    dead\n";
    let shown = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(missing(output, &shown(&["fra … ms", "", "nyc  dead"])), None);
    assert_eq!(missing(output, &shown(&["nyc", "fra"])), Some("fra"));
    assert_eq!(missing(output, &shown(&["alive … fra"])), Some("alive … fra"));
    let page = "a\n```sh\none\n```\n\n```text\nx\n```\nRepeat until it prints this:\n```sh\ntwo\n```\n```console\n$ three\n```\n";
    let steps = steps(page);
    let read: Vec<_> =
        steps.iter().map(|step| (step.line, step.commands.trim(), step.soon, step.shown.len())).collect();
    assert_eq!(read, [(2, "one", false, 1), (10, "two", true, 0)]);
}
