//! `nigh operator appoint`: the root's word that a key may write.

use std::path::PathBuf;

use nigh_gossip::{Appointment, NodeId, operator};
use serde_json::json;

use super::super::{Socket, WrongInput, output};
use super::{Right, Root, appointment, load_or_make, lost, name, rights, told};
use crate::admin::report::OperatorState;
use crate::catalogue::operators;
use crate::identity;

/// The arguments of `nigh operator appoint`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Appoint {
    /// The root's key, made by `nigh init`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The public key of the one who is appointed
    #[arg(long, value_name = "ID", required_unless_present = "operator_key", conflicts_with = "operator_key")]
    operator: Option<NodeId>,
    /// Or the file of that key, which is made if it is not there; the appointment is kept beside it
    #[arg(long, value_name = "FILE")]
    operator_key: Option<PathBuf>,
    /// How people call it
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// What it may write
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',', default_value = "catalogue,admissions")]
    rights: Vec<Right>,
    /// Take a right away though the key signed something by it
    #[arg(long)]
    force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Appoint {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let root = Root::ask(&self.key, self.socket).await?;
        let rights = rights(&self.rights);
        let (operator, made) = match (self.operator, &self.operator_key) {
            (Some(operator), _) => (operator, false),
            (None, Some(file)) => load_or_make(file).map(|(key, made)| (identity::public(&key), made))?,
            (None, None) => return Err(WrongInput("whom? --operator or --operator-key says it".into()).into()),
        };
        if operator == root.id() {
            return Err(WrongInput("this is the root's own key, which may write everything already".into()).into());
        }
        let mut others = root.lines.iter().filter(|line| line.id != operator.to_string());
        if let Some(other) = others.find(|line| line.name == self.name && line.state != OperatorState::Dismissed) {
            let problem = format!("{} is the name of key {}; choose another", self.name, other.id);
            return Err(WrongInput(problem).into());
        }
        let before = root.lines.iter().find(|line| line.id == operator.to_string());
        let working = before.filter(|line| line.state == OperatorState::Appointed);
        let appointed = root.lines.iter().filter(|line| line.state == OperatorState::Appointed).count();
        if working.is_none() && appointed >= operator::MAX_APPOINTED {
            let problem = format!("{appointed} keys are appointed, and no more count; dismiss one first");
            return Err(WrongInput(problem).into());
        }
        if let Some(lost) = working.map(|line| lost(line, rights)).filter(|lost| *lost > 0 && !self.force) {
            let problem = format!(
                "{} signed {lost} of what it may sign no more, and that would go everywhere; have another key sign it \
                 first (nigh operator rotate --key {} --from {operator} --to NEW_KEY), or add --force",
                self.name,
                self.key.display()
            );
            return Err(WrongInput(problem).into());
        }
        let appointment = Appointment { operator, name: self.name.clone(), appointed: true, rights };
        let page = root.say(&appointment).await?;
        let kept = self.operator_key.as_deref().map(|key| appointment::keep(key, &page)).transpose()?;
        if self.json {
            return output::print_json(&json!({
                "id": operator, "name": self.name, "rights": operators::names(rights), "key_made": made,
                "file": kept, "taken_by": root.node,
            }));
        }
        let mut lines = vec![format!("appointed {} ({operator}) for {}", self.name, told(rights))];
        if let (true, Some(file)) = (made, &self.operator_key) {
            lines.push(format!("its key was made and written to {}", file.display()));
        }
        lines.push(format!("taken by {}, which tells all others", root.node));
        lines.extend(kept.map(|file| format!("written to {} as well, for `nigh admit --out`", file.display())));
        lines.push(format!("{} can be put away until a key must be appointed or dismissed", self.key.display()));
        Ok(output::print(&lines.join("\n"))?)
    }
}
