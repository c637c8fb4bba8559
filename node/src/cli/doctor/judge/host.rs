//! What the host gives the process: capabilities, descriptors, buffers, room.

use std::path::PathBuf;

use crate::cli::doctor::finding::{Area, Finding};

/// What the unit gives. A node of some hundred connections needs a tenth; a flood of TCP takes what it gets.
const ENOUGH_FILES: u64 = 4096;
/// What a socket for DNS asks for (deploy/sysctl).
const WANTED_BUFFER: u64 = 4 << 20;
/// Below it the next compaction of the replica may not fit.
const LEAST_ROOM: u64 = 16 << 20;
/// A log that grows takes this in a day.
const LITTLE_ROOM: u64 = 256 << 20;
/// Of all inodes.
const FEW_INODES: f64 = 0.02;

/// CAP_NET_RAW, as a bit of a mask.
const NET_RAW: u64 = 1 << 13;

/// What the host gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The node's process, if it runs and can be looked at.
    pub(crate) process: Option<Process>,
    /// Some service is probed by ICMP.
    pub(crate) icmp: bool,
    /// Groups that may open ICMP sockets without a capability: first and last.
    pub(crate) ping_groups: Option<(u64, u64)>,
    /// net.core.rmem_max.
    pub(crate) buffer: Option<u64>,
    /// Datagrams that the kernel dropped at the node's DNS sockets, for want of room.
    pub(crate) dropped: u64,
    /// The state directory.
    pub(crate) state: Option<State>,
    /// Secret files that others may read.
    pub(crate) loose: Vec<PathBuf>,
    /// Files that the configuration names and that cannot be read here.
    pub(crate) missing: Vec<(PathBuf, String)>,
}

/// A process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    /// Descriptors that it may have.
    pub(crate) files: Option<u64>,
    /// Descriptors that it has, if that may be seen.
    pub(crate) open: Option<u64>,
    /// Its capabilities.
    pub(crate) capabilities: Option<u64>,
    /// Its groups.
    pub(crate) groups: Vec<u64>,
}

/// The state directory, and the file system that it lies on.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Where.
    pub(crate) path: PathBuf,
    /// Free octets, and part of inodes free; or why that is not known.
    pub(crate) free: Result<(u64, f64), String>,
}

/// Judges what the process may do.
pub(crate) fn rights(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in &facts.loose {
        findings.push(Finding::bad(
            Area::Rights,
            format!("others may read the secret in {}", path.display()),
            format!("chmod 600 {}", path.display()),
        ));
    }
    for (path, why) in &facts.missing {
        findings.push(Finding::look(
            Area::Rights,
            format!("{} cannot be read by who runs this: {why}", path.display()),
            "put it there, or run this as root or as the node's user to tell",
        ));
    }
    if let Some(process) = &facts.process {
        findings.extend(files(process));
        findings.extend(icmp(facts, process));
    }
    findings.extend(buffers(facts));
    findings
}

fn files(process: &Process) -> Option<Finding> {
    let (limit, open) = (process.files?, process.open);
    let near = open.is_some_and(|open| open.saturating_mul(10) >= limit.saturating_mul(8));
    let has = open.map(|open| format!(", {open} of them in use")).unwrap_or_default();
    let what = format!("the process may have {limit} files and connections open{has}");
    let todo = "LimitNOFILE=65536 in the unit (systemctl edit nigh), or ulimit -n, and start the node again";
    Some(match (near, limit) {
        (true, _) => Finding::bad(Area::Rights, what, todo),
        (false, ..ENOUGH_FILES) => Finding::look(Area::Rights, what, todo),
        _ => Finding::ok(Area::Rights, what),
    })
}

fn icmp(facts: &Facts, process: &Process) -> Option<Finding> {
    let capabilities = process.capabilities.filter(|_| facts.icmp)?;
    let by_group = facts.ping_groups.is_some_and(|(first, last)| {
        first <= last && process.groups.iter().any(|group| (first..=last).contains(group))
    });
    Some(if by_group || capabilities & NET_RAW != 0 {
        Finding::ok(Area::Rights, "it may send the ICMP probes that services ask for")
    } else {
        Finding::bad(
            Area::Rights,
            "services are probed by ICMP, and the process may not send it: their servers stay unknown here",
            "AmbientCapabilities=CAP_NET_RAW in the unit, or sysctl net.ipv4.ping_group_range with the node's group",
        )
    })
}

fn buffers(facts: &Facts) -> Vec<Finding> {
    let todo = "sysctl net.core.rmem_max=4194304 (the package brings /usr/lib/sysctl.d/60-nigh.conf), and start the node again";
    let small = facts.buffer.filter(|buffer| *buffer < WANTED_BUFFER);
    if facts.dropped > 0 {
        let what = format!(
            "the kernel dropped {} questions since the node's sockets were opened: their buffers were full",
            facts.dropped
        );
        let busy = "questions come faster than they are answered: look at the host's load, and at `nigh status`";
        return vec![Finding::look(Area::Rights, what, if small.is_some() { todo } else { busy })];
    }
    match (small, facts.buffer) {
        (Some(small), _) => vec![Finding::look(
            Area::Rights,
            format!(
                "a socket's buffer may have {} KiB, where 4096 are asked for: while a node restarts questions wait in it",
                small >> 10
            ),
            todo,
        )],
        (None, Some(_)) => {
            vec![Finding::ok(Area::Rights, "sockets get the buffers that they ask for; no question was dropped")]
        }
        (None, None) => Vec::new(),
    }
}

/// Judges the room for the state.
pub(crate) fn disk(state: &State) -> Finding {
    let path = state.path.display();
    let (octets, inodes) = match &state.free {
        Ok(free) => *free,
        Err(why) => {
            return Finding::look(
                Area::Disk,
                format!("{path}: {why}"),
                "correct node.state_dir, or run this as root or as the node's user to tell",
            );
        }
    };
    let what = format!("{} MiB free for {path}", octets >> 20);
    let todo = "make room: what the node learns is kept there, and without room it neither starts nor remembers";
    match octets {
        ..LEAST_ROOM => Finding::bad(Area::Disk, what, todo),
        LEAST_ROOM..LITTLE_ROOM => Finding::look(Area::Disk, what, todo),
        _ if inodes < FEW_INODES => Finding::look(Area::Disk, format!("{what}, but hardly any inodes"), todo),
        _ => Finding::ok(Area::Disk, what),
    }
}
