//! Debian's serf: this process starts one `serf agent`, which is the one measured, and reads its log.
//!
//! Settings: `-profile=lan`, the default. A change is a user event (coalescing off), named by its number; it is seen, and
//! a member failed, when the agent's log says so: on a pipe, so that reading costs the loopback nothing. (The agent's
//! event handlers hear of failures up to 3 s later, for it gathers them.) Changes are handed in over its RPC port, the
//! only way in; these few hundred bytes a change, beside tens of thousands, are in its figure for bytes. Not encrypted
//! (no key is set), not signed; memberlist compresses. It doesn't count copies.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, tcp::OwnedWriteHalf},
    process::Command,
};

use crate::{
    Fallible,
    node::{Orders, Seat, say},
    words::{DIGITS, Order, Said, change, now},
};

const RETRY: Duration = Duration::from_millis(100);
const RETRIES: u32 = 100;

/// Whether there is a serf to measure.
pub fn installed() -> bool {
    let version = std::process::Command::new("serf").arg("version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Runs the node.
pub async fn run(seat: Seat, mut orders: Orders) -> Fallible<()> {
    let rpc = format!("127.0.0.1:{}", seat.ports[seat.nodes + seat.index]);
    let mut agent = Command::new("serf");
    agent
        .args(["agent", "-profile=lan", "-log-level=info"])
        .arg(format!("-node={}", seat.index))
        .arg(format!("-bind={}", seat.here()))
        .arg(format!("-rpc-addr={rpc}"))
        .arg(format!("-retry-join={}", seat.at(0)))
        .arg("-retry-interval=1s")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut agent = agent.spawn()?;
    if let Some(id) = agent.id().and_then(|id| i32::try_from(id).ok()) {
        say(&Said::Process(id));
    }
    let mut log = BufReader::new(agent.stdout.take().ok_or("serf has no output")?).lines();
    let mut rpc = Rpc::open(&rpc).await?;
    let (mut members, mut own, mut lives) = (0, None, true);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Write(text)) => {
                    own = change(text.as_bytes());
                    if let Some(change) = own {
                        say(&Said::Wrote(change, now()));
                        rpc.event(&text).await?;
                    }
                }
                Some(Order::Count) => {}
                None => return Ok(()),
            },
            line = log.next_line(), if lives => {
                // Killed, most likely. This process stays until it is told to go, for the round still talks to it.
                let Some(line) = line? else { lives = false; continue };
                let at = now();
                match read(&line) {
                    Some(Line::Joined) => {
                        members += 1;
                        if members == seat.nodes {
                            say(&Said::Ready);
                        }
                    }
                    Some(Line::Failed(node)) => say(&Said::Dead(node, at)),
                    Some(Line::Event(change)) if own != Some(change) => say(&Said::Seen(change, at)),
                    Some(Line::Event(_)) | None => {}
                }
            }
        }
    }
}

enum Line {
    Joined,
    Failed(usize),
    Event(u32),
}

fn read(line: &str) -> Option<Line> {
    let (_, said) = line.split_once("[INFO] ")?;
    if said.starts_with("serf: EventMemberJoin:") {
        return Some(Line::Joined);
    }
    if let Some(rest) = said.strip_prefix("serf: EventMemberFailed: ") {
        return Some(Line::Failed(rest.split(' ').next()?.parse().ok()?));
    }
    Some(Line::Event(change(said.strip_prefix("agent: Received event: user-event: ")?.as_bytes())?))
}

/// As much of serf's RPC as it takes to hand in an event: MessagePack over TCP, a header and a body each. Answers are
/// read and thrown away; an event that was refused is seen by nobody, and so counted as missed.
struct Rpc {
    out: OwnedWriteHalf,
    sequence: u8,
}

impl Rpc {
    async fn open(at: &str) -> Fallible<Self> {
        let mut tries = 0;
        let stream = loop {
            match TcpStream::connect(at).await {
                Ok(stream) => break stream,
                Err(error) if tries == RETRIES => return Err(error.into()),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(RETRY).await;
        };
        stream.set_nodelay(true)?;
        let (mut answers, out) = stream.into_split();
        tokio::spawn(async move {
            let mut thrown_away = [0; 4096];
            while answers.read(&mut thrown_away).await.is_ok_and(|length| length > 0) {}
        });
        let mut rpc = Self { out, sequence: 0 };
        rpc.call("handshake", [&[0x81], &string("Version")[..], &[1]].concat()).await?;
        Ok(rpc)
    }

    async fn event(&mut self, text: &str) -> Fallible<()> {
        let name = text.get(..DIGITS).unwrap_or_default();
        let body = [
            &[0x83],
            &string("Name")[..],
            &string(name),
            &string("Payload"),
            &string(text),
            &string("Coalesce"),
            &[0xc2],
        ];
        self.call("event", body.concat()).await
    }

    async fn call(&mut self, command: &str, body: Vec<u8>) -> Fallible<()> {
        // A positive fixint; a node writes a change or two, never a hundred.
        self.sequence = (self.sequence + 1) % 128;
        let header = [&[0x82], &string("Command")[..], &string(command), &string("Seq"), &[self.sequence]].concat();
        Ok(self.out.write_all(&[header, body].concat()).await?)
    }
}

/// The old MessagePack's "raw", of up to 31 or up to 65,535 bytes; serf's decoder knows no other string.
fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head = match length {
        [0, short @ 0..32] => vec![0xa0 | short],
        [high, low] => vec![0xda, high, low],
    };
    [&head, text.as_bytes()].concat()
}
