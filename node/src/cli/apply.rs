//! `nigh apply`: make the mesh's catalogue what a file says.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::operator::check_key;
use super::table::count;
use super::{Socket, WrongFile, WrongInput, files, output, preview};
use crate::admin::preview::Preview;
use crate::admin::report::{Peer, Status};
use crate::admin::{Client, Submitted};
use crate::catalogue::hlc::{self, Clock};
use crate::catalogue::record::Record;
use crate::catalogue::{Catalogue, Change, Records, TABLE, name, plan, sign};
use crate::config::Label;
use crate::identity::{self, Kind};

/// The arguments of `nigh apply`.
#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// The whole catalogue, as TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// An operator's key: the root's, made by `nigh init`, or one that it appointed for the catalogue
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Allow FILE to be empty, and so to remove everything
    #[arg(long)]
    remove_all: bool,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Apply {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut desired =
            files::read(&self.file, |text| Catalogue::parse_with(text, |path| files::beside(&self.file, path)))?;
        let key = identity::load(&self.key, Kind::Operator)?;
        let client = self.socket.client()?;
        let status: Status = client.get("status").await?;
        check_key(&client, &status, (identity::public(&key), &self.key), TABLE).await?;
        check_names(&client, &desired, &self.file).await?;

        let current = Records::from_pages(&client.catalogue().await?);
        let kept = desired.keep_states(&Catalogue::from_records(&current).0);
        let changes = plan(&current, &desired);
        if desired == Catalogue::default() && !changes.is_empty() && !self.remove_all {
            let problem = format!(
                "{}: says nothing, so all {} records would be removed; if that is meant, add --remove-all",
                self.file.display(),
                changes.len()
            );
            return Err(WrongInput(problem).into());
        }
        let foreseen = if self.dry_run { foresee(&client, &changes).await } else { Ok(None) };
        let mut submitted = None;
        if !self.json {
            for change in &changes {
                output::print(&change.to_string())?;
            }
            for (host, id, duty) in &kept {
                let (host, duty) = (name::text(host), duty.as_str());
                output::print(&format!("= server {host} {id}: stays in state {duty}, of which the file says nothing"))?;
            }
        }
        if !self.dry_run && !changes.is_empty() {
            let mut clock = Clock::after(current.stamps());
            let pages = sign(&changes, &key, &mut clock, hlc::unix_millis()).context("cannot stamp the changes")?;
            submitted = Some(client.submit(&pages).await.context("not all changes were taken; apply again to finish")?);
        }
        if self.json {
            let lines: Vec<_> = changes
                .iter()
                .map(|change| {
                    let (record, text) = (change.identity.to_string(), change.to_string());
                    json!({ "record": record, "change": kind(change), "text": text })
                })
                .collect();
            let foreseen = foreseen.ok().flatten();
            let said =
                json!({ "changes": lines, "dry_run": self.dry_run, "submitted": submitted, "preview": foreseen });
            return output::print_json(&said);
        }
        match foreseen {
            Ok(Some(preview)) if !preview.services.is_empty() => output::print(&preview::text(&preview))?,
            Ok(_) => {}
            Err(why) => output::print(&format!("what this changes for resolvers cannot be told: {why}"))?,
        }
        Ok(output::print(&summary(&changes, submitted, &desired, &status.node.name))?)
    }
}

/// What the node says that the changes would do. Why it says nothing is no reason not to show the changes.
async fn foresee(client: &Client, changes: &[Change]) -> Result<Option<Preview>, String> {
    if changes.is_empty() {
        return Ok(None);
    }
    let record = |change: &Change| Record { identity: change.identity.clone(), value: change.after.clone() };
    let records: Vec<Record> = changes.iter().map(record).collect();
    match client.preview(&records).await {
        Ok(Some(preview)) => Ok(Some(preview)),
        Ok(None) => Err("these are more changes than one request holds".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What the file alone cannot know: which names the cuts of the mesh's nodes take.
async fn check_names(client: &Client, desired: &Catalogue, file: &std::path::Path) -> anyhow::Result<()> {
    let peers: Vec<Peer> = client.get("peers").await?;
    let nodes: Vec<Label> = peers.iter().filter_map(|peer| peer.name.parse().ok()).collect();
    let hidden: Vec<String> = desired
        .in_cuts_of(&nodes)
        .iter()
        .map(|(what, node)| {
            format!("{}: {what} has a name of the cut of node {node}; choose another name", file.display())
        })
        .collect();
    if hidden.is_empty() { Ok(()) } else { Err(WrongFile(hidden.join("\n")).into()) }
}

fn kind(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "add",
        (_, None) => "remove",
        _ => "change",
    }
}

fn summary(changes: &[Change], submitted: Option<Submitted>, desired: &Catalogue, node: &str) -> String {
    let of_kind = |which| changes.iter().filter(|change| kind(change) == which).count();
    let counts = format!("{} added, {} changed, {} removed", of_kind("add"), of_kind("change"), of_kind("remove"));
    let records = count(changes.len(), "record");
    match submitted {
        None if changes.is_empty() => format!(
            "nothing to change: {}, {}, {}, {} as in the file",
            count(desired.zones.len(), "zone"),
            count(desired.services.len(), "service"),
            count(desired.server_count(), "server"),
            count(desired.records.len(), "record set")
        ),
        None => format!("dry run: {records} would be submitted ({counts})"),
        Some(Submitted { accepted, superseded: 0 }) => format!("{accepted} of {records} taken by {node} ({counts})"),
        Some(Submitted { accepted, superseded }) => format!(
            "{accepted} of {records} taken by {node} ({counts}); {superseded} lost against a newer edit: apply again \
             to see it"
        ),
    }
}
