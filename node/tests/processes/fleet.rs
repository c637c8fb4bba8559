//! Nodes as processes, and their operator.
//!
//! **Invariant:** no node survives its test. A [`Process`] is killed and reaped, by its pid, when it is dropped; and
//! should the tests themselves be killed, the kernel ends it (PDEATHSIG, by way of the demo's `--become-node`, which
//! becomes `nigh run --config` by exec).

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nigh::catalogue::hlc;
use nigh::certificate::{self, Handed};
use nigh::identity::{self, Kind};
use nigh_gossip::Certificate;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::time::Instant;

use crate::ground::Ground;

/// The binary under test.
const NIGH: &str = env!("CARGO_BIN_EXE_nigh");
/// Names of the nodes, by number.
pub const NAMES: [&str; 3] = ["ams", "bru", "cph"];
/// Whatever should happen happens by then, on a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at something that is about to happen.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a certificate holds that a test does not look at.
const YEAR: i64 = 365 * 86_400;

/// Looks again and again; gives what was found, or panics with what was missing last.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let missing = match look().await {
            Ok(found) => return found,
            Err(missing) => missing,
        };
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}; last: {missing}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A condition for [`until`].
pub fn ensure(holds: bool, else_say: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(else_say()) }
}

/// A running node.
pub struct Process {
    child: Child,
}

impl Process {
    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; gives the exit code.
    pub async fn exit_code(&mut self) -> i32 {
        let status = until("the node's end", async || self.ended().ok_or("runs".into())).await;
        status.code().unwrap_or_else(|| panic!("ended by signal {:?}", status.signal()))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a test may change of a node's configuration.
#[derive(Clone)]
pub struct Settings {
    /// `host:port` of first contacts.
    pub bootstrap: Vec<String>,
    /// Where it meets the others.
    pub mesh: String,
    /// Where it answers.
    pub dns: String,
    /// How long it answers after SIGTERM.
    pub answer_for: &'static str,
    /// "human" or "json".
    pub log_format: &'static str,
    /// Whether its certificate is put into its state directory before it starts.
    pub admitted: bool,
}

/// An operator with a mesh on a ground of its own.
pub struct Fleet {
    /// Addresses and files.
    pub ground: Ground,
    pub mesh_id: String,
}

impl Fleet {
    /// A mesh without nodes.
    pub fn new() -> Self {
        let ground = Ground::take();
        let key = identity::create(&ground.file("operator.key"), Kind::Operator).unwrap();
        Self { ground, mesh_id: identity::public(&key).to_string() }
    }

    /// A node's settings: the node before it is its first contact.
    pub fn settings(&self, node: usize) -> Settings {
        Settings {
            bootstrap: node.checked_sub(1).map(|before| self.ground.mesh(before).to_string()).into_iter().collect(),
            mesh: self.ground.mesh(node).to_string(),
            dns: self.ground.dns(node).to_string(),
            answer_for: "0s",
            log_format: "human",
            admitted: true,
        }
    }

    /// Where a node's state is.
    pub fn state(&self, node: usize) -> PathBuf {
        self.ground.file(&format!("{}.state", NAMES[node]))
    }

    /// A node's admin socket.
    pub fn socket(&self, node: usize) -> PathBuf {
        self.ground.file(&format!("{}.sock", NAMES[node]))
    }

    /// What a node has logged, in all its runs.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(self.ground.file(&format!("{}.log", NAMES[node]))).unwrap()
    }

    /// Starts a node, with the state of its last run if there was one.
    pub fn start(&self, node: usize, settings: &Settings) -> Process {
        // A test may have spoilt the key, to see what the node says of it.
        if settings.admitted && !self.state(node).join(certificate::FILE).exists() {
            self.certify(node, NAMES[node], YEAR).ok();
        }
        self.start_with(node, &self.config(node, settings))
    }

    /// Issues a certificate for so many seconds from now, as an operator would, and puts it where the node finds it.
    pub fn certify(&self, node: usize, name: &str, seconds: i64) -> Result<Certificate, String> {
        let operator = identity::load(&self.ground.file("operator.key"), Kind::Operator).unwrap();
        let id = identity::node_id(&self.state(node)).map_err(|error| error.to_string())?;
        let prefixes = [node, node + 1].map(|of| self.ground.network(of % NAMES.len()).parse().unwrap());
        let millis = hlc::unix_millis();
        let not_after = (millis / 1000).saturating_add_signed(seconds);
        let (name, prefixes) = (name.to_owned(), prefixes.into());
        let certificate = Certificate { node: id, name, serial: node as u64, prefixes, not_after };
        let page = certificate.sign(&operator, millis, 0);
        certificate::write(&self.state(node).join(certificate::FILE), &Handed::by_the_root(page))
            .map_err(|error| error.to_string())?;
        Ok(certificate)
    }

    /// Runs a command that the operator's key signs, at a node; gives what it prints, or why it failed.
    pub async fn operate(&self, at: usize, args: &[&str]) -> Result<String, String> {
        let key = self.ground.file("operator.key");
        self.nigh(at, &[args, &["--key", key.to_str().unwrap()]].concat()).await
    }

    /// A node's id.
    pub fn id(&self, node: usize) -> String {
        identity::node_id(&self.state(node)).unwrap().to_string()
    }

    /// Starts a node with this configuration.
    pub fn start_with(&self, node: usize, config: &str) -> Process {
        self.start_beside(NAMES[node], config)
    }

    /// Starts a node whose configuration and log are under this name.
    pub fn start_beside(&self, name: &str, config: &str) -> Process {
        self.start_amid(name, config, &[])
    }

    /// The same, with these variables in its environment.
    pub fn start_amid(&self, name: &str, config: &str, variables: &[(&str, &str)]) -> Process {
        let file = self.ground.file(&format!("{name}.toml"));
        fs::write(&file, config).unwrap();
        let log = self.ground.file(&format!("{name}.log"));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new(NIGH)
            .args(["demo", "--parent", &std::process::id().to_string(), "--become-node"])
            .arg(file)
            .env_remove("NIGH_LOG")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process { child }
    }

    /// A configuration as an operator would write it. The node is the first claimant of its resolvers, and the second
    /// of the next node's.
    pub fn config(&self, node: usize, settings: &Settings) -> String {
        let Settings { bootstrap, mesh, dns, answer_for, log_format, admitted: _ } = settings;
        let claim = |of: usize, preference: u16| {
            format!("[[claim]]\nprefix = \"{}\"\npreference = {preference}\n", self.ground.network(of % NAMES.len()))
        };
        format!(
            "[node]\nname = \"{name}\"\nstate_dir = {state:?}\n[mesh]\nid = \"{id}\"\nlisten = [\"{mesh}\"]\n\
             bootstrap = {bootstrap:?}\n[dns]\nlisten = [\"{dns}\"]\n\
             # Tests ask as fast as they can.\nrate_limit = 0\n[measure]\nsource = [\"{source}\"]\n\
             [admin]\nsocket = {socket:?}\n[log]\nformat = \"{log_format}\"\n[drain]\nanswer_for = \"{answer_for}\"\n{}{}",
            claim(node, 10),
            claim(node + 1, 20),
            name = NAMES[node],
            state = self.state(node),
            id = self.mesh_id,
            source = self.ground.dns(node).ip(),
            socket = self.socket(node),
        )
    }

    /// Runs a command of the operator against a node; gives what it prints, or why it failed.
    pub async fn nigh(&self, node: usize, args: &[&str]) -> Result<String, String> {
        self.nigh_at(&self.socket(node), args).await
    }

    async fn nigh_at(&self, socket: &Path, args: &[&str]) -> Result<String, String> {
        let mut command = tokio::process::Command::new(NIGH);
        command.args(args).env("NIGH_SOCKET", socket).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Runs a reading command.
    pub async fn read(&self, node: usize, args: &[&str]) -> Result<Value, String> {
        self.read_at(&self.socket(node), args).await
    }

    /// Runs a reading command at a socket.
    pub async fn read_at(&self, socket: &Path, args: &[&str]) -> Result<Value, String> {
        Ok(serde_json::from_str(&self.nigh_at(socket, &[args, &["--json"]].concat()).await?).unwrap())
    }

    /// The lines of a report.
    pub async fn lines(&self, node: usize, command: &str) -> Result<Vec<Value>, String> {
        Ok(self.read(node, &[command]).await?.as_array().unwrap().clone())
    }

    /// What a node says of another one.
    pub async fn peer(&self, at: usize, about: usize) -> Result<Value, String> {
        let peers = self.lines(at, "peers").await?;
        let found = peers.iter().find(|peer| peer["name"] == NAMES[about]);
        found.cloned().ok_or_else(|| format!("{} does not know {}: {peers:?}", NAMES[at], NAMES[about]))
    }

    /// Waits until these nodes know of each other that they are alive, with their claims.
    pub async fn joined(&self, nodes: &[usize]) {
        until("all have joined", async || {
            for at in nodes {
                for about in nodes {
                    let peer = self.peer(*at, *about).await?;
                    ensure(peer["verdict"] == "alive" && (at == about || peer["linked"] == true), || peer.to_string())?;
                }
                let claims = self.lines(*at, "claims").await?;
                let count = claims.iter().filter(|claim| claim["void"] == false).count();
                ensure(count == 2 * nodes.len(), || format!("at {}: {claims:?}", NAMES[*at]))?;
            }
            Ok(())
        })
        .await;
    }

    /// Makes the catalogue what the text says, at one node.
    pub async fn apply(&self, node: usize, catalogue: &str) {
        let file = self.ground.file("services.toml");
        fs::write(&file, catalogue).unwrap();
        let key = self.ground.file("operator.key");
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        self.nigh(node, &["apply", &path(&file), "--key", &path(&key)]).await.unwrap();
    }

    /// Waits until every row that these nodes hold of each other is up and in the order of the distances.
    pub async fn measured(&self, nodes: &[usize], services: usize) {
        until("all have measured", async || {
            for at in nodes {
                let rows = self.lines(*at, "latency").await?;
                let up = rows.iter().filter(|row| row["state"] == "up").count();
                ensure(up == nodes.len() * NAMES.len() * services, || format!("at {}: {rows:?}", NAMES[*at]))?;
                for node in nodes {
                    let of = |origin: &str| {
                        let mut own = rows.iter().filter(|row| row["node"] == NAMES[*node]);
                        own.find(|row| row["server"] == origin).and_then(|row| row["rtt_ms"].as_f64())
                    };
                    let near = of(NAMES[*node]);
                    let nearest = NAMES.iter().all(|other| *other == NAMES[*node] || near < of(other));
                    ensure(nearest, || format!("{} is out of order: {rows:?}", NAMES[*node]))?;
                }
            }
            Ok(())
        })
        .await;
    }
}
