//! foca (SWIM), over UDP, driven as the agent among its examples drives it.
//!
//! Settings: `Config::new_lan` for this number of nodes (memberlist's LAN figures: a probe each second, gossip to 3 each
//! 200 ms). A change is a custom broadcast; its writer sends it to 3 members at once (`Foca::broadcast`), all then hand
//! it on with gossip and probes. Identities are renewed, so that a node wrongly declared down comes back. A node that
//! does not know all others announces itself to node 0 each second. Not signed, not encrypted. Copies are what the
//! broadcast handler is given.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foca::{
    AccumulatingRuntime, BroadcastHandler, Config, Foca, Identity, Invalidates, OwnedNotification, PostcardCodec, Timer,
};
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};
use tokio::{net::UdpSocket, time::Instant};

use crate::{
    Fallible,
    node::{Orders, Seat, say},
    words::{Order, Said, change, now},
};

const JOIN_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Id {
    at: SocketAddr,
    life: u16,
}

impl Identity for Id {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(Self { life: self.life.wrapping_add(1), ..self.clone() })
    }

    fn addr(&self) -> SocketAddr {
        self.at
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.life > other.life
    }
}

/// Each change is its own broadcast; none makes another needless.
struct Change(u32);

impl Invalidates for Change {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[derive(Default)]
struct Changes {
    held: BTreeSet<u32>,
    copies: Arc<Copies>,
}

#[derive(Default)]
struct Copies {
    new: AtomicU64,
    again: AtomicU64,
}

impl BroadcastHandler<Id> for Changes {
    type Key = Change;
    type Error = std::fmt::Error;

    fn receive_item(&mut self, data: &[u8], sender: Option<&Id>) -> Result<Option<Change>, std::fmt::Error> {
        let change = change(data).ok_or(std::fmt::Error)?;
        let news = self.held.insert(change);
        if sender.is_some() {
            if news {
                say(&Said::Seen(change, now()));
            }
            let count = if news { &self.copies.new } else { &self.copies.again };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(news.then_some(Change(change)))
    }
}

/// The earliest first; of one moment, in foca's own order of timers.
#[derive(Default)]
struct Timers(BinaryHeap<Reverse<(Instant, Timer<Id>)>>);

impl Timers {
    fn add(&mut self, at: Instant, timer: Timer<Id>) {
        self.0.push(Reverse((at, timer)));
    }

    async fn next(&mut self) -> Timer<Id> {
        loop {
            match self.0.peek() {
                Some(Reverse((at, _))) => tokio::time::sleep_until(*at).await,
                None => std::future::pending().await,
            }
            if let Some(Reverse((_, timer))) = self.0.pop() {
                return timer;
            }
        }
    }
}

/// Runs the node.
pub async fn run(seat: Seat, mut orders: Orders) -> Fallible<()> {
    let size = u32::try_from(seat.nodes).ok().and_then(NonZeroU32::new).ok_or("no nodes")?;
    let config = Config::new_lan(size);
    let mut buffer = vec![0; config.max_packet_size.get()];
    let socket = UdpSocket::bind(seat.here()).await?;
    let random = ChaCha12Rng::from_seed(seat.draw("foca", seat.index));
    let copies = Arc::new(Copies::default());
    let me = Id { at: seat.here(), life: 0 };
    let mut foca = Foca::with_custom_broadcast(
        me,
        config,
        random,
        PostcardCodec,
        Changes { copies: copies.clone(), ..Changes::default() },
    );
    let mut out = AccumulatingRuntime::new();
    let mut timers = Timers::default();
    let mut join = tokio::time::interval(JOIN_AGAIN);
    let mut ready = false;
    loop {
        // Errors of foca concern one packet or timer; it says of them that they can be ignored.
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Write(text)) => {
                    if let Some(change) = change(text.as_bytes()) {
                        say(&Said::Wrote(change, now()));
                    }
                    foca.add_broadcast(text.as_bytes())?;
                    let _ = foca.broadcast(&mut out);
                }
                Some(Order::Count) => {
                    let [new, again] = [&copies.new, &copies.again].map(|count| count.load(Ordering::Relaxed));
                    say(&Said::Copies(new, again));
                }
                None => return Ok(()),
            },
            received = socket.recv_from(&mut buffer) => {
                if let Ok((length, _)) = received {
                    let _ = foca.handle_data(&buffer[..length], &mut out);
                }
            }
            timer = timers.next() => {
                let _ = foca.handle_timer(timer, &mut out);
            }
            _ = join.tick(), if !ready => {
                if seat.index > 0 {
                    let _ = foca.announce(Id { at: seat.at(0), life: 0 }, &mut out);
                }
            }
        }
        while let Some((to, data)) = out.to_send() {
            let _ = socket.send_to(&data, to.at).await;
        }
        while let Some((after, timer)) = out.to_schedule() {
            timers.add(Instant::now() + after, timer);
        }
        while let Some(told) = out.to_notify() {
            if let OwnedNotification::MemberDown(id) = told
                && let Some(dead) = seat.whose(id.at.port())
            {
                say(&Said::Dead(dead, now()));
            }
        }
        if !ready && foca.num_members() == seat.nodes - 1 {
            ready = true;
            say(&Said::Ready);
        }
    }
}
