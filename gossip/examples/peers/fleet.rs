//! The processes of one round: started, heard, killed, stopped, and asked of the kernel what they cost.

use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, UdpSocket},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
    time::Instant,
};

use crate::{
    Contender, Fallible, Plan,
    words::{Order, Said, now},
};

/// USER_HZ, in which the kernel counts CPU time for /proc; 100 on every Linux that this runs on.
const TICKS: f64 = 100.0;

struct Node {
    child: Child,
    orders: ChildStdin,
    /// Which process to measure and to kill; serf's is a child of ours.
    subject: Option<i32>,
}

/// All nodes of a round, and what they said.
pub struct Fleet {
    nodes: Vec<Node>,
    inbox: mpsc::Receiver<(usize, Said)>,
    /// Nodes that know all others.
    pub ready: usize,
    /// When each change was handed in.
    pub wrote: BTreeMap<u32, u64>,
    /// When each change was seen, by change and node.
    pub seen: BTreeMap<(u32, usize), u64>,
    /// When a node was first held dead, by (dead, observer).
    pub dead: BTreeMap<(usize, usize), u64>,
    /// Reports of a death whose time had not come: nobody had touched that node.
    pub false_deaths: usize,
    touched: BTreeMap<usize, u64>,
    copies: BTreeMap<usize, (u64, u64)>,
    _dir: tempfile::TempDir,
}

impl Fleet {
    /// Starts all nodes.
    pub fn start(plan: &Plan, contender: Contender) -> Fallible<Self> {
        let ports = free_ports(usize::from(plan.nodes) * 2)?;
        let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let dir = tempfile::tempdir()?;
        let (sender, inbox) = mpsc::channel(1024);
        let mut nodes = Vec::new();
        for index in 0..usize::from(plan.nodes) {
            let own = dir.path().join(index.to_string());
            fs::create_dir(&own)?;
            let mut child = Command::new(std::env::current_exe()?)
                .args(plan.arguments())
                .args(["node", contender.name(), "--index", &index.to_string(), "--ports", &ports])
                .arg("--dir")
                .arg(own)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let (Some(orders), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err("a node has no pipes".into());
            };
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let Ok(said) = line.parse() else { continue };
                    if sender.send((index, said)).await.is_err() {
                        break;
                    }
                }
            });
            let subject = child.id().and_then(|id| i32::try_from(id).ok());
            nodes.push(Node { child, orders, subject });
        }
        Ok(Self {
            nodes,
            inbox,
            ready: 0,
            wrote: BTreeMap::new(),
            seen: BTreeMap::new(),
            dead: BTreeMap::new(),
            false_deaths: 0,
            touched: BTreeMap::new(),
            copies: BTreeMap::new(),
            _dir: dir,
        })
    }

    /// Hears what the nodes say until the condition holds, or for as long as given; returns whether it holds.
    pub async fn until(&mut self, patience: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !condition(self) {
            match tokio::time::timeout_at(deadline, self.inbox.recv()).await {
                Ok(Some((node, said))) => self.hear(node, said),
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    /// Hears what the nodes say for this long.
    pub async fn listen(&mut self, time: Duration) {
        self.until(time, |_| false).await;
    }

    fn hear(&mut self, node: usize, said: Said) {
        match said {
            Said::Process(id) => self.nodes[node].subject = Some(id),
            Said::Ready => self.ready += 1,
            Said::Wrote(change, at) => _ = self.wrote.insert(change, at),
            Said::Seen(change, at) => _ = self.seen.entry((change, node)).or_insert(at),
            Said::Dead(dead, at) if self.touched.get(&dead).is_some_and(|touched| *touched <= at) => {
                self.dead.entry((dead, node)).or_insert(at);
            }
            // What a stopped or killed node said of others is its own affair.
            Said::Dead(..) if self.touched.contains_key(&node) => {}
            Said::Dead(..) => self.false_deaths += 1,
            Said::Copies(new, again) => _ = self.copies.insert(node, (new, again)),
        }
    }

    /// Gives an order to one node.
    pub async fn order(&mut self, node: usize, order: &Order) -> Fallible<()> {
        Ok(self.nodes[node].orders.write_all(format!("{order}\n").as_bytes()).await?)
    }

    /// Copies received by all nodes since the start: (news, not news). None if the contender doesn't count them.
    pub async fn copies(&mut self) -> Fallible<Option<(u64, u64)>> {
        self.copies.clear();
        for node in 0..self.nodes.len() {
            self.order(node, &Order::Count).await?;
        }
        let all = self.nodes.len();
        let counted = self.until(Duration::from_secs(2), |fleet| fleet.copies.len() == all).await;
        let sum = self.copies.values().fold((0, 0), |sum, copies| (sum.0 + copies.0, sum.1 + copies.1));
        Ok(counted.then_some(sum))
    }

    /// Sends a signal that ends or stops a node, and returns when.
    pub fn signal(&mut self, node: usize, signal: Signal) -> Fallible<u64> {
        let at = now();
        self.touched.insert(node, at);
        let subject = self.nodes[node].subject.ok_or("the node has ended by itself")?;
        kill(Pid::from_raw(subject), signal)?;
        Ok(at)
    }

    /// CPU seconds used by all nodes so far.
    pub fn cpu(&self) -> f64 {
        self.subjects().filter_map(cpu).sum()
    }

    /// Resident megabytes of a node, the mean of all.
    pub fn resident(&self) -> f64 {
        let all: Vec<f64> = self.subjects().filter_map(resident).collect();
        all.iter().sum::<f64>() / all.len() as f64
    }

    fn subjects(&self) -> impl Iterator<Item = i32> {
        self.nodes.iter().filter_map(|node| node.subject)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(subject) = node.subject.filter(|subject| Some(*subject) != node.child.id().map(id)) {
                let _ = kill(Pid::from_raw(subject), Signal::SIGKILL);
            }
            let _ = node.child.start_kill();
        }
    }
}

fn id(id: u32) -> i32 {
    i32::try_from(id).unwrap_or_default()
}

/// Ports that are free for UDP and TCP now; the kernel does not hand them out again soon.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let mut held = Vec::new();
    while held.len() < count {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?) {
            held.push((tcp, udp));
        }
    }
    held.iter().map(|(tcp, _)| Ok(tcp.local_addr()?.port())).collect()
}

/// User and system time of a process: fields 14 and 15 of its stat, counted behind the name, which may hold spaces.
fn cpu(process: i32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / TICKS)
}

fn resident(process: i32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// Bytes that this namespace's loopback has carried: IP packets, each once.
pub fn carried() -> Option<u64> {
    let all = fs::read_to_string("/proc/self/net/dev").ok()?;
    let line = all.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}
