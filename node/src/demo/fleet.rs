//! The five nodes: real processes of this binary, each with a configuration file as an operator would write it.
//!
//! Nothing in a node knows of the demo. It finds its certificate in its state directory, is started with `run --config`,
//! read with `status --json` and its like, and fed with `apply`, all as subprocesses, so the demo exercises what an
//! operator does.
//!
//! **Invariant:** no node survives its demo. A node is started through [`become_node`], which asks the kernel for
//! SIGKILL at the parent's death and then becomes `nigh run` by exec, keeping its pid; dropping the [`Fleet`] kills and
//! reaps what still runs. Nodes have process groups of their own: Ctrl-C reaches the demo, and the demo ends them.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nigh_gossip::Certificate;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use crate::catalogue::hlc;
use crate::certificate::{self, Handed};
use crate::config::Config;
use crate::identity::{self, Kind};

use super::world::{CITIES, City, NEXT_PREFERENCE, OWN_PREFERENCE, Plan};

/// A command of the operator takes milliseconds; one that hangs must not hang the demo.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a node may take to leave after SIGTERM: its draining time and some.
const LEAVE: Duration = Duration::from_secs(3);
/// Between two looks at something that is about to happen.
pub const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long certificates hold: so long that no node warns of the end.
const CERTIFICATE: u64 = 90 * 86_400;
/// Lines of a log that go into an error.
const LOG_TAIL: usize = 12;

/// The nodes of one demo.
#[derive(Debug)]
pub struct Fleet {
    binary: PathBuf,
    folder: PathBuf,
    plan: Plan,
    mesh_id: String,
    children: [Option<Child>; CITIES],
}

impl Fleet {
    /// A fleet without running nodes. Makes the operator's key.
    pub async fn prepare(folder: &Path, plan: Plan) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("cannot find the program's own file, which the nodes run")?;
        let mut fleet = Self {
            binary,
            folder: folder.to_owned(),
            plan,
            mesh_id: String::new(),
            children: std::array::from_fn(|_| None),
        };
        let key = fleet.operator_key();
        let said = fleet.command(&["init", "--json", "--key", &key.to_string_lossy()]).await?;
        let made: serde_json::Value = serde_json::from_str(&said).context("`nigh init --json`")?;
        let id = made.get("mesh_id").and_then(serde_json::Value::as_str);
        fleet.mesh_id = id.with_context(|| format!("`nigh init --json` names no mesh_id: {said}"))?.to_owned();
        Ok(fleet)
    }

    /// The operator's public key.
    pub fn mesh_id(&self) -> &str {
        &self.mesh_id
    }

    /// Where the operator's key is.
    pub fn operator_key(&self) -> PathBuf {
        self.folder.join("operator.key")
    }

    /// The admin socket of a node.
    pub fn socket(&self, city: City) -> PathBuf {
        self.folder.join(format!("{}.sock", city.node()))
    }

    /// Where a node writes its log.
    pub fn log(&self, city: City) -> PathBuf {
        self.folder.join(format!("{}.log", city.node()))
    }

    /// Gives a node its certificate, for what it claims and a season, as `nigh admit --out` does.
    pub fn admit(&self, city: City) -> anyhow::Result<()> {
        let operator = identity::load(&self.operator_key(), Kind::Operator)?;
        let state = state_dir(&self.folder, city);
        let node = identity::node_id(&state)?;
        let config = Config::parse(&node_config(&self.plan, city, &self.mesh_id, &self.folder))?;
        let millis = hlc::unix_millis();
        let certificate = Certificate {
            node,
            name: city.node().into(),
            serial: getrandom::u64().context("no randomness from the system")?,
            prefixes: config.claims.iter().map(|claim| claim.prefix).collect(),
            not_after: millis / 1000 + CERTIFICATE,
        };
        let handed = Handed::by_the_root(certificate.sign(&operator, millis, 0));
        Ok(certificate::write(&state.join(certificate::FILE), &handed)?)
    }

    /// Starts a node; with the state of its last run, if it ran before.
    pub fn start(&mut self, city: City) -> anyhow::Result<()> {
        let config = self.folder.join(format!("{}.toml", city.node()));
        fs::write(&config, node_config(&self.plan, city, &self.mesh_id, &self.folder))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(city))
            .with_context(|| format!("cannot write {}", self.log(city).display()))?;
        let child = Command::new(&self.binary)
            .arg0("nigh")
            .args(["demo", "--parent", &std::process::id().to_string(), "--become-node"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start node {} from {}", city.node(), self.binary.display()))?;
        self.children[city.index()] = Some(child);
        Ok(())
    }

    /// The pid of a node that was started and has not been seen to end.
    pub fn pid(&self, city: City) -> Option<u32> {
        self.children[city.index()].as_ref().map(Child::id)
    }

    /// Ends a node at once, as a power cut does.
    pub fn kill(&mut self, city: City) -> anyhow::Result<()> {
        let mut child =
            self.children[city.index()].take().with_context(|| format!("{} is not running", city.node()))?;
        child.kill().with_context(|| format!("cannot kill node {}", city.node()))?;
        child.wait().with_context(|| format!("cannot wait for node {}", city.node()))?;
        Ok(())
    }

    /// A node that has ended by itself, or by somebody else's hand, since the last look.
    pub fn find_ended(&mut self) -> Option<(City, ExitStatus)> {
        City::all().find_map(|city| {
            let child = self.children[city.index()].as_mut()?;
            let status = child.try_wait().ok()??;
            self.children[city.index()] = None;
            Some((city, status))
        })
    }

    /// An error if a node has ended, with the end of its log.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        match self.find_ended() {
            None => Ok(()),
            Some((city, status)) => {
                bail!("node {} ended by itself ({status}); its log ends with\n{}", city.node(), self.log_tail(city))
            }
        }
    }

    /// The last lines of a node's log.
    pub fn log_tail(&self, city: City) -> String {
        let text = fs::read(self.log(city)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(LOG_TAIL);
        lines.get(first..).unwrap_or_default().iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Runs a command of the operator against one node.
    pub async fn ask(&self, city: City, args: &[&str]) -> anyhow::Result<String> {
        let socket = self.socket(city);
        let socket = socket.to_string_lossy();
        let mut all = args.to_vec();
        all.extend(["--socket", &socket]);
        self.command(&all).await
    }

    /// Runs a reading command with `--json`.
    pub async fn read<T: DeserializeOwned>(&self, city: City, command: &str) -> anyhow::Result<T> {
        let text = self.ask(city, &[command, "--json"]).await?;
        serde_json::from_str(&text)
            .with_context(|| format!("`nigh {command} --json` at {}: {}", city.node(), text.trim()))
    }

    async fn command(&self, args: &[&str]) -> anyhow::Result<String> {
        let running =
            tokio::process::Command::new(&self.binary).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
        let what = || format!("nigh {}", args.join(" "));
        let output = timeout(COMMAND_TIMEOUT, running)
            .await
            .with_context(|| format!("`{}` took more than {COMMAND_TIMEOUT:?}", what()))?
            .with_context(|| format!("cannot run `{}`", what()))?;
        if !output.status.success() {
            bail!("`{}` failed: {}", what(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks every node to leave, waits a little, and ends those that did not.
    pub async fn stop(&mut self) {
        for child in self.children.iter().flatten() {
            if let Ok(pid) = i32::try_from(child.id()) {
                kill(Pid::from_raw(pid), Signal::SIGTERM).ok(); // gone already is as good
            }
        }
        let deadline = Instant::now() + LEAVE;
        while Instant::now() < deadline {
            while self.find_ended().is_some() {}
            if self.children.iter().all(Option::is_none) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Turns this process, which a demo has started, into `nigh run --config`; returns only if that fails.
pub fn become_node(config: &Path, parent: i32) -> anyhow::Error {
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        return anyhow::Error::new(error).context("cannot ask for an end together with the demo");
    }
    // The demo may have died between starting this process and the line above; then the signal never comes.
    if getppid().as_raw() != parent {
        return anyhow::anyhow!("the demo that started this node is gone");
    }
    match std::env::current_exe() {
        Ok(binary) => {
            let error = Command::new(binary).arg0("nigh").arg("run").arg("--config").arg(config).exec();
            anyhow::Error::new(error).context("cannot start the node")
        }
        Err(error) => anyhow::Error::new(error).context("cannot find the program's own file"),
    }
}

fn state_dir(folder: &Path, city: City) -> PathBuf {
    folder.join(format!("{}.state", city.node()))
}

/// A node's configuration.
pub fn node_config(plan: &Plan, city: City, mesh_id: &str, folder: &Path) -> String {
    let quoted = |path: PathBuf| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
    let address = plan.node(city);
    // Two others each, in a ring: whoever is up first, and whoever is killed, every node finds the mesh.
    let bootstrap: Vec<String> = [1, 2]
        .into_iter()
        .filter_map(|step| City::all().nth((city.index() + step) % CITIES))
        .map(|peer| format!("\"{}:{}\"", plan.node(peer), plan.mesh_port))
        .collect();
    let claims: String = City::all()
        .filter_map(|isp| {
            let preference = match () {
                () if isp == city => OWN_PREFERENCE,
                () if isp.next_claimant() == city => NEXT_PREFERENCE,
                () => return None,
            };
            let network = plan.network(isp);
            Some(format!(
                "\n[[claim]]                # {}\nprefix = \"{network}\"\npreference = {preference}\n",
                isp.isp()
            ))
        })
        .collect();
    format!(
        r#"[node]
name = "{name}"
pop = "{place}"
location = "{location}"
state_dir = {state}

[mesh]
id = "{mesh_id}"
listen = ["{address}:{mesh_port}"]
bootstrap = [{bootstrap}]

[dns]
listen = ["{address}:{dns_port}"]

[measure]
source = ["{address}"]   # the origins tell by it how far away this node is

[admin]
socket = {socket}
listen = "{address}:{admin_port}"   # the dashboard
anonymous = "read"       # from this host, and it is only a demo

[drain]
answer_for = "200ms"     # nobody waits for a demo to drain
{claims}"#,
        name = city.node(),
        place = city.place(),
        location = city.location(),
        state = quoted(state_dir(folder, city)),
        socket = quoted(folder.join(format!("{}.sock", city.node()))),
        bootstrap = bootstrap.join(", "),
        mesh_port = plan.mesh_port,
        admin_port = plan.admin_port,
        dns_port = plan.dns_port,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const PLAN: Plan = Plan { x: 77, dns_port: 5300, mesh_port: 4242, http_port: 8080, admin_port: 8053 };

    #[test]
    fn every_node_gets_a_configuration_that_is_right() {
        for city in City::all() {
            let text = node_config(&PLAN, city, KEY, Path::new("/tmp/with \"quotes\" and \\"));
            let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
            assert_eq!(config.node.name.to_string(), city.node());
            assert_eq!(config.mesh.bootstrap.len(), 2);
            assert_eq!(config.measure.source, [PLAN.node(city)]);
            let own: Vec<_> = config.claims.iter().filter(|claim| claim.preference == OWN_PREFERENCE).collect();
            assert_eq!(own.len(), 1);
            assert!(own[0].prefix.contains(&PLAN.resolver(city)));
        }
    }

    #[test]
    fn every_isp_is_claimed_by_its_own_node_and_by_the_next() {
        for isp in City::all() {
            let mut claimants: Vec<(u16, &str)> = Vec::new();
            for city in City::all() {
                let config = Config::parse(&node_config(&PLAN, city, KEY, Path::new("/tmp"))).unwrap();
                let matching = config.claims.iter().filter(|claim| claim.prefix.contains(&PLAN.resolver(isp)));
                claimants.extend(matching.map(|claim| (claim.preference, city.node())));
            }
            claimants.sort_unstable();
            assert_eq!(claimants, [(OWN_PREFERENCE, isp.node()), (NEXT_PREFERENCE, isp.next_claimant().node())]);
        }
    }
}
