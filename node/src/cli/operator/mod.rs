//! `nigh operator`: the keys that do the daily work, so that the root can be put away.

mod appoint;
pub(super) mod appointment;
mod dismiss;
mod rotate;

use std::path::Path;

use anyhow::{Context, bail};
use ed25519_dalek::SigningKey;
use nigh_gossip::{Appointment, NodeId, Page, Rights, Table, operator};

use super::{Read, Socket, WrongInput, read, table};
use crate::admin::report::{OperatorLine, OperatorState, Status};
use crate::admin::{Client, ClientError};
use crate::catalogue::hlc::{self, Clock};
use crate::catalogue::operators;
use crate::identity::{self, Kind};
use crate::membership::moment;

/// The arguments of `nigh operator`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Operator {
    /// Let another key write the catalogue, or admit nodes, or both; or change what it may
    Appoint(appoint::Appoint),
    /// Take that right away again: what the key signed goes everywhere
    Dismiss(dismiss::Dismiss),
    /// The root's key and all that it ever spoke of, with what each signed
    List(Read),
    /// Replace a key by another: what it signed is signed anew, and then it is dismissed
    Rotate(rotate::Rotate),
}

impl Operator {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Appoint(appoint) => appoint.run().await,
            Self::Dismiss(dismiss) => dismiss.run().await,
            Self::List(Read { socket, json }) => {
                let render = |lines: &Vec<OperatorLine>| table::operators(lines);
                read::show(socket.client()?, json, "operators", render).await
            }
            Self::Rotate(rotate) => rotate.run().await,
        }
    }
}

/// What can be a right on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Right {
    /// Services, servers, records: what `nigh apply` and `nigh server` write
    Catalogue,
    /// Who is a member: what `nigh admit` and `nigh revoke` write
    Admissions,
}

fn rights(given: &[Right]) -> Rights {
    Rights { catalogue: given.contains(&Right::Catalogue), admissions: given.contains(&Right::Admissions) }
}

/// An error if the node would not take what this key signs for this table.
pub(super) async fn check_key(
    client: &Client,
    status: &Status,
    (key, file): (NodeId, &Path),
    table: Table,
) -> anyhow::Result<()> {
    if status.mesh.id == key.to_string() {
        return Ok(());
    }
    let (file, node, mesh) = (file.display(), &status.node.name, &status.mesh.id);
    let lines: Vec<OperatorLine> = match client.get("operators").await {
        // A node of before there were any.
        Err(ClientError::Refused(_)) => Vec::new(),
        lines => lines?,
    };
    let Some(line) = lines.iter().find(|line| line.id == key.to_string()) else {
        bail!(
            "{file} is the key of mesh {key}, but node {node} belongs to mesh {mesh}, which did not appoint it; use that \
             mesh's root key or one that it appointed, or another node"
        );
    };
    let since = line.since_ms.map(|millis| moment(millis / 1000)).unwrap_or_default();
    match line.state {
        OperatorState::Dismissed => bail!("{file} is the key of {}, which was dismissed on {since}", line.name),
        OperatorState::TooMany => bail!(
            "{file} is the key of {}, which counts for nothing: {} were appointed before it; dismiss one of them",
            line.name,
            operator::MAX_APPOINTED
        ),
        OperatorState::Root | OperatorState::Appointed => {}
    }
    if !operators::rights(line.rights.iter().map(String::as_str)).allow(table) {
        bail!(
            "{file} is the key of {}, which was appointed for {} alone; use another key, or let the root change that: \
             nigh operator appoint --operator {key} --name {} --key ROOT_KEY",
            line.name,
            if line.rights.is_empty() { "nothing".to_owned() } else { line.rights.join(", ") },
            line.name
        );
    }
    Ok(())
}

/// A node, spoken to with the root's key.
struct Root {
    key: SigningKey,
    client: Client,
    node: String,
    /// All keys, the root first.
    lines: Vec<OperatorLine>,
    /// Appointments, certificates and revocations.
    pages: Vec<Page>,
}

impl Root {
    async fn ask(file: &Path, socket: Socket) -> anyhow::Result<Self> {
        let key = identity::load(file, Kind::Operator)?;
        let client = socket.client()?;
        let status: Status = client.get("status").await?;
        let (node, mesh, id) = (status.node.name, status.mesh.id, identity::public(&key));
        if mesh != id.to_string() {
            bail!(
                "{} holds {id}, but only the root key of the mesh appoints and dismisses, and that of node {node} is \
                 {mesh}; fetch that one, and put it away again afterwards",
                file.display()
            );
        }
        let lines =
            client.get("operators").await.context("the node may be older than appointments: upgrade it first")?;
        let pages = client.admissions().await?;
        Ok(Self { key, client, node, lines, pages })
    }

    fn id(&self) -> NodeId {
        identity::public(&self.key)
    }

    /// One of the keys, by id or by name.
    fn find(&self, wanted: &str) -> Result<&OperatorLine, WrongInput> {
        if let Some(line) = self.lines.iter().find(|line| line.id == wanted) {
            return Ok(line);
        }
        let appointed = |line: &&OperatorLine| line.state != OperatorState::Dismissed;
        let named: Vec<&OperatorLine> =
            self.lines.iter().filter(appointed).filter(|line| line.name == wanted).collect();
        match named.as_slice() {
            [one] => Ok(one),
            [] => Err(WrongInput(format!("no key is appointed as {wanted:?}; `nigh operator list` has all"))),
            more => {
                let ids: Vec<&str> = more.iter().map(|line| line.id.as_str()).collect();
                Err(WrongInput(format!("several keys are appointed as {wanted}; say which: {}", ids.join(" or "))))
            }
        }
    }

    /// Signs the root's word and has the node take it.
    async fn say(&self, appointment: &Appointment) -> anyhow::Result<Page> {
        let at = operator::key(appointment.operator);
        let seen = self.pages.iter().filter(|page| page.key() == at).map(|page| page.stamp().into());
        let at = Clock::after(seen).next(hlc::unix_millis()).context("cannot stamp the appointment")?;
        let page = appointment.sign(&self.key, at.millis, at.counter);
        if self.client.submit(std::slice::from_ref(&page)).await?.accepted == 0 {
            bail!("{} holds a newer word about this key; look at `nigh operator list` and try again", self.node);
        }
        Ok(page)
    }
}

/// Pages that the key signed and would lose with these rights.
fn lost(line: &OperatorLine, rights: Rights) -> usize {
    let of = |keeps: bool, pages: usize| if keeps { 0 } else { pages };
    of(rights.catalogue, line.catalogue) + of(rights.admissions, line.admissions)
}

fn told(rights: Rights) -> String {
    match operators::names(rights).as_slice() {
        [] => "nothing".to_owned(),
        some => some.join(" and "),
    }
}

/// A name that fits a table and a command line.
fn name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if text.is_empty() || text.len() > nigh_gossip::admission::MAX_NAME || !text.chars().all(good) || text == "root" {
        return Err("a name of up to 63 letters, digits, - _ . @ is expected, and not \"root\"".to_owned());
    }
    Ok(text.to_owned())
}

/// The key in this file; made if there is none.
fn load_or_make(file: &Path) -> anyhow::Result<(SigningKey, bool)> {
    if file.symlink_metadata().is_ok() {
        return Ok((identity::load(file, Kind::Operator)?, false));
    }
    Ok((identity::create(file, Kind::Operator)?, true))
}
