//! `nigh trace`: the chain root -> DNS-A -> DNS-B -> DNS-LB, walked as a resolver walks it, with every step shown.
//!
//! [`walk`] is the core, [`beside`] says who else is to be asked, [`reading`] judges a reply, [`roles`] says what each server was, [`words`] what it said; here and
//! in [`wire`] is the I/O.

mod beside;
mod explained;
pub(super) mod reading;
pub(super) mod report;
mod roles;
pub(super) mod roots;
mod show;
#[cfg(test)]
mod tests;
pub(super) mod walk;
pub(super) mod wire;
mod words;

use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use hickory_proto::rr::Name;

use self::reading::Delegation;
use self::report::{Ending, Trace};
use self::walk::{Explained, Known, Next, Plan, Walk};
use super::{Socket, WrongInput, output};
use crate::admin::report::Peer;
use crate::admin::{Client, ExplainQuery, QueryType};
use crate::catalogue::name::text;
use crate::catalogue::{Catalogue, Records};

/// The arguments of `nigh trace`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name, such as www.lb.example.com
    name: String,
    /// The resolver whose view is wanted [default: this host's own]
    ///
    /// A node is asked through its API (--socket) what it answers that resolver; where none can be asked, the address goes
    /// along with the questions as client subnet (RFC 7871), which nodes answer at once.
    #[arg(long, value_name = "ADDRESS")]
    resolver: Option<IpAddr>,
    /// The type: A, AAAA, TXT, HTTPS and so on, or TYPE and a number
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    rtype: QueryType,
    #[command(flatten)]
    beginning: Beginning,
    #[command(flatten)]
    socket: Socket,
    /// Print the steps as JSON
    #[arg(long)]
    json: bool,
}

/// Where a walk begins.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Beginning {
    /// Addresses of a root of your own [default: the Internet's root]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', conflicts_with_all = ["hints", "server"])]
    root: Vec<IpAddr>,
    /// A file of root hints
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    hints: Option<PathBuf>,
    /// Begin at this server instead of the root
    #[arg(long, value_name = "ADDRESS")]
    server: Option<IpAddr>,
    /// The zone that --server is asked as a server of [default: the root]
    #[arg(long, value_name = "NAME", requires = "server")]
    zone: Option<String>,
    /// The port of all servers
    #[arg(long, value_name = "PORT", default_value_t = 53)]
    port: u16,
}

impl Beginning {
    /// The servers to begin at.
    pub(super) fn start(&self) -> anyhow::Result<Delegation> {
        if let Some(server) = self.server {
            let zone = self.zone.as_deref().map_or(Ok(Name::root()), parse)?;
            return Ok(roots::at(server, zone));
        }
        if let Some(path) = &self.hints {
            let mut hints = String::new();
            let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            let read = file.take(roots::MAX_HINTS).read_to_string(&mut hints);
            read.with_context(|| format!("cannot read {}", path.display()))?;
            let read = roots::hints(&hints);
            return read.map_err(|problem| super::WrongFile(format!("{}: {problem}", path.display())).into());
        }
        Ok(if self.root.is_empty() { roots::iana() } else { roots::own(&self.root) })
    }

    /// The addresses that were given to begin at; none if it begins at the Internet's root, or by a file.
    pub(super) fn named(&self) -> Vec<String> {
        self.root.iter().chain(&self.server).map(ToString::to_string).collect()
    }

    /// The port of all servers.
    pub(super) fn port(&self) -> u16 {
        if self.port == 0 { 53 } else { self.port }
    }
}

fn parse(text: &str) -> Result<Name, WrongInput> {
    let name = Name::from_ascii(text).map_err(|error| WrongInput(format!("{text}: no name: {error}")))?;
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

impl Args {
    /// Walks, and shows the way.
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let name = parse(&self.name)?;
        let named = self.socket.is_given();
        let client = self.socket.client()?;
        let mesh = match known(&client).await {
            Ok(mesh) => Some(mesh),
            // Who names a node wants it asked; without one the packets tell enough.
            Err(error) if named => return Err(error),
            Err(_) => None,
        };
        let plan = Plan {
            name,
            rtype: self.rtype.0,
            start: self.beginning.start()?,
            port: self.beginning.port(),
            resolver: self.resolver,
            mesh,
            beside: true,
        };
        let (trace, _) = walked(plan, Some(&client)).await;
        match self.json {
            true => output::print_json(&trace)?,
            false => output::print(&show::page(&trace))?,
        }
        let good = trace.ending != Ending::Failed && trace.faults == 0;
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Walks to the end with packets alone; gives the way, and all zones that were named on it.
pub(super) async fn walk_to(plan: Plan) -> (Trace, Vec<Delegation>) {
    walked(plan, None).await
}

async fn walked(plan: Plan, client: Option<&Client>) -> (Trace, Vec<Delegation>) {
    let (rtype, resolver) = (plan.rtype, plan.resolver);
    let (mut walk, mut next) = Walk::begin(plan);
    loop {
        next = match next {
            Next::Done(trace) => return (*trace, walk.known()),
            Next::Ask(ask) => {
                let (heard, took) = wire::exchange(&ask).await;
                walk.heard(heard, took)
            }
            Next::Explain { node, name } => {
                let began = Instant::now();
                let explained = match (client, resolver) {
                    (Some(client), Some(from)) => {
                        let query = ExplainQuery { name: text(&name), from, rtype: QueryType(rtype), at: Some(node) };
                        explain(client, &query).await
                    }
                    _ => Err("there is no API to ask".to_owned()),
                };
                walk.explained(explained, began.elapsed())
            }
        }
    }
}

async fn explain(client: &Client, query: &ExplainQuery) -> Result<Explained, String> {
    let json = client.explain_json(query).await.map_err(|error| error.to_string())?;
    let explanation: explained::Explanation = serde_json::from_value(json).map_err(|error| error.to_string())?;
    Ok(explanation.read())
}

/// What a node's API tells of the mesh.
pub(super) async fn known(client: &Client) -> anyhow::Result<Known> {
    let peers: Vec<Peer> = client.get("peers").await?;
    let records = Records::from_pages(&client.catalogue().await?);
    let (catalogue, _) = Catalogue::from_records(&records);
    let nodes = peers.iter().flat_map(|peer| peer.dns_addresses.iter().map(|address| (*address, peer.name.clone())));
    Ok(Known { zones: catalogue.zones.keys().cloned().collect(), nodes: nodes.collect() })
}
