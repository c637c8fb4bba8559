//! Whose rows nobody stands behind any more: of the dead, and of all others at a node that was revoked. Which servers are up
//! changes meanwhile, and who answers by such rows has to see that for itself.

use std::net::IpAddr;

use crate::dns::ask;
use crate::fleet::{Fleet, NAMES, ensure, until};
use crate::origins::Origins;
use crate::{AMS, BRU, CPH, whole_mesh};

/// Waits until a node gives this origin first in the cut of another one, or no more.
async fn gives(fleet: &Fleet, asked: usize, cut: usize, origin: usize, wanted: bool) {
    let name = format!("www.{}.lb.test", NAMES[cut]);
    let address: IpAddr = fleet.ground.origin(origin).ip();
    until(&format!("{} answers {name}", NAMES[asked]), async || {
        let reply = ask(fleet.ground.resolver(cut), fleet.ground.dns(asked), &name).await.map_err(|e| e.to_string())?;
        let right = !reply.addresses.is_empty() && (reply.addresses.first() == Some(&address)) == wanted;
        ensure(right, || format!("{address} first: {wanted} is wanted; {reply:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_in_for_a_dead_node_gives_no_server_that_died_after_it() {
    let fleet = Fleet::new();
    let origins = Origins::start(&fleet.ground).await;
    let mut nodes = whole_mesh(&fleet).await;
    gives(&fleet, AMS, BRU, BRU, true).await;
    drop(nodes.remove(BRU));
    until("ams knows that bru is dead", async || {
        let bru = fleet.peer(AMS, BRU).await?;
        ensure(bru["verdict"] == "dead", || bru.to_string())
    })
    .await;
    gives(&fleet, AMS, BRU, BRU, true).await;
    origins.hold(BRU, true);
    gives(&fleet, AMS, BRU, BRU, false).await;
    gives(&fleet, CPH, BRU, BRU, false).await;
    origins.hold(BRU, false);
    gives(&fleet, AMS, BRU, BRU, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_that_is_still_asked_gives_no_server_that_died_since() {
    let fleet = Fleet::new();
    let origins = Origins::start(&fleet.ground).await;
    let _nodes = whole_mesh(&fleet).await;
    gives(&fleet, BRU, AMS, AMS, true).await;
    fleet.operate(AMS, &["revoke", "bru", "--yes"]).await.unwrap();
    until("bru knows", async || {
        let own = fleet.read(BRU, &["status"]).await?;
        ensure(own["admission"]["state"] == "revoked", || own.to_string())
    })
    .await;
    gives(&fleet, BRU, AMS, AMS, true).await;
    origins.hold(AMS, true);
    gives(&fleet, BRU, AMS, AMS, false).await;
    gives(&fleet, BRU, BRU, BRU, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_brings_no_server_back_that_died_meanwhile() {
    let fleet = Fleet::new();
    let origins = Origins::start(&fleet.ground).await;
    let mut nodes = whole_mesh(&fleet).await;
    gives(&fleet, AMS, BRU, BRU, true).await;
    drop(nodes.remove(BRU));
    origins.hold(BRU, true);
    for other in [AMS, CPH] {
        gives(&fleet, other, BRU, BRU, false).await;
    }
    let dead: IpAddr = fleet.ground.origin(BRU).ip();
    let name = format!("www.{}.lb.test", NAMES[BRU]);
    let _bru = fleet.start(BRU, &fleet.settings(BRU));
    let mut right = [0; 3];
    until("bru answers, and has measured", async || {
        for asked in [AMS, BRU, CPH] {
            let Ok(reply) = ask(fleet.ground.resolver(BRU), fleet.ground.dns(asked), &name).await else { continue };
            let first = reply.addresses.first();
            // Until it has heard somebody it knows no better than its last run did.
            if asked == BRU && right[BRU] == 0 && first == Some(&dead) {
                continue;
            }
            assert_ne!(first, Some(&dead), "{} after {right:?} right answers: {reply:?}", NAMES[asked]);
            right[asked] += usize::from(first.is_some());
        }
        let bru = fleet.lines(BRU, "latency").await?;
        let sees = |row: &&serde_json::Value| row["node"] == "bru" && row["state"] == "down";
        let fresh = |row: &serde_json::Value| !row["why"].as_str().unwrap_or_default().contains("last run");
        ensure(bru.iter().find(sees).is_some_and(fresh), || format!("{right:?} {bru:?}"))
    })
    .await;
    assert!(right.iter().all(|right| *right > 0), "{right:?}");
}
