//! Who may be here: strangers, the revoked, the wrong certificates, and two processes with one key.

use std::fs;

use hickory_proto::op::ResponseCode;
use nigh::certificate;
use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::dns::ask;
use crate::fleet::{Fleet, NAMES, Settings, ensure, until};
use crate::origins::{Origins, catalogue};
use crate::{ALL, AMS, BRU, CPH, QUICK, whole_mesh};

/// What was asked of a revocation.
const GONE_WITHIN: Duration = Duration::from_secs(3);

async fn status(fleet: &Fleet, at: usize) -> Result<Value, String> {
    fleet.read(at, &["status"]).await
}

/// Whether a node's status warns of this.
fn warns(status: &Value, of: &str) -> bool {
    status["warnings"].as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains(of))
}

/// An error while anything of a node is left at another one.
async fn forgotten(fleet: &Fleet, at: usize, id: &str, name: &str) -> Result<(), String> {
    let peers = fleet.lines(at, "peers").await?;
    ensure(peers.iter().all(|peer| peer["id"] != id), || format!("at {}: {peers:?}", NAMES[at]))?;
    for report in ["claims", "latency"] {
        let lines = fleet.lines(at, report).await?;
        ensure(lines.iter().all(|line| line["node"] != name), || format!("at {}: {lines:?}", NAMES[at]))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_meets_nobody_says_what_became_of_its_first_contacts() {
    let fleet = Fleet::new();
    let nobody = fleet.ground.mesh(80).to_string();
    let settings = Settings { bootstrap: vec![nobody.clone()], ..fleet.settings(BRU) };
    let _bru = fleet.start(BRU, &settings);
    let lonely = until("it says so", async || {
        let own = status(&fleet, BRU).await?;
        ensure(warns(&own, "NO OTHER NODE is reached") && warns(&own, &nobody), || format!("{own:#}"))?;
        Ok(own)
    })
    .await;
    assert!(warns(&lonely, "are they up, and is their mesh port open"), "{lonely:#}");

    // Of another mesh: to be admitted would not help, so nobody is told to.
    let _ams = fleet.start(AMS, &fleet.settings(AMS));
    let settings = Settings { admitted: false, ..fleet.settings(CPH) };
    let config = fleet.config(CPH, &settings).replace(&fleet.mesh_id, &fleet.id(CPH));
    let _cph = fleet.start_with(CPH, &config);
    let foreign = until("it says whose node it met", async || {
        let own = status(&fleet, CPH).await?;
        ensure(warns(&own, "it is of another mesh") && warns(&own, "is mesh.id the one"), || format!("{own:#}"))?;
        Ok(own)
    })
    .await;
    assert!(!warns(&foreign, "NOT ADMITTED"), "{foreign:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_nothing_until_it_is_admitted_live_through_another_node() {
    let fleet = Fleet::new();
    let _nodes = [AMS, BRU].map(|node| fleet.start(node, &fleet.settings(node)));
    fleet.joined(&[AMS, BRU]).await;
    fleet.apply(AMS, &catalogue(&fleet.ground, QUICK)).await;
    let _cph = fleet.start(CPH, &Settings { admitted: false, ..fleet.settings(CPH) });
    until("cph was turned away at least once", async || {
        ensure(fleet.log(BRU).contains("closing: no certificate that holds"), || fleet.log(BRU))
    })
    .await;

    let id = fleet.id(CPH);
    let own = status(&fleet, CPH).await.unwrap();
    let command = format!("nigh admit {id} --name cph --prefix {}", fleet.ground.network(CPH));
    assert_eq!(own["admission"]["state"], "waiting");
    assert!(warns(&own, "NOT ADMITTED") && warns(&own, &command), "{own:#}");
    assert_eq!((&own["mesh"]["members"], &own["catalogue"]["services"]), (&1.into(), &0.into()), "{own:#}");
    assert_eq!(fleet.log(CPH).matches(&command).count(), 1, "once a minute: {}", fleet.log(CPH));
    let claims = fleet.lines(CPH, "claims").await.unwrap();
    assert!(claims.iter().all(|claim| claim["void"] == true && claim["best"] == false), "{claims:?}");
    for at in [AMS, BRU] {
        forgotten(&fleet, at, &id, "cph").await.unwrap();
        assert_eq!(fleet.lines(at, "members").await.unwrap().len(), 2);
    }

    // As the warning says, at a node that cph is not linked to by itself.
    let prefixes = [CPH, AMS].map(|of| fleet.ground.network(of));
    let args = ["admit", &id, "--name", "cph", "--prefix", &prefixes[0], "--prefix", &prefixes[1]];
    let said = fleet.operate(AMS, &args).await.unwrap();
    assert!(said.starts_with(&format!("admitted {id} as cph, until ")), "{said}");
    fleet.joined(&ALL).await;
    until("cph has the catalogue, and knows that it is a member", async || {
        let own = status(&fleet, CPH).await?;
        let good = own["admission"]["state"] == "admitted" && own["catalogue"]["services"] == 2;
        ensure(good && !warns(&own, "ADMITTED"), || own.to_string())
    })
    .await;
    let kept = certificate::read(&fleet.state(CPH).join(certificate::FILE)).unwrap();
    assert_eq!(kept.certificate.certificate().unwrap().name, "cph");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_is_gone_everywhere_at_once_and_does_not_come_back() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let mut nodes = whole_mesh(&fleet).await;
    let id = fleet.id(BRU);
    let theirs = async |at: usize| ask(fleet.ground.resolver(AMS), fleet.ground.dns(at), "www.bru.lb.test").await;
    for at in [AMS, CPH] {
        until("a backup answers for bru", async || {
            let answer = theirs(at).await.map_err(|error| error.to_string())?;
            ensure(!answer.addresses.is_empty(), || format!("{answer:?}"))
        })
        .await;
    }

    let revoked = Instant::now();
    let said = fleet.operate(AMS, &["revoke", "bru", "--yes"]).await.unwrap();
    assert!(said.starts_with(&format!("{id} is bru, admitted and alive.\n")), "{said}");
    for at in [AMS, CPH] {
        until("bru is gone", async || {
            forgotten(&fleet, at, &id, "bru").await?;
            let peers = fleet.lines(at, "peers").await?;
            let backed = peers.iter().any(|peer| peer["cuts"].as_array().unwrap().contains(&"bru".into()));
            ensure(!backed, || format!("{peers:?}"))?;
            let referred = ask(fleet.ground.resolver(BRU), fleet.ground.dns(at), "www.lb.test").await;
            let referred = referred.map_err(|error| error.to_string())?;
            let answered =
                referred.code == ResponseCode::NoError && !referred.aliases.contains(&"www.bru.lb.test".into());
            ensure(answered, || format!("{referred:?}"))
        })
        .await;
        let members = fleet.lines(at, "members").await.unwrap();
        let bru = members.iter().find(|member| member["id"] == *id).unwrap();
        assert_eq!((&bru["admission"], &bru["linked"]), (&"revoked".into(), &false.into()), "{bru}");
    }
    assert!(revoked.elapsed() < GONE_WITHIN, "{:?}", revoked.elapsed());
    // Nobody is sent to its cut any more; who was before, and remembers, still gets an answer from the backups.
    assert!(!theirs(AMS).await.unwrap().addresses.is_empty());

    until("bru knows why nobody talks to it any more", async || {
        let own = status(&fleet, BRU).await?;
        let told = own["admission"]["state"] == "revoked" && warns(&own, &format!("nigh admit {id} --name bru"));
        ensure(told && own["mesh"]["links"] == 0, || own.to_string())
    })
    .await;

    // Again with all that it had: key, certificate, remembered pages and addresses.
    assert!(fleet.state(BRU).join(certificate::FILE).exists());
    drop(nodes.remove(BRU));
    let _bru = fleet.start(BRU, &fleet.settings(BRU));
    until("bru finds nobody who talks to it", async || {
        let own = status(&fleet, BRU).await?;
        ensure(warns(&own, "most members are silent") || warns(&own, "REVOKED"), || own.to_string())
    })
    .await;
    for at in [AMS, CPH] {
        forgotten(&fleet, at, &id, "bru").await.unwrap();
    }
    // A new certificate is above the revocation.
    let prefixes = [BRU, CPH].map(|of| fleet.ground.network(of));
    let args = ["admit", &id, "--name", "bru", "--prefix", &prefixes[0], "--prefix", &prefixes[1]];
    fleet.operate(CPH, &args).await.unwrap();
    fleet.joined(&ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_cannot_be_right_keeps_the_node_from_starting() {
    let fleet = Fleet::new();
    let file = |node: usize| fleet.state(node).join(certificate::FILE);
    let refused = async |what: &str| {
        let code = fleet.start(AMS, &fleet.settings(AMS)).exit_code().await;
        let log = fleet.log(AMS);
        let last = log.lines().last().unwrap_or_default().to_owned();
        assert!(matches!(code, 65 | 76) && last.contains(what), "{what} is not in\n{log}");
        last
    };
    fleet.certify(BRU, "bru", 3600).unwrap();
    fleet.certify(AMS, "ams", 3600).unwrap();
    fs::copy(file(BRU), file(AMS)).unwrap();
    let said = refused("the certificate of node ").await;
    assert!(said.contains(&fleet.id(AMS)) && said.contains(&fleet.id(BRU)), "{said}");

    fleet.certify(AMS, "ams", -10).unwrap();
    let said = refused(": ended on ").await;
    assert!(said.contains(&format!("renew it: nigh admit {} --name ams ", fleet.id(AMS))), "{said}");

    fleet.certify(AMS, "bru", 3600).unwrap();
    refused("admits this node as bru, but node.name is ams").await;
    fs::write(file(AMS), "nigh-certificate-1:AAAA\n").unwrap();
    refused("no certificate, or a damaged one").await;
    assert!(!fleet.socket(AMS).exists(), "nothing was opened");

    fs::remove_file(file(AMS)).unwrap();
    let none = fleet.ground.file("none");
    let config = fleet.config(AMS, &fleet.settings(AMS));
    let config = config.replace("[mesh]\n", &format!("[mesh]\ncertificate = {none:?}\n"));
    assert_eq!(fleet.start_with(AMS, &config).exit_code().await, 66);
    assert!(fleet.log(AMS).contains("none: no such file, but mesh.certificate names it"), "{}", fleet.log(AMS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_bounds_the_claims_and_warns_before_it_ends() {
    let fleet = Fleet::new();
    let mut nodes = Vec::from([AMS, BRU].map(|node| fleet.start(node, &fleet.settings(node))));
    fleet.joined(&[AMS, BRU]).await;
    let (own, next) = (fleet.ground.network(BRU), fleet.ground.network(CPH));
    let args = ["admit", &fleet.id(BRU), "--name", "bru", "--prefix", &own, "--days", "10"];
    let said = fleet.operate(AMS, &args).await.unwrap();
    assert!(said.starts_with("renewed ") && said.contains("until now it might claim within "), "{said}");
    for at in [AMS, BRU] {
        until("the claim that it does not allow is void", async || {
            let claims = fleet.lines(at, "claims").await?;
            let of = |prefix: &str| claims.iter().find(|claim| claim["prefix"] == prefix && claim["node"] == "bru");
            let (good, bad) = (of(&own).ok_or("none")?, of(&next).ok_or("none")?);
            ensure(good["void"] == false && bad["void"] == true && bad["best"] == false, || format!("{claims:?}"))?;
            let own = status(&fleet, at).await?;
            ensure(warns(&own, &format!("node bru claims {next}, which its certificate does not allow")), || {
                own.to_string()
            })
        })
        .await;
    }
    assert!(warns(&status(&fleet, BRU).await.unwrap(), "this node's certificate ends on "));
    assert!(!warns(&status(&fleet, AMS).await.unwrap(), "certificate ends on "));

    // The file of its first start does not bring the old one back.
    until("the new one is on disk", async || {
        let kept = certificate::read(&fleet.state(BRU).join(certificate::FILE)).map_err(|e| e.to_string())?;
        ensure(kept.certificate.certificate().unwrap().prefixes.len() == 1, || "the old one".into())
    })
    .await;
    drop(nodes.pop());
    let _bru = fleet.start(BRU, &Settings { bootstrap: Vec::new(), ..fleet.settings(BRU) });
    until("bru runs again", async || {
        let own = status(&fleet, BRU).await?;
        ensure(own["admission"]["state"] == "admitted" && warns(&own, "certificate ends on "), || own.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_copied_state_one_goes_silent_and_says_so() {
    let fleet = Fleet::new();
    let _nodes = ALL.map(|node| fleet.start(node, &fleet.settings(node)));
    fleet.joined(&ALL).await;
    // As a virtual machine is cloned: the same folder, elsewhere.
    let (state, socket) = (fleet.ground.file("twin.state"), fleet.ground.file("twin.sock"));
    fs::create_dir(&state).unwrap();
    for file in fs::read_dir(fleet.state(CPH)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), state.join(file.file_name())).ok(); // one may just be renamed
    }
    let config = fleet
        .config(CPH, &fleet.settings(CPH))
        .replace(&fleet.state(CPH).display().to_string(), &state.display().to_string())
        .replace(&fleet.socket(CPH).display().to_string(), &socket.display().to_string())
        .replace(&fleet.ground.mesh(CPH).to_string(), &fleet.ground.mesh(70).to_string())
        .replace(&fleet.ground.dns(CPH).to_string(), &fleet.ground.dns(70).to_string())
        .replace(&format!("source = [\"{}\"]", fleet.ground.dns(CPH).ip()), "source = []");
    let _twin = fleet.start_beside("twin", &config);
    until("one of the two is silent", async || {
        let mut states = Vec::new();
        for socket in [&fleet.socket(CPH), &socket] {
            let own: Value = fleet.read_at(socket, &["status"]).await?;
            let says = own["admission"]["silenced"] == true;
            states.push((says && warns(&own, "SILENT: another process runs with this node's key"), own));
        }
        let silent = states.iter().filter(|(silent, _)| *silent).count();
        ensure(silent == 1, || format!("{states:?}"))
    })
    .await;
}
