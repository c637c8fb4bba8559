//! `nigh server`: take a server of a service out of use, and back in.
//!
//! One signed record is edited, as `nigh apply` would, so it needs the operator's key and works through any node. What
//! this says stands until it is said otherwise here, or in a file that names the server's `state`: an edit of something
//! else must not bring back a machine that somebody has open on the bench.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use super::operator::check_key;
use super::{Socket, WrongInput, output};
use crate::admin::report::Status;
use crate::catalogue::hlc::{self, Clock};
use crate::catalogue::{Catalogue, Duty, Records, Service, TABLE, name, set_state, sign};
use crate::identity::{self, Kind};

/// The arguments of `nigh server`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Server {
    /// Give it to nobody while another server is up: its clients go as their TTLs end
    Drain(Edit),
    /// Never give it, even if nothing else is up
    Off(Edit),
    /// Put it back into service
    Ready(Edit),
}

/// Which server, and by whom.
#[derive(Debug, clap::Args)]
pub(super) struct Edit {
    /// The service, such as www.lb.example.com
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The server's id within the service
    #[arg(value_name = "SERVER")]
    server: String,
    /// An operator's key: the root's, made by `nigh init`, or one that it appointed for the catalogue
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Server {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Drain(edit) => edit.run(Duty::Drain).await,
            Self::Off(edit) => edit.run(Duty::Off).await,
            Self::Ready(edit) => edit.run(Duty::Up).await,
        }
    }
}

impl Edit {
    async fn run(self, duty: Duty) -> anyhow::Result<()> {
        let key = identity::load(&self.key, Kind::Operator)?;
        let client = self.socket.clone().client()?;
        let status: Status = client.get("status").await?;
        check_key(&client, &status, (identity::public(&key), &self.key), TABLE).await?;
        let records = Records::from_pages(&client.catalogue().await?);
        let (catalogue, _) = Catalogue::from_records(&records);
        let (host, service) = self.find(&catalogue)?;
        let state = (duty != Duty::Up).then_some(duty);
        let change = set_state(&host, &self.server, service, state);
        let through = status.node.name;
        if let Some(change) = &change {
            let mut clock = Clock::after(records.stamps());
            let pages = sign(std::slice::from_ref(change), &key, &mut clock, hlc::unix_millis())
                .context("cannot stamp the change")?;
            if client.submit(&pages).await?.accepted == 0 {
                bail!("{through} holds a newer edit of this server; look at `nigh services` and try again");
            }
        }
        let others = in_service(service, &self.server);
        if self.json {
            return output::print_json(&json!({
                "service": name::text(&host), "server": self.server, "state": duty.as_str(),
                "changed": change.is_some(), "others_in_service": others, "taken_by": through,
            }));
        }
        let what = match change {
            Some(change) => format!("{change}; taken by {through}, which tells all others"),
            None => format!("{} is in state \"{}\" already; nothing was done", self.server, duty.as_str()),
        };
        Ok(output::print(&(what + warning(duty, others)))?)
    }

    fn find<'c>(&self, catalogue: &'c Catalogue) -> Result<(hickory_proto::rr::Name, &'c Service), WrongInput> {
        let wanted = self.service.trim_end_matches('.').to_ascii_lowercase();
        let found = catalogue.services.iter().find(|(host, _)| name::text(host) == wanted);
        let Some((host, service)) = found else {
            let problem = format!("no service is named {:?}; `nigh services` lists them", self.service);
            return Err(WrongInput(problem));
        };
        if !service.servers.contains_key(&self.server) {
            let ids: Vec<&str> = service.servers.keys().map(String::as_str).take(8).collect();
            let (ids, more) = (ids.join(", "), if service.servers.len() > 8 { " and more" } else { "" });
            return Err(WrongInput(format!("{wanted} has no server {:?}; it has {ids}{more}", self.server)));
        }
        Ok((host.clone(), service))
    }
}

/// How many other servers are neither drained nor off.
fn in_service(service: &Service, but: &str) -> usize {
    let others = service.servers.iter().filter(|(id, _)| *id != but);
    others.filter(|(_, server)| server.state.unwrap_or_default() == Duty::Up).count()
}

fn warning(duty: Duty, others: usize) -> &'static str {
    match (duty, others) {
        (Duty::Drain, 0) => "\nno other server of the service is in service, so it is given all the same",
        (Duty::Off, 0) => {
            "\nno server of the service is in service now: what is drained is given, or what all_down says"
        }
        _ => "",
    }
}
