//! Operator keys that rotate, in a mesh that goes on answering.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hickory_proto::op::ResponseCode;
use nigh::admin::Client;
use nigh::catalogue::hlc;
use nigh::certificate;
use nigh::identity::{self, Kind};
use nigh_gossip::{Appointment, Page, Rights, admission};
use serde_json::Value;

use crate::dns::ask;
use crate::fleet::{Fleet, NAMES, Settings, ensure, until};
use crate::origins::{Origins, catalogue};
use crate::{ALL, AMS, BRU, CPH, whole_mesh};

/// Asks every node, again and again, for its own resolvers.
struct Askers {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Askers {
    fn start(fleet: &Fleet) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = ALL.map(|at| {
            let (from, to) = (fleet.ground.resolver(at), fleet.ground.dns(at));
            let (stop, asked) = (stop.clone(), asked.clone());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let reply = ask(from, to, "www.lb.test").await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    let good = reply
                        .as_ref()
                        .is_ok_and(|reply| reply.code == ResponseCode::NoError && !reply.addresses.is_empty());
                    if !good {
                        failed.push(format!("{}: {reply:?}", NAMES[at]));
                    }
                    tokio::task::yield_now().await;
                }
                failed
            })
        });
        Self { stop, asked, tasks: tasks.into() }
    }

    /// How many questions there were; an error if one was not answered.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            assert_eq!(task.await.unwrap(), Vec::<String>::new());
        }
        self.asked.load(Ordering::Relaxed)
    }
}

fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

/// State, records and admissions of a key, as a node has it.
async fn key(fleet: &Fleet, at: usize, name: &str, state: &str) -> Result<(u64, u64), String> {
    let lines = fleet.read(at, &["operator", "list"]).await?;
    let line = |line: &&Value| line["name"] == name && line["state"] == state;
    let line = lines.as_array().unwrap().iter().find(line).ok_or_else(|| format!("at {}: {lines}", NAMES[at]))?;
    Ok((line["catalogue"].as_u64().unwrap(), line["admissions"].as_u64().unwrap()))
}

/// Whoever has this key and speaks to the node himself, past the commands that would tell him so, is refused: an edit above
/// all that is held, a revocation, and his own appointment.
async fn refused_at(fleet: &Fleet, at: usize, file: &str) {
    let key = identity::load(Path::new(file), Kind::Operator).unwrap();
    let client = Client::new(&fleet.socket(at));
    let held = client.catalogue().await.unwrap();
    let (edit, now) = (&held[0], hlc::unix_millis());
    let node = fleet.id(AMS).parse().unwrap();
    let itself =
        Appointment { operator: identity::public(&key), name: "me".into(), appointed: true, rights: Rights::ALL };
    for (page, why) in [
        (Page::sign(&key, edit.key(), now, 0, edit.body().to_vec()), "has not appointed for this"),
        (admission::revoke(&key, node, now, 0), "has not appointed for this"),
        (itself.sign(&key, now, 0), "only the root key of mesh"),
    ] {
        let refused = client.submit(&[page]).await.unwrap_err().to_string();
        assert!(refused.contains(why), "at {}: {refused}", NAMES[at]);
    }
    assert_eq!(client.catalogue().await.unwrap(), held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_while_every_question_is_answered() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let mut nodes = whole_mesh(&fleet).await;
    let [root, daily, next] = ["operator.key", "daily.key", "next.key"].map(|file| text(fleet.ground.file(file)));
    let askers = Askers::start(&fleet);
    let rotate = async |from: &str, to: &str, name: &str| {
        let args = ["operator", "rotate", "--key", &root, "--from", from, "--to", to, "--name", name];
        fleet.nigh(AMS, &args).await.unwrap()
    };

    let before = key(&fleet, AMS, "root", "root").await.unwrap();
    assert!(before.0 > 0 && before.1 == 3, "{before:?}");
    let said = rotate(&root, &daily, "daily").await;
    assert!(said.contains("stays the root of this mesh"), "{said}");
    for at in ALL {
        until("the root signs nothing any more", async || {
            let now = (key(&fleet, at, "root", "root").await?, key(&fleet, at, "daily", "appointed").await?);
            ensure(now == ((0, 0), before), || format!("{now:?}"))
        })
        .await;
    }
    let said = rotate(&daily, &next, "next").await;
    assert!(said.contains("\ndismissed daily (") && said.ends_with("delete it, and its copies.\n"), "{said}");
    for at in ALL {
        until("the old key is gone", async || {
            let now = (key(&fleet, at, "daily", "dismissed").await?, key(&fleet, at, "next", "appointed").await?);
            ensure(now == ((0, 0), before), || format!("{now:?}"))
        })
        .await;
    }
    // Only the new one edits.
    let file = text(fleet.ground.file("services.toml"));
    fs::write(&file, catalogue(&fleet.ground, "interval = \"300ms\"\ntimeout = \"200ms\"\nrise = 1")).unwrap();
    for at in ALL {
        let refused = fleet.nigh(at, &["apply", &file, "--key", &daily]).await.unwrap_err();
        assert!(refused.contains("is the key of daily, which was dismissed on "), "{refused}");
        refused_at(&fleet, at, &daily).await;
    }
    let said = fleet.nigh(BRU, &["apply", &file, "--key", &next]).await.unwrap();
    assert!(said.contains(" changed, 0 removed)"), "{said}");
    let asked = askers.end().await;
    assert!(asked > 300, "{asked} questions");

    // Its certificate file leads back to the root by the new key; so it starts with its disk, and without.
    for at in ALL {
        until("the new certificate is on disk", async || {
            let kept =
                certificate::read(&fleet.state(at).join(certificate::FILE)).map_err(|error| error.to_string())?;
            let name = kept.appointment.and_then(|page| page.appointment().map(|appointment| appointment.name.clone()));
            ensure(name.as_deref() == Some("next"), || format!("by {name:?}"))
        })
        .await;
    }
    drop(nodes.remove(CPH));
    drop(nodes.remove(BRU));
    for lost in ["replica", "epoch", "cuts.json"] {
        fs::remove_file(fleet.state(CPH).join(lost)).ok();
    }
    nodes.extend([BRU, CPH].map(|node| fleet.start(node, &fleet.settings(node))));
    fleet.joined(&ALL).await;

    // A newcomer takes the place of a node that is no more: of it the root has never heard. Its certificate is issued where
    // no node is in reach, and shows the way to the root.
    drop(nodes.pop());
    let old = fleet.id(CPH);
    fleet.nigh(BRU, &["revoke", "cph", "--key", &next, "--yes"]).await.unwrap();
    fs::remove_dir_all(fleet.state(CPH)).unwrap();
    nodes.push(fleet.start(CPH, &Settings { admitted: false, ..fleet.settings(CPH) }));
    until("it has made its key", async || {
        ensure(fleet.socket(CPH).exists() && fleet.read(CPH, &["status"]).await.is_ok(), || fleet.log(CPH))
    })
    .await;
    drop(nodes.pop());
    let (id, out) = (fleet.id(CPH), text(fleet.state(CPH).join(certificate::FILE)));
    assert_ne!(id, old);
    let prefixes = [CPH, AMS].map(|of| fleet.ground.network(of));
    let args = ["admit", &id, "--name", "cph", "--key", &next, "--out", &out];
    let args = [&args[..], &["--prefix", &prefixes[0], "--prefix", &prefixes[1]]].concat();
    fleet.nigh(AMS, &args).await.unwrap();
    nodes.push(fleet.start(CPH, &fleet.settings(CPH)));
    fleet.joined(&ALL).await;
    refused_at(&fleet, CPH, &daily).await;
}

/// Its key was stolen: it goes at once, with what it signed, and what the root signs takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dismissal_by_force_shuts_out_whom_only_that_key_admitted() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let _nodes = whole_mesh(&fleet).await;
    let anna = text(fleet.ground.file("anna.key"));
    fleet.operate(AMS, &["operator", "appoint", "--name", "anna", "--operator-key", &anna]).await.unwrap();
    let id = fleet.id(CPH);
    let prefixes = [CPH, AMS].map(|of| fleet.ground.network(of));
    let admit = ["admit", &id, "--name", "cph", "--prefix", &prefixes[0], "--prefix", &prefixes[1], "--key"];
    fleet.nigh(BRU, &[&admit[..], &[&anna]].concat()).await.unwrap();
    until("ams has it by anna", async || {
        ensure(key(&fleet, AMS, "anna", "appointed").await? == (0, 1), || "not yet".into())
    })
    .await;
    let refused = fleet.operate(AMS, &["operator", "dismiss", "anna"]).await.unwrap_err();
    assert!(refused.contains("0 catalogue records and 1 admission record are signed by anna alone"), "{refused}");
    fleet.operate(AMS, &["operator", "dismiss", "anna", "--force"]).await.unwrap();
    for at in [AMS, BRU] {
        until("cph is gone", async || {
            let peers = fleet.lines(at, "peers").await?;
            ensure(peers.iter().all(|peer| peer["id"] != *id), || format!("{peers:?}"))
        })
        .await;
    }
    until("cph knows why nobody talks to it any more", async || {
        let own = fleet.read(CPH, &["status"]).await?;
        let warnings = own["warnings"].to_string();
        ensure(warnings.contains("the key that admitted it was dismissed"), || own.to_string())
    })
    .await;
    let key = text(fleet.ground.file("operator.key"));
    fleet.nigh(BRU, &[&admit[..], &[&key]].concat()).await.unwrap();
    fleet.joined(&ALL).await;
}
