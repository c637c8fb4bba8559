//! `nigh operator dismiss`: the end of a key's right to write.

use std::path::PathBuf;

use nigh_gossip::{Appointment, NodeId, Rights};
use serde_json::json;

use super::super::table::count;
use super::super::{Socket, WrongInput, output};
use super::Root;
use crate::admin::report::OperatorState;

/// The arguments of `nigh operator dismiss`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Dismiss {
    /// The key: the name it was appointed under, or its id
    #[arg(value_name = "OPERATOR")]
    operator: String,
    /// The root's key, made by `nigh init`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Though what it signed goes with it
    #[arg(long)]
    force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Dismiss {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let root = Root::ask(&self.key, self.socket).await?;
        // A key that was never appointed can be shut out before it is.
        let (operator, name, signed) = match (root.find(&self.operator), self.operator.parse::<NodeId>()) {
            (Ok(line), _) => (line.id.parse()?, line.name.clone(), [line.catalogue, line.admissions]),
            (Err(_), Ok(id)) => (id, "unknown".to_owned(), [0, 0]),
            (Err(problem), Err(_)) => return Err(problem.into()),
        };
        if operator == root.id() {
            let problem = "the root cannot be dismissed: it is the mesh. What it signed another key can sign anew: nigh \
                           operator rotate";
            return Err(WrongInput(problem.into()).into());
        }
        let [records, admissions] = signed;
        let what = format!("{} and {}", count(records, "catalogue record"), count(admissions, "admission record"));
        if records + admissions > 0 && !self.force {
            let problem = format!(
                "{what} are signed by {name} alone, and would go everywhere: its services would not be answered, its \
                 nodes be shut out. Replace the key instead: nigh operator rotate --key {} --from {operator} --to \
                 NEW_KEY. If it is meant, add --force",
                self.key.display()
            );
            return Err(WrongInput(problem).into());
        }
        let known = root.lines.iter().find(|line| line.id == operator.to_string());
        if known.is_some_and(|line| line.state == OperatorState::Dismissed) {
            return Ok(output::print(&format!("{name} is dismissed already; nothing was done"))?);
        }
        let appointment = Appointment { operator, name: name.clone(), appointed: false, rights: Rights::default() };
        root.say(&appointment).await?;
        if self.json {
            return output::print_json(&json!({
                "id": operator, "name": name, "records": records, "admissions": admissions, "taken_by": root.node,
            }));
        }
        let gone = if records + admissions == 0 { String::new() } else { format!("\nwith it went {what}") };
        let through = &root.node;
        Ok(output::print(&format!("dismissed {name} ({operator}); taken by {through}, which tells all others{gone}"))?)
    }
}
