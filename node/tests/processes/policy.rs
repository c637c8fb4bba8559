//! An operator's policy in a real mesh: seen before it is applied, applied, and answered by.

use std::fs;
use std::net::IpAddr;

use nigh::measure::load::STEP;

use super::{ALL, AMS, BRU, CPH, QUICK, ask, catalogue, whole_mesh};
use crate::fleet::{Fleet, NAMES, ensure, until};
use crate::origins::Origins;

/// Waits until a node answers a resolver near ams with this origin.
async fn answers(fleet: &Fleet, at: usize, origin: usize) {
    until("the answer is the right one", async || {
        let from = fleet.ground.resolver(AMS);
        let reply = ask(from, fleet.ground.dns(at), "www.ams.lb.test").await.map_err(|e| e.to_string())?;
        ensure(reply.addresses == [fleet.ground.origin(origin).ip()], || {
            format!("{} at {}", addresses(&reply.addresses), NAMES[at])
        })
    })
    .await;
}

fn addresses(addresses: &[IpAddr]) -> String {
    format!("{addresses:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_foreseen_applied_and_answered_by() {
    let fleet = Fleet::new();
    let origins = Origins::start(&fleet.ground).await;
    let _nodes = whole_mesh(&fleet).await;
    let plain = catalogue(&fleet.ground, QUICK);
    answers(&fleet, AMS, AMS).await;

    // What an override would change is told, for whom, and nothing is done.
    let file = fleet.ground.file("foreseen.toml");
    let (file, key) = (file.to_str().unwrap(), fleet.ground.file("operator.key"));
    let key = key.to_str().unwrap();
    let network = fleet.ground.network(AMS);
    let pin = format!("[[service.override]]\nprefix = \"{network}\"\nservers = [\"cph\"]\n");
    fs::write(file, plain.replacen("[[service.server]]", &format!("{pin}[[service.server]]"), 1)).unwrap();
    let said = fleet.read(BRU, &["apply", file, "--key", key, "--dry-run"]).await.unwrap();
    let service = &said["preview"]["services"][0];
    assert_eq!(service["service"], "www.lb.test", "{said}");
    let changes = service["changes"].as_array().unwrap();
    let at_ams = changes.iter().find(|change| change["node"] == "ams").unwrap();
    assert_eq!(at_ams["clients"], network.as_str(), "{at_ams}");
    assert_eq!(at_ams["before"]["servers"][0]["server"], "ams", "{at_ams}");
    assert_eq!(at_ams["after"]["servers"][0]["server"], "cph", "{at_ams}");
    assert_eq!(at_ams["examples"][0], network.as_str(), "{at_ams}");
    answers(&fleet, AMS, AMS).await;

    // A server that is drained at one node is drained at all, and an edit of the file does not bring it back.
    let edit = async |what: &str| fleet.nigh(CPH, &["server", what, "www.lb.test", "ams", "--key", key]).await.unwrap();
    let told = edit("drain").await;
    assert!(told.contains("state not said -> drain; taken by cph"), "{told}");
    answers(&fleet, AMS, BRU).await;
    fleet.apply(AMS, &plain.replace("mode = \"refer\"", "mode = \"refer\"\nttl = 19")).await;
    let from = fleet.ground.resolver(AMS).to_string();
    until("ams explains it", async || {
        let said = fleet.read(AMS, &["explain", "www.ams.lb.test", "--from", &from]).await?;
        let servers = said["servers"].as_array().cloned().unwrap_or_default();
        let drained = servers.iter().find(|server| server["id"] == "ams").cloned().unwrap_or_default();
        let ttl = said["answer"][0].as_str().unwrap_or_default().contains(" 19 ");
        ensure(ttl && drained["duty"] == "drain" && drained["chosen"] == false, || said.to_string())
    })
    .await;
    assert!(edit("drain").await.contains("already; nothing was done"));
    edit("ready").await;
    answers(&fleet, AMS, AMS).await;

    // A busy server is left for a farther one that is idle, and all nodes know how busy it is.
    origins.report(AMS, 90);
    origins.report(BRU, 10);
    origins.report(CPH, 80);
    let by_load = "mode = \"refer\"\nobjective = { latency = 1.0, load = 10 }";
    fleet.apply(BRU, &plain.replacen("mode = \"refer\"", by_load, 1)).await;
    answers(&fleet, AMS, BRU).await;
    for at in ALL {
        until("the load is known everywhere", async || {
            let rows = fleet.lines(at, "latency").await?;
            let row = rows.iter().find(|row| row["node"] == "ams" && row["server"] == "ams");
            let load = row.and_then(|row| row["load"].as_f64());
            ensure(load.is_some_and(|load| (load - 0.9).abs() < f64::from(STEP)), || format!("{row:?}"))
        })
        .await;
    }
}
