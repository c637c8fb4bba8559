//! The shell around [`super::lookup`]: an ISP's resolver with sockets, a clock and the width of the world.
//!
//! Loopback has no distance, so the way to a server in another city is waited for here: a reply is handed to the core
//! when it would have come. That keeps the nodes as they are in production (nothing in them knows of the demo) and lets
//! the resolver prefer near servers for the reason it does so outside: they answer sooner.
//!
//! Sockets are not connected: a machine that is gone sends no "port unreachable" either, so a dead node is silence, as
//! it is to unbound and Knot Resolver. Every query has a port of its own (RFC 5452).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lookup::{Outgoing, Resolver, Step, Transport};
use super::{Answer, Delegation};

/// The largest DNS message over UDP that is looked at.
const MAX_DATAGRAM: usize = 4096;

/// How long the way to a server and back is.
pub type Distance = Arc<dyn Fn(IpAddr) -> Duration + Send + Sync>;

/// A resolver at an address of its own.
pub struct Client {
    core: Resolver,
    address: IpAddr,
    epoch: Instant,
    distance: Distance,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    /// A resolver with an empty cache that sends from `address`.
    pub fn new(address: IpAddr, hint: Delegation, port: u16, seed: u64, distance: Distance) -> Self {
        Self { core: Resolver::new(hint, port, seed), address, epoch: Instant::now(), distance }
    }

    /// How long what is held for this name and type stays true.
    pub fn fresh_for(&self, name: &Name, kind: RecordType) -> Duration {
        self.core.held_until(name, kind).unwrap_or_default().saturating_sub(self.epoch.elapsed())
    }

    /// Resolves a name.
    pub async fn ask(&mut self, name: &Name, kind: RecordType) -> anyhow::Result<Answer> {
        let (mut lookup, mut step) = self.core.begin(self.epoch.elapsed(), name.clone(), kind);
        loop {
            let out = match step {
                Step::Done(answer) => return Ok(answer),
                Step::Send(out) => out,
            };
            let give_up = self.epoch + out.give_up_at;
            let earliest = Instant::now() + (self.distance)(out.to.ip());
            step = match out.transport {
                Transport::Udp => {
                    let socket = UdpSocket::bind((self.address, 0))
                        .await
                        .with_context(|| format!("cannot send queries from {}", self.address))?;
                    socket.send_to(&out.packet, out.to).await.ok(); // not sent is not answered: the time-out says so
                    let mut buffer = vec![0; MAX_DATAGRAM];
                    loop {
                        let Ok(received) = timeout_at(give_up, socket.recv_from(&mut buffer)).await else {
                            break self.core.on_timeout(&mut lookup, self.epoch.elapsed());
                        };
                        let Ok((length, from)) = received else { continue };
                        sleep_until(earliest).await;
                        let packet = buffer.get(..length).unwrap_or_default();
                        let now = self.epoch.elapsed();
                        if let Some(next) = self.core.on_packet(&mut lookup, now, from.ip(), packet) {
                            break next;
                        }
                    }
                }
                Transport::Tcp => {
                    let reply = timeout_at(give_up, exchange_tcp(self.address, &out)).await;
                    sleep_until(earliest).await;
                    let now = self.epoch.elapsed();
                    let next = match reply {
                        Ok(Ok(packet)) => self.core.on_packet(&mut lookup, now, out.to.ip(), &packet),
                        _ => None,
                    };
                    match next {
                        Some(next) => next,
                        None => {
                            sleep_until(give_up).await;
                            self.core.on_timeout(&mut lookup, self.epoch.elapsed())
                        }
                    }
                }
            };
        }
    }
}

/// One query and its reply over TCP (RFC 7766): two octets of length, then the message.
async fn exchange_tcp(from: IpAddr, out: &Outgoing) -> anyhow::Result<Vec<u8>> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(out.to).await?;
    let length = u16::try_from(out.packet.len())?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&out.packet).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; length.into()];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}
