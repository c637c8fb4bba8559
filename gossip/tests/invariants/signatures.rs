//! Nothing is stored that its owner did not sign, whatever lies between.

use nigh_gossip::{
    Owner, Page,
    sim::{Lie, Sim},
};

use super::{ROWS, Seed, read, secs, standing};

#[test]
fn relays_that_alter_pages_are_cut_off_and_alter_nothing() {
    let seed = Seed::new();
    let mut sim = standing(&seed, 30, 0);
    (0..4).for_each(|node| sim.corrupt(node * 5, Lie::Mutate));
    for version in 0..10u8 {
        for writer in [1, 11, 21] {
            sim.publish(writer, ROWS, 0, &[version, u8::try_from(writer).unwrap()]);
        }
        sim.run_for(secs(1));
    }
    assert!(sim.unreadable() > 20, "only {} altered messages", sim.unreadable());
    let right = |sim: &Sim| {
        [1, 11, 21].iter().all(|&writer| {
            sim.honest().all(|(node, _)| read(sim, node, writer, 0) == Some(vec![9, u8::try_from(writer).unwrap()]))
        })
    };
    sim.run_until(secs(10), right).unwrap();
    for (_, engine) in sim.honest() {
        for page in engine.replica().pages().iter() {
            let again = Page::from_bytes(&page.to_bytes()).unwrap();
            assert_eq!(&again, page);
            assert!(!matches!(page.key().owner, Owner::Node(owner) if owner != page.signer()));
        }
    }
}
