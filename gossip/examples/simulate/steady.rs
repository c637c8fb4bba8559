//! Bytes per node under the reference load: 100 claims a node, ten rows of one page moving each minute, one hard change
//! in ten minutes, and one operator's edit a second.

use std::time::Duration;

use nigh_gossip::sim::{KINDS, Traffic};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{options::Options, report::Report};

const CLAIMS: usize = 100;
/// In a larger mesh so many nodes write for all, each so much more often: the tree of each writer is learnt by a flood,
/// and ten thousand floods to ten thousand nodes would take a day.
const WRITERS: usize = 200;
/// Versions that teach a writer's tree.
const LEARNING: u32 = 2;
const STEP: Duration = Duration::from_millis(50);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(200);
    let seconds = options.minutes.unwrap_or(if nodes > 3000 { 0 } else { 2 }) * 60;
    let seconds = if seconds == 0 { 20 } else { seconds };
    let active = nodes.min(WRITERS);
    let busier = nodes as f64 / active as f64;
    let mut sim = options.standing(nodes, CLAIMS, 0.0);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    sim.warm_up(Duration::from_secs(5));
    for version in 1..=LEARNING {
        for node in 0..active {
            sim.drift(writer(node, active, nodes), 0, CLAIMS.min(64), version);
            sim.drift(writer(node, active, nodes), 1, CLAIMS - 64, version);
        }
        sim.run_for(Duration::from_secs(2));
    }
    sim.warm_up(Duration::from_secs(15));
    let before: Vec<Traffic> = (0..nodes).map(|node| sim.traffic(node)).collect();
    // When each node's measurements move next, and when its next claim comes or goes.
    let periods = [60.0, 600.0].map(|period| Duration::from_secs_f64(period / busier));
    let mut plan: Vec<[Duration; 2]> =
        (0..active).map(|_| periods.map(|period| sim.now() + period.mul_f64(rng.random_range(0.0..1.0)))).collect();
    // How often each of a writer's two pages was written: from one version to the next ten rows move.
    let mut versions = vec![[LEARNING; 2]; active];
    let (start, mut edits, mut next_edit) = (sim.now(), 0, sim.now());
    while sim.now() - start < Duration::from_secs(seconds) {
        let now = sim.now();
        for (node, next) in plan.iter_mut().enumerate() {
            for (kind, period) in periods.into_iter().enumerate() {
                if next[kind] <= now {
                    next[kind] += period;
                    let page = u32::from(rng.random_bool(0.36));
                    let rows = if page == 0 { 64 } else { CLAIMS - 64 };
                    let version = &mut versions[node][page as usize];
                    *version += 1;
                    let version = *version;
                    // A claim that comes or goes changes the number of rows.
                    sim.drift(
                        writer(node, active, nodes),
                        page,
                        rows - usize::from(kind == 1 && version % 2 == 0),
                        version,
                    );
                }
            }
        }
        if next_edit <= now {
            next_edit += Duration::from_secs(1);
            edits += 1;
            sim.edit(rng.random_range(0..nodes), edits % 5000, format!("edit {edits}").as_bytes());
            eprint!("\rsecond {} of {seconds}", (now - start).as_secs());
        }
        sim.run_for(STEP);
    }
    eprintln!();
    let elapsed = (sim.now() - start).as_secs_f64();
    let spent: Vec<Traffic> = (0..nodes).map(|node| sim.traffic(node) - before[node]).collect();
    let mut total = Traffic::default();
    spent.iter().for_each(|traffic| total += *traffic);
    let per_node = |bytes: u64| bytes as f64 / elapsed / nodes as f64 / 1e3;
    let bound = if nodes <= 1000 { 15.0 } else { 70.0 };
    for (kind, name) in KINDS.iter().enumerate() {
        report.row(format!("in: {name}"), per_node(total.bytes_in[kind]), "KB/s");
    }
    report.bounded("bytes in per node", per_node(total.total_in()), "KB/s", bound);
    report.bounded("bytes out per node", per_node(total.total_out()), "KB/s", bound);
    let most = spent.iter().map(|traffic| traffic.total_out()).max().unwrap_or(0);
    report.row("bytes out of the busiest node", most as f64 / elapsed / 1e3, "KB/s");
    report.row(
        "messages in per node",
        total.count_in.iter().take(KINDS.len() - 1).sum::<u64>() as f64 / elapsed / nodes as f64,
        "/s",
    );
    let counts = sim.counts();
    report.row(
        "pages received per new page, learning included",
        (counts.pages_new + counts.pages_again) as f64 / counts.pages_new.max(1) as f64,
        "",
    );
    report.bounded("false verdicts", sim.false_verdicts().verdicts as f64, "", 0.0);
    report.speed(&sim);
}

/// The writers stand all over the mesh.
fn writer(number: usize, active: usize, nodes: usize) -> usize {
    number * (nodes / active)
}
