//! dnstap, read by others: `fstrm_capture` takes what a node writes to a socket, `dnstap-read` (BIND's) tells what was in
//! it, and in a file that a node wrote itself.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hickory_proto::op::ResponseCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::dns::ask;
use crate::fleet::{Fleet, ensure, until};
use crate::program;

/// A reader; it is ended well, for then it writes what it has.
struct Capture(Child);

impl Capture {
    fn at(socket: &Path, file: &Path) -> Option<Self> {
        let program = program("fstrm_capture", "fstrm-bin")?;
        let mut command = Command::new(program);
        command.args(["-t", "protobuf:dnstap.Dnstap"]).arg("-u").arg(socket).arg("-w").arg(file);
        Some(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()))
    }
}

impl Capture {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        kill(self.pid(), Signal::SIGTERM).ok();
        self.0.wait().ok();
    }
}

/// What BIND's reader says of a file; an error if the file is not whole.
fn told(file: &Path, full: bool) -> Result<String, String> {
    let mut command = Command::new(program("dnstap-read", "bind9-dnsutils").ok_or("no dnstap-read")?);
    command.args(full.then_some("-p")).arg(file);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A configuration with a tap.
fn tapped(fleet: &Fleet, dnstap: &str) -> String {
    format!("{}[dnstap]\n{dnstap}\n", fleet.config(0, &fleet.settings(0)))
}

/// A node with a certificate.
fn start(fleet: &Fleet, config: &str) -> crate::fleet::Process {
    fleet.certify(0, crate::fleet::NAMES[0], 3600).unwrap();
    fleet.start_with(0, config)
}

const CATALOGUE: &str = "[[zone]]\nname = \"lb.test\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_at_the_socket_sees_every_query_and_reply_and_may_come_and_go() {
    if program("fstrm_capture", "fstrm-bin").is_none() || program("dnstap-read", "bind9-dnsutils").is_none() {
        return;
    }
    let fleet = Fleet::new();
    let (socket, file) = (fleet.ground.file("dnstap.sock"), fleet.ground.file("first.fstrm"));
    // Nobody listens yet: the node starts and answers all the same.
    let mut node = start(&fleet, &tapped(&fleet, &format!("socket = {socket:?}")));
    until("it can be asked", async || fleet.lines(0, "peers").await.map(drop)).await;
    fleet.apply(0, CATALOGUE).await;
    let question = async |name: &str| {
        ask(fleet.ground.resolver(0), fleet.ground.dns(0), name).await.map_err(|error| error.to_string())
    };
    until("it answers", async || question("early.lb.test").await.map(drop)).await;
    let capture = Capture::at(&socket, &file).unwrap();
    let connected = async |fleet: &Fleet, wanted: &str| {
        let wanted = format!("nigh_dnstap_connected {wanted}");
        until("the reader is noticed", async || {
            let text = crate::monitoring::metrics(fleet, 0).await;
            ensure(text.lines().any(|line| line == wanted), || text.clone())
        })
        .await;
    };
    connected(&fleet, "1").await;
    for n in 0..50 {
        question(&format!("n{n}.lb.test")).await.unwrap();
    }
    // What was written lies in the reader's buffer until it is told to put it on the disk.
    until("the reader has it all", async || {
        kill(capture.pid(), Signal::SIGHUP).unwrap();
        let held = told(&file, false)?;
        ensure(held.lines().any(|line| line.contains(" AR ") && line.contains(" n49.lb.test/")), || held.clone())
    })
    .await;
    // The reader goes without a word; questions are answered; another one comes.
    drop(capture);
    until("the node notices", async || {
        question("between.lb.test").await?;
        let text = crate::monitoring::metrics(&fleet, 0).await;
        ensure(text.lines().any(|line| line == "nigh_dnstap_connected 0"), || text.clone())
    })
    .await;
    let again = fleet.ground.file("second.fstrm");
    let capture = Capture::at(&socket, &again).unwrap();
    connected(&fleet, "1").await;
    question("late.lb.test").await.unwrap();
    // What waits in the queue is written before the end.
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    drop(capture);

    let (first, again) = (told(&file, false).unwrap(), told(&again, false).unwrap());
    let asker = format!("{}:", fleet.ground.resolver(0));
    for n in 0..50 {
        let of = |kind: &str| {
            first.lines().filter(|line| line.contains(kind) && line.contains(&format!(" n{n}.lb.test/"))).count()
        };
        assert_eq!((of(" AQ "), of(" AR ")), (1, 1), "n{n}.lb.test in\n{first}");
    }
    let line = first.lines().find(|line| line.contains(" n0.lb.test/")).unwrap();
    assert!(
        line.contains(&asker) && line.contains(&fleet.ground.dns(0).to_string()) && line.contains(" UDP "),
        "{line}"
    );
    assert!(again.contains("late.lb.test/IN/A"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_one_in_so_many_and_is_whole_after_the_end() {
    if program("dnstap-read", "bind9-dnsutils").is_none() {
        return;
    }
    let fleet = Fleet::new();
    let file = fleet.ground.file("node.fstrm");
    let mut node = start(&fleet, &tapped(&fleet, &format!("file = {file:?}\nsample = 10")));
    until("it can be asked", async || fleet.lines(0, "peers").await.map(drop)).await;
    fleet.apply(0, CATALOGUE).await;
    let question = async |name: &str| {
        ask(fleet.ground.resolver(0), fleet.ground.dns(0), name).await.map_err(|error| error.to_string())
    };
    until("it knows the zone", async || {
        let reply = question("some.lb.test").await?;
        ensure(reply.code == ResponseCode::NXDomain, || format!("{reply:?}"))
    })
    .await;
    for _ in 0..200 {
        question("some.lb.test").await.unwrap();
    }
    node.terminate();
    assert_eq!(node.exit_code().await, 0);
    let text = told(&file, true).unwrap();
    let count = text.matches("status: NXDOMAIN").count();
    // Each thread that answers begins to count on its own.
    assert!((10..=40).contains(&count), "{count} of 200 at one in ten:\n{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o007, 0, "who asks what is nobody else's business");
}
