//! Our own nodes, driven as an operator drives them: by configuration file and the `nigh` command.
//!
//! Reading is through `--json`: what an operator's own scripts would see is what a scenario asserts on.

use super::nigh_json::{ClaimRow, Delegation, Equivocation, Imports, Peer, Row, Service, Status};
use super::{Bed, write};
use crate::lab::Daemon;
use crate::lab::process::{self, Said};
use crate::sys::Signal;
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The port of the mesh on every node.
pub const MESH_PORT: u16 = 4242;
/// A command that takes longer than this hangs.
const COMMAND_PATIENCE: Duration = Duration::from_secs(15);

/// A claim of a node: these resolvers are near me.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The resolvers' prefix.
    pub prefix: String,
    /// Lower wins.
    pub preference: u16,
}

/// What a node is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name; also the name of its host in the bed.
    pub name: String,
    /// Where it stands, for people.
    pub pop: String,
    /// Its address: for the mesh, for DNS, and where probes leave from.
    pub address: Ipv4Addr,
    /// Another one, for DNS and probes.
    pub also: Option<IpAddr>,
    /// How long it answers after it was told to drain; the default if not said.
    pub answer_for: Option<Duration>,
    /// The addresses of nodes to join through.
    pub bootstrap: Vec<Ipv4Addr>,
    /// Its claims.
    pub claims: Vec<Claim>,
    /// Further sections of its configuration, as text.
    pub extra: String,
    /// How it looks for its resolvers, if it does.
    pub finds: Option<Finds>,
}

/// How a node looks for the resolvers that it is a client of.
#[derive(Clone, Debug)]
pub struct Finds {
    /// The file that stands for the host's resolv.conf.
    pub file: PathBuf,
    /// From one round of questions to the next.
    pub every: Duration,
    /// Within which its certificate lets it claim.
    pub allowed: Vec<String>,
}

/// A mesh's operator: the key, and the program.
#[derive(Clone, Debug)]
pub struct Operator {
    program: PathBuf,
    key: PathBuf,
    mesh: String,
}

impl Operator {
    /// Makes the operator's key, and with it the mesh.
    pub fn init(program: &Path, directory: &Path) -> Result<Self> {
        let key = directory.join("operator.key");
        let mut command = Command::new(program);
        command.arg("init").arg("--key").arg(&key);
        let said = succeed(command)?;
        let mesh =
            mesh_id(&said.output).with_context(|| format!("`nigh init` printed no mesh id but {:?}", said.output))?;
        Ok(Self { program: program.to_owned(), key, mesh })
    }

    /// The mesh id.
    pub fn mesh(&self) -> &str {
        &self.mesh
    }

    /// Makes this catalogue the mesh's, by way of any node.
    pub fn apply(&self, catalogue: &Path, through: &Node) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("apply").arg(catalogue).arg("--key").arg(&self.key);
        command.arg("--socket").arg(through.socket());
        succeed(command).map(drop).with_context(|| format!("applying a catalogue at {}", through.name()))
    }

    /// Ends a node's membership, by way of any node.
    pub fn revoke(&self, name: &str, through: &Node) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["revoke", name, "--yes"]).arg("--key").arg(&self.key).arg("--socket").arg(through.socket());
        succeed(command).map(drop).with_context(|| format!("revoking {name} at {}", through.name()))
    }

    /// Issues a node's certificate for what it claims, before it has met anybody, and puts it where the node looks.
    fn admit(&self, configuration: &Path, state: &Path, settings: &Settings, through: Option<&Path>) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("id").arg(configuration);
        let id = succeed(command)?.output;
        let mut command = Command::new(&self.program);
        command.args(["admit", id.trim(), "--name", &settings.name]).arg("--key").arg(&self.key);
        command.arg("--out").arg(state.join("certificate"));
        if let Some(through) = through {
            command.arg("--socket").arg(through);
        }
        let allowed = settings.finds.iter().flat_map(|finds| &finds.allowed);
        for prefix in settings.claims.iter().map(|claim| &claim.prefix).chain(allowed) {
            command.args(["--prefix", prefix]);
        }
        succeed(command).map(drop).with_context(|| format!("admitting {}", settings.name))
    }

    /// Writes a node's configuration, admits the node and starts it.
    pub fn start_node(&self, bed: &Bed, settings: Settings) -> Result<Node> {
        let mut node = self.node(bed, settings)?;
        self.admit(&node.configuration, &node.state, &node.settings, None)?;
        node.start(bed)?;
        Ok(node)
    }

    /// The same, with a preparation of the node's folder and further variables in its environment.
    pub fn start_node_in(
        &self,
        bed: &Bed,
        settings: Settings,
        environment: Vec<(String, String)>,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Node> {
        let mut node = self.node(bed, settings)?;
        node.environment = environment;
        prepare(&node.state)?;
        self.admit(&node.configuration, &node.state, &node.settings, None)?;
        node.start(bed)?;
        Ok(node)
    }

    /// Admits a node, and starts another program in its place: `command` makes it from the folder with key and certificate.
    pub fn start_in_place(
        &self,
        bed: &Bed,
        settings: Settings,
        command: impl FnOnce(&Path) -> Result<Command>,
    ) -> Result<Node> {
        let mut node = self.node(bed, settings)?;
        self.admit(&node.configuration, &node.state, &node.settings, None)?;
        node.daemon = Some(bed.daemon(&node.settings.name, "instead", command(&node.state)?)?);
        Ok(node)
    }

    /// Issues a node's certificate anew after a revocation: for the node, and by way of another one for the mesh, which
    /// lets nobody in whom it holds for revoked.
    pub fn admit_again(&self, node: &Node, through: &Node) -> Result<()> {
        self.admit(&node.configuration, &node.state, &node.settings, Some(through.socket()))
    }

    /// The same with a key that nobody admits.
    pub fn start_stranger(&self, bed: &Bed, settings: Settings) -> Result<Node> {
        let mut node = self.node(bed, settings)?;
        node.start(bed)?;
        Ok(node)
    }

    fn node(&self, bed: &Bed, settings: Settings) -> Result<Node> {
        let directory = bed.run().host_directory(&settings.name)?;
        let (configuration, socket) = (directory.join("nigh.toml"), directory.join("nigh.sock"));
        write(&configuration, &text(&settings, &self.mesh, &directory, &socket))?;
        let state = directory.join("state");
        Ok(Node {
            program: self.program.clone(),
            configuration,
            state,
            socket,
            settings,
            environment: Vec::new(),
            daemon: None,
        })
    }

    /// The same operator with another version of the program.
    pub fn with(&self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self.clone() }
    }

    /// The nigh program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The file with the operator's secret.
    pub fn key(&self) -> &Path {
        &self.key
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    program: PathBuf,
    configuration: PathBuf,
    state: PathBuf,
    socket: PathBuf,
    settings: Settings,
    environment: Vec<(String, String)>,
    daemon: Option<Daemon>,
}

impl Node {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its admin socket. Unix sockets are files: they are reached from every network namespace.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its configuration.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The folder of its keys and of what it remembers.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its process, if it was started.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Tells its process something.
    pub fn tell(&self, signal: Signal) -> Result<()> {
        match &self.daemon {
            Some(daemon) => daemon.tell(signal),
            None => bail!("{} was never started", self.settings.name),
        }
    }

    /// Its log.
    pub fn log(&self) -> Option<&Path> {
        self.daemon.as_ref().map(Daemon::log)
    }

    /// Starts it (again), with the state that it left.
    pub fn start(&mut self, bed: &Bed) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(&self.configuration);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        self.daemon = Some(bed.daemon(&self.settings.name, "nigh", command)?);
        Ok(())
    }

    /// Ends it without warning (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        match self.daemon.as_mut() {
            Some(daemon) => daemon.kill(),
            None => bail!("{} was never started", self.settings.name),
        }
    }

    /// Tells it to end in good order (SIGTERM), and waits for that.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        match self.daemon.as_mut() {
            Some(daemon) => daemon.stop(patience).map(drop),
            None => bail!("{} was never started", self.settings.name),
        }
    }

    /// Its program from the next start on; gives the one before.
    pub fn becomes(&mut self, program: PathBuf) -> PathBuf {
        std::mem::replace(&mut self.program, program)
    }

    /// Tells it to leave: it withdraws its claims, answers a while longer and ends.
    pub fn drain(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("drain").arg("--socket").arg(&self.socket);
        succeed(command).map(drop).with_context(|| format!("draining {}", self.name()))
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.alive().is_ok())
    }

    /// Its resident memory in KiB, as the kernel counts it.
    pub fn resident_kib(&self) -> Option<u64> {
        let pid = self.daemon.as_ref()?.pid();
        resident(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// The CPU time that its process has used.
    pub fn cpu(&self) -> Option<Duration> {
        cpu(&fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?)
    }

    /// An error with the end of its log if it has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.daemon.as_mut().map_or(Ok(()), Daemon::alive)
    }

    /// `nigh status --json`.
    pub fn status(&self) -> Result<Status> {
        self.read(&["status"])
    }

    /// `nigh peers --json`.
    pub fn peers(&self) -> Result<Vec<Peer>> {
        self.read(&["peers"])
    }

    /// `nigh claims --json`.
    pub fn claims(&self) -> Result<Vec<ClaimRow>> {
        self.read(&["claims"])
    }

    /// `nigh equivocations --json`.
    pub fn equivocations(&self) -> Result<Vec<Equivocation>> {
        self.read(&["equivocations"])
    }

    /// `nigh latency --json`.
    pub fn latency(&self) -> Result<Vec<Row>> {
        self.read(&["latency"])
    }

    /// `nigh services --json`.
    pub fn services(&self) -> Result<Vec<Service>> {
        self.read(&["services"])
    }

    /// `nigh pools --json`.
    pub fn imports(&self) -> Result<Imports> {
        self.read(&["pools"])
    }

    /// `nigh delegations --json`.
    pub fn delegations(&self) -> Result<Vec<Delegation>> {
        self.read(&["delegations"])
    }

    /// `nigh explain NAME --from ADDRESS`, for people.
    pub fn explain(&self, name: &str, from: Ipv4Addr) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["explain", name, "--from", &from.to_string()]).arg("--socket").arg(&self.socket);
        Ok(succeed(command)?.output)
    }

    fn read<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--json").arg("--socket").arg(&self.socket);
        let said = succeed(command).with_context(|| format!("asking {}", self.settings.name))?;
        serde_json::from_str(&said.output)
            .with_context(|| format!("`nigh {} --json` at {} said {}", arguments.join(" "), self.name(), said.output))
    }
}

/// The line `VmRSS:    1234 kB` of /proc/PID/status.
fn resident(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

/// Fields 14 and 15 of /proc/PID/stat, user and system, in ticks of 10 ms (USER_HZ is 100 wherever Linux tells it to
/// programs).
fn cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn succeed(command: Command) -> Result<Said> {
    let name = command.get_args().next().map(|argument| argument.display().to_string()).unwrap_or_default();
    let said = process::run(command, COMMAND_PATIENCE)?;
    if !said.status.success() {
        bail!("`nigh {name}` failed ({}): {} {}", said.status, said.errors.trim(), said.output.trim());
    }
    Ok(said)
}

/// The mesh id in what `nigh init` says: the first word that can be a public key (32 bytes in base32 are 52 letters).
fn mesh_id(said: &str) -> Option<String> {
    said.split(|letter: char| !letter.is_ascii_alphanumeric())
        .find(|word| word.len() == 52 && word.chars().all(|letter| matches!(letter, 'a'..='z' | '2'..='7')))
        .map(str::to_owned)
}

fn text(settings: &Settings, mesh: &str, directory: &Path, socket: &Path) -> String {
    let Settings { name, pop, address, also, answer_for, bootstrap, claims, finds, extra } = settings;
    let own = || std::iter::once(IpAddr::from(*address)).chain(*also);
    let listen: Vec<String> = own().map(|address| format!("\"{}\"", SocketAddr::new(address, 53))).collect();
    let sources: Vec<String> = own().map(|address| format!("\"{address}\"")).collect();
    let bootstrap: Vec<String> = bootstrap.iter().map(|peer| format!("\"{peer}:{MESH_PORT}\"")).collect();
    let mut text = format!(
        r#"[node]
name = "{name}"
pop = "{pop}"
state_dir = "{state}"

[mesh]
id = "{mesh}"
listen = ["{address}:{MESH_PORT}"]
bootstrap = [{bootstrap}]

[dns]
listen = [{listen}]

[measure]
source = [{sources}]

[admin]
socket = "{socket}"

[log]
format = "human"
level = "info"
"#,
        state = directory.join("state").display(),
        bootstrap = bootstrap.join(", "),
        socket = socket.display(),
        listen = listen.join(", "),
        sources = sources.join(", "),
    );
    if let Some(answer_for) = answer_for {
        text.push_str(&format!("\n[drain]\nanswer_for = \"{}ms\"\n", answer_for.as_millis()));
    }
    if let Some(Finds { file, every, .. }) = finds {
        let (file, every) = (file.display(), every.as_millis());
        text.push_str(&format!("\n[resolvers]\nsystem = true\nfile = \"{file}\"\ninterval = \"{every}ms\"\n"));
    }
    for Claim { prefix, preference } in claims {
        text.push_str(&format!("\n[[claim]]\nprefix = \"{prefix}\"\npreference = {preference}\n"));
    }
    text.push_str(extra);
    text
}

#[cfg(test)]
mod tests {
    use super::{cpu, mesh_id, resident};

    #[test]
    fn cpu_time_is_found_behind_any_program_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(cpu(stat), Some(std::time::Duration::from_secs(2)));
        assert_eq!(cpu("42 (short) S 1"), None);
    }

    #[test]
    fn the_mesh_id_is_found_in_what_init_says() {
        let id = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst";
        assert_eq!(mesh_id(&format!("mesh id: {id}\n")).as_deref(), Some(id));
        assert_eq!(mesh_id(&format!("id = \"{id}\"")).as_deref(), Some(id));
        assert_eq!(mesh_id("wrote /tmp/operator.key\n"), None);
        assert_eq!(mesh_id(&format!("{id}x")), None);
    }

    #[test]
    fn resident_memory_is_read_from_the_kernels_page() {
        assert_eq!(resident("VmHWM:\t  20000 kB\nVmRSS:\t   12345 kB\nRssAnon: 1 kB\n"), Some(12_345));
        assert_eq!(resident("Name:\tnigh\n"), None);
    }
}
