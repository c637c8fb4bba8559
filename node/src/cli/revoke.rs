//! `nigh revoke`: the end of a node's membership.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use nigh_gossip::{NodeId, Page, Table, admission};
use serde_json::json;

use super::admit::is_revoked;
use super::operator::check_key;
use super::{Socket, WrongInput, output};
use crate::admin::report::{MemberLine, Status};
use crate::catalogue::hlc::{self, Clock};
use crate::identity::{self, Kind};

/// The arguments of `nigh revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct Revoke {
    /// The node: its id, or the name it was admitted under
    #[arg(value_name = "NODE")]
    node: String,
    /// An operator's key: the root's, made by `nigh init`, or one that it appointed for admissions
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print what was done as JSON; does not ask
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Revoke {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let key = identity::load(&self.key, Kind::Operator)?;
        let client = self.socket.clone().client()?;
        let status: Status = client.get("status").await?;
        check_key(&client, &status, (identity::public(&key), &self.key), Table::REVOCATION).await?;
        let held = client.admissions().await?;
        let node = self.find(&held)?;
        let members: Vec<MemberLine> = client.get("members").await?;
        let member = members.iter().find(|member| member.id == node.to_string());
        if !self.json {
            output::print(&describe(node, member))?;
        }
        if !self.yes && !self.json && !agreed()? {
            bail!("nothing was done");
        }
        let seen = held.iter().filter(|page| {
            [Table::ADMISSION, Table::REVOCATION].iter().any(|table| page.key() == admission::key(*table, node))
        });
        let at = Clock::after(seen.map(|page| page.stamp().into()))
            .next(hlc::unix_millis())
            .context("cannot stamp the revocation")?;
        let page = admission::revoke(&key, node, at.millis, at.counter);
        let through = status.node.name;
        if client.submit(&[page]).await?.accepted == 0 {
            bail!("{through} holds a newer revocation of this node; nothing was done");
        }
        if self.json {
            return output::print_json(&json!({ "id": node, "taken_by": through }));
        }
        Ok(output::print(&format!("revoked; taken by {through}, which tells all others"))?)
    }

    /// A node that is admitted, by name; or any, by id: a key that was stolen can be shut out before it comes.
    fn find(&self, held: &[Page]) -> anyhow::Result<NodeId> {
        if let Ok(id) = self.node.parse() {
            return Ok(id);
        }
        let named: Vec<NodeId> = held
            .iter()
            .filter_map(Page::certificate)
            .filter(|certificate| certificate.name == self.node && !is_revoked(held, certificate.node))
            .map(|certificate| certificate.node)
            .collect();
        let problem = match named.as_slice() {
            [one] => return Ok(*one),
            [] => format!("no node is admitted as {:?}; `nigh members` lists them", self.node),
            more => {
                let ids: Vec<String> = more.iter().map(ToString::to_string).collect();
                format!("several nodes are admitted as {}; say which: {}", self.node, ids.join(" or "))
            }
        };
        Err(WrongInput(problem).into())
    }
}

fn describe(node: NodeId, member: Option<&MemberLine>) -> String {
    let who = match member {
        None => format!("{node} is not known to this mesh"),
        Some(member) => format!(
            "{node} is {}, {} and {}",
            if member.name.is_empty() { "without a certificate" } else { &member.name },
            member.admission.as_str(),
            member.verdict.as_str()
        ),
    };
    format!(
        "{who}.\nRevoked, its links are closed and its pages dropped everywhere: its claims and measurements count no \
         more, and no resolver is sent to it. Its certificates do not help it back; only `nigh admit` does."
    )
}

fn agreed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(WrongInput("nobody is there to ask; if that is meant, add --yes".into()).into());
    }
    let mut out = std::io::stdout().lock();
    write!(out, "Revoke it? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
