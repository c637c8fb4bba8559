//! `nigh doctor`: what is wrong with a node, its host, its mesh and its delegation, and what to do.
//!
//! ```text
//!   configuration ─┐
//!   the node's API ├─▶ gather ─▶ facts ─▶ judge (pure) ─▶ findings: ok, look or bad, with what to do ─▶ page or JSON
//!   DNS, /proc, NTP┘
//! ```
//!
//! **Invariant:** it changes nothing. What it asks, any resolver or `nigh status` asks as well; of a node that does not run
//! it binds the ports for a moment.

mod finding;
mod gather;
mod judge;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use hickory_proto::rr::Name;

use self::finding::{Area, Finding, Report};
use self::gather::{clock, delegation, host, path, ports};
use super::trace::Beginning;
use super::{SOCKET_ENV, Socket, files, output};
use crate::admin::Client;
use crate::admin::dns_a_report::DelegationLine;
use crate::admin::report::{ClaimLine, MemberLine, Peer, ServiceLine, Status, Verdict};
use crate::catalogue::{Catalogue, Records};
use crate::config::{Config, DEFAULT_SOCKET};
use crate::measure::isolation::NO_ANSWER;
use crate::membership::LONELY;
use crate::run::unix;

/// Where the unit has it.
const DEFAULT_CONFIG: &str = "/etc/nigh/nigh.toml";
/// Zones whose delegation is looked at: a mesh has one or two.
const MOST_ZONES: usize = 16;

/// The arguments of `nigh doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node's configuration [default: /etc/nigh/nigh.toml, if it is there]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Compare the clock with this NTP server, too
    #[arg(long, value_name = "HOST")]
    ntp: Option<String>,
    #[command(flatten)]
    beginning: Beginning,
    #[command(flatten)]
    socket: Socket,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// What a running node told.
struct Node {
    status: Status,
    peers: Vec<Peer>,
    members: Vec<MemberLine>,
    claims: Vec<ClaimLine>,
    services: Vec<ServiceLine>,
    delegations: Vec<DelegationLine>,
    zones: Vec<Name>,
}

impl Node {
    async fn ask(client: &Client) -> anyhow::Result<Self> {
        let records = Records::from_pages(&client.catalogue().await?);
        let (catalogue, _) = Catalogue::from_records(&records);
        Ok(Self {
            status: client.get("status").await?,
            peers: client.get("peers").await?,
            members: client.get("members").await?,
            claims: client.get("claims").await?,
            services: client.get("services").await?,
            delegations: client.get("delegations").await?,
            zones: catalogue.zones.keys().cloned().collect(),
        })
    }
}

impl Args {
    /// Looks, and tells. The exit code is 1 if something is bad.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut findings = Vec::new();
        let config = self.read_config(&mut findings)?;
        let socket = self.socket_path(config.as_ref());
        // A node that is named by its URL stands elsewhere: its host cannot be looked at from here.
        let client = if self.is_remote() { self.socket.clone().client()? } else { Client::new(&socket) };
        let node = match Node::ask(&client).await {
            Ok(node) => Some(node),
            Err(error) => {
                let todo =
                    "start it (systemctl start nigh), and look at its log; the rest is what can be told without it";
                findings.push(Finding::bad(Area::Node, format!("it does not answer: {error:#}"), todo));
                None
            }
        };
        let name = match (&node, &config) {
            (Some(node), _) => node.status.node.name.clone(),
            (None, Some(config)) => config.node.name.to_string(),
            (None, None) => String::new(),
        };
        match &node {
            Some(node) => self.of_running(node, config.as_ref(), &socket, &mut findings).await?,
            None => self.of_stopped(config.as_ref(), &mut findings).await,
        }
        findings.sort_by_key(|finding| finding.area);
        let report = Report::new(name, findings);
        match self.json {
            true => output::print_json(&report)?,
            false => output::print(&report.page())?,
        }
        Ok(if report.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The configuration, if there is one that is right.
    fn read_config(&self, findings: &mut Vec<Finding>) -> anyhow::Result<Option<Config>> {
        let given = self.file.as_ref().or(self.config.as_ref());
        let path = given.map_or(Path::new(DEFAULT_CONFIG), PathBuf::as_path);
        let shown = path.display();
        if given.is_none() && !path.exists() {
            findings.push(Finding::look(
                Area::Configuration,
                format!("none at {shown}: what only it tells was not looked at"),
                "name it: nigh doctor FILE",
            ));
            return Ok(None);
        }
        let mut text = String::new();
        match files::read(path, |read| {
            read.clone_into(&mut text);
            Config::parse(read)
        }) {
            Ok(config) => {
                findings.push(Finding::ok(Area::Configuration, format!("{shown} is right")));
                Ok(Some(config))
            }
            Err(error) if error.is::<super::WrongFile>() => {
                let mistakes = error.to_string();
                let first = mistakes.lines().next().unwrap_or_default();
                let todo = format!("nigh check-config {shown} shows each with its line; a node does not start with it");
                findings.push(Finding::bad(Area::Configuration, first, todo));
                Ok(None)
            }
            Err(error) => {
                Err(error).context("without its configuration a node can be looked at all the same: nigh doctor")
            }
        }
    }

    fn is_remote(&self) -> bool {
        let variable = || std::env::var_os("NIGH_URL").is_some_and(|url| !url.is_empty());
        self.socket.url.is_some() || self.socket.socket.is_none() && variable()
    }

    fn socket_path(&self, config: Option<&Config>) -> PathBuf {
        let variable = || std::env::var_os(SOCKET_ENV).filter(|path| !path.is_empty()).map(PathBuf::from);
        let stated = self.socket.socket.clone().or_else(|| config.map(|config| config.admin.socket.clone()));
        stated.or_else(variable).unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }

    async fn of_running(
        &self,
        node: &Node,
        config: Option<&Config>,
        socket: &Path,
        findings: &mut Vec<Finding>,
    ) -> anyhow::Result<()> {
        let Node { status, peers, .. } = node;
        let me = &status.node.name;
        findings.extend(itself(status));
        let zone = node.zones.first().cloned().unwrap_or_else(Name::root);
        // One that has met nobody cannot know what the mesh has.
        let lonely = status.warnings.iter().any(|warning| warning.starts_with(LONELY));
        if node.zones.is_empty() && !lonely {
            findings.push(Finding::look(
                Area::Node,
                "the mesh has no zone, so there is nothing to answer",
                "write a catalogue (deploy/services.example.toml), and nigh apply FILE --key operator.key",
            ));
        }
        let ports = ports::of_running(&status.dns.listen, config, &zone).await;
        findings.extend(judge::ports::judge(&ports, me));
        findings.extend(self.host(node, config, socket).await);
        let (asked, clocks) = path::ask(peers, self.beginning.port(), &zone).await;
        findings.extend(judge::path::judge(&asked));
        findings.extend(self.clock(clocks).await);
        findings.extend(judge::certificates::judge(&judge::certificates::Facts {
            now: unix().as_secs(),
            own: Some(status.admission.clone()),
            members: node.members.clone(),
            api: config.and_then(|config| config.admin.tls.as_ref()).map(host::certificate),
        }));
        findings.extend(judge::mesh::judge(&mesh(node, config).await));
        for zone in node.zones.iter().take(MOST_ZONES) {
            let seen = delegation::look(zone, &self.beginning, peers, &node.delegations).await?;
            findings.extend(judge::delegation::judge(&seen));
        }
        findings.extend(judge::resolvers::judge(&judge::resolvers::Facts {
            resolvers: status.resolvers.clone(),
            claims: node.claims.iter().filter(|claim| claim.node == *me).cloned().collect(),
            others: peers.iter().filter(|peer| !peer.is_self && peer.verdict == Verdict::Alive).count(),
            isolated: status.measuring.isolated,
            me: me.clone(),
        }));
        Ok(())
    }

    async fn of_stopped(&self, config: Option<&Config>, findings: &mut Vec<Finding>) {
        if let Some(config) = config {
            findings.extend(judge::ports::judge(&ports::of_stopped(config), config.node.name.as_str()));
            let (loose, missing) = host::files(config);
            let state = host::state(&config.node.state_dir);
            findings.push(judge::host::disk(&state));
            let facts = judge::host::Facts { buffer: host::buffer(), loose, missing, ..Default::default() };
            findings.extend(judge::host::rights(&facts));
        }
        findings.extend(self.clock(Vec::new()).await);
    }

    async fn host(&self, node: &Node, config: Option<&Config>, socket: &Path) -> Vec<Finding> {
        let (loose, missing) = config.map(host::files).unwrap_or_default();
        let facts = judge::host::Facts {
            process: match self.is_remote() {
                true => None,
                false => host::behind(socket).await.and_then(host::process),
            },
            icmp: node.services.iter().any(|service| {
                service.probe.kind == "icmp" || service.probe.latency.as_ref().is_some_and(|probe| probe.kind == "icmp")
            }),
            ping_groups: host::ping_groups(),
            buffer: host::buffer().filter(|_| !self.is_remote()),
            dropped: if self.is_remote() { 0 } else { host::dropped(&node.status.dns.listen) },
            state: config.map(|config| host::state(&config.node.state_dir)),
            loose,
            missing,
        };
        facts.state.iter().map(judge::host::disk).chain(judge::host::rights(&facts)).collect()
    }

    async fn clock(&self, nodes: Vec<(String, i64)>) -> Vec<Finding> {
        let ntp = match &self.ntp {
            Some(server) => Some((server.clone(), clock::ntp(server).await)),
            None => None,
        };
        judge::clock::judge(&judge::clock::Facts { keeper: clock::keeper(), ntp, nodes })
    }
}

/// What the node says of itself.
fn itself(status: &Status) -> Vec<Finding> {
    let node = &status.node;
    let mut findings = Vec::new();
    let what = format!("{} runs nigh {}", node.name, node.version);
    findings.push(match (node.draining, node.version == env!("CARGO_PKG_VERSION")) {
        (true, _) => Finding::look(Area::Node, format!("{what}, and is leaving"), "start it again if it should stay"),
        (false, false) => Finding::look(
            Area::Node,
            format!("{what}, and this program is nigh {}", env!("CARGO_PKG_VERSION")),
            "restart the node if it was upgraded: no question is lost",
        ),
        (false, true) => Finding::ok(Area::Node, what),
    });
    findings.extend(status.warnings.iter().map(|warning| {
        let what = format!("it warns: {warning}");
        if warning.starts_with(NO_ANSWER) {
            let todo = "look at the servers by another way (`nigh probes` says what each probe met), and at this host's \
                        network";
            Finding::bad(Area::Node, what, todo)
        } else if warning.starts_with(LONELY) {
            Finding::bad(Area::Node, what, "until it meets one it knows no zone and refuses what it is asked")
        } else {
            Finding::look(Area::Node, what, "`nigh status` shows when that is over")
        }
    }));
    findings
}

async fn mesh(node: &Node, config: Option<&Config>) -> judge::mesh::Facts {
    let mut bootstrap = Vec::new();
    for contact in config.iter().flat_map(|config| &config.mesh.bootstrap) {
        let tried = match tokio::net::lookup_host((contact.host.as_str(), contact.port)).await {
            Err(error) => Err(error.to_string()),
            Ok(mut found) => match found.next() {
                Some(at) => ports::connect(at).await,
                None => Err("the name has no address".to_owned()),
            },
        };
        bootstrap.push((contact.to_string(), tried));
    }
    judge::mesh::Facts {
        peers: node.peers.clone(),
        members: node.members.clone(),
        bootstrap,
        port: config.and_then(|config| config.mesh.listen.first()).map(std::net::SocketAddr::port),
    }
}
