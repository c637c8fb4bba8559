//! What this node tells the mesh of itself: profile, claims, measurements. Each as rarely as is useful.
//!
//! A node that starts again is sent its resolvers at once, before it has measured anything. Until the first samples of
//! a server are in, what the last run told of it stands: a minute-old table is good, an empty one is not.

use std::{collections::BTreeMap, time::Duration};

use nigh_dns::Label;
use nigh_gossip::{Mesh, MeshError, Slot};

use crate::{
    measure::{
        Deadband, Measurements, State,
        deadband::{Told, Verdict},
    },
    tables::{
        self,
        claims::{self, Claim},
        latency::{self, Health, Row, ServerKey},
        profile::Profile,
    },
};

/// The writer of this node's own tables.
pub struct Publisher {
    mesh: Mesh,
    profile: Profile,
    claims: Vec<Claim>,
    /// Whether the claims are withdrawn or published, once either is done.
    withdrawn: Option<bool>,
    row_pages: BTreeMap<u32, Deadband<ServerKey>>,
    /// What the last run told, until this one knows better.
    last_run: BTreeMap<ServerKey, Row>,
}

impl Publisher {
    /// For a node that says this of itself, and whose last run told these rows.
    pub fn new(mesh: Mesh, profile: Profile, claims: Vec<Claim>, last_run: impl IntoIterator<Item = Row>) -> Self {
        let last_run = last_run.into_iter().map(|row| (row.server, row)).collect();
        Self { mesh, profile, claims, withdrawn: None, row_pages: BTreeMap::new(), last_run }
    }

    /// Publishes the profile with these cuts; unchanged, it costs nothing.
    ///
    /// # Errors
    /// The mesh has stopped.
    pub async fn profile(&mut self, serves: Vec<Label>, draining: bool) -> Result<(), MeshError> {
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
        for (slot, body) in claims::pages(&self.claims) {
            let body = if withdraw { Vec::new() } else { body };
            self.mesh.publish(tables::CLAIMS, slot, body).await?;
        }
        self.withdrawn = Some(withdraw);
        Ok(())
    }

    /// Publishes the pages of measurements that are worth it. Says when to come back for one that had to wait.
    ///
    /// # Errors
    /// The mesh has stopped.
    pub async fn rows(&mut self, now: Duration, measured: &Measurements) -> Result<Option<Duration>, MeshError> {
        let rows = measured.rows.iter().map(|row| known(to_row(row), &mut self.last_run)).collect();
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

fn to_row(row: &crate::measure::Row) -> Row {
    let reading = &row.reading;
    Row {
        server: ServerKey::new(&row.target.service, &row.target.server),
        state: match reading.state {
            State::Unknown => Health::Unknown,
            State::Up => Health::Up,
            State::Down => Health::Down,
        },
        rtt_us: reading.rtt.map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
        // In 0..=1000 whatever the float is: casts saturate, NaN becomes 0.
        loss_permille: (reading.loss * 1000.0).round() as u16,
        why: if reading.state == State::Up { String::new() } else { latency::reason(&reading.why) },
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
    Told { state, rtt: row.rtt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: Health, rtt_us: Option<u32>) -> Row {
        Row { server: ServerKey(7), state, rtt_us, loss_permille: 0, why: String::new() }
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
