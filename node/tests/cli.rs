//! The real binary: what it prints, where, and with which exit code.

#![allow(clippy::unwrap_used)]

mod fake;
#[path = "cli/operator.rs"]
mod operator;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use ed25519_dalek::SigningKey;
use nigh::admin::Access;
use nigh::certificate;
use nigh::config::AdminConfig;
use nigh::identity::{self, Kind};
use nigh_gossip::{NodeId, admission};

use fake::Fake;

const SMALLEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/good-smallest.toml");
const CATALOGUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/catalogue/good-everything.toml");

/// Runs `nigh` in `folder`; returns exit code, standard output and standard error.
fn nigh(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_nigh"))
        .args(args)
        .current_dir(folder)
        .env_remove("NIGH_LOG")
        .env("NIGH_SOCKET", "nigh.sock")
        .output()
        .unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs `nigh` against a fake node, which needs this thread's runtime meanwhile.
async fn nigh_beside(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let (folder, args) = (folder.to_owned(), args.iter().map(ToString::to_string).collect::<Vec<_>>());
    let run = move || nigh(&folder, &args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[test]
fn a_good_configuration_is_told_from_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = nigh(folder.path(), &["check-config", SMALLEST]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("configuration is good: node fra\n"), "{out}");
    assert_eq!(nigh(folder.path(), &["check-config", "--config", SMALLEST]).0, 0);

    std::fs::write(folder.path().join("bad.toml"), "[node]\nname = \"-\"\nstate_dir = 7\n[mesh]\nlisten = []\n")
        .unwrap();
    for command in ["check-config", "run"] {
        let (code, out, err) = nigh(folder.path(), &[command, "--config", "bad.toml"]);
        assert_eq!((code, out.as_str()), (78, ""));
        let expected = "nigh: 5 mistakes in bad.toml
bad.toml:2:8: node.name = \"-\": a node name begins and ends with a letter or a digit
bad.toml:3:13: node.state_dir = 7: a string is expected, not a whole number
bad.toml:4:1: mesh.id: missing; the operator's public key, as printed by `nigh init`
bad.toml:5:10: mesh.listen: at least one address is expected
bad.toml: dns.listen: missing; where to answer DNS, such as listen = [\"0.0.0.0:53\"]
";
        assert_eq!(err, expected);
    }
    std::fs::write(folder.path().join("latin1.toml"), b"[node]\npop = \"\xfc\"").unwrap();
    let (code, _, err) = nigh(folder.path(), &["check-config", "latin1.toml"]);
    assert_eq!((code, err.as_str()), (78, "nigh: latin1.toml: not UTF-8 at byte 14; TOML is\n"));
    let (code, _, err) = nigh(folder.path(), &["check-config", "none.toml"]);
    assert!(code == 66 && err.starts_with("nigh: none.toml: no such file; to make one, copy nigh.example"), "{err}");
}

/// Where a file is missing, the way to it is told: by the check as a remark, for its machine may be another than the node's.
#[test]
fn what_a_node_needs_and_is_not_there_is_told_with_what_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file).display().to_string();
    let head = "[node]\nname = \"fra\"\nstate_dir = \"STATE\"\n".replace("STATE", &at("state"));
    let (_, mesh, _) = nigh(folder.path(), &["init", "--key", "operator.key"]);
    let id = mesh.lines().find(|line| line.starts_with("id = ")).unwrap();
    let certificate = at("certificate");
    let rest = format!("[mesh]\n{id}\ncertificate = {certificate:?}\nlisten = [\"127.0.0.1:14242\"]\nbootstrap = []\n");
    let dns = "[dns]\nlisten = [\"127.0.0.1:15353\"]\n";
    std::fs::write(folder.path().join("nigh.toml"), format!("{head}{rest}{dns}")).unwrap();
    let (code, out, err) = nigh(folder.path(), &["check-config", "nigh.toml"]);
    let missing =
        format!("  missing {certificate} (mesh.certificate): the node starts only with it; nigh admit NODE_ID");
    assert!(code == 0 && out.contains(&missing), "{out}{err}");
    let (code, _, err) = nigh(folder.path(), &["run", "nigh.toml"]);
    let told = format!("nigh: {certificate}: no such file, but mesh.certificate names it; ");
    assert!(code == 66 && err.starts_with(&told) && err.contains("--name fra --key operator.key --out "), "{err}");

    let issue = ["admit", &node(1), "--name", "fra", "--key", "nokey.key", "--out", "x"];
    let (code, _, err) = nigh(folder.path(), &issue);
    assert_eq!(code, 66, "{err}");
    assert!(err.ends_with("or make a new mesh with its root key: nigh init --key nokey.key\n"), "{err}");
    let (code, _, err) = nigh(folder.path(), &["admit", "xyz", "--name", "fra", "--key", "operator.key"]);
    assert!(code == 2 && err.contains("`nigh id nigh.toml` prints a node's"), "{err}");
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_program_without_traces_says_how_to_get_them_and_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(SMALLEST).unwrap() + "\n[telemetry]\notlp = \"http://127.0.0.1:4318\"\n";
    std::fs::write(folder.path().join("traces.toml"), config).unwrap();
    let wanted = "this nigh was built without traces; build it with `cargo build --release --features otlp`, or take the \
                  section [telemetry] out";
    let (code, out, err) = nigh(folder.path(), &["check-config", "traces.toml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("  traces  to http://127.0.0.1:4318\n") && out.contains(wanted), "{out}");
    let (code, out, err) = nigh(folder.path(), &["run", "traces.toml"]);
    assert_eq!((code, out.as_str(), err), (78, "", format!("nigh: telemetry.otlp: {wanted}\n")));
}

#[test]
fn a_mistyped_log_filter_keeps_the_node_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_nigh"));
    run.args(["run", SMALLEST]).env("NIGH_LOG", "loud").current_dir(folder.path());
    let Output { status, stderr, .. } = run.output().unwrap();
    let expected = "nigh: the variable NIGH_LOG is \"loud\": error, warn, info, debug, trace or a filter such as \
                    \"info,nigh_dns=debug\" is expected\n";
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(2), expected));
}

#[test]
fn arguments_are_checked_and_the_version_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = nigh(folder.path(), &["--version"]);
    assert_eq!((code, out), (0, format!("nigh {}\n", env!("CARGO_PKG_VERSION"))));
    for args in [&["stats"][..], &["run"], &["explain", "www.lb.example.com"], &["status", "--socket"], &[]] {
        let (code, out, err) = nigh(folder.path(), args);
        assert_eq!((code, out.as_str(), err.is_empty()), (2, "", false), "{args:?}");
    }
}

#[test]
fn init_makes_a_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = nigh(folder.path(), &["init", "--key", "operator.key"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let path = folder.path().join("operator.key");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let id = identity::public(&identity::load(&path, Kind::Operator).unwrap()).to_string();
    assert!(out.contains(&format!("mesh id: {id}\n")), "{out}");
    assert!(!out.contains("nigh-operator-key"), "{out}");

    let (code, out, err) = nigh(folder.path(), &["init", "--key", "operator.key"]);
    assert_eq!((code, out.as_str()), (73, ""));
    let expected = "nigh: operator.key: exists already, and a key is never overwritten; name another file, or use the key \
                    that is there\nits mesh id is ";
    assert_eq!(err, format!("{expected}{id}\n"));
    let (code, out, _) = nigh(folder.path(), &["init", "--json", "--key", "second.key"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["mesh_id"].as_str().unwrap().len()), (0, 52));
}

/// Somebody's public key.
fn node(seed: u8) -> String {
    NodeId::from(SigningKey::from_bytes(&[seed; 32]).verifying_key()).to_string()
}

#[test]
fn a_nodes_id_is_known_before_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(SMALLEST).unwrap();
    let state = folder.path().join("state");
    let line = config.lines().find(|line| line.starts_with("state_dir")).unwrap();
    std::fs::write(folder.path().join("nigh.toml"), config.replace(line, &format!("state_dir = {state:?}"))).unwrap();
    let (code, id, err) = nigh(folder.path(), &["id", "nigh.toml"]);
    assert_eq!((code, err.as_str(), id.len()), (0, "", 53));
    assert_eq!(id.trim(), identity::public(&identity::load(&state.join("node.key"), Kind::Node).unwrap()).to_string());
    assert_eq!(nigh(folder.path(), &["id", "--config", "nigh.toml"]).1, id);
    assert_eq!(nigh(folder.path(), &["id", "--state-dir", "state"]).1, id);
    assert_eq!(nigh(folder.path(), &["id"]).0, 2);
}

#[test]
fn a_certificate_is_issued_and_renewed_without_any_node() {
    let folder = tempfile::tempdir().unwrap();
    nigh(folder.path(), &["init", "--key", "operator.key"]);
    let path = folder.path().join("fra.certificate");
    let admit = |node: &str, more: &[&str]| {
        let args = ["admit", node, "--key", "operator.key", "--out", "fra.certificate"];
        nigh(folder.path(), &[&args, more].concat())
    };
    let read = || certificate::read(&path).unwrap().certificate.certificate().cloned().unwrap();
    let (code, out, err) = admit(&node(1), &["--name", "fra"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with(&format!("admitted {} as fra, until 20", node(1))), "{out}");
    assert!(out.contains("\nit may claim anything (0.0.0.0/0 and ::/0): no --prefix was given\n"), "{out}");
    assert!(out.ends_with("written to fra.certificate: put it on the node, as certificate in its state directory\n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let first = read();
    assert_eq!((first.name.as_str(), first.prefixes.len()), ("fra", 2));

    let more = ["--name", "fra", "--prefix", "203.0.113.0/24", "--prefix", "2001:db8::/32", "--days", "30", "--json"];
    let (code, out, _) = admit(&node(1), &more);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["renewed"], &json["taken_by"]), (0, &true.into(), &serde_json::Value::Null));
    let second = read();
    assert_eq!((second.serial, second.prefixes.len()), (first.serial, 2), "its places on the rings stay");
    assert_eq!(json["ends"], second.not_after);
    assert!(second.not_after + 334 * 86_400 < first.not_after);

    let (code, out, _) = admit(&node(1), &["--name", "fra", "--days", "30"]);
    let kept = "\nit may claim within 203.0.113.0/24, 2001:db8::/32, as before: no --prefix was given\n";
    assert!(code == 0 && out.starts_with("renewed ") && out.contains(kept), "{out}");
    let second = nigh_gossip::Certificate { not_after: read().not_after, ..second };
    assert_eq!(read(), second, "renewing opens nothing");

    let (code, _, err) = admit(&node(2), &["--name", "nyc"]);
    assert!(code == 1 && err.contains(" holds the certificate of fra ("), "{err}");
    for wrong in [
        &["--name", "a.b"][..],
        &["--name", "FRA"],
        &["--name", "fra", "--prefix", "203.0.113.1/24"],
        &["--name", "fra", "--days", "0"],
        &[],
    ] {
        assert_eq!(admit(&node(1), wrong).0, 2, "{wrong:?}");
    }
    assert_eq!(admit("fra", &["--name", "fra"]).0, 2);
    assert_eq!(read(), second);
}

#[tokio::test]
async fn admit_and_revoke_are_signed_above_what_the_mesh_holds() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(identity::create(&folder.path().join("operator.key"), Kind::Operator).unwrap());
    let (_, _stop) = fake.serve(folder.path());
    let admit = async |node: &str, more: &[&str]| {
        nigh_beside(folder.path(), &[&["admit", node, "--key", "operator.key", "--name"], more].concat()).await
    };
    let revoke =
        async |more: &[&str]| nigh_beside(folder.path(), &[&["revoke", "--key", "operator.key"], more].concat()).await;
    let newest = || fake.pages.lock().unwrap().last().cloned().unwrap();

    // The clock of whoever revoked it was nine minutes ahead.
    let ahead = nigh::catalogue::hlc::unix_millis() + 540_000;
    let id: NodeId = node(1).parse().unwrap();
    let revocation = admission::revoke(&fake.operator, id, ahead, 7);
    fake.pages.lock().unwrap().push(revocation.clone());
    let (code, out, err) = admit(&node(1), &["fra", "--out", "file", "--socket", "nigh.sock"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("\ntaken by fra, which tells all others\nwritten to file: "), "{out}");
    assert!(newest().stamp() > revocation.stamp());
    assert_eq!(certificate::read(&folder.path().join("file")).unwrap().certificate, newest());
    let serial = newest().certificate().unwrap().serial;
    let (_, out, _) = admit(&node(1), &["fra", "--prefix", "203.0.113.0/24"]).await;
    assert!(
        out.starts_with("renewed ") && out.contains("\nuntil now it might claim within 0.0.0.0/0, ::/0\n"),
        "{out}"
    );
    assert_eq!(newest().certificate().unwrap().serial, serial);

    let (code, _, err) = admit(&node(2), &["fra"]).await;
    assert_eq!(code, 2);
    assert!(
        err.contains(&format!(
            "fra is the name of node {id}; choose another name, or end that one first: nigh revoke {id}"
        )),
        "{err}"
    );
    let before = fake.pages.lock().unwrap().len();
    let (code, out, err) = revoke(&["fra"]).await;
    assert_eq!((code, err.as_str()), (2, "nigh: nobody is there to ask; if that is meant, add --yes\n"));
    assert!(out.contains(&node(1)) && out.contains("no resolver is sent to it"), "{out}");
    assert_eq!(fake.pages.lock().unwrap().len(), before);
    assert_eq!(revoke(&["fra", "--yes"]).await.0, 0);
    assert_eq!(admission::read_revocation(&newest()), Some(id));
    let (code, _, err) = revoke(&["fra", "--yes"]).await;
    assert_eq!((code, err.as_str()), (2, "nigh: no node is admitted as \"fra\"; `nigh members` lists them\n"));
    // The name is free again.
    assert_eq!(admit(&node(2), &["fra"]).await.0, 0);

    identity::create(&folder.path().join("other.key"), Kind::Operator).unwrap();
    let (code, _, err) = nigh_beside(folder.path(), &["revoke", &node(1), "--key", "other.key", "--yes"]).await;
    assert!(code == 1 && err.contains(" is the key of mesh "), "{err}");
}

#[test]
fn a_loose_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    nigh(folder.path(), &["init", "--key", "operator.key"]);
    std::fs::set_permissions(folder.path().join("operator.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = nigh(folder.path(), &["apply", CATALOGUE, "--key", "operator.key"]);
    let expected =
        "nigh: operator.key: mode 0644 lets others use this key; if nobody has, run: chmod 600 operator.key\n";
    assert_eq!((code, err.as_str()), (77, expected));
}

#[test]
fn without_a_node_every_command_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    nigh(folder.path(), &["init", "--key", "operator.key"]);
    let explain = ["explain", "www.lb.example.com", "--from", "203.0.113.53"];
    let apply = ["apply", CATALOGUE, "--key", "operator.key"];
    let reads = [
        "status",
        "peers",
        "members",
        "equivocations",
        "claims",
        "unclaimed",
        "latency",
        "probes",
        "services",
        "pools",
        "delegations",
        "drain",
    ];
    let all = reads.iter().map(std::slice::from_ref).chain([&explain[..], &apply]);
    for args in all {
        let (code, out, err) = nigh(folder.path(), args);
        let expected = "nigh: no node listens on nigh.sock: is nigh running? try --socket or NIGH_SOCKET\n";
        assert_eq!((code, out.as_str(), err.as_str()), (69, "", expected), "{args:?}");
    }
    let (_, _, err) = nigh(folder.path(), &["status", "--socket", "other.sock"]);
    assert!(err.starts_with("nigh: no node listens on other.sock: "), "{err}");
}

#[tokio::test]
async fn reports_are_tables_that_people_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _stop) = Fake::new(SigningKey::from_bytes(&[5; 32])).serve(folder.path());
    let table = async |command: &str| {
        let (code, out, err) = nigh_beside(folder.path(), &[command]).await;
        assert_eq!((code, err.as_str()), (0, ""));
        out
    };
    let mesh_id = identity::public(&SigningKey::from_bytes(&[5; 32]));
    let status = format!(
        "\
node       fra (Frankfurt), nigh 0.1.0, up 1h 2m
id         aaaa
mesh       {mesh_id}
admission  admitted until 2033-05-18T03:33:20Z
members    2 of 3 alive, 1 linked
pages      17, state beef
dns        192.0.2.7:53
answered   12 queries, 5 cut answers, 7 referrals
catalogue  1 zone, 1 service, 2 servers, 3 record sets
snapshot   42
measuring  2 servers, 1 up, 1 down, 1 of them flapping, isolated
warning    no claim for 203.0.113.0/24
"
    );
    assert_eq!(table("status").await, status);
    let peers = "\
NODE  POP  VERDICT          LINK    RTT ms  MESH            DNS        CUTS  ID
fra   -    alive            self         -  192.0.2.7:4242  192.0.2.7  fra   abcdefgh
nyc   -    dead, two-faced  linked    81.2  192.0.2.7:4242  192.0.2.7  nyc   abcdefgh
";
    assert_eq!(table("peers").await, peers);
    let members = "\
NAME  ADMISSION  VERDICT  LINK  ENDS IN  PREFIXES        ID
fra   admitted   alive    self  40 days  203.0.113.0/24  abcdefghijklmnop
nyc   ended      absent   -           -  203.0.113.0/24  abcdefghijklmnop
sin   revoked    absent   -           -  203.0.113.0/24  abcdefghijklmnop
";
    assert_eq!(table("members").await, members);
    let proofs = "\
NODE  TABLE  VERSION  ID
nyc      17  3.9      abcdefghijklmnop
both pages of each, as signed: nigh equivocations --json
";
    assert_eq!(table("equivocations").await, proofs);
    let claims = "\
PREFIX          NODE  PREFERENCE  PROVEN BY     AGE  RTT ms  VERDICT  BEST
203.0.113.0/24  fra           10  nyc        1m 30s     1.2  alive    best
203.0.113.0/24  nyc          200  -               -       -  alive    void
";
    assert_eq!(table("claims").await, claims);
    let unclaimed = "\
NETWORK          OPERATOR  COUNTRY  QUESTIONS  AT LEAST  NEAREST  BY
198.51.100.0/24  AS64500   DE            3200      3184  fra      operator
2001:db8:7::/48  -         -              160       144  -        -
";
    assert_eq!(table("unclaimed").await, unclaimed);
    let latency = "\
NODE  SERVICE             SERVER  ADDRESS    STATE  RTT ms  LOSS %  LOAD %  AGE  WHY
fra   www.lb.example.com  fra-1   192.0.2.1  up        1.3      25      30   1s  -
fra   www.lb.example.com  nyc-1   192.0.2.1  down        -      25       -   1s  -
";
    assert_eq!(table("latency").await, latency);
    let pools = "\
ORIGIN                  FROM            SERVICES            STATE  HELD BY  IMPORTERS  ADDRESSES  TROUBLE
www.origin.example.com  203.0.113.1:53  www.lb.example.com  kept   fra      fra nyc    192.0.2.1  203.0.113.1:53 does not reply
zone origin.example.com held here: serial 7, 1 address or alias record
";
    assert_eq!(table("pools").await, pools);
    let delegations = "\
lb.example.com: kept by fra, dry run here
  parent lists  ns-nyc.lb.example.com
  should list   fra
  next change   + NS ns-fra.lb.example.com
  last change   -
";
    assert_eq!(table("delegations").await, delegations);
    let probes = "\
SERVICE             SERVER  PROBE                FOR   EVERY  PACE     NEXT  STATE                      IN A ROW    AGE    ms  CERTIFICATE  LAST
www.lb.example.com  fra-1   https 192.0.2.1:443  both    20s  thin  1s500ms  up                          40 good  200ms  12.3  9d!          answered
www.lb.example.com  nyc-1   https 192.0.2.1:443  both    20s  thin  1s500ms  flapping, held down 1m15s   2/3 bad  200ms     -  -            timeout after 1s
";
    assert_eq!(table("probes").await, probes);
    let services = "\
SERVICE             MODE   TTL  ANSWERS  SPREAD ms  PROBE             SERVER  ADDRESS    WEIGHT  TIER  STATE
www.lb.example.com  refer   20        1        0.0  tcp:443 every 2s  fra-1   192.0.2.1       1     0  up
                                                                      nyc-1   192.0.2.1      10     0  up, canary 2.5 %
";
    assert_eq!(table("services").await, services);
}

#[tokio::test]
async fn explain_asks_on_behalf_of_a_node_and_refusals_fail() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _stop) = Fake::new(SigningKey::from_bytes(&[5; 32])).serve(folder.path());
    let args = ["explain", "www.lb.example.com", "--from", "203.0.113.53", "--type", "aaaa", "--at", "nyc"];
    let (code, out, _) = nigh_beside(folder.path(), &args).await;
    assert_eq!((code, out.as_str()), (0, "www.lb.example.com AAAA from 203.0.113.53\n"));
    let (_, out, _) = nigh_beside(folder.path(), &[&args[..], &["--json"]].concat()).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["at"], "nyc");
    let (code, _, err) = nigh_beside(folder.path(), &["explain", "example.net", "--from", "::1"]).await;
    assert_eq!((code, err.as_str()), (2, "nigh: example.net is in no zone of the mesh; see nigh services\n"));
}

#[tokio::test]
async fn apply_shows_what_changes_and_submits_it() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("operator.key");
    let node = Fake::new(identity::create(&key_file, Kind::Operator).unwrap());
    let (_, _stop) = node.serve(folder.path());
    let apply = async |file: &str, more: &[&str]| {
        nigh_beside(folder.path(), &[&["apply", file, "--key", "operator.key"], more].concat()).await
    };
    let (code, dry, err) = apply(CATALOGUE, &["--dry-run"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        dry.starts_with("+ zone lb.example.com: nameservers fra nyc\n+ zone lb.example.org: nameservers by name\n")
    );
    assert!(dry.ends_with("\ndry run: 7 records would be submitted (7 added, 0 changed, 0 removed)\n"), "{dry}");
    assert!(node.pages.lock().unwrap().is_empty());

    let (code, out, _) = apply(CATALOGUE, &[]).await;
    assert_eq!(code, 0);
    assert!(out.ends_with("\n7 of 7 records taken by fra (7 added, 0 changed, 0 removed)\n"), "{out}");
    // The dry run goes on to say for whom answers would change.
    let changes = |text: &str| text.lines().filter(|line| line.starts_with("+ ")).count();
    assert_eq!(changes(&out), changes(&dry));
    let (_, out, _) = apply(CATALOGUE, &[]).await;
    assert_eq!(out, "nothing to change: 2 zones, 2 services, 3 servers, 0 record sets as in the file\n");

    std::fs::write(folder.path().join("empty.toml"), "# all gone\n").unwrap();
    let (code, _, err) = apply("empty.toml", &[]).await;
    let expected =
        "nigh: empty.toml: says nothing, so all 7 records would be removed; if that is meant, add --remove-all\n";
    assert_eq!((code, err.as_str()), (2, expected));
    let (_, out, _) = apply("empty.toml", &["--remove-all", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["changes"][0]["text"], "- zone lb.example.com");
    assert_eq!((&json["changes"][0]["change"], &json["submitted"]["accepted"]), (&"remove".into(), &7.into()));
}

#[tokio::test]
async fn apply_refuses_what_would_not_work() {
    let folder = tempfile::tempdir().unwrap();
    identity::create(&folder.path().join("operator.key"), Kind::Operator).unwrap();
    let node = Fake::new(identity::create(&folder.path().join("right.key"), Kind::Operator).unwrap());
    let (_, _stop) = node.serve(folder.path());
    let (code, _, err) = nigh_beside(folder.path(), &["apply", CATALOGUE, "--key", "operator.key"]).await;
    assert_eq!(code, 1);
    assert!(
        err.contains(" is the key of mesh ")
            && err.ends_with("; use that mesh's root key or one that it appointed, or another node\n"),
        "{err}"
    );

    let hidden = std::fs::read_to_string(CATALOGUE).unwrap().replace("WWW.lb.example.com", "nyc.lb.example.com");
    let hidden = hidden.replace("nameservers = [\"fra\", \"nyc\"]", "");
    std::fs::write(folder.path().join("hidden.toml"), hidden).unwrap();
    let (code, _, err) = nigh_beside(folder.path(), &["apply", "hidden.toml", "--key", "right.key"]).await;
    let expected =
        "nigh: hidden.toml: service nyc.lb.example.com has a name of the cut of node nyc; choose another name\n";
    assert_eq!((code, err.as_str()), (78, expected));

    // A zone file is looked for beside the catalogue, not in the working directory.
    let sub = folder.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    let zone = "[[zone]]\nname = \"lb.example.com\"\nrecords = \"lb.zone\"\n";
    std::fs::write(sub.join("zone.toml"), zone).unwrap();
    let (code, _, err) = nigh_beside(folder.path(), &["apply", "sub/zone.toml", "--key", "right.key"]).await;
    assert!(
        code == 78 && err.contains("sub/zone.toml:3:11: zone[0].records = \"lb.zone\": cannot open sub/lb.zone: "),
        "{err}"
    );
    std::fs::write(sub.join("lb.zone"), "$TTL 60\n\n@ TXT\nnyc TXT cut\n").unwrap();
    let (code, _, err) = nigh_beside(folder.path(), &["apply", "sub/zone.toml", "--key", "right.key"]).await;
    assert!(code == 78 && err.ends_with("\"lb.zone\": lb.zone:3: TXT: a string is missing\n"), "{err}");
    std::fs::write(sub.join("lb.zone"), "$TTL 60\n@ TXT text\nnyc TXT cut\n").unwrap();
    let (code, _, err) = nigh_beside(folder.path(), &["apply", "sub/zone.toml", "--key", "right.key"]).await;
    let expected =
        "nigh: sub/zone.toml: record nyc.lb.example.com TXT has a name of the cut of node nyc; choose another name\n";
    assert_eq!((code, err.as_str()), (78, expected));
    assert!(node.pages.lock().unwrap().is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_nigh"))
        .args(["check-config", SMALLEST])
        .current_dir(folder.path())
        .stdout({
            // A pipe whose reading end is closed before the first write.
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer
        })
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_node_far_away_is_asked_by_its_url_and_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (code, out, err) = nigh(here, &["token", "ops", "--role", "write"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let line = out.lines().find(|line| line.starts_with("write ops ")).unwrap();
    assert_eq!(std::fs::metadata(here.join("ops.token")).unwrap().permissions().mode() & 0o7777, 0o600);
    let (code, _, err) = nigh(here, &["token", "ops", "--role", "read"]);
    assert_eq!(code, 73, "{err}");
    assert_eq!(nigh(here, &["token", "a b", "--role", "read"]).0, 2);

    let tokens = here.join("tokens");
    std::fs::write(&tokens, line).unwrap();
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = AdminConfig { tokens: Some(tokens), ..AdminConfig::default() };
    let (address, _stop) =
        Fake::new(SigningKey::from_bytes(&[5; 32])).serve_tcp(here, Access::open(&config).unwrap()).await;
    let url = format!("http://{address}");
    let with = ["--url", &url, "--token-file", "ops.token"];
    for command in ["status", "peers", "members", "claims", "unclaimed", "latency", "probes", "services", "drain"] {
        let args = [&[command], &with[..]].concat();
        let (code, out, err) = nigh_beside(here, &args).await;
        assert!(code == 0 && !out.is_empty(), "{command}: {err}");
    }
    let (code, _, err) = nigh_beside(here, &["status", "--url", &url]).await;
    let expected = "nigh: a token is needed; name the file that has it with --token-file or NIGH_TOKEN_FILE\n";
    assert_eq!((code, err.as_str()), (77, expected));
    assert_eq!(nigh_beside(here, &["status", "--url", &url, "--socket", "nigh.sock"]).await.0, 2);
    assert_eq!(nigh_beside(here, &["status", "--url", "http://192.0.2.1:8053"]).await.0, 2);
    let (code, _, err) = nigh_beside(here, &["status", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(code, 69, "{err}");
    std::fs::set_permissions(here.join("ops.token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = nigh_beside(here, &[&["status"], &with[..]].concat()).await;
    assert!(code == 77 && err.contains("mode 0644 lets others use this token"), "{err}");
}
