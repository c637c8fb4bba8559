//! Who gets which origin: places become POPs, origins and clients by lot, and every way to choose is asked.
//!
//! A client is a resolver and its users at one place; what counts is the round trip from there to the origin. POPs
//! measure the origins, and their round trip to the resolver; nobody measures the client's own way to an origin, except
//! where a line says so.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::blend::{Witness, estimate};
use crate::latencies::Latencies;
use crate::steering::{Claimed, Steering};
use crate::tally::{Figures, Tally};
use crate::vivaldi::Vivaldi;

/// What to draw.
#[derive(Clone, Debug)]
pub struct Plan {
    pub pops: usize,
    pub origins: usize,
    pub seeds: u64,
    pub seed: u64,
    pub claimants: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { pops: 50, origins: 20, seeds: 20, seed: 1, claimants: 3 }
    }
}

/// Ways to choose, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Nigh,
    Blend,
    TwoRaced,
    TwoTossed,
    OriginOfTwo,
    OriginOfThree,
    Geography,
    Vivaldi,
    Single,
    Random,
}

impl Way {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nigh => "nigh",
            Self::Blend => "nigh, rows of all claimants combined",
            Self::TwoRaced => "nigh, two answers if in doubt, raced",
            Self::TwoTossed => "nigh, two answers if in doubt, tossed",
            Self::OriginOfTwo => "nigh, its first two measure the client",
            Self::OriginOfThree => "nigh, its first three measure the client",
            Self::Geography => "geography",
            Self::Vivaldi => "Vivaldi coordinates",
            Self::Single => "best single origin",
            Self::Random => "random",
        }
    }
}

/// What came of it.
pub struct Found {
    pub ways: Vec<(Way, Figures)>,
    /// How good nigh's choice is, by its margin.
    pub margins: Vec<Margin>,
    /// Clients asked, over all seeds.
    pub answers: usize,
}

/// Choices of nigh with a margin between two bounds: second best minus best, over the round trip to the resolver.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Margin {
    pub from: f64,
    pub share: f64,
    pub exact: f64,
}

/// Where the bands of the margin begin.
const BANDS: [f64; 5] = [0.0, 0.25, 0.5, 1.0, 2.0];
/// Below this margin nigh is in doubt.
const DOUBT: f64 = 0.25;

/// Draws and asks.
pub fn run(sites: &Latencies, plan: &Plan) -> Result<Found, String> {
    let clients = sites.len().saturating_sub(plan.pops + plan.origins);
    if clients == 0 {
        return Err(format!("{} places are not enough for the POPs, the origins and a client", sites.len()));
    }
    let mut tallies: BTreeMap<Way, Tally> = BTreeMap::new();
    let mut bands = [(0_usize, 0_usize); BANDS.len()];
    for seed in plan.seed..plan.seed.saturating_add(plan.seeds) {
        Draw::new(sites, plan, seed).ask(&mut tallies, &mut bands)?;
    }
    let answers = bands.iter().map(|(count, _)| count).sum::<usize>();
    let margins = BANDS.iter().zip(bands).map(|(from, (count, exact))| Margin {
        from: *from,
        share: count as f64 / answers as f64,
        exact: exact as f64 / count as f64,
    });
    Ok(Found {
        ways: tallies.iter().map(|(way, tally)| (*way, tally.figures())).collect(),
        margins: margins.collect(),
        answers: tallies.get(&Way::Nigh).map_or(0, Tally::count),
    })
}

/// One seed's POPs, origins and clients.
struct Draw<'s> {
    sites: &'s Latencies,
    plan: &'s Plan,
    rng: ChaCha8Rng,
    pops: Vec<usize>,
    origins: Vec<usize>,
    /// Those of whom all distances are known.
    clients: Vec<usize>,
    /// For each POP, its way to each origin.
    rows: Vec<Vec<f64>>,
}

impl<'s> Draw<'s> {
    fn new(sites: &'s Latencies, plan: &'s Plan, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut all: Vec<usize> = (0..sites.len()).collect();
        all.shuffle(&mut rng);
        let mut clients = all.split_off(plan.pops + plan.origins);
        let origins = all.split_off(plan.pops);
        clients.retain(|client| origins.iter().all(|origin| !sites.get(*client, *origin).is_nan()));
        let rows = all.iter().map(|pop| origins.iter().map(|origin| sites.get(*pop, *origin)).collect()).collect();
        Self { sites, plan, rng, pops: all, origins, clients, rows }
    }

    fn ask(
        mut self,
        tallies: &mut BTreeMap<Way, Tally>,
        bands: &mut [(usize, usize); BANDS.len()],
    ) -> Result<(), String> {
        let near: Vec<Vec<(usize, f64)>> = self.clients.iter().map(|client| self.claimants(*client)).collect();
        let claims = near.iter().enumerate().flat_map(|(resolver, near)| {
            near.iter().map(move |(node, rtt_ms)| Claimed { node: *node, resolver, rtt_ms: *rtt_ms })
        });
        let nigh = Steering::new(self.origins.len(), &self.rows, claims)?;
        let blended: Vec<Vec<f64>> = near.iter().map(|near| self.blended(near)).collect();
        let own = (0..blended.len()).map(|client| Claimed { node: client, resolver: client, rtt_ms: 1.0 });
        let combined = Steering::new(self.origins.len(), &blended, own)?;
        let vivaldi = Vivaldi::settle(self.sites, self.rng.random());
        let single = self.single();

        for (at, client) in self.clients.iter().enumerate() {
            let ways: Vec<f64> = self.origins.iter().map(|origin| self.sites.get(*client, *origin)).collect();
            let Some(best) = least(&ways, |_, way| *way).map(|at| ways[at]) else { continue };
            let (Some(first), Some((pop, rtt))) = (nigh.choice(at), near[at].first()) else { continue };
            let mut note = |way, chosen: f64| tallies.entry(way).or_default().note(chosen, best);
            note(Way::Nigh, ways[first]);

            let row = &self.rows[*pop];
            let mut ranked: Vec<usize> = (0..row.len()).filter(|origin| !row[*origin].is_nan()).collect();
            ranked.sort_by(|a, b| row[*a].total_cmp(&row[*b]));
            let Some(second) = ranked.get(1).copied() else { continue };
            let margin = (row[second] - row[first]) / rtt;
            let band = BANDS.iter().rposition(|from| margin >= *from).unwrap_or(0);
            bands[band].0 += 1;
            bands[band].1 += usize::from(ways[first] <= best);

            note(Way::Blend, combined.choice(at).map_or(ways[first], |choice| ways[choice]));
            let pair = if margin < DOUBT { [ways[first], ways[second]] } else { [ways[first]; 2] };
            note(Way::TwoRaced, pair[0].min(pair[1]));
            note(Way::TwoTossed, pair[usize::from(self.rng.random::<bool>())]);
            let of_first = |count: usize| ranked.iter().take(count).map(|at| ways[*at]).fold(f64::INFINITY, f64::min);
            note(Way::OriginOfTwo, of_first(2));
            note(Way::OriginOfThree, of_first(3));
            if let Some(places) = self.sites.places() {
                let nearest = least(&self.origins, |_, origin| places[*client].km_to(places[*origin]));
                note(Way::Geography, nearest.map_or(f64::NAN, |at| ways[at]));
            }
            let promised = least(&self.origins, |_, origin| vivaldi.distance(*client, *origin));
            note(Way::Vivaldi, promised.map_or(f64::NAN, |at| ways[at]));
            note(Way::Single, ways[single]);
            note(Way::Random, ways[self.rng.random_range(0..ways.len())]);
        }
        Ok(())
    }

    /// The POPs that claim a client's resolver, nearest first, with their round trips to it.
    fn claimants(&self, client: usize) -> Vec<(usize, f64)> {
        let rtt = |(at, pop): (usize, &usize)| (at, self.sites.get(client, *pop));
        let mut near: Vec<(usize, f64)> =
            self.pops.iter().enumerate().map(rtt).filter(|(_, rtt)| !rtt.is_nan()).collect();
        near.sort_by(|a, b| a.1.total_cmp(&b.1));
        near.truncate(self.plan.claimants);
        near
    }

    fn blended(&self, near: &[(usize, f64)]) -> Vec<f64> {
        let witnesses: Vec<Witness<'_>> =
            near.iter().map(|(pop, rtt_ms)| Witness { rtt_ms: *rtt_ms, row: &self.rows[*pop] }).collect();
        (0..self.origins.len()).map(|origin| estimate(&witnesses, origin)).collect()
    }

    /// The one origin that would be best for all clients together.
    fn single(&self) -> usize {
        let cost = |_, origin: &usize| self.clients.iter().map(|client| self.sites.get(*client, *origin)).sum();
        least(&self.origins, cost).unwrap_or(0)
    }
}

/// The place of the item with the least cost.
fn least<T>(items: &[T], cost: impl Fn(usize, &T) -> f64) -> Option<usize> {
    let costs = items.iter().enumerate().map(|(at, item)| (at, cost(at, item)));
    costs.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
}
