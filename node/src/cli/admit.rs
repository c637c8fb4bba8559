//! `nigh admit`: the operator's word that a node is a member, into the mesh or into a file.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use ipnet::IpNet;
use nigh_gossip::{Certificate, NodeId, Page, Table, admission};
use serde_json::json;

use super::operator::{appointment, check_key};
use super::{Socket, WrongInput, output};
use crate::admin::report::Status;
use crate::catalogue::hlc::{self, Clock, Hlc};
use crate::certificate::{self, Handed};
use crate::config::{Label, value};
use crate::identity::{self, Kind};
use crate::membership::moment;

/// The arguments of `nigh admit`.
#[derive(Debug, clap::Args)]
pub(super) struct Admit {
    /// The node's public key, as printed by `nigh id nigh.toml` or `nigh status` on it
    #[arg(value_name = "NODE_ID")]
    node: NodeId,
    /// Its name in the mesh: the node.name of its configuration
    #[arg(long, value_name = "NAME", value_parser = value::node_name)]
    name: Label,
    /// Within which its claims count; may be given several times. Without it a certificate is renewed with the prefixes
    /// that it had, and a new node may claim anything
    #[arg(long = "prefix", value_name = "PREFIX", value_parser = value::prefix)]
    prefixes: Vec<IpNet>,
    /// For how long
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
    /// An operator's key: the root's, made by `nigh init`, or one that it appointed for admissions
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Write the certificate to FILE instead, for a node that is yet to start; with --socket, do both
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the certificate as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// What was issued before: in the mesh, in the file, or nowhere.
struct Before {
    /// The newest certificate of the node.
    newest: Option<(Hlc, Certificate)>,
    /// Stamps that the new one must be above, revocations included.
    stamps: Vec<Hlc>,
}

impl Admit {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let key = identity::load(&self.key, Kind::Operator)?;
        let me = identity::public(&key);
        let mut pages = Vec::new();
        // A control machine need not reach the mesh: a file alone asks no node.
        let asked = if self.out.is_none() || self.socket.is_given() {
            let client = self.socket.clone().client()?;
            let status: Status = client.get("status").await?;
            check_key(&client, &status, (me, &self.key), Table::ADMISSION).await?;
            let held = client.admissions().await?;
            self.check_name(&held)?;
            pages.extend(held);
            Some((client, status))
        } else {
            None
        };
        // The root's own word needs no other beside it. Without a node, the file beside the key says who appointed it.
        let by_root = asked.as_ref().is_some_and(|(_, status)| status.mesh.id == me.to_string());
        let appointment = if by_root { None } else { appointment::find(me, &self.key, &pages)? };
        if let Some(file) = self.out.as_deref().filter(|file| file.exists()) {
            pages.push(self.read_own(file, appointment.as_ref().map_or(me, Page::signer))?);
        }
        let before = self.before(&pages);
        let certificate = self.certificate(&before)?;
        let at = Clock::after(before.stamps.iter().copied())
            .next(hlc::unix_millis())
            .context("cannot stamp the certificate")?;
        let page = certificate.sign(&key, at.millis, at.counter);
        if let Some(file) = &self.out {
            certificate::write(file, &Handed { certificate: page.clone(), appointment })?;
        }
        if let Some((client, status)) = &asked
            && client.submit(std::slice::from_ref(&page)).await?.accepted == 0
        {
            bail!("{} holds a newer certificate or revocation of this node; try again", status.node.name);
        }
        let through = asked.map(|(_, status)| status.node.name);
        if self.json {
            return output::print_json(&json!({
                "id": certificate.node, "name": certificate.name, "prefixes": certificate.prefixes,
                "ends": certificate.not_after, "renewed": before.newest.is_some(), "file": self.out,
                "taken_by": through,
            }));
        }
        Ok(output::print(&self.tell(&certificate, &before, through.as_deref()))?)
    }

    /// The file that is about to be replaced, if it is this node's.
    fn read_own(&self, file: &std::path::Path, mesh: NodeId) -> anyhow::Result<Page> {
        let handed = certificate::read(file)?;
        let of = handed.mesh();
        match handed.certificate.certificate() {
            Some(held) if held.node == self.node && of == mesh => Ok(handed.certificate),
            Some(held) => bail!(
                "{} holds the certificate of {} ({}), in the mesh {}, and is not overwritten; name another file",
                file.display(),
                held.name,
                held.node,
                of
            ),
            None => bail!("{} holds something else, and is not overwritten; name another file", file.display()),
        }
    }

    /// Two nodes of one name would leave it to chance whose cut it is.
    fn check_name(&self, held: &[Page]) -> anyhow::Result<()> {
        let other = held
            .iter()
            .filter_map(Page::certificate)
            .find(|other| other.name == self.name.as_str() && other.node != self.node && !is_revoked(held, other.node));
        let Some(other) = other else { return Ok(()) };
        let problem = format!(
            "{} is the name of node {}; choose another name, or end that one first: nigh revoke {} --key {}",
            self.name,
            other.node,
            other.node,
            self.key.display()
        );
        Err(WrongInput(problem).into())
    }

    fn before(&self, pages: &[Page]) -> Before {
        let mine = [Table::ADMISSION, Table::REVOCATION].map(|table| admission::key(table, self.node));
        let of_node = || pages.iter().filter(|page| mine.contains(&page.key()));
        let certificates = of_node().filter_map(|page| Some((Hlc::from(page.stamp()), page.certificate()?.clone())));
        Before {
            newest: certificates.max_by_key(|(stamp, _)| *stamp),
            stamps: of_node().map(|page| page.stamp().into()).collect(),
        }
    }

    fn certificate(&self, before: &Before) -> anyhow::Result<Certificate> {
        let serial = match &before.newest {
            Some((_, newest)) => newest.serial,
            None => getrandom::u64().map_err(|e| anyhow::anyhow!("no randomness from the system: {e}"))?,
        };
        // Who renews and forgets a prefix must not open the whole address space to the node.
        let mut prefixes = match &before.newest {
            _ if !self.prefixes.is_empty() => self.prefixes.clone(),
            Some((_, newest)) => newest.prefixes.clone(),
            None => ALL.iter().filter_map(|all| all.parse().ok()).collect(),
        };
        prefixes.sort_unstable();
        prefixes.dedup();
        if prefixes.len() > admission::MAX_PREFIXES {
            let problem = format!(
                "{} prefixes, where at most {} fit a certificate; join neighbouring ones",
                prefixes.len(),
                admission::MAX_PREFIXES
            );
            return Err(WrongInput(problem).into());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Certificate {
            node: self.node,
            name: self.name.to_string(),
            serial,
            prefixes,
            not_after: now + self.days * 86_400,
        })
    }

    fn tell(&self, certificate: &Certificate, before: &Before, through: Option<&str>) -> String {
        let list = |prefixes: &[IpNet]| match prefixes {
            [] => "nothing".to_owned(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let earlier = before.newest.as_ref().map(|(_, newest)| newest);
        let word = if earlier.is_some() { "renewed" } else { "admitted" };
        let mut lines = vec![format!("{word} {} as {}, until {}", self.node, self.name, moment(certificate.not_after))];
        lines.push(match (self.prefixes.is_empty(), earlier) {
            (true, None) => format!("it may claim anything ({}): no --prefix was given", ALL.join(" and ")),
            (true, Some(_)) => {
                format!("it may claim within {}, as before: no --prefix was given", list(&certificate.prefixes))
            }
            (false, _) => format!("it may claim within {}", list(&certificate.prefixes)),
        });
        if let Some(earlier) = earlier.filter(|earlier| earlier.prefixes != certificate.prefixes) {
            lines.push(format!("until now it might claim within {}", list(&earlier.prefixes)));
        }
        if let Some(earlier) = earlier.filter(|earlier| earlier.name != certificate.name) {
            lines.push(format!("until now its name was {}: set its node.name as well", earlier.name));
        }
        lines.extend(through.map(|through| format!("taken by {through}, which tells all others")));
        lines.extend(self.out.as_ref().map(|file| {
            format!(
                "written to {}: put it on the node, as {} in its state directory",
                file.display(),
                certificate::FILE
            )
        }));
        lines.join("\n")
    }
}

const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Whether a revocation ends the node's certificate.
pub(super) fn is_revoked(held: &[Page], node: NodeId) -> bool {
    let stamp = |table| held.iter().find(|page| page.key() == admission::key(table, node)).map(Page::stamp);
    match (stamp(Table::ADMISSION), stamp(Table::REVOCATION)) {
        (Some(admitted), Some(revoked)) => admitted <= revoked,
        (_, revoked) => revoked.is_some(),
    }
}
