//! Packets of nonsense, from a thread of its own until it is dropped.

use crate::bed::nigh::MESH_PORT;
use crate::lab::{Namespace, netns};
use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Packets between two pauses, and the pause: about 4,000 a second, which is more than a node of a test bed gets in good
/// faith by a hundred times, and leaves the machine something to answer with.
const BURST: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);
/// Longest packet: what passes everywhere.
const LONGEST: usize = 1200;

/// A flood.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Begins to flood a node's DNS port and mesh port from a namespace.
    pub fn start(from: &Namespace, target: Ipv4Addr) -> Result<Self> {
        let socket = netns::inside(from.name(), || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?
            .context("opening a socket for a flood")?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("flood".to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    let mut random = ChaCha8Rng::seed_from_u64(u64::from(u32::from(target)));
                    let mut packet = [0_u8; LONGEST];
                    while !stop.load(Ordering::Relaxed) {
                        for number in 0..BURST {
                            random.fill_bytes(&mut packet);
                            let length = 1 + usize::from(u16::from_be_bytes([packet[0], packet[1]])) % LONGEST;
                            let port = if number % 2 == 0 { 53 } else { MESH_PORT };
                            // Lost packets are what floods are made of.
                            drop(socket.send_to(packet.get(..length).unwrap_or_default(), (target, port)));
                        }
                        std::thread::sleep(PAUSE);
                    }
                }
            })
            .context("starting a flood's thread")?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
