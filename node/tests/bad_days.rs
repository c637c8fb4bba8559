//! Bad input and bad days: every one is a line that says what to do, and an exit code that a script can tell.
//!
//! The real binary, in namespaces where a full disk or a missing capability is wanted. Where those cannot be had the
//! cases are left out, and `CI` makes that a failure.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use ed25519_dalek::SigningKey;
use nigh::certificate::{self, Handed};
use nigh::identity::{self, Kind};
use nigh_gossip::{Certificate, NodeId};

/// Addresses of this file's tests alone.
const HOST: &str = "127.61.7.1";

struct Ground {
    folder: tempfile::TempDir,
    operator: SigningKey,
    me: NodeId,
}

impl Ground {
    /// A node that could start, with its key.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let operator = identity::create(&folder.path().join("operator.key"), Kind::Operator).unwrap();
        let me = identity::node_id(&folder.path().join("state")).unwrap();
        let ground = Self { folder, operator, me };
        ground.configure();
        ground
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self) {
        let (at, id) = (self.folder.path().display(), identity::public(&self.operator));
        let text = format!(
            "[node]\nname = \"fra\"\nstate_dir = \"{at}/state\"\n[mesh]\nid = \"{id}\"\nlisten = [\"{HOST}:4242\"]\n\
             [dns]\nlisten = [\"{HOST}:5353\"]\n[admin]\nsocket = \"{at}/nigh.sock\"\n"
        );
        fs::write(self.path("nigh.toml"), text).unwrap();
    }

    /// Another line in the configuration.
    fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("nigh.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.path("nigh.toml"), text.replacen(from, to, 1)).unwrap();
    }

    fn certificate(&self, node: NodeId, name: &str, not_after: u64, by: &SigningKey) {
        let certificate = Certificate { node, name: name.into(), serial: 1, prefixes: Vec::new(), not_after };
        certificate::write(&self.path("state/certificate"), &Handed::by_the_root(certificate.sign(by, 1, 0))).unwrap();
    }

    /// Runs `nigh`, or `before` and then `nigh`; returns the exit code and what it said.
    fn nigh(&self, before: &[&str], args: &[&str]) -> (i32, String) {
        let nigh = env!("CARGO_BIN_EXE_nigh");
        let mut words = before.iter().copied().chain([nigh]).chain(args.iter().copied());
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.folder.path()).env_remove("NIGH_LOG").env("NIGH_SOCKET", "none.sock");
        let Output { status, stderr, .. } = command.output().unwrap();
        (status.code().unwrap_or(-1), String::from_utf8(stderr).unwrap())
    }
}

fn stranger() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

const NEVER: u64 = 4_000_000_000;

/// What is wrong, what `nigh` is told to do, its exit code, and what stands in the one line that it says.
type Case = (&'static str, fn(&Ground), &'static [&'static str], i32, &'static [&'static str]);

const RUN: &[&str] = &["run", "nigh.toml"];

const CASES: &[Case] = &[
    ("no such command", |_| {}, &["stauts"], 2, &["unrecognized subcommand"]),
    (
        "a configuration that is not there",
        |_| {},
        &["run", "other.toml"],
        66,
        &["other.toml: no such file; to make one, copy nigh.example.toml"],
    ),
    ("a folder in its place", |_| {}, &["check-config", "."], 66, &["cannot read ."]),
    ("not TOML", |g| fs::write(g.path("nigh.toml"), "[node\n").unwrap(), RUN, 78, &["nigh.toml:1:", "not TOML"]),
    ("not UTF-8", |g| fs::write(g.path("nigh.toml"), [0xff]).unwrap(), RUN, 78, &["not UTF-8 at byte 0"]),
    ("an unknown key", |g| g.change("[admin]", "ratelimit = 3\n[admin]"), RUN, 78, &["unknown key"]),
    ("a wrong kind", |g| g.change("[\"127.61.7.1:4242\"]", "4242"), RUN, 78, &["is expected"]),
    ("a wrong value", |g| g.change("\"fra\"", "\"-\""), RUN, 78, &["node.name = \"-\"", "begins and ends"]),
    ("a port for two purposes", |g| g.change(":5353", ":4242"), RUN, 78, &["taken by mesh.listen"]),
    (
        "a mistyped level",
        |g| g.change("[admin]", "[log]\nlevel = \"inof\"\n[admin]"),
        RUN,
        78,
        &["log.level", "is expected"],
    ),
    (
        "a catalogue that is wrong",
        |g| fs::write(g.path("s.toml"), "[[zone]]\n").unwrap(),
        &["apply", "s.toml", "--key", "operator.key"],
        78,
        &["name: missing"],
    ),
    ("a key for all to read", |g| mode(&g.path("state/node.key"), 0o644), RUN, 77, &["mode 0644", "chmod 600"]),
    (
        "the operator's key on a node",
        |g| {
            fs::copy(g.path("operator.key"), g.path("state/node.key")).unwrap();
        },
        RUN,
        65,
        &["an operator's key", "name the right file"],
    ),
    (
        "half a key",
        |g| fs::write(g.path("state/node.key"), "nigh-node-key-1:abc").unwrap(),
        RUN,
        65,
        &["damaged", "backup"],
    ),
    ("an id that is none", |_| {}, &["admit", "AAAA", "--name", "x", "--key", "operator.key"], 2, &["NODE_ID"]),
    (
        "a node's key in place of the operator's",
        |g| fs::write(g.path("s.toml"), "").unwrap(),
        &["apply", "s.toml", "--key", "state/node.key"],
        65,
        &["a node's key", "an operator's key is expected", "name the right file"],
    ),
    (
        "an operator's key that is not there",
        |g| fs::write(g.path("s.toml"), "").unwrap(),
        &["apply", "s.toml", "--key", "o.key"],
        66,
        &["o.key", "no such file", "nigh init"],
    ),
    ("a key where one is", |_| {}, &["init", "--key", "operator.key"], 73, &["never overwritten"]),
    (
        "half a certificate",
        |g| fs::write(g.path("state/certificate"), "nigh-certificate-1:abc").unwrap(),
        RUN,
        65,
        &["damaged", "nigh admit"],
    ),
    (
        "a certificate that has ended",
        |g| g.certificate(g.me, "fra", 1_000_000_000, &g.operator),
        RUN,
        76,
        &["ended on 2001-09-09", "nigh admit"],
    ),
    (
        "another node's certificate",
        |g| g.certificate(identity::public(&stranger()), "fra", NEVER, &g.operator),
        RUN,
        76,
        &["the certificate of node", "nigh admit"],
    ),
    (
        "another name's certificate",
        |g| g.certificate(g.me, "nyc", NEVER, &g.operator),
        RUN,
        76,
        &["admits this node as nyc", "set node.name"],
    ),
    (
        "another mesh's certificate",
        |g| g.certificate(g.me, "fra", NEVER, &stranger()),
        RUN,
        76,
        &["no line of it shows", "set mesh.id"],
    ),
    (
        "a certificate that is named and not there",
        |g| g.change("listen", "certificate = \"/nowhere/c\"\nlisten"),
        RUN,
        66,
        &["/nowhere/c", "no such file", "nigh admit"],
    ),
    (
        "a state directory below a file",
        |g| g.change("state_dir = \"", "state_dir = \"/dev/null"),
        RUN,
        66,
        &["state_dir", "/dev/null"],
    ),
    (
        "an address of another host",
        |g| g.change("127.61.7.1:5353", "192.0.2.1:5353"),
        RUN,
        73,
        &["192.0.2.1:5353", "correct dns.listen"],
    ),
    ("nobody on the admin socket", |_| {}, &["status"], 69, &["no node listens", "is nigh running"]),
    (
        "a file in the admin socket's place",
        |g| fs::write(g.path("nigh.sock"), "").unwrap(),
        RUN,
        73,
        &["no socket", "move it away"],
    ),
];

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_bad_input_has_its_line_and_its_code() {
    for (what, spoil, args, code, words) in CASES {
        let ground = Ground::new();
        spoil(&ground);
        check(what, &ground.nigh(&[], args), *code, words);
    }
}

/// One line, or one for each mistake of a file; not a panic, not a backtrace.
fn check(what: &str, (found, said): &(i32, String), code: i32, words: &[&str]) {
    assert_eq!(*found, code, "{what}: {said}");
    for word in words {
        assert!(said.contains(word), "{what}: {word:?} is not in {said:?}");
    }
    // What clap says of arguments has its usage below; what comes of a running node, its log above.
    let lines = said.lines().filter(|line| line.starts_with("nigh: ")).count();
    assert!(code == 2 || lines == 1, "{what}: {said:?}");
    assert!(!said.contains("panicked"), "{what}: {said}");
}

#[test]
fn a_busy_port_is_named() {
    let ground = Ground::new();
    let at = format!("{HOST}:5453");
    ground.change(&format!("{HOST}:5353"), &at);
    let udp = UdpSocket::bind(&at).unwrap();
    check("UDP", &ground.nigh(&[], RUN), 73, &[&at, "another program answers there", "dns.listen"]);
    drop(udp);
    let _tcp = TcpListener::bind(&at).unwrap();
    check("TCP", &ground.nigh(&[], RUN), 73, &[&at, "another program answers there", "dns.listen"]);
}

#[test]
fn a_busy_mesh_port_is_named() {
    let ground = Ground::new();
    let at = format!("{HOST}:4343");
    ground.change(&format!("{HOST}:4242"), &at);
    ground.change(":5353", ":5354");
    let _udp = UdpSocket::bind(&at).unwrap();
    check("mesh", &ground.nigh(&[], RUN), 73, &[&at, "for the mesh", "another nigh"]);
}

/// Whether namespaces of a user's own can be had; `CI` wants them.
fn has_namespaces() -> bool {
    let has = Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|status| status.success());
    assert!(has || std::env::var_os("CI").is_none(), "unshare -Urm does not work here");
    has
}

#[test]
fn a_missing_capability_is_named() {
    // Root in a user namespace has no rights over the network outside.
    if has_namespaces() {
        let ground = Ground::new();
        ground.change(":5353", ":53");
        check("port 53", &ground.nigh(&["unshare", "-Ur"], RUN), 77, &[":53", "CAP_NET_BIND_SERVICE", "unit"]);
    }
}

#[test]
fn a_full_disk_is_named() {
    if has_namespaces() {
        let ground = Ground::new();
        ground.change(":5353", ":5355");
        ground.change(":4242", ":4344");
        let full = "mount -t tmpfs -o size=4k none state && dd if=/dev/zero of=state/all bs=4k count=1 status=none && \
                    exec \"$@\"";
        let before = ["unshare", "-Urm", "sh", "-c", full, "sh"];
        check("key", &ground.nigh(&before, RUN), 74, &["state/node.key", "cannot write the key", "No space left"]);
        let kept = ["unshare", "-Urm", "sh", "-c", KEPT, "sh"];
        check("state", &ground.nigh(&kept, RUN), 74, &["state/cuts.json", "is the disk full"]);
    }
}

/// The same with the key in its place.
const KEPT: &str = "cp state/node.key k && mount -t tmpfs -o size=8k none state && cp k state/node.key && \
                    dd if=/dev/zero of=state/all bs=4k count=1 status=none && exec \"$@\"";

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let files = [
        ("nigh.toml", "cannot open nigh.toml"),
        ("state/node.key", "cannot open the key"),
        ("state/certificate", "cannot open the certificate"),
    ];
    if has_namespaces() {
        for (name, words) in files {
            let ground = Ground::new();
            ground.certificate(ground.me, "fra", NEVER, &ground.operator);
            mode(&ground.path(name), 0o000);
            // Without the right to read what is forbidden, which root has.
            let without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];
            let before: &[&str] = if nix::unistd::geteuid().is_root() { &without } else { &[] };
            check(name, &ground.nigh(before, RUN), 77, &[words, "Permission denied"]);
        }
    }
}

#[test]
fn a_state_directory_that_is_read_only_is_named() {
    if has_namespaces() {
        let ground = Ground::new();
        let sealed = "mount --bind state state && mount -o remount,bind,ro state && exec \"$@\"";
        let before = ["unshare", "-Urm", "sh", "-c", sealed, "sh"];
        check("state", &ground.nigh(&before, RUN), 74, &["state", "Read-only file system"]);
    }
}

#[test]
fn two_keys_are_told_apart_by_the_operator() {
    let ground = Ground::new();
    fs::create_dir(ground.path("credentials")).unwrap();
    identity::create(&ground.path("credentials/node.key"), Kind::Node).unwrap();
    let at = format!("CREDENTIALS_DIRECTORY={}", ground.path("credentials").display());
    let words = ["credentials/node.key and", "state/node.key: two keys", "move away"];
    check("two keys", &ground.nigh(&["env", &at], RUN), 65, &words);
}

/// A node that runs, until it is dropped.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_that_runs_already_is_named() {
    let ground = Ground::new();
    ground.change(":5353", ":5356");
    ground.change(":4242", ":4345");
    let mut first = Command::new(env!("CARGO_BIN_EXE_nigh"));
    first.args(RUN).current_dir(ground.folder.path()).stderr(std::process::Stdio::null());
    let _first = Running(first.spawn().unwrap());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // Its status is there once it has all that it needs.
    let socket = ground.path("nigh.sock");
    while ground.nigh(&[], &["status", "--socket", socket.to_str().unwrap()]).0 != 0 {
        assert!(std::time::Instant::now() < until, "the first node does not run");
    }
    check("the same ports", &ground.nigh(&[], RUN), 73, &[":5356", "another program answers there"]);
    ground.change(":5356", ":5357");
    check("the same socket", &ground.nigh(&[], RUN), 73, &["nigh.sock"]);
    ground.change("nigh.sock", "other.sock");
    ground.change(":4345", ":4346");
    check("the same state directory", &ground.nigh(&[], RUN), 73, &["state"]);
}
