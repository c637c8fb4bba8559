//! Bytes per node under the reference load: 100 claims a node, ten rows of one page moving each minute, one hard change
//! in ten minutes, and one operator's edit a second.

use std::time::Duration;

use nigh_gossip::sim::{KINDS, Traffic};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{options::Options, report::Report};

const CLAIMS: usize = 100;
const STEP: Duration = Duration::from_millis(50);

pub fn run(options: &Options, report: &mut Report) {
    let nodes = options.nodes_or(200);
    let seconds = options.minutes.unwrap_or(2) * 60;
    let mut sim = options.standing(nodes, CLAIMS, 0.0);
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    sim.warm_up(Duration::from_secs(5));
    // A writer's first sixteen pages of an epoch are floods that teach its tree.
    for version in 1..=16 {
        (0..nodes).for_each(|node| sim.drift(node, 0, CLAIMS.min(64), version));
        sim.run_for(Duration::from_secs(1));
    }
    sim.warm_up(Duration::from_secs(15));
    let before: Vec<Traffic> = (0..nodes).map(|node| sim.traffic(node)).collect();
    // When each node's measurements move next, and when its next claim comes or goes.
    let mut plan: Vec<[Duration; 2]> = (0..nodes)
        .map(|_| [60.0, 600.0].map(|period| sim.now() + Duration::from_secs_f64(rng.random_range(0.0..period))))
        .collect();
    let (start, mut version, mut next_edit) = (sim.now(), 16, sim.now());
    while sim.now() - start < Duration::from_secs(seconds) {
        let now = sim.now();
        for (node, next) in plan.iter_mut().enumerate() {
            for (kind, period) in [(0usize, 60), (1, 600)] {
                if next[kind] <= now {
                    next[kind] += Duration::from_secs(period);
                    version += 1;
                    let page = u32::from(rng.random_bool(0.36));
                    let rows = if page == 0 { 64 } else { CLAIMS - 64 };
                    // A claim that comes or goes changes the number of rows.
                    sim.drift(node, page, rows - usize::from(kind == 1 && version % 2 == 0), version);
                }
            }
        }
        if next_edit <= now {
            next_edit += Duration::from_secs(1);
            sim.edit(rng.random_range(0..nodes), version % 5000, format!("edit {version}").as_bytes());
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
        "pages received per new page",
        (counts.pages_new + counts.pages_again) as f64 / counts.pages_new.max(1) as f64,
        "",
    );
    report.bounded("false verdicts", sim.false_verdicts().verdicts as f64, "", 0.0);
    report.speed(&sim);
}
