//! A death is known to all in time, however it came; whoever comes back is alive again soon.

use std::time::Duration;

use nigh_gossip::sim::{Index, Sim};

use super::{Seed, secs, standing};

/// How long all may take without loss, and with a fifth of the packets lost.
const BOUND: Duration = Duration::from_millis(1700);
const BOUND_UNDER_LOSS: Duration = Duration::from_millis(2000);

fn known_by_all(sim: &mut Sim, victim: Index) -> Duration {
    let followed = sim.follow_death(victim);
    let others = |sim: &Sim| sim.running().map(|(node, _)| node).filter(|node| *node != victim).collect::<Vec<_>>();
    sim.run_until(secs(20), |sim| others(sim).into_iter().all(|node| sim.death(followed).known_at(node)))
        .unwrap_or_else(|| panic!("the death of node {victim} was never known to all"));
    let everyone = others(sim);
    sim.death(followed).times(everyone).max()
}

#[test]
fn kills_are_known_to_all() {
    let seed = Seed::new();
    for (loss, bound) in [(0.0, BOUND), (0.2, BOUND_UNDER_LOSS)] {
        let mut sim = standing(&seed, 50, 0);
        sim.set_loss(loss);
        sim.run_for(secs(3));
        for (victim, silently) in [(7, false), (19, true), (33, false)] {
            sim.kill(victim, silently);
            let took = known_by_all(&mut sim, victim);
            assert!(took <= bound, "node {victim}: {took:?} at loss {loss}");
            sim.run_for(secs(2));
        }
    }
}

#[test]
fn a_stopped_process_is_dead_and_alive_again_when_it_goes_on() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 50, 0);
    sim.pause(12, secs(6));
    let took = known_by_all(&mut sim, 12);
    assert!(took <= BOUND, "{took:?}");
    let left = secs(6).saturating_sub(took);
    sim.run_for(left);
    let took = sim.run_until(secs(10), Sim::verdicts_are_true).unwrap();
    assert!(took <= secs(3), "alive again after {took:?}");
}
