//! `nigh operator rotate`: one key takes the place of another, and nothing else changes.
//!
//! Appoint the new key, sign anew with it what the old one signed, let that spread, dismiss the old one. Each step can be
//! repeated, so a rotation that broke off is run again. The old key's secret is not needed: a stolen or lost key is
//! replaced in the same way.
//!
//! The root itself cannot be replaced, for its public half is the mesh's id; but its daily work can go to another key,
//! and then it can be put away. That is the first rotation of every mesh.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use ed25519_dalek::SigningKey;
use nigh_gossip::{Appointment, NodeId, Page, Rights, operator::MAX_APPOINTED};
use serde_json::json;

use super::super::table::count;
use super::super::{Socket, WrongInput, output};
use super::{Root, appointment, load_or_make, name, told};
use crate::admin::report::{OperatorLine, OperatorState};
use crate::catalogue::rotation::sign_anew;
use crate::catalogue::{hlc, operators};
use crate::identity::{self, Kind};

/// What the node has taken is everywhere after this long, by repair at the latest (every second, of one neighbour), ...
const SPREAD: Duration = Duration::from_secs(5);
/// ... and a second more for each so many pages.
const PAGES_A_SECOND: u32 = 1000;
/// Times that edits which the old key still makes meanwhile are signed anew.
const ROUNDS: usize = 5;

/// The arguments of `nigh operator rotate`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Rotate {
    /// The root's key, made by `nigh init`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The key that goes: its file, its name or its id. The root's own hands its daily work over, and stays
    #[arg(long, value_name = "OLD")]
    from: String,
    /// The key that comes: its file, which is made if it is not there
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// How people call the new key; without it, as they called the old one, or "daily" after the root
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Show what would be signed anew, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Dismiss the old key though some of what it signed cannot be signed anew
    #[arg(long)]
    force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// What a rotation moves.
struct Plan {
    from: NodeId,
    from_name: String,
    of_root: bool,
    rights: Rights,
    name: String,
}

impl Rotate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let root = Root::ask(&self.key, self.socket.clone()).await?;
        if let Some(done) = self.done_before(&root)? {
            return match self.json {
                true => output::print_json(&json!({ "from": done.id, "signed_anew": 0, "left": 0, "dismissed": true })),
                false => Ok(output::print(&format!("{} is replaced already; nothing was done", done.name))?),
            };
        }
        let plan = self.plan(&root)?;
        if self.dry_run && self.to.symlink_metadata().is_err() {
            // Any key will do: what it signs is counted, and not kept.
            return self.tell_plan(&root, &plan, &SigningKey::from_bytes(&[0; 32])).await;
        }
        if self.dry_run {
            return self.tell_plan(&root, &plan, &identity::load(&self.to, Kind::Operator)?).await;
        }
        let (to, made) = load_or_make(&self.to)?;
        let new = identity::public(&to);
        if new == plan.from || new == root.id() {
            let problem = format!("{} is the key that goes, or the root's; name another file", self.to.display());
            return Err(WrongInput(problem).into());
        }
        let say = |text: String| if self.json { Ok(()) } else { output::print(&text) };
        if made {
            say(format!("made a new key: {}, kept in {}", new, self.to.display()))?;
        }
        self.appoint(&root, &plan, new).await?;
        say(format!("appointed {} ({new}) for {}", plan.name, told(plan.rights)))?;

        let mut moved = self.move_all(&root, &plan, &to).await?;
        say(format!("{} signed anew, and taken by {}", count(moved, "record"), root.node))?;
        let mut left = 0;
        if !plan.of_root {
            let wait = SPREAD + Duration::from_secs(1) * u32::try_from(moved).unwrap_or(u32::MAX) / PAGES_A_SECOND;
            say(format!("waiting {} s until all nodes have them", wait.as_secs()))?;
            tokio::time::sleep(wait).await;
            // Whoever still worked with the old key.
            moved += self.move_all(&root, &plan, &to).await?;
            left = sign_anew(&held(&root).await?, plan.from, &to, plan.rights, hlc::unix_millis()).left.len();
            if left > 0 && !self.force {
                bail!(
                    "{left} pages of {} cannot be signed anew: they are dated ahead of this host's clock, or would change \
                     who is a member. Both keys are appointed now; look at the clocks (timedatectl) and run this again, \
                     or add --force: they go with the old key then",
                    plan.from_name
                );
            }
            let word = Appointment {
                operator: plan.from,
                name: plan.from_name.clone(),
                appointed: false,
                rights: Rights::default(),
            };
            Root::ask(&self.key, self.socket.clone()).await?.say(&word).await?;
            say(format!("dismissed {} ({})", plan.from_name, plan.from))?;
        }
        if self.json {
            return output::print_json(&json!({
                "from": plan.from, "to": new, "name": plan.name, "rights": operators::names(plan.rights),
                "key_made": made, "signed_anew": moved, "left": left, "dismissed": !plan.of_root, "taken_by": root.node,
            }));
        }
        Ok(output::print(&self.farewell(&plan))?)
    }

    /// Whether the old key is dismissed and the new one at work: a script that broke off after that may ask again.
    fn done_before<'r>(&self, root: &'r Root) -> anyhow::Result<Option<&'r OperatorLine>> {
        let old = self.from(root)?;
        if old.state != OperatorState::Dismissed || self.to.symlink_metadata().is_err() {
            return Ok(None);
        }
        let new = identity::public(&identity::load(&self.to, Kind::Operator)?).to_string();
        let works = root.lines.iter().any(|line| line.id == new && line.state == OperatorState::Appointed);
        Ok(works.then_some(old))
    }

    fn plan(&self, root: &Root) -> anyhow::Result<Plan> {
        let line = self.from(root)?;
        let of_root = line.state == OperatorState::Root;
        let working: Vec<&OperatorLine> =
            root.lines.iter().filter(|line| line.state == OperatorState::Appointed).collect();
        let rights = operators::rights(line.rights.iter().map(String::as_str));
        if line.state == OperatorState::Dismissed {
            let problem = format!("{} is dismissed, and nothing that it signed is held any more", line.name);
            return Err(WrongInput(problem).into());
        }
        let usual = if of_root { "daily" } else { line.name.as_str() };
        let name = self.name.clone().unwrap_or_else(|| usual.to_owned());
        let to = self.to.symlink_metadata().is_ok().then(|| identity::load(&self.to, Kind::Operator)).transpose()?;
        let to = to.map(|key| identity::public(&key).to_string());
        let other =
            working.iter().find(|other| other.name == name && other.id != line.id && Some(&other.id) != to.as_ref());
        if let Some(other) = other {
            let problem = format!("{name} is the name of key {}; choose another: --name NAME", other.id);
            return Err(WrongInput(problem).into());
        }
        let counts = |id: &String| working.iter().any(|line| line.id == *id);
        if working.len() >= MAX_APPOINTED && !to.as_ref().is_some_and(counts) {
            let problem = format!("{} keys are appointed, and no more count; dismiss one first", working.len());
            return Err(WrongInput(problem).into());
        }
        Ok(Plan { from: line.id.parse()?, from_name: line.name.clone(), of_root, rights, name })
    }

    /// The key that goes, by whatever it was named.
    fn from<'r>(&self, root: &'r Root) -> anyhow::Result<&'r OperatorLine> {
        if !Path::new(&self.from).is_file() {
            return Ok(root.find(&self.from)?);
        }
        let id = identity::public(&identity::load(Path::new(&self.from), Kind::Operator)?).to_string();
        let line = root.lines.iter().find(|line| line.id == id);
        line.with_context(|| format!("{} holds {id}, which this mesh never appointed", self.from))
    }

    async fn appoint(&self, root: &Root, plan: &Plan, new: NodeId) -> anyhow::Result<()> {
        let before = root.lines.iter().find(|line| line.id == new.to_string());
        let before = before.filter(|line| line.state == OperatorState::Appointed);
        // Whatever else it may already.
        let had = before.map(|line| operators::rights(line.rights.iter().map(String::as_str))).unwrap_or_default();
        let rights = Rights {
            catalogue: plan.rights.catalogue || had.catalogue,
            admissions: plan.rights.admissions || had.admissions,
        };
        let name = if self.name.is_none() { before.map(|line| line.name.clone()) } else { None };
        let name = name.unwrap_or_else(|| plan.name.clone());
        let page = root.say(&Appointment { operator: new, name, appointed: true, rights }).await?;
        appointment::keep(&self.to, &page)?;
        Ok(())
    }

    /// Signs anew and submits until nothing is left that can be; how many pages that were.
    async fn move_all(&self, root: &Root, plan: &Plan, to: &SigningKey) -> anyhow::Result<usize> {
        let mut moved = 0;
        for _ in 0..ROUNDS {
            let anew = sign_anew(&held(root).await?, plan.from, to, plan.rights, hlc::unix_millis());
            if anew.pages.is_empty() {
                return Ok(moved);
            }
            let taken = root.client.submit(&anew.pages).await.context("not all was taken; run this again to finish")?;
            moved += taken.accepted;
        }
        bail!("{} goes on writing with the old key; see to it that nobody uses it, and run this again", plan.from_name)
    }

    async fn tell_plan(&self, root: &Root, plan: &Plan, to: &SigningKey) -> anyhow::Result<()> {
        let anew = sign_anew(&held(root).await?, plan.from, to, plan.rights, hlc::unix_millis());
        let records = anew.pages.iter().filter(|page| page.key().table == crate::catalogue::TABLE).count();
        let admissions = anew.pages.len() - records;
        if self.json {
            return output::print_json(&json!({
                "from": plan.from, "name": plan.name, "rights": operators::names(plan.rights), "dry_run": true,
                "records": records, "admissions": admissions, "left": anew.left.len(), "dismissed": false,
            }));
        }
        let mut lines = vec![
            format!("dry run: {} would be appointed for {}", plan.name, told(plan.rights)),
            format!(
                "it would sign anew {} and {}",
                count(records, "catalogue record"),
                count(admissions, "admission record")
            ),
        ];
        if !anew.left.is_empty() {
            lines.push(format!(
                "{} more cannot be: dated ahead of this host's clock, or of another right",
                anew.left.len()
            ));
        }
        lines.push(match plan.of_root {
            true => "the root stays the root, and could be put away then".to_owned(),
            false => format!("{} ({}) would be dismissed then", plan.from_name, plan.from),
        });
        Ok(output::print(&lines.join("\n"))?)
    }

    fn farewell(&self, plan: &Plan) -> String {
        let to = self.to.display();
        if plan.of_root {
            let root = self.key.display();
            return format!(
                "From now on use {to} for `nigh apply`, `nigh admit`, `nigh revoke` and `nigh server`.\n\
                 {root} stays the root of this mesh, whose id it is: it alone appoints and dismisses keys. Put it away, \
                 off this machine, with a copy elsewhere; nothing needs it until {to} is to be replaced."
            );
        }
        format!("From now on use {to}. The old key writes nothing any more: delete it, and its copies.")
    }
}

/// What the node holds of the operators: the catalogue, certificates and revocations.
async fn held(root: &Root) -> anyhow::Result<Vec<Page>> {
    let mut pages = root.client.catalogue().await?;
    pages.extend(root.client.admissions().await?);
    pages.sort_by_key(Page::key);
    pages.dedup_by_key(|page| page.key());
    Ok(pages)
}
