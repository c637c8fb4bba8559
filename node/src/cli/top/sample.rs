//! One look at a node through its API: what the board is made of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hickory_proto::rr::Name;
use serde::Deserialize;

use crate::admin::report::{LatencyLine, Peer, ServiceLine, Status};
use crate::admin::{Client, ClientError, ExplainQuery, QueryType};
use crate::catalogue::name::text;
use crate::catalogue::{Catalogue, Records};

/// Services whose servers are asked for in one look; the others follow in the next ones.
const ASKED_AT_ONCE: usize = 32;
/// Looks between two that ask for what seldom changes.
const SELDOM: u64 = 5;

/// A look.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) status: Status,
    pub(super) peers: Vec<Peer>,
    pub(super) rows: Vec<LatencyLine>,
    pub(super) services: Vec<ServiceLine>,
    /// What this node gives its own resolvers, by service.
    pub(super) chosen: BTreeMap<String, Chosen>,
}

/// The servers that a service's name gets here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Ids, those that are given.
    pub(super) servers: Vec<String>,
    /// Why the first.
    pub(super) why: String,
}

/// Looks again and again; what seldom changes is kept between looks.
pub(super) struct Looker {
    client: Client,
    looks: u64,
    zones: Vec<Name>,
    services: Vec<ServiceLine>,
    chosen: BTreeMap<String, Chosen>,
    /// Where in the services the next look goes on.
    next: usize,
}

/// The part of an explanation that is shown.
#[derive(Deserialize)]
struct Explanation {
    servers: Vec<Server>,
}

#[derive(Deserialize)]
struct Server {
    chosen: bool,
    id: String,
    reason: String,
}

impl Looker {
    pub(super) fn new(client: Client) -> Self {
        Self { client, looks: 0, zones: Vec::new(), services: Vec::new(), chosen: BTreeMap::new(), next: 0 }
    }

    pub(super) async fn look(&mut self) -> Result<Sample, ClientError> {
        let status: Status = self.client.get("status").await?;
        let peers: Vec<Peer> = self.client.get("peers").await?;
        let rows = self.client.get("latency").await?;
        if self.looks.is_multiple_of(SELDOM) {
            self.services = self.client.get("services").await?;
            if self.looks.is_multiple_of(SELDOM * SELDOM) || self.zones.len() != status.catalogue.zones {
                let (catalogue, _) = Catalogue::from_records(&Records::from_pages(&self.client.catalogue().await?));
                self.zones = catalogue.zones.keys().cloned().collect();
            }
        }
        self.looks += 1;
        self.ask_for_servers(&status, &peers).await?;
        let (services, chosen) = (self.services.clone(), self.chosen.clone());
        Ok(Sample { status, peers, rows, services, chosen })
    }

    /// Asks what the next few services give. In the node's own cut the name decides, and not who asks.
    async fn ask_for_servers(&mut self, status: &Status, peers: &[Peer]) -> Result<(), ClientError> {
        let names: Vec<String> = self.services.iter().map(|service| service.name.clone()).collect();
        self.chosen.retain(|name, _| names.contains(name));
        let own = peers.iter().find(|peer| peer.is_self).and_then(|peer| peer.dns_addresses.first().copied());
        let from = own.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        for _ in 0..names.len().min(ASKED_AT_ONCE) {
            let Some(name) = names.get(self.next % names.len()) else { break };
            self.next = (self.next + 1) % names.len();
            let at = in_cut(name, &self.zones, &status.node.name);
            let query = ExplainQuery { name: at, from, rtype: QueryType::default(), at: None };
            let told = match self.client.explain_json(&query).await {
                Ok(told) => told,
                // A service that has just gone.
                Err(ClientError::Refused(_)) => continue,
                Err(error) => return Err(error),
            };
            let Ok(told) = serde_json::from_value::<Explanation>(told) else { continue };
            let given = told.servers.into_iter().filter(|server| server.chosen);
            let (servers, reasons): (Vec<String>, Vec<String>) = given.map(|server| (server.id, server.reason)).unzip();
            let why = reasons.into_iter().next().unwrap_or_default();
            self.chosen.insert(name.clone(), Chosen { servers, why });
        }
        Ok(())
    }
}

/// `www.fra.lb.example.com` for `www.lb.example.com`; a zone's own name stays what it is.
fn in_cut(service: &str, zones: &[Name], node: &str) -> String {
    let concrete = service.replacen("*.", "any.", 1);
    let zone = zones.iter().map(text).filter(|zone| concrete.ends_with(&format!(".{zone}"))).max_by_key(String::len);
    match zone {
        Some(zone) => {
            let host = concrete.strip_suffix(&zone).unwrap_or_default();
            format!("{host}{node}.{zone}")
        }
        None => concrete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_for_in_the_nodes_own_cut() {
        let zones: Vec<Name> =
            ["lb.lab.", "deep.lb.lab."].iter().filter_map(|zone| Name::from_ascii(zone).ok()).collect();
        assert_eq!(in_cut("www.lb.lab", &zones, "fra"), "www.fra.lb.lab");
        assert_eq!(in_cut("a.deep.lb.lab", &zones, "fra"), "a.fra.deep.lb.lab");
        assert_eq!(in_cut("*.apps.lb.lab", &zones, "fra"), "any.apps.fra.lb.lab");
        assert_eq!(in_cut("lb.lab", &zones, "fra"), "lb.lab");
        assert_eq!(in_cut("www.elsewhere", &zones, "fra"), "www.elsewhere");
    }
}
