//! Where a round runs: in a network and process namespace of its own, by util-linux's `unshare`.
//!
//! The namespace's `lo` carries this round's packets and nothing else, and when its first process ends, the kernel ends
//! all others, stopped ones too: nothing is left behind after a panic, ctrl-c or kill -9 of the parent. (ctrl-c closes
//! the pipe that the round reads; at its end of file the round ends.) Where a namespace cannot be made, rounds still
//! run, the fleet kills its processes itself, and bytes are not measured.

use std::{
    io::Read,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{Contender, Fallible, Plan, round::Round};

/// How to enter a namespace, if there is a way.
pub struct Arena {
    unshare: Option<Vec<&'static str>>,
}

const ENTER: [&str; 6] = ["unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
const AS_USER: [&str; 2] = ["--user", "--map-root-user"];
/// `lo` of a new namespace is down.
const LO_UP: &str = "ip link set lo up && exec \"$0\" \"$@\"";

impl Arena {
    /// Tries as the user that this is (root may), then as root of a user namespace.
    pub fn find() -> Self {
        let ways = [ENTER.to_vec(), [&ENTER[..], &AS_USER[..]].concat()];
        Self { unshare: ways.into_iter().find(|way| works(way)) }
    }

    /// What cannot be measured here, and what would help.
    pub fn missing(&self) -> Option<String> {
        let said = "bytes were not measured: no network namespace could be made. Run as root, with util-linux's unshare \
                    and iproute2's ip on the path.";
        self.unshare.is_none().then(|| said.to_owned())
    }

    /// Runs one round to its end.
    pub fn run(&self, plan: &Plan, contender: Contender) -> Fallible<Round> {
        let me: PathBuf = std::env::current_exe()?;
        let mut command = match &self.unshare {
            Some(way) => {
                let mut command = Command::new(way[0]);
                command.args(&way[1..]).args(["sh", "-c", LO_UP]).arg(me);
                command
            }
            None => Command::new(me),
        };
        command.args(plan.arguments()).args(["round", contender.name()]);
        if self.unshare.is_some() {
            command.arg("--alone");
        }
        // Its standard input stays open as long as this process lives.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            stdout.read_to_string(&mut said)?;
        }
        end(&mut child)?;
        Ok(serde_json::from_str(&said)?)
    }
}

fn end(child: &mut Child) -> Fallible<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the round ended with {status}").into()) }
}

fn works(way: &[&str]) -> bool {
    Command::new(way[0])
        .args(&way[1..])
        .args(["sh", "-c", LO_UP, "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Plan {
    /// The plan as arguments of this program.
    pub fn arguments(&self) -> Vec<String> {
        let Self { nodes, seed, changes, idle, patience } = self;
        [
            ("--nodes", nodes.to_string()),
            ("--seed", seed.to_string()),
            ("--changes", changes.to_string()),
            ("--idle", idle.to_string()),
            ("--patience", patience.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}
