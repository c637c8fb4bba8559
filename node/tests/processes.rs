//! The real binary as real processes on loopback: joining, explaining, draining, refusing to start, starting again.
//!
//! Each test has addresses and a folder of its own, so all may run at once, beside demos and other checkouts. What
//! should happen is waited for with a deadline; what should not, is looked for when it could have happened.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "processes/admission.rs"]
mod admission;
mod described;
#[path = "processes/dns.rs"]
mod dns;
#[path = "processes/fleet.rs"]
mod fleet;
#[path = "processes/ground.rs"]
mod ground;
#[path = "processes/hearsay.rs"]
mod hearsay;
#[path = "processes/openapi.rs"]
mod openapi;
#[path = "processes/operators.rs"]
mod operators;
#[path = "processes/origins.rs"]
mod origins;
#[path = "processes/policy.rs"]
mod policy;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;

use hickory_proto::op::ResponseCode;
use nigh::identity::{self, Kind};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use dns::{Reply, ask, question, reply};
use fleet::{Fleet, NAMES, Process, ensure, until};
use origins::{Origins, catalogue};

const AMS: usize = 0;
const BRU: usize = 1;
const CPH: usize = 2;
const ALL: [usize; 3] = [AMS, BRU, CPH];
/// Probes that are soon in, and sure of a server as soon as it answered once.
const QUICK: &str = "interval = \"200ms\"\ntimeout = \"200ms\"\nrise = 1";

/// All nodes, with the catalogue applied at the last one and every origin measured.
async fn whole_mesh(fleet: &Fleet) -> Vec<Process> {
    let processes = ALL.map(|node| fleet.start(node, &fleet.settings(node))).into();
    fleet.joined(&ALL).await;
    fleet.apply(CPH, &catalogue(&fleet.ground, QUICK)).await;
    fleet.measured(&ALL, 2).await;
    processes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_bootstrap_peer_keeps_nobody_out_and_a_killed_node_finds_back_by_what_it_learnt() {
    let fleet = Fleet::new();
    let nobody = fleet.ground.mesh(80).to_string();
    let [_ams, bru, _cph] = ALL.map(|node| {
        let mut settings = fleet.settings(node);
        settings.bootstrap.insert(0, nobody.clone());
        fleet.start(node, &settings)
    });
    fleet.joined(&ALL).await;
    let before = fleet.peer(AMS, BRU).await.unwrap();
    until("bru remembers the others", async || {
        let replica = fs::read(fleet.state(BRU).join("replica")).unwrap_or_default();
        let holds = |node| {
            let address = fleet.ground.mesh(node).to_string();
            replica.windows(address.len()).any(|bytes| bytes == address.as_bytes())
        };
        ensure(holds(AMS) && holds(CPH), || format!("{} bytes", replica.len()))
    })
    .await;

    // Dropped is killed: SIGKILL. At its new address nobody can find it, so it is bru that calls.
    let mut settings = fleet.settings(BRU);
    settings.mesh = fleet.ground.mesh(81).to_string();
    settings.bootstrap.clear();
    drop(bru);
    let _bru = fleet.start(BRU, &settings);
    until("bru is back", async || {
        for at in ALL {
            let bru = fleet.peer(at, BRU).await?;
            let back = bru["verdict"] == "alive" && bru["mesh_addresses"][0] == settings.mesh.as_str();
            ensure(back && (at == BRU || bru["linked"] == true), || format!("at {}: {bru}", NAMES[at]))?;
        }
        Ok(())
    })
    .await;
    let after = fleet.peer(AMS, BRU).await.unwrap();
    assert_eq!(after["id"], before["id"]);
    assert!(after["incarnation"].as_u64() > before["incarnation"].as_u64(), "{before} {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_was_lost_refuses_nobody_before_it_knows_the_zones_again() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let mut nodes = whole_mesh(&fleet).await;
    until("bru stands in for the others", async || {
        let bru = fleet.peer(AMS, BRU).await?;
        let cuts = bru["cuts"].as_array().map_or(0, Vec::len);
        ensure(cuts == NAMES.len(), || format!("{bru}"))
    })
    .await;
    drop(nodes.remove(BRU));
    for lost in ["replica", "epoch", "cuts.json"] {
        fs::remove_file(fleet.state(BRU).join(lost)).ok();
    }
    let _bru = fleet.start(BRU, &fleet.settings(BRU));
    let socket = tokio::net::UdpSocket::bind((fleet.ground.resolver(BRU), 0)).await.unwrap();
    socket.connect(fleet.ground.dns(BRU)).await.unwrap();
    let mut packet = vec![0; 4096];
    let codes = until("bru answers again", async || {
        // Until its port is bound the kernel refuses; after that, questions wait.
        socket.send(&question("www.bru.lb.test")).await.ok();
        let told = tokio::time::timeout(Duration::from_millis(20), socket.recv(&mut packet)).await;
        let length = told.map_err(|_| "silence")?.map_err(|error| error.to_string())?;
        Ok(reply(&packet[..length]))
    })
    .await;
    assert_eq!(codes.code, ResponseCode::NoError, "{codes:?}");
    // Resolvers hold it for a server of the other cuts too: a referral from there would be a lame answer.
    let second = Instant::now() + Duration::from_secs(1);
    while Instant::now() < second {
        socket.send(&question("www.ams.lb.test")).await.unwrap();
        let length = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut packet)).await.unwrap().unwrap();
        let stood_in = reply(&packet[..length]);
        assert!(!stood_in.addresses.is_empty(), "it forgot that it stood in for ams: {stood_in:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_an_older_copy_still_serves_the_cuts_that_it_took_on_since() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let files = ["replica", "epoch", "cuts.json"];
    let state = |file: &str| fleet.state(BRU).join(file);
    // As it is before there is anybody to stand in for.
    let mut alone = fleet.start(BRU, &fleet.settings(BRU));
    until("bru serves itself", async || {
        let bru = fleet.peer(BRU, BRU).await?;
        ensure(bru["cuts"].as_array().is_some_and(|cuts| cuts.len() == 1), || bru.to_string())
    })
    .await;
    alone.terminate();
    assert_eq!(alone.exit_code().await, 0);
    for file in files {
        fs::copy(state(file), state(&format!("{file}.old"))).unwrap();
    }
    let mut nodes = whole_mesh(&fleet).await;
    let stands_in = async || {
        let bru = fleet.peer(AMS, BRU).await?;
        let cuts = bru["cuts"].as_array().map_or(0, Vec::len);
        ensure(bru["verdict"] == "alive" && cuts == NAMES.len(), || format!("{bru}"))
    };
    until("bru stands in for the others", stands_in).await;
    drop(nodes.remove(BRU));
    for file in files {
        fs::rename(state(&format!("{file}.old")), state(file)).unwrap();
    }
    let began = fleet.log(BRU).len();
    let _bru = fleet.start(BRU, &fleet.settings(BRU));
    until("bru serves them again", async || {
        let bru = fleet.peer(BRU, BRU).await?;
        ensure(bru["cuts"].as_array().is_some_and(|cuts| cuts.len() == NAMES.len()), || bru.to_string())
    })
    .await;
    let log = fleet.log(BRU).split_off(began);
    assert!(!log.contains("standing in as a backup"), "it had to take them on anew: {log}");
}

/// An explanation without what is a node's own: the number of its snapshot, and the time since it heard of a row.
async fn explain(fleet: &Fleet, asked: usize, at: usize, name: &str, from: &str) -> Result<Value, String> {
    let mut json = fleet.read(asked, &["explain", name, "--from", from, "--at", NAMES[at]]).await?;
    json.as_object_mut().unwrap().remove("snapshot").unwrap();
    for server in json["servers"].as_array_mut().unwrap() {
        server.as_object_mut().unwrap().remove("age_s").unwrap();
    }
    Ok(json)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_is_told_all_know_and_each_explains_for_every_other() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let _nodes = whole_mesh(&fleet).await;
    let services = fleet.lines(CPH, "services").await.unwrap();
    assert_eq!(services.len(), 2);
    for at in ALL {
        assert_eq!(fleet.lines(at, "services").await.unwrap(), services);
    }

    let stranger = "192.0.2.1".to_owned();
    let mut asked = 0;
    for at in ALL {
        for from in ALL.map(|near| fleet.ground.resolver(near).to_string()).iter().chain([&stranger]) {
            for name in ["www.lb.test", "api.lb.test", "www.bru.lb.test"] {
                asked += 1;
                let agreed = until("all explain alike", async || {
                    let mut all = Vec::new();
                    for node in ALL {
                        all.push(explain(&fleet, node, at, name, from).await?);
                    }
                    ensure(all.iter().all(|one| *one == all[0]), || format!("{all:#?}"))?;
                    Ok(all.remove(0))
                })
                .await;
                assert_eq!((&agreed["at"], &agreed["code"]), (&NAMES[at].into(), &"NOERROR".into()), "{agreed}");
                let decider = match ALL.into_iter().find(|near| fleet.ground.resolver(*near).to_string() == *from) {
                    _ if name == "www.bru.lb.test" => BRU,
                    Some(near) => near,
                    None => at,
                };
                let chosen: Vec<&Value> =
                    agreed["servers"].as_array().unwrap().iter().filter(|server| server["chosen"] == true).collect();
                assert_eq!(agreed["decided_by"], NAMES[decider], "{agreed:#}");
                assert_eq!((chosen.len(), &chosen[0]["id"]), (1, &NAMES[decider].into()), "{agreed:#}");
            }
        }
    }
    assert_eq!(asked, 36);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_servers_die_at_once_every_node_says_so_and_answers_as_before() {
    let fleet = Fleet::new();
    let origins = Origins::start(&fleet.ground).await;
    let _nodes = whole_mesh(&fleet).await;
    drop(origins);
    for at in ALL {
        until("it says that it is so at the others too", async || {
            let status = fleet.read(at, &["status"]).await?;
            let warnings = status["warnings"].to_string();
            ensure(warnings.contains("nor at any other node (2)"), || warnings)
        })
        .await;
        until("no row looks as if it were measured", async || {
            let rows = fleet.lines(at, "latency").await?;
            let held = |row: &Value| row["state"] == "up" && row["why"] == "as it was: no probe is answered";
            ensure(!rows.is_empty() && rows.iter().all(held), || format!("{rows:#?}"))
        })
        .await;
        let asked = ask(fleet.ground.resolver(at), fleet.ground.dns(at), "api.lb.test").await.unwrap();
        assert!(!asked.addresses.is_empty(), "{asked:?}");
    }
    let _again = Origins::start(&fleet.ground).await;
    until("it is over", async || {
        let status = fleet.read(CPH, &["status"]).await?;
        ensure(!status["warnings"].to_string().contains("no probe is answered"), || status["warnings"].to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_file_is_answered_by_every_node_beside_the_services() {
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let _nodes = whole_mesh(&fleet).await;
    let zone = "$TTL 60\n@ TXT text\nshop CNAME www\n*.shop CNAME api\nmail A 192.0.2.25\n";
    fs::write(fleet.ground.file("lb.zone"), zone).unwrap();
    let services = catalogue(&fleet.ground, QUICK);
    let named = services.replacen("name = \"lb.test\"\n", "name = \"lb.test\"\nrecords = \"lb.zone\"\n", 1);
    fleet.apply(AMS, &named).await;
    let resolver = fleet.ground.resolver(BRU);
    let asked =
        async |at: usize, name: &str| ask(resolver, fleet.ground.dns(at), name).await.map_err(|e| e.to_string());
    for at in ALL {
        until("the alias has come", async || {
            let reply = asked(at, "shop.lb.test").await?;
            ensure(reply.aliases == ["www.lb.test", "www.bru.lb.test"], || format!("at {}: {reply:?}", NAMES[at]))
        })
        .await;
        // Under the wildcard, on to the service in mode answer: the near origin at once.
        let reply = asked(at, "any.shop.lb.test").await.unwrap();
        assert_eq!(
            (reply.aliases.as_slice(), reply.addresses.as_slice()),
            (["api.lb.test".to_owned()].as_slice(), [fleet.ground.origin(BRU).ip()].as_slice())
        );
        assert_eq!(
            asked(at, "mail.lb.test").await.unwrap().addresses,
            ["192.0.2.25".parse::<std::net::IpAddr>().unwrap()]
        );
        assert_eq!(asked(at, "4f2a.whoami.lb.test").await.unwrap().addresses, [resolver]);
    }
    let why = fleet.read(CPH, &["explain", "lb.test", "--type", "txt", "--from", "192.0.2.1"]).await.unwrap();
    assert_eq!(
        (&why["type"], &why["why"]),
        (&"TXT".into(), &"lb.test has records that the operators wrote (TXT).".into())
    );
    fleet.apply(BRU, &services).await;
    for at in ALL {
        until("the records are gone", async || {
            let reply = asked(at, "mail.lb.test").await?;
            ensure(reply.code == ResponseCode::NXDomain, || format!("at {}: {reply:?}", NAMES[at]))
        })
        .await;
    }
}

/// What a resolver near bru is told by ams: an address in either role, whatever ams may be about to do.
async fn right_answer(fleet: &Fleet, name: &str) -> Result<Reply, String> {
    let reply = ask(fleet.ground.resolver(AMS), fleet.ground.dns(AMS), name).await.map_err(|e| e.to_string())?;
    let right = reply.code == ResponseCode::NoError && (!reply.addresses.is_empty() || !reply.aliases.is_empty());
    ensure(right, || format!("{name}: {reply:?}"))?;
    Ok(reply)
}

/// The first half of a question to ams over TCP; gives the other one.
async fn begin(fleet: &Fleet) -> std::io::Result<(TcpStream, Vec<u8>)> {
    let question = question("www.ams.lb.test");
    let frame = u16::try_from(question.len()).unwrap().to_be_bytes();
    let (first, rest) = question.split_at(20);
    let mut stream = TcpStream::connect(fleet.ground.dns(AMS)).await?;
    stream.write_all(&[&frame, first].concat()).await?;
    Ok((stream, rest.to_vec()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_sends_resolvers_elsewhere_and_answers_until_all_know_that_the_node_has_left() {
    const ANSWER_FOR: Duration = Duration::from_secs(3);
    let fleet = Fleet::new();
    let _origins = Origins::start(&fleet.ground).await;
    let mut nodes = ALL.map(|node| {
        let mut settings = fleet.settings(node);
        settings.answer_for = if node == AMS { "3s" } else { "1h" };
        fleet.start(node, &settings)
    });
    fleet.joined(&ALL).await;
    fleet.apply(CPH, &catalogue(&fleet.ground, QUICK)).await;
    fleet.measured(&ALL, 2).await;
    let network = fleet.ground.network(AMS);
    let best = async |at: usize| {
        let claims = fleet.lines(at, "claims").await?;
        let mut best = claims.iter().filter(|claim| claim["best"] == true && claim["prefix"] == network.as_str());
        Ok::<_, String>((best.next().map(|claim| claim["node"].clone()), claims.len()))
    };
    assert_eq!(best(BRU).await, Ok((Some("ams".into()), 6)));
    let mut begun = [begin(&fleet).await.unwrap(), begin(&fleet).await.unwrap()];
    let mut renewed = Instant::now();

    let told = Instant::now();
    nodes[AMS].terminate();
    // One that asks all the while; ends with the first question that got no right answer.
    let asking = async {
        let mut answered = 0;
        loop {
            for name in ["www.ams.lb.test", "www.lb.test", "api.lb.test"] {
                if let Err(failure) = right_answer(&fleet, name).await {
                    return (answered, failure, told.elapsed(), begun);
                }
                answered += 1;
            }
            // A node is right not to wait for ever for the other half, so there is always one that is a second old.
            if renewed.elapsed() > Duration::from_secs(1)
                && let Ok(newest) = begin(&fleet).await
            {
                let [_, older] = begun;
                begun = [older, newest];
                renewed = Instant::now();
            }
        }
    };
    let watching = async {
        for at in [BRU, CPH] {
            until("all know that ams drains and whom to take instead", async || {
                let (peer, best) = (fleet.peer(at, AMS).await?, best(at).await?);
                ensure(peer["verdict"] == "draining" && best == (Some("cph".into()), 4), || format!("{peer} {best:?}"))
            })
            .await;
        }
        told.elapsed()
    };
    let ((answered, failure, failed_after, [(mut slow, rest), _]), known_after) = tokio::join!(asking, watching);
    assert!(known_after < ANSWER_FOR, "{known_after:?}: while it still answered");
    assert!(failed_after >= ANSWER_FOR, "after {failed_after:?} and {answered} answers: {failure}");
    // No verdict was waited for: who gets no answer any more was told before that the node has left.
    for at in [BRU, CPH] {
        assert_eq!(fleet.peer(at, AMS).await.unwrap()["verdict"], "left", "{failure}");
    }
    // Nobody listens any more, or nobody does any more while the question waits in the socket.
    assert!(failure.contains("refused") || failure.contains("timed out"), "{failure}");
    assert!(answered > 30, "{answered}");

    // The other half of a question that had begun before; the node waits for it, though not as long as the asker above
    // waited for a question that was still in the socket when the reading ended.
    if failure.contains("refused") {
        assert!(nodes[AMS].ended().is_none());
        slow.write_all(&rest).await.unwrap();
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).await.unwrap();
        assert_eq!(reply(&answer[2..]).addresses, [fleet.ground.origin(AMS).ip()]);
    }
    assert_eq!(nodes[AMS].exit_code().await, 0);

    // A second SIGTERM spares the hour.
    nodes[BRU].terminate();
    until("bru drains", async || {
        let peer = fleet.peer(CPH, BRU).await?;
        ensure(peer["verdict"] == "draining", || peer.to_string())
    })
    .await;
    assert!(nodes[BRU].ended().is_none());
    nodes[BRU].terminate();
    assert_eq!(nodes[BRU].exit_code().await, 0);
    assert_eq!(fleet.peer(CPH, BRU).await.unwrap()["verdict"], "left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_listen_says_so_and_nobody_ever_hears_of_it() {
    let fleet = Fleet::new();
    let _nodes = [AMS, BRU].map(|node| fleet.start(node, &fleet.settings(node)));
    fleet.joined(&[AMS, BRU]).await;
    let good = fleet.settings(CPH);
    let (dns, mesh) = (fleet.ground.dns(CPH), fleet.ground.mesh(CPH));
    let dns_help =
        |at: &str| format!("nigh: cannot listen on {at} for DNS; another program answers there (`ss -lntup`");
    let mesh_help = |at: &str| format!("nigh: cannot listen on {at} for the mesh: Address already in use");

    let mut tried = 0;
    for (transport, at, help) in [
        ("UDP", dns, dns_help(&good.dns)),
        ("TCP", dns, dns_help(&good.dns)),
        ("UDP", mesh, mesh_help(&good.mesh)),
        ("TCP", mesh, mesh_help(&good.mesh)),
    ] {
        let _udp = (transport == "UDP").then(|| UdpSocket::bind(at).unwrap());
        let _tcp = (transport == "TCP").then(|| TcpListener::bind(at).unwrap());
        let code = fleet.start(CPH, &good).exit_code().await;
        let log = fleet.log(CPH);
        assert_eq!(code, 73, "{transport} {at}: {log}");
        tried += 1;
        assert_eq!(log.matches(&help).count(), 1 + usize::from(transport == "TCP"), "{transport} {at}: {log}");
    }
    // Another node's ports.
    for node in [AMS, BRU] {
        let theirs = fleet.settings(node);
        let (settings, help) = if node == AMS {
            (fleet::Settings { dns: theirs.dns.clone(), ..good.clone() }, dns_help(&theirs.dns))
        } else {
            (fleet::Settings { mesh: theirs.mesh.clone(), ..good.clone() }, mesh_help(&theirs.mesh))
        };
        let code = fleet.start(CPH, &settings).exit_code().await;
        let log = fleet.log(CPH);
        assert_eq!((code, log.contains(&help)), (73, true), "{log}");
        tried += 1;
    }
    assert_eq!(tried, 6);
    for at in [AMS, BRU] {
        let names: Vec<Value> =
            fleet.lines(at, "peers").await.unwrap().iter().map(|peer| peer["name"].clone()).collect();
        assert_eq!(names, ["ams", "bru"], "and no member without a name");
        let claims = fleet.lines(at, "claims").await.unwrap();
        assert!(claims.iter().all(|claim| claim["node"] != "cph"), "{claims:?}");
    }
    let _cph = fleet.start(CPH, &good);
    fleet.joined(&ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_may_read_is_refused_with_the_remedy() {
    let fleet = Fleet::new();
    let key = fleet.state(AMS).join("node.key");
    fs::create_dir(fleet.state(AMS)).unwrap();
    identity::create(&key, Kind::Node).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(fleet.start(AMS, &fleet.settings(AMS)).exit_code().await, 77);
    let key = key.display();
    let expected = format!("nigh: {key}: mode 0644 lets others use this key; if nobody has, run: chmod 600 {key}\n");
    assert_eq!(fleet.log(AMS), expected);
    assert!(!fleet.socket(AMS).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_with_mistakes_names_them_all_and_nothing_is_opened() {
    let fleet = Fleet::new();
    // With the ports taken, a node that bound first would complain of that.
    let _dns = UdpSocket::bind(fleet.ground.dns(AMS)).unwrap();
    let _mesh = UdpSocket::bind(fleet.ground.mesh(AMS)).unwrap();
    let config = fleet
        .config(AMS, &fleet.settings(AMS))
        .replace("name = \"ams\"", "name = \"ams.\"")
        .replace("preference = 20", "preference = -20")
        .replace("format = \"human\"", "format = \"xml\"")
        .replace("bootstrap", "bootstraps");
    assert_eq!(fleet.start_with(AMS, &config).exit_code().await, 78);
    let log = fleet.log(AMS);
    for mistake in
        ["4 mistakes in ", "node.name = \"ams.\": ", "preference = -20: ", "log.format = \"xml\": ", "mesh.bootstraps"]
    {
        assert!(log.contains(mistake), "{mistake} is not in\n{log}");
    }
    assert_eq!(log.lines().count(), 5, "{log}");
    assert!(!fleet.state(AMS).exists() && !fleet.socket(AMS).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_answers_from_its_last_run_until_it_knows_better() {
    let fleet = Fleet::new();
    let origins = Origins::start(&fleet.ground).await;
    let mut ams = fleet.start(AMS, &fleet.settings(AMS));
    fleet.joined(&[AMS]).await;
    // It takes five failures to lose a server: long after the others have answered.
    let patient = "interval = \"1s\"\ntimeout = \"1s\"\nrise = 1\nfall = 5";
    fleet.apply(AMS, &catalogue(&fleet.ground, patient)).await;
    fleet.measured(&[AMS], 2).await;
    let nearest = [fleet.ground.origin(AMS).ip()];
    assert_eq!(right_answer(&fleet, "www.ams.lb.test").await.unwrap().addresses, nearest);
    ams.terminate();
    assert_eq!(ams.exit_code().await, 0);

    origins.hold(AMS, true);
    let far = [BRU, CPH].map(|origin| origins.answered(origin));
    let _ams = fleet.start(AMS, &fleet.settings(AMS));
    let mut answers = 0;
    until("the others have been measured anew, twice", async || {
        for name in ["www.ams.lb.test", "www.lb.test"] {
            match ask(fleet.ground.resolver(AMS), fleet.ground.dns(AMS), name).await {
                Ok(reply) => {
                    answers += 1;
                    assert_eq!(reply.addresses, nearest, "answer {answers}: {reply:?}");
                }
                Err(error) => assert!(answers == 0, "after {answers} answers: {error}"),
            }
        }
        let since = [0, 1].map(|at| origins.answered([BRU, CPH][at]) - far[at]);
        ensure(answers > 0 && since.iter().all(|answered| *answered >= 2), || format!("{answers} {since:?}"))
    })
    .await;
    // What it then finds out itself counts: the nearest does not answer.
    until("the node knows better", async || {
        let reply = right_answer(&fleet, "www.ams.lb.test").await?;
        ensure(reply.addresses == [fleet.ground.origin(BRU).ip()], || format!("{reply:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_logs_are_one_object_per_line() {
    let fleet = Fleet::new();
    let mut settings = fleet.settings(AMS);
    settings.log_format = "json";
    let config = fleet.config(AMS, &settings).replace("[log]\n", "[log]\nlevel = \"debug\"\n");
    fleet.certify(AMS, "ams", 3600).unwrap();
    let mut ams = fleet.start_with(AMS, &config);
    fleet.joined(&[AMS]).await;
    // Nobody listens on the origins' port: state changes to tell of, with quotes and figures in them.
    fleet.apply(AMS, &catalogue(&fleet.ground, QUICK)).await;
    until("a probe has failed", async || ensure(fleet.log(AMS).contains("probe failed"), || fleet.log(AMS))).await;
    ams.terminate();
    assert_eq!(ams.exit_code().await, 0);
    let log = fleet.log(AMS);
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
    }
    let said =
        |target: &str, message: &str| lines.iter().any(|line| line["target"] == target && line["message"] == message);
    assert!(said("nigh::run", "answering") && said("nigh::run", "stopped"), "{log}");
}
