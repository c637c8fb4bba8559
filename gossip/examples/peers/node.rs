//! What every contender's node has in common: its seat among the others, orders on standard input, reports on output.

use std::{
    io::{BufRead, Write},
    net::SocketAddr,
    path::PathBuf,
};

use ed25519_dalek::SigningKey;
use tokio::sync::mpsc;

use crate::words::{Order, Said};

/// Which node of the round this process is.
pub struct Seat {
    /// Its number; node 0 is the first contact of those that need one.
    pub index: usize,
    /// How many there are.
    pub nodes: usize,
    /// A port for each node, and a second one for each (serf's RPC).
    pub ports: Vec<u16>,
    /// The seed of the round.
    pub seed: u64,
    /// An empty directory of its own.
    pub dir: PathBuf,
}

impl Seat {
    /// Where a node listens.
    pub fn at(&self, index: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[index]))
    }

    /// Where this node listens.
    pub fn here(&self) -> SocketAddr {
        self.at(self.index)
    }

    /// Whose port this is.
    pub fn whose(&self, port: u16) -> Option<usize> {
        self.ports[..self.nodes].iter().position(|known| *known == port)
    }

    /// The key of a node; every process can derive all of them.
    pub fn key(&self, index: usize) -> SigningKey {
        SigningKey::from_bytes(&self.draw("node", index))
    }

    /// 32 bytes that depend on the seed, a word and a number only.
    pub fn draw(&self, word: &str, number: usize) -> [u8; 32] {
        *blake3::hash(format!("{word} {number} of {}", self.seed).as_bytes()).as_bytes()
    }
}

/// Orders as they come; the end of standard input ends the process.
pub type Orders = mpsc::Receiver<Order>;

/// Reads orders on a thread of its own, so that a busy runtime stamps but never delays their reading.
pub fn orders() -> Orders {
    let (sender, orders) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = line.parse() else { continue };
            if sender.blocking_send(order).is_err() {
                break;
            }
        }
        // Dropping the sender ends the node's loop, which puts its children away.
    });
    orders
}

/// Reports; a round that no longer listens is gone, and so is this node soon.
pub fn say(said: &Said) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{said}").and_then(|()| out.flush());
}
