//! Who plays: the nodes, the origins, the ISPs' resolvers, the screen and the claims made so far.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use hickory_proto::rr::{Name, RecordType};
use tokio::task::JoinSet;

use super::checks::Checks;
use super::fleet::Fleet;
use super::origins;
use super::resolver::client::{Client, Distance};
use super::resolver::{Answer, Ending, Got, Hop};
use super::screen::{Screen, millis};
use super::world::{City, Plan, WWW, zone_name};
use crate::admin::report::{Peer, Status};

/// Everything that is on.
#[derive(Debug)]
pub struct Stage {
    /// Where the story is told.
    pub screen: Screen,
    /// Addresses and ports.
    pub plan: Plan,
    /// The nodes.
    pub fleet: Fleet,
    /// The claims made.
    pub checks: Checks,
    /// The ISPs' resolvers, by city.
    pub resolvers: Vec<Client>,
    /// The service that is followed.
    pub www: Name,
    /// Resolvers with a cold cache used so far; each has an address and a seed of its own.
    cold: u8,
    _origins: JoinSet<()>,
}

impl Stage {
    /// Starts the origins and prepares the rest; no node runs yet.
    pub async fn set(screen: Screen, plan: Plan, folder: &Path) -> anyhow::Result<Self> {
        let origins = origins::start(plan).await?;
        let fleet = Fleet::prepare(folder, plan).await?;
        let www = zone_name(WWW)?;
        Ok(Self {
            screen,
            plan,
            fleet,
            checks: Checks::default(),
            resolvers: Vec::new(),
            www,
            cold: 0,
            _origins: origins,
        })
    }

    /// A resolver of this city's ISP with an empty cache, to which DNS-A names the node of `first` first.
    pub fn resolver(&self, city: City, address: IpAddr, first: City) -> anyhow::Result<Client> {
        let plan = self.plan;
        let distance: Distance =
            Arc::new(move |to| plan.city_at(to).map_or(Duration::ZERO, |there| city.to_city(there)));
        let seed = match address {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => u64::from(v6.segments()[7]),
        };
        Ok(Client::new(address, self.plan.delegation(first)?, self.plan.dns_port, seed, distance))
    }

    /// Another resolver of this city's ISP, with an empty cache.
    pub fn cold_resolver(&mut self, city: City, first: City) -> anyhow::Result<Client> {
        self.cold = self.cold.saturating_add(1);
        self.resolver(city, self.plan.fresh_resolver(city, self.cold), first)
    }

    /// Every ISP's resolver asks for the same name at the same time.
    pub async fn ask_all(&mut self, name: &Name) -> anyhow::Result<Vec<Answer>> {
        try_join_all(self.resolvers.iter_mut().map(|resolver| resolver.ask(name, RecordType::A))).await
    }

    /// Waits until no resolver holds addresses of the service any more; the aliases and cuts stay.
    pub async fn let_addresses_run_out(&self) -> anyhow::Result<()> {
        let mut longest = Duration::ZERO;
        for (city, resolver) in City::all().zip(&self.resolvers) {
            longest = longest.max(resolver.fresh_for(&zone_name(&city.in_cut())?, RecordType::A));
        }
        tokio::time::sleep(longest).await;
        Ok(())
    }

    /// The DNS counters of every running node.
    pub async fn counters(&self) -> anyhow::Result<BTreeMap<City, BTreeMap<String, u64>>> {
        let running = City::all().filter(|city| self.fleet.pid(*city).is_some());
        let read = running.map(async |city| {
            let status: Status = self.fleet.read(city, "status").await?;
            anyhow::Ok((city, status.dns.counters))
        });
        Ok(try_join_all(read).await?.into_iter().collect())
    }

    /// Who serves which cut, as a node sees it.
    pub async fn servers_of_cuts(&self, at: City) -> anyhow::Result<BTreeMap<City, Vec<City>>> {
        let peers: Vec<Peer> = self.fleet.read(at, "peers").await?;
        let mut cuts: BTreeMap<City, Vec<City>> = BTreeMap::new();
        for peer in &peers {
            for cut in peer.cuts.iter().filter_map(|cut| City::by_node(cut)) {
                cuts.entry(cut).or_default().extend(City::by_node(&peer.name));
            }
        }
        Ok(cuts)
    }

    /// The city whose node has this address, for people.
    pub fn node_name(&self, address: IpAddr) -> String {
        self.plan.city_at(address).map_or_else(|| address.to_string(), |city| city.node().to_owned())
    }

    /// The origin that an answer leads to, for people.
    pub fn origin_name(&self, answer: &Answer) -> String {
        match (&answer.ending, answer.address().and_then(|address| self.plan.origin_at(address))) {
            (_, Some(origin)) => format!("{} {}", origin.id(), origin.place()),
            (Ending::Addresses(_), None) => answer.ending.to_string(),
            (ending, None) => ending.to_string(),
        }
    }

    /// The way of an answer, for people: whom was asked, and what came.
    pub fn way(&self, answer: &Answer) -> String {
        let hop = |hop: &Hop| {
            let (server, took) = (self.node_name(hop.server), millis(hop.took));
            match &hop.got {
                Got::Addresses => format!("{server} answers after {took}"),
                Got::Alias { target, .. } => format!("{server} says CNAME {} after {took}", bare(target)),
                Got::Referral(cut) => format!("{server} refers to {} after {took}", bare(cut)),
                Got::NoData | Got::NxDomain => format!("{server} says that there is nothing"),
                Got::Silence => format!("{server} silent for {took}"),
                Got::Truncated => format!("{server} asks for TCP"),
                Got::Unusable(why) => format!("{server} {why}"),
            }
        };
        let hops: Vec<String> = answer.hops.iter().map(hop).collect();
        let way = if hops.is_empty() { "from the cache".to_owned() } else { hops.join(", then ") };
        format!("{way} -> {}", self.origin_name(answer))
    }
}

/// A name without the dot at its end.
pub fn bare(name: &Name) -> String {
    name.to_string().trim_end_matches('.').to_owned()
}
