//! A revoked node is out everywhere within seconds: its links are cut, what it wrote is gone.

use nigh_gossip::{Admission, Owner, sim::Sim};

use super::{Seed, secs, standing};

fn is_out(sim: &Sim, node: usize) -> bool {
    let id = sim.id(node);
    sim.honest().all(|(_, engine)| {
        !engine.replica().is_admitted(id)
            && engine.replica().pages().of(Owner::Node(id)).next().is_none()
            && engine.links().all(|(peer, _)| peer != id)
    })
}

#[test]
fn a_revoked_node_is_out_in_three_seconds_and_stays_out() {
    let seed = Seed::new();
    for loss in [0.0, 0.2] {
        let mut sim = standing(&seed, 40, 100);
        sim.set_loss(loss);
        sim.revoke(3, 17);
        sim.run_until(secs(3), |sim| is_out(sim, 17)).unwrap_or_else(|| panic!("still in after 3 s at loss {loss}"));
        let told = sim.engine(17).unwrap().replica().admission(sim.id(17));
        assert_eq!(told, Admission::Revoked, "it knows why nobody talks to it any more");
        // It tries to come back, and one whose disk is from before does not bring it back.
        sim.back_up(30);
        sim.run_for(secs(20));
        assert!(is_out(&sim, 17));
    }
}

#[test]
fn a_disk_from_before_the_revocation_brings_nothing_back() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 40, 100);
    sim.back_up(30);
    sim.kill(30, false);
    sim.run_for(secs(5));
    sim.revoke(3, 17);
    sim.run_until(secs(3), |sim| is_out(sim, 17)).unwrap();
    sim.roll_back(30);
    sim.start(30);
    sim.run_until(secs(10), |sim| is_out(sim, 17)).unwrap();
    sim.run_for(secs(10));
    assert!(is_out(&sim, 17));
}
