#![allow(clippy::unwrap_used)]
//! Each fault is found, said, and has a remedy; and what is well is not complained of.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use super::delegation::{Facts as Delegated, Listed, Served, Trouble};
use super::host::{Facts as Host, Process, State};
use super::ports::{Port, Purpose, Transport, Tried};
use super::{certificates, clock, delegation, host, mesh, path, ports, resolvers};
use crate::admin::report::{
    Admission, AdmissionStatus, ClaimLine, EgressLine, EgressState, MemberLine, Peer, ResolverLine, Verdict,
};
use crate::cli::doctor::finding::{Finding, Grade, Report};

/// Grades and words; what is not well has a remedy.
fn told(findings: &[Finding]) -> Vec<(Grade, &str)> {
    for finding in findings {
        assert_eq!(finding.grade == Grade::Ok, finding.todo.is_empty(), "{finding:?}");
    }
    findings.iter().map(|finding| (finding.grade, finding.what.as_str())).collect()
}

/// One finding of this grade that says this.
#[track_caller]
fn one(findings: &[Finding], grade: Grade, words: &str) {
    let told = told(findings);
    assert!(matches!(told.as_slice(), [(found, what)] if *found == grade && what.contains(words)), "{told:?}");
}

/// Among others, one of this grade that says this.
#[track_caller]
fn among(findings: &[Finding], grade: Grade, words: &str) {
    let told = told(findings);
    assert!(told.iter().any(|(found, what)| *found == grade && what.contains(words)), "{told:?}");
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_clock_is_held_against_nodes_and_ntp() {
    let nodes = |offsets: &[i64]| offsets.iter().map(|offset| (format!("n{offset}"), *offset)).collect();
    let of = |offsets: &[i64]| clock::judge(&clock::Facts { nodes: nodes(offsets), ..Default::default() });
    one(&of(&[0, 1, -1]), Grade::Ok, "within 2 s of 3 other nodes");
    one(&of(&[40, 41, 0]), Grade::Look, "40.0 s behind by the clocks of 3 other nodes");
    one(&of(&[-400, -400, 0]), Grade::Bad, "400.0 s ahead");
    one(&of(&[0, 0, 7]), Grade::Look, "n7 (+7 s)");
    one(&of(&[]), Grade::Look, "nothing here seems to keep it");
    let ntp = |ntp| clock::judge(&clock::Facts { ntp: Some(("time.example".into(), ntp)), ..Default::default() });
    one(&ntp(Ok(0.002)), Grade::Ok, "right by time.example");
    one(&ntp(Ok(-90.0)), Grade::Bad, "90.0 s ahead by time.example");
    one(&ntp(Err("no reply".into())), Grade::Look, "does not tell the time");
}

#[test]
fn the_host_gives_enough_or_it_is_said() {
    let process = Process { files: Some(65_536), open: Some(30), capabilities: Some(0), groups: vec![7] };
    let well = Host { process: Some(process.clone()), buffer: Some(4 << 20), ..Host::default() };
    assert!(host::rights(&well).iter().all(|finding| finding.grade == Grade::Ok));
    let of = |change: &dyn Fn(&mut Host)| {
        let mut facts = well.clone();
        change(&mut facts);
        host::rights(&facts)
    };
    let files =
        |files, open| of(&|facts| facts.process = Some(Process { files: Some(files), open, ..process.clone() }));
    among(&files(1024, None), Grade::Look, "may have 1024 files");
    among(&files(1024, Some(900)), Grade::Bad, "900 of them in use");
    among(&of(&|facts| facts.icmp = true), Grade::Bad, "may not send it");
    among(
        &of(&|facts| (facts.icmp, facts.ping_groups) = (true, Some((0, 9)))),
        Grade::Ok,
        "it may send the ICMP probes",
    );
    among(&of(&|facts| (facts.icmp, facts.ping_groups) = (true, Some((1, 0)))), Grade::Bad, "may not send it");
    among(&of(&|facts| facts.buffer = Some(212_992)), Grade::Look, "may have 208 KiB");
    among(&of(&|facts| facts.dropped = 12), Grade::Look, "dropped 12 questions");
    among(&of(&|facts| facts.loose = vec!["/var/lib/nigh/node.key".into()]), Grade::Bad, "others may read the secret");
    let room = |free| [host::disk(&State { path: "/var/lib/nigh".into(), free })];
    one(&room(Ok((1 << 30, 0.5))), Grade::Ok, "1024 MiB free");
    one(&room(Ok((100 << 20, 0.5))), Grade::Look, "100 MiB free");
    one(&room(Ok((1 << 20, 0.5))), Grade::Bad, "1 MiB free");
    one(&room(Ok((1 << 30, 0.001))), Grade::Look, "inodes");
    one(&room(Err("no such directory".into())), Grade::Look, "no such directory");
}

#[test]
fn ports_answer_or_are_free_or_somebody_elses() {
    let port = |tried| Port { at: at("192.0.2.7:53"), transport: Transport::Udp, purpose: Purpose::Dns, tried };
    let of = |tried| ports::judge(&[port(tried)], "fra");
    one(&of(Tried::Reply(Some("fra".into()))), Grade::Ok, "all 1 of DNS and the mesh answer");
    one(&of(Tried::Free), Grade::Ok, "free for the node");
    one(&of(Tried::Reply(Some("nyc".into()))), Grade::Bad, "answered by nyc, not by fra");
    one(&of(Tried::Reply(None)), Grade::Bad, "no node");
    one(&of(Tried::NotFree(ErrorKind::AddrInUse)), Grade::Bad, "cannot be the node's");
    one(&of(Tried::Nothing("no reply".into())), Grade::Bad, "does not answer, though the node runs");
    let glue = Port { purpose: Purpose::Glue, ..port(Tried::Nothing("no reply".into())) };
    one(&ports::judge(&[glue], "fra"), Grade::Look, "resolvers are told of");
    let odd = Port { at: at("127.0.0.1:5353"), ..port(Tried::Reply(Some("fra".into()))) };
    one(&ports::judge(&[odd], "fra"), Grade::Look, "resolvers ask port 53");
}

fn member(name: &str, ends_in_s: i64, verdict: Verdict) -> MemberLine {
    MemberLine {
        name: name.into(),
        id: name.into(),
        admission: Admission::Admitted,
        verdict,
        linked: true,
        prefixes: Vec::new(),
        ends: None,
        ends_in_s: Some(ends_in_s),
        is_self: name == "fra",
    }
}

#[test]
fn what_ends_soon_is_told_in_time() {
    const DAY: u64 = 86_400;
    let own = |state, ends: u64, silenced| {
        let own = AdmissionStatus { state, ends: Some(ends), silenced, equivocations: 0 };
        certificates::judge(&certificates::Facts { now: 100 * DAY, own: Some(own), ..Default::default() })
    };
    one(&own(Admission::Admitted, 200 * DAY, false), Grade::Ok, "ends in 100 days");
    one(&own(Admission::Admitted, 107 * DAY, false), Grade::Look, "ends in 7 days");
    one(&own(Admission::Admitted, 101 * DAY, false), Grade::Bad, "ends in ");
    one(&own(Admission::Ended, 99 * DAY, false), Grade::Bad, "has ended");
    one(&own(Admission::Revoked, 99 * DAY, false), Grade::Bad, "revoked");
    one(&own(Admission::Waiting, 0, false), Grade::Bad, "no operator has admitted");
    one(&own(Admission::Admitted, 200 * DAY, true), Grade::Bad, "another process runs with this node's key");
    let members = vec![member("nyc", 5 * 86_400, Verdict::Alive), member("tyo", i64::MAX, Verdict::Alive)];
    let others = certificates::Facts { members, ..Default::default() };
    one(&certificates::judge(&others), Grade::Look, "nyc (in 5 days)");
    let api =
        |ends| certificates::judge(&certificates::Facts { api: Some(("api.pem".into(), ends)), ..Default::default() });
    one(&api(Ok(100 * 86_400)), Grade::Ok, "the API's certificate api.pem ends in 100 days");
    one(&api(Ok(86_400)), Grade::Look, "api.pem ends in ");
    one(&api(Ok(-1)), Grade::Bad, "has ended");
    one(&api(Err("it is no PEM".into())), Grade::Look, "it is no PEM");
}

fn peer(name: &str, verdict: Verdict, linked: bool) -> Peer {
    Peer {
        name: name.into(),
        id: name.into(),
        pop: String::new(),
        verdict,
        linked,
        rtt_ms: None,
        incarnation: 1,
        mesh_addresses: Vec::new(),
        dns_addresses: Vec::new(),
        cuts: Vec::new(),
        equivocated: false,
        version: "0.1.0".into(),
        is_self: name == "fra",
    }
}

#[test]
fn the_mesh_is_met_and_of_one_version_or_it_is_said() {
    let of = |peers: Vec<Peer>| mesh::judge(&mesh::Facts { peers, ..Default::default() });
    let (alive, dead) = (Verdict::Alive, Verdict::Dead);
    let well = of(vec![peer("fra", alive, false), peer("nyc", alive, true)]);
    assert_eq!(told(&well), [(Grade::Ok, "1 other node, 1 alive, 1 linked"), (Grade::Ok, "all nodes run nigh 0.1.0")]);
    among(&of(vec![peer("fra", alive, false)]), Grade::Look, "knows no other one");
    let lonely = mesh::Facts {
        peers: vec![peer("fra", alive, false)],
        bootstrap: vec![("nyc:4242".into(), Err("refused".into()))],
        ..Default::default()
    };
    among(&mesh::judge(&lonely), Grade::Bad, "has met none of 1 first contact");
    among(&of(vec![peer("nyc", alive, false)]), Grade::Bad, "no link to any of 1 other node");
    among(&of(vec![peer("nyc", alive, true), peer("tyo", dead, false)]), Grade::Look, "dead: tyo");
    among(
        &of(vec![peer("nyc", dead, false), peer("tyo", dead, false), peer("lon", alive, true)]),
        Grade::Bad,
        "dead: nyc, tyo",
    );
    let newer = Peer { version: "0.2.0".into(), ..peer("nyc", alive, true) };
    among(&of(vec![peer("fra", alive, true), newer]), Grade::Look, "0.1.0 on fra; 0.2.0 on nyc");
    let liar = Peer { equivocated: true, ..peer("nyc", alive, true) };
    among(&of(vec![liar]), Grade::Bad, "signed two pages of one version: nyc");
    let members = vec![member("osl", 1_000_000_000, Verdict::Absent)];
    let bootstrap = vec![("192.0.2.9:4242".to_owned(), Err("connection refused".to_owned()))];
    let facts = mesh::Facts { peers: vec![peer("nyc", alive, true)], members, bootstrap, port: Some(4242) };
    among(&mesh::judge(&facts), Grade::Look, "never heard of: osl");
    among(&mesh::judge(&facts), Grade::Look, "192.0.2.9:4242 cannot be reached");
}

/// Two servers of the parent that list two live nodes.
fn delegated() -> Delegated {
    let listed = Listed {
        servers: BTreeMap::from([
            ("ns-fra.lb.lab".to_owned(), BTreeSet::from([ip("192.0.2.1")])),
            ("ns-nyc.lb.lab".to_owned(), BTreeSet::from([ip("192.0.2.2")])),
        ]),
        ttl: 3600,
    };
    let served = |node: &str| Ok(Served { node: Some(node.to_owned()), serial: 7 });
    Delegated {
        zone: "lb.lab".into(),
        parent: Some("lab".into()),
        trouble: None,
        parents: vec![(at("192.0.2.53:53"), Ok(listed.clone())), (at("192.0.2.54:53"), Ok(listed))],
        asked: BTreeMap::from([(ip("192.0.2.1"), served("fra")), (ip("192.0.2.2"), served("nyc"))]),
        nodes: vec![("fra".into(), vec![ip("192.0.2.1")], true), ("nyc".into(), vec![ip("192.0.2.2")], true)],
        begun_at: Vec::new(),
        keeper: None,
    }
}

fn changed(change: impl FnOnce(&mut Delegated)) -> Vec<Finding> {
    let mut facts = delegated();
    change(&mut facts);
    delegation::judge(&facts)
}

/// Changes what both servers of the parent list.
fn listing(facts: &mut Delegated, change: impl Fn(&mut Listed)) {
    facts.parents.iter_mut().for_each(|(_, said)| change(said.as_mut().unwrap()));
}

#[test]
fn a_delegation_is_held_against_the_nodes() {
    one(&changed(|_| {}), Grade::Ok, "lab lists 2 nodes, and all 2 addresses serve the zone, serial 7");
    let missing = changed(|facts| facts.trouble = Some(Trouble::NotDelegated));
    one(&missing, Grade::Bad, "is not delegated");
    let records =
        "lb.lab. NS ns-fra.lb.lab.; ns-fra.lb.lab. A 192.0.2.1; lb.lab. NS ns-nyc.lb.lab.; ns-nyc.lb.lab. A 192.0.2.2";
    assert_eq!(missing[0].todo, format!("write into lab: {records}"));
    one(&changed(|facts| facts.trouble = Some(Trouble::NotAsked("silence".into()))), Grade::Look, "silence");
    let named = changed(|facts| {
        facts.trouble = Some(Trouble::NotAsked("silence".into()));
        facts.begun_at = vec!["192.0.2.53".into()];
    });
    assert_eq!(named[0].todo, "look whether a name server runs at 192.0.2.53 and is reached from here");
    one(&changed(|facts| facts.keeper = Some("REFUSED".into())), Grade::Look, "cannot keep its delegation: REFUSED");

    let lame = |facts: &mut Delegated| {
        facts.asked.insert(ip("192.0.2.2"), Err("no reply".into()));
    };
    one(
        &changed(lame),
        Grade::Bad,
        "ns-nyc.lb.lab, which does not serve it (192.0.2.2: no reply); though nyc is alive",
    );
    let dead = changed(|facts| {
        lame(facts);
        facts.nodes[1].2 = false;
    });
    one(&dead, Grade::Bad, "nyc is dead or leaving");
    assert_eq!(dead[0].todo, "start nyc again; if it is gone for good, remove ns-nyc.lb.lab at lab");
    let stranger = changed(|facts| {
        lame(facts);
        facts.nodes.truncate(1);
    });
    one(&stranger, Grade::Bad, "no node tells of that address");
    one(&changed(|facts| facts.nodes.truncate(1)), Grade::Look, "is no address that a node tells of");
    one(&changed(|facts| facts.nodes[1].2 = false), Grade::Look, "lists nyc (192.0.2.2), which is leaving");
}

#[test]
fn a_delegation_that_is_thin_torn_or_short_lived_is_told() {
    let single = |listed: &mut Listed| drop(listed.servers.remove("ns-nyc.lb.lab"));
    let thin = changed(|facts| listing(facts, single));
    one(&thin, Grade::Look, "lists a single server, fra, of 2 nodes");
    assert!(thin[0].todo.starts_with("list all 2 nodes there: "), "{}", thin[0].todo);
    let other = changed(|facts| {
        listing(facts, single);
        listing(facts, |listed| {
            drop(listed.servers.insert("ns-fra.lb.lab".into(), BTreeSet::from([ip("192.0.2.53")])))
        });
    });
    among(&other, Grade::Look, "lists a single server, which is none of the nodes");
    let no_glue = |listed: &mut Listed| listed.servers.get_mut("ns-nyc.lb.lab").unwrap().clear();
    one(&changed(|facts| listing(facts, no_glue)), Grade::Bad, "gives no address for ns-nyc.lb.lab");
    one(&changed(|facts| listing(facts, |listed| listed.ttl = 60)), Grade::Look, "a TTL of 60 s");
    let many = |listed: &mut Listed| {
        listed.servers.extend((0..9).map(|i| (format!("ns{i}.lb.lab"), BTreeSet::from([ip("192.0.2.1")]))));
    };
    one(&changed(|facts| listing(facts, many)), Grade::Look, "more than resolvers look at");
    let torn = changed(|facts| drop(facts.parents[1].1.as_mut().unwrap().servers.remove("ns-nyc.lb.lab")));
    one(&torn, Grade::Look, "do not agree on who serves it");
    let old = changed(|facts| facts.parents[1].1 = Err("knows nothing of it".into()));
    one(&old, Grade::Look, "servers of lab that do not delegate it: 192.0.2.54 (knows nothing of it)");
    let behind = changed(|facts| facts.asked.get_mut(&ip("192.0.2.2")).unwrap().as_mut().unwrap().serial = 6);
    one(&behind, Grade::Look, "6 at nyc; 7 at fra");
}

#[test]
fn resolvers_are_proven_claimed_and_answering_or_it_is_said() {
    let egress =
        |state, why: &str| EgressLine { address: ip("203.0.113.9"), state, witness: None, age_s: 1, why: why.into() };
    let resolver = |egress| ResolverLine {
        address: at("203.0.113.53:53"),
        origin: "configured".into(),
        lost: false,
        rtt_ms: None,
        egress,
        why: String::new(),
    };
    let claim = ClaimLine {
        prefix: "203.0.113.9/32".parse().unwrap(),
        node: "fra".into(),
        preference: 10,
        verdict: Verdict::Alive,
        best: true,
        void: false,
        proven: true,
        witness: Some("nyc".into()),
        proof_age_s: Some(1),
        rtt_ms: None,
    };
    let of = |resolvers: Vec<ResolverLine>, claims: Vec<ClaimLine>, others| {
        resolvers::judge(&resolvers::Facts { resolvers, claims, others, isolated: false, me: "fra".into() })
    };
    let isolated = resolvers::Facts { resolvers: vec![], claims: vec![], others: 1, isolated: true, me: "fra".into() };
    one(&resolvers::judge(&isolated), Grade::Look, "has withdrawn its claims");
    let proven = of(vec![resolver(vec![egress(EgressState::Proven, "")])], vec![claim.clone()], 1);
    assert!(proven.iter().all(|finding| finding.grade == Grade::Ok), "{proven:?}");
    one(&of(vec![], vec![], 1), Grade::Look, "claims no resolvers and looks for none");
    among(
        &of(vec![ResolverLine { lost: true, ..resolver(vec![]) }], vec![], 1),
        Grade::Bad,
        "does not answer any more",
    );
    among(&of(vec![resolver(vec![])], vec![], 1), Grade::Look, "no address is known");
    among(
        &of(vec![resolver(vec![egress(EgressState::Seen, "alone")])], vec![], 0),
        Grade::Look,
        "only this node has seen: alone",
    );
    among(&of(vec![resolver(vec![egress(EgressState::Public, "")])], vec![], 0), Grade::Ok, "a public resolver's");
    among(&of(vec![resolver(vec![egress(EgressState::Outside, "")])], vec![], 0), Grade::Look, "does not let it claim");
    let void = ClaimLine { void: true, ..claim };
    among(&of(vec![], vec![void], 1), Grade::Bad, "does not allow, so they count nowhere: 203.0.113.9/32");
}

#[test]
fn ways_that_are_shut_or_narrow_are_told() {
    let well = path::Asked {
        node: "nyc".into(),
        at: at("192.0.2.2:53"),
        plain: Ok(80.0),
        large: Ok(()),
        mtu: Some(1500),
        size: Some(1232),
    };
    one(&path::judge(std::slice::from_ref(&well)), Grade::Ok, "the slowest in 80 ms");
    assert!(path::judge(&[]).is_empty());
    let silent =
        path::Asked { plain: Err("no reply".into()), large: Err("no reply".into()), size: None, ..well.clone() };
    one(&path::judge(&[silent]), Grade::Look, "nyc at 192.0.2.2:53 (no reply)");
    let narrow = path::Asked { large: Err("no reply".into()), mtu: Some(1200), ..well.clone() };
    one(&path::judge(&[narrow]), Grade::Bad, "do not pass to nyc at 192.0.2.2:53 (no reply, path MTU 1200)");
    one(&path::judge(&[path::Asked { size: Some(512), ..well }]), Grade::Look, "below 1232: nyc (512)");
}

#[test]
fn a_report_counts_and_says_what_to_do() {
    use crate::cli::doctor::finding::Area;
    let findings = vec![Finding::ok(Area::Node, "fra runs"), Finding::bad(Area::Clock, "wrong", "set it")];
    let report = Report::new("fra".into(), findings);
    let page =
        "ok    node           fra runs\nbad   clock          wrong\n                     do: set it\n\n1 bad; 1 ok";
    assert_eq!(report.page(), page);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["bad"], &json["findings"][1]["grade"], &json["findings"][1]["do"]),
        (&1.into(), &"bad".into(), &"set it".into())
    );
}
