//! What this node tells the mesh of itself: profile, claims, measurements. Each as rarely as is useful.
//!
//! A node that starts again is sent its resolvers at once, before it has measured anything. Until the first samples of
//! a server are in, what the last run told of it stands, and is marked: its distance is good, and of what went down or
//! came back meanwhile others know more ([`crate::projection`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use nigh_dns::Label;
use nigh_gossip::{Mesh, MeshError, Slot, Table};
use tracing::info_span;

use crate::{
    discovery::told::Found,
    measure::{
        Deadband, Measurements, State,
        deadband::{Told, Verdict},
        filter::Path,
        order::{Entrant, Line},
    },
    tables::{
        self,
        claims::{self, Claim, FOUND},
        evidence::{self, Evidence},
        latency::{self, Health, Row, ServerKey},
        profile::Profile,
    },
    telemetry::TARGET,
};

/// The writer of this node's own tables.
pub struct Publisher {
    mesh: Mesh,
    profile: Profile,
    claims: Vec<Claim>,
    /// What was found; none: not known yet, and what the last run found stands.
    found: Option<BTreeMap<IpAddr, Found>>,
    /// Pages of claims and evidence that the mesh may hold of this node.
    out: BTreeSet<(Table, Slot)>,
    /// Whether the claims are withdrawn or published, once either is done.
    withdrawn: Option<bool>,
    row_pages: BTreeMap<u32, Deadband<ServerKey>>,
    lines: Lines,
    /// What the last run told, until this one knows better.
    last_run: BTreeMap<ServerKey, Row>,
}

impl Publisher {
    /// For a node that says this of itself, that looks for resolvers or not, and whose last run left these pages and told
    /// these rows.
    pub fn new(
        mesh: Mesh,
        profile: Profile,
        claims: Vec<Claim>,
        looks: bool,
        left: impl IntoIterator<Item = (Table, Slot)>,
        last_run: impl IntoIterator<Item = Row>,
    ) -> Self {
        let last_run = last_run.into_iter().map(|row| (row.server, row.of_last_run())).collect();
        let out = left.into_iter().filter(|(table, _)| [tables::CLAIMS, tables::EVIDENCE].contains(table)).collect();
        Self {
            mesh,
            profile,
            claims,
            found: (!looks).then(BTreeMap::new),
            out,
            withdrawn: None,
            row_pages: BTreeMap::new(),
            lines: Lines::default(),
            last_run,
        }
    }

    /// These were found from now on; [`Publisher::claims`] publishes them.
    pub fn found(&mut self, found: BTreeMap<IpAddr, Found>) {
        self.found = Some(found);
        self.withdrawn = None;
    }

    /// Publishes the profile with these cuts and this pressure; unchanged, it costs nothing.
    ///
    /// # Errors
    /// The mesh has stopped.
    pub async fn profile(&mut self, serves: Vec<Label>, draining: bool, pressure: u8) -> Result<(), MeshError> {
        self.profile.pressure = pressure;
        self.profile.serves = serves;
        self.profile.draining = draining;
        self.mesh.publish(tables::PROFILE, Slot::page(0), nigh_gossip::codec::encode(&self.profile)).await
    }

    /// Publishes the claims, or withdraws them all: a node that cannot reach any server, or is leaving, is near nobody.
    ///
    /// # Errors
    /// The mesh has stopped.
    pub async fn claims(&mut self, withdraw: bool) -> Result<(), MeshError> {
        if self.withdrawn == Some(withdraw) {
            return Ok(());
        }
        // Not known while under way: a drain that cuts in between begins again.
        self.withdrawn = None;
        let pages = if withdraw { BTreeMap::new() } else { self.claim_pages() };
        for (key, body) in &pages {
            // Before it is on its way: it must not be forgotten if this is cut short.
            self.out.insert(*key);
            self.mesh.publish(key.0, key.1, body.clone()).await?;
        }
        let waits = |(table, slot): &(Table, Slot)| {
            !withdraw && self.found.is_none() && (*table == tables::EVIDENCE || *slot >= Slot::page(FOUND))
        };
        let gone: Vec<_> = self.out.iter().filter(|key| !pages.contains_key(key) && !waits(key)).copied().collect();
        for key in gone {
            self.mesh.publish(key.0, key.1, Vec::new()).await?;
            self.out.remove(&key);
        }
        self.withdrawn = Some(withdraw);
        Ok(())
    }

    /// All pages of claims and evidence, as they should be.
    fn claim_pages(&self) -> BTreeMap<(Table, Slot), Vec<u8>> {
        let found = self.found.iter().flatten();
        let found: Vec<Claim> =
            found.map(|(address, told)| Claim::new(IpNet::from(*address), told.preference)).collect();
        let evidence = self.found.iter().flatten();
        let evidence: Vec<Evidence> = evidence
            .map(|(address, told)| Evidence { prefix: IpNet::from(*address), rtt: told.rtt, proof: told.proof })
            .collect();
        // What is also configured, address by address, stands once.
        let twice = |claim: &&Claim| {
            let one = claim.prefix.prefix_len() == claim.prefix.max_prefix_len();
            one && self.found.as_ref().is_some_and(|found| found.contains_key(&claim.prefix.addr()))
        };
        let configured: Vec<Claim> = self.claims.iter().filter(|claim| !twice(claim)).copied().collect();
        let claims = claims::pages(0, &configured).into_iter().chain(claims::pages(FOUND, &found));
        let claims = claims.map(|(slot, body)| ((tables::CLAIMS, slot), body));
        let evidence = evidence::pages(&evidence).into_iter().map(|(slot, body)| ((tables::EVIDENCE, slot), body));
        claims.chain(evidence).collect()
    }

    /// Publishes what was imported from DNS-A, and what this node can do there; an empty body withdraws.
    ///
    /// # Errors
    /// The mesh has stopped.
    pub async fn dns_a(&mut self, pools: Vec<(Slot, Vec<u8>)>, duties: Option<Vec<u8>>) -> Result<(), MeshError> {
        for (slot, body) in pools {
            self.mesh.publish(tables::POOLS, slot, body).await?;
        }
        match duties {
            Some(duties) => self.mesh.publish(tables::DUTIES, Slot::page(0), duties).await,
            None => Ok(()),
        }
    }

    /// Publishes the pages of measurements that are worth it. Says when to come back for one that had to wait.
    ///
    /// # Errors
    /// The mesh has stopped.
    pub async fn rows(&mut self, now: Duration, measured: &Measurements) -> Result<Option<Duration>, MeshError> {
        let rows = measured.rows.iter().map(|row| known(to_row(row), &mut self.last_run)).collect();
        let rows = self.lines.settle(measured, rows);
        let pages = latency::paged(rows);
        let gone: Vec<u32> = self.row_pages.keys().filter(|page| !pages.contains_key(page)).copied().collect();
        for page in gone {
            self.row_pages.remove(&page);
            self.mesh.publish(tables::LATENCY, Slot::page(page), Vec::new()).await?;
        }
        let mut again: Option<Duration> = None;
        for (page, rows) in pages {
            let told = rows.iter().map(|row| (row.server, told(row))).collect();
            match self.row_pages.entry(page).or_default().offer(now, told) {
                Verdict::Publish => {
                    let (slot, body) = latency::encode(page, &rows);
                    self.mesh.publish(tables::LATENCY, slot, body).await?;
                }
                Verdict::Wait(until) => again = Some(again.map_or(until, |again| again.min(until))),
                Verdict::Quiet => {}
            }
        }
        Ok(again)
    }
}

/// The lines of all services, A and AAAA apart as they are in answers.
#[derive(Default)]
struct Lines(BTreeMap<(Arc<str>, bool), Line<ServerKey>>);

impl Lines {
    /// Puts what steers in the place of what was measured. The rows are those of the measurements, one by one.
    fn settle(&mut self, measured: &Measurements, mut rows: Vec<Row>) -> Vec<Row> {
        let mut entrants: BTreeMap<(&str, bool), BTreeMap<ServerKey, Entrant>> = BTreeMap::new();
        for (measured, row) in measured.rows.iter().zip(&rows) {
            let Some(rtt) = row.rtt().filter(|_| row.state == Health::Up) else { continue };
            let path = measured.reading.path.unwrap_or_else(|| Path::remembered(rtt));
            let line = (measured.target.service.as_str(), measured.target.address.is_ipv4());
            entrants.entry(line).or_default().insert(row.server, Entrant { rtt, path });
        }
        self.0.retain(|(service, v4), _| entrants.contains_key(&(service.as_ref(), *v4)));
        let mut told: BTreeMap<ServerKey, Duration> = BTreeMap::new();
        for ((service, v4), entrants) in &entrants {
            let line = self.0.entry((Arc::from(*service), *v4)).or_default();
            let before = line.first();
            told.extend(line.settle(entrants));
            if before.is_some() && before != line.first() {
                let first = measured.rows.iter().zip(&rows).find(|(_, row)| Some(row.server) == line.first());
                let server = first.map(|(measured, _)| measured.target.server.as_str());
                drop(info_span!(target: TARGET, "order", %service, first = server));
            }
        }
        for row in &mut rows {
            if let Some(rtt) = told.get(&row.server) {
                row.rtt_us = Some(micros(*rtt));
            }
        }
        rows
    }
}

fn micros(rtt: Duration) -> u32 {
    u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)
}

fn to_row(row: &crate::measure::Row) -> Row {
    let reading = &row.reading;
    Row {
        server: ServerKey::new(&row.target.service, &row.target.server),
        state: match reading.state {
            State::Unknown => Health::Unknown,
            State::Up => Health::Up,
            State::Down => Health::Down,
        },
        rtt_us: reading.rtt.map(micros),
        // In 0..=1000 whatever the float is: casts saturate, NaN becomes 0.
        loss_permille: (reading.loss * 1000.0).round() as u16,
        why: if reading.state == State::Up { String::new() } else { latency::reason(&reading.why) },
        load_permille: row.load.map(|load| (load * 1000.0).round() as u16),
        held: reading.held,
    }
}

/// The row, or what the last run told while this one has no sample; then the memory is no longer needed.
fn known(row: Row, last_run: &mut BTreeMap<ServerKey, Row>) -> Row {
    match row.state {
        Health::Unknown => last_run.get(&row.server).cloned().unwrap_or(row),
        Health::Up | Health::Down => {
            last_run.remove(&row.server);
            row
        }
    }
}

fn told(row: &Row) -> Told {
    let state = match row.state {
        Health::Unknown => State::Unknown,
        Health::Up => State::Up,
        Health::Down => State::Down,
    };
    Told { state, rtt: row.rtt(), loss_permille: row.loss_permille, load_permille: row.load_permille, held: row.held }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: Health, rtt_us: Option<u32>) -> Row {
        Row {
            server: ServerKey(7),
            state,
            rtt_us,
            loss_permille: 0,
            why: String::new(),
            load_permille: None,
            held: false,
        }
    }

    fn measured(service: &str, server: &str, host: u8, millis: u64) -> Arc<crate::measure::Row> {
        use crate::measure::{ProbeKind, ProbeSpec, Target, filter::Filter, outcome::Outcome};
        let mut filter = Filter::new(2, 3);
        let rtt = Duration::from_millis(millis);
        (0..30).for_each(|round| filter.record(Duration::from_secs(round), &Outcome::Answered(rtt)));
        let probe = ProbeSpec {
            kind: ProbeKind::Tcp,
            port: 443,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retries: 0,
            rise: 2,
            fall: 3,
        };
        let target = Target {
            service: service.into(),
            server: server.into(),
            address: IpAddr::from([192, 0, 2, host]),
            probe: probe.into(),
        };
        Arc::new(crate::measure::Row { reading: filter.reading(), ..crate::measure::Row::unknown(target) })
    }

    #[test]
    fn what_is_told_is_in_the_order_that_steers_and_services_do_not_mix() {
        use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};
        #[derive(Clone, Default)]
        struct Seen(Arc<std::sync::Mutex<Vec<&'static str>>>);
        impl<S: tracing::Subscriber> Layer<S> for Seen {
            fn on_new_span(&self, span: &tracing::span::Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
                self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(span.metadata().name());
            }
        }
        let seen = Seen::default();
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(seen.clone()));
        let spans = || seen.0.lock().map(|seen| seen.clone()).unwrap_or_default();
        let mut lines = Lines::default();
        let mut told = |millis: [u64; 3]| {
            let rows = [("www", "a"), ("www", "b"), ("api", "c")];
            let rows = rows
                .iter()
                .zip(millis)
                .zip(1..)
                .map(|(((service, server), ms), host)| measured(service, server, host, ms));
            let measured = Measurements { rows: rows.collect(), ..Measurements::default() };
            let rows: Vec<Row> = measured.rows.iter().map(|row| to_row(row)).collect();
            lines.settle(&measured, rows).iter().map(|row| row.rtt_us).collect::<Vec<_>>()
        };
        assert_eq!(told([20, 30, 10]), [Some(20_000), Some(30_000), Some(10_000)]);
        // Half a millisecond is no reason to change, and is told so.
        assert_eq!(told([20, 19, 10]), [Some(20_000), Some(20_001), Some(10_000)]);
        assert_eq!(spans(), [""; 0]);
        assert_eq!(told([20, 10, 10]), [Some(20_000), Some(10_000), Some(10_000)]);
        assert_eq!(spans(), ["order"], "another server is the first one now");
    }

    #[test]
    fn what_the_last_run_told_stands_until_the_first_sample() {
        let mut last_run = BTreeMap::from([(ServerKey(7), row(Health::Up, Some(900)))]);
        let unknown = row(Health::Unknown, None);
        assert_eq!(known(unknown.clone(), &mut last_run), row(Health::Up, Some(900)));
        let down = row(Health::Down, None);
        assert_eq!(known(down.clone(), &mut last_run), down);
        // A server that is taken out and put back later starts as unknown.
        assert_eq!(known(unknown.clone(), &mut last_run), unknown);
    }
}
