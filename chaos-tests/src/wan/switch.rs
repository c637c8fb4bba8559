//! The thread that moves packets between the TUN devices.
//!
//! One thread and one lock: it is held while a batch of packets is judged, never while waiting. A changed link counts
//! for the next packet; nothing has to be woken for it, since packets under way keep their time.

use super::core::{Core, Fate, HostId, Link, Stats};
use super::tap::{Captured, Tape};
use crate::lab::netns;
use crate::sys;
use anyhow::{Context, Result, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// The device that every host sees.
pub const DEVICE: &str = "eth0";
/// Packets read from one device before the others get their turn and due packets leave.
const BATCH: usize = 32;
/// Larger than any IP packet but IPv6's jumbograms, which no device here sends.
const PACKET_MAX: usize = 65_536;
/// Packets that a device holds while the thread is busy elsewhere (the default of 500 is a tenth of a second's burst).
const DEVICE_QUEUE: u32 = 5_000;

/// A host to be connected.
#[derive(Clone, Debug)]
pub struct Port {
    /// The name under which links are set.
    pub name: String,
    /// Its network namespace, as `ip netns` knows it.
    pub namespace: String,
    /// Its addresses, each with the length of the prefix that is reached through the WAN.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// A running WAN. Dropped, it takes the devices with it.
pub struct Wan {
    names: BTreeMap<String, HostId>,
    core: Arc<Mutex<Core<ChaCha8Rng>>>,
    tape: Arc<Mutex<Tape>>,
    /// Closing it ends the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Wan {
    /// Makes a device in each namespace and starts forwarding between them, without delay until links are set.
    pub fn start(ports: &[Port], seed: u64) -> Result<Self> {
        let mut names = BTreeMap::new();
        let mut devices = Vec::with_capacity(ports.len());
        for (place, port) in ports.iter().enumerate() {
            if names.insert(port.name.clone(), HostId(place)).is_some() {
                bail!("two hosts are named {}", port.name);
            }
            devices.push(plug_in(port).with_context(|| format!("connecting host {}", port.name))?);
        }
        let addresses: Vec<Vec<IpAddr>> =
            ports.iter().map(|port| port.addresses.iter().map(|(address, _)| *address).collect()).collect();
        let core = Arc::new(Mutex::new(Core::new(&addresses, ChaCha8Rng::seed_from_u64(seed))));
        let tape = Arc::new(Mutex::new(Tape::default()));
        let (stop, stopped) = UnixStream::pair().context("making the stop signal")?;
        let thread = std::thread::Builder::new()
            .name("wan".to_owned())
            .spawn({
                let (core, tape) = (Arc::clone(&core), Arc::clone(&tape));
                move || forward(&devices, &stopped, &core, &tape)
            })
            .context("starting the WAN's thread")?;
        Ok(Self { names, core, tape, stop: Some(stop), thread: Some(thread) })
    }

    fn host(&self, name: &str) -> Result<HostId> {
        self.names.get(name).copied().with_context(|| {
            let known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            format!("no host {name}; there are {}", known.join(", "))
        })
    }

    /// The names of all hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Sets the direction `from` -> `to`.
    pub fn set(&self, from: &str, to: &str, link: Link) -> Result<()> {
        let (from, to) = (self.host(from)?, self.host(to)?);
        lock(&self.core).set(from, to, link);
        Ok(())
    }

    /// Sets both directions.
    pub fn set_both(&self, a: &str, b: &str, link: Link) -> Result<()> {
        self.set(a, b, link)?;
        self.set(b, a, link)
    }

    /// Changes a part of the direction `from` -> `to`.
    pub fn change(&self, from: &str, to: &str, change: impl FnOnce(&mut Link)) -> Result<()> {
        let (from, to) = (self.host(from)?, self.host(to)?);
        let mut core = lock(&self.core);
        let mut link = core.link(from, to).unwrap_or_default();
        change(&mut link);
        core.set(from, to, link);
        Ok(())
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        lock(&self.core).stats()
    }

    /// Everything on port 53 since the last call, and from the first call on.
    pub fn listen(&self) -> Vec<Captured> {
        lock(&self.tape).take()
    }

    /// An error if forwarding has ended by itself; nothing that is measured afterwards would mean anything.
    pub fn healthy(&self) -> Result<()> {
        match &self.thread {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => bail!("the WAN's thread has ended: every host is cut off"),
        }
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error of the thread was seen through `healthy`; here only the end matters.
            drop(thread.join());
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held leaves counts and queues that are still whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the device of one host and gives it its addresses.
fn plug_in(port: &Port) -> Result<File> {
    let device = netns::inside(&port.namespace, || sys::open_tun(DEVICE))?
        .context("opening a TUN device (is /dev/net/tun there, and are we root?)")?;
    let mut commands = vec!["link set lo up".to_owned()];
    for (address, prefix_len) in &port.addresses {
        // Without `nodad` an IPv6 address cannot be used until nobody has said for a second that it is his.
        let family = if address.is_ipv6() { " nodad" } else { "" };
        commands.push(format!("address add {address}/{prefix_len} dev {DEVICE}{family}"));
    }
    commands.push(format!("link set {DEVICE} txqueuelen {DEVICE_QUEUE} up"));
    netns::configure(&port.namespace, &commands)?;
    Ok(device)
}

fn forward(
    devices: &[File],
    stopped: &UnixStream,
    core: &Mutex<Core<ChaCha8Rng>>,
    tape: &Mutex<Tape>,
) -> io::Result<()> {
    sys::sharpen_timers()?;
    let start = Instant::now();
    let mut files: Vec<_> = devices.iter().map(AsFd::as_fd).collect();
    files.push(stopped.as_fd());
    let mut buffer = vec![0_u8; PACKET_MAX];
    loop {
        let timeout = {
            let mut core = lock(core);
            deliver(&mut core, devices, start);
            core.next_due().map(|due| due.saturating_sub(start.elapsed()))
        };
        for place in sys::wait_readable(&files, timeout)? {
            let Some(mut device) = devices.get(place) else {
                return Ok(()); // the file after the devices: we are asked to stop
            };
            let mut core = lock(core);
            for _ in 0..BATCH {
                match device.read(&mut buffer) {
                    Ok(length) => {
                        let (now, packet) = (start.elapsed(), buffer.get(..length).unwrap_or_default());
                        let fate = core.offer(now, HostId(place), packet);
                        lock(tape).record(now, packet, matches!(fate, Fate::Due(_)));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            deliver(&mut core, devices, start);
        }
    }
}

fn deliver(core: &mut Core<ChaCha8Rng>, devices: &[File], start: Instant) {
    while let Some((to, packet)) = core.take_due(start.elapsed()) {
        let taken = devices.get(to.0).is_some_and(|mut device| device.write(&packet).is_ok());
        core.delivered(taken);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Link, Port, Wan};
    use crate::lab::{Run, netns};
    use crate::machine::{self, Need};
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, UdpSocket};
    use std::time::{Duration, Instant};

    const ADDRESSES: [Ipv4Addr; 3] =
        [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2), Ipv4Addr::new(10, 9, 0, 3)];

    fn sixth(address: Ipv4Addr) -> Ipv6Addr {
        let [.., last] = address.octets();
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into())
    }

    /// Bounces a datagram between two hosts: the median of `rounds` round trips (scheduling adds to some of them).
    fn round_trip(from: &UdpSocket, to: &UdpSocket, rounds: usize) -> Duration {
        let mut times: Vec<Duration> = (0..rounds)
            .map(|round| {
                let start = Instant::now();
                let sent = [u8::try_from(round).unwrap()];
                let mut buffer = [0; 8];
                from.send_to(&sent, to.local_addr().unwrap()).unwrap();
                let (length, back) = to.recv_from(&mut buffer).unwrap();
                to.send_to(&buffer[..length], back).unwrap();
                from.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..1], sent);
                start.elapsed()
            })
            .collect();
        times.sort();
        times[rounds / 2]
    }

    /// The shortest of a few one-way times; both ends read the same clock.
    fn one_way(from: &UdpSocket, to: &UdpSocket) -> Duration {
        let mut shortest = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            from.send_to(b"x", to.local_addr().unwrap()).unwrap();
            to.recv_from(&mut [0; 8]).unwrap();
            shortest = shortest.min(start.elapsed());
        }
        shortest
    }

    #[test]
    fn real_packets_are_delayed_lost_and_cut_per_direction_and_live() {
        if !machine::allows("WAN emulator with real namespaces", &[Need::Root, Need::Namespaces, Need::Tun]) {
            return;
        }
        let run = Run::begin(false).unwrap();
        let mut spaces = Vec::new();
        let mut ports = Vec::new();
        for (name, address) in ["a", "b", "c"].into_iter().zip(ADDRESSES) {
            let space = run.namespace(name).unwrap();
            let addresses = vec![(address.into(), 8), (sixth(address).into(), 8)];
            ports.push(Port { name: name.to_owned(), namespace: space.name().to_owned(), addresses });
            spaces.push(space);
        }
        let wan = Wan::start(&ports, 1).unwrap();
        let sockets: Vec<UdpSocket> = spaces
            .iter()
            .zip(ADDRESSES)
            .map(|(space, address)| {
                let socket =
                    netns::inside(space.name(), || UdpSocket::bind(SocketAddrV4::new(address, 7))).unwrap().unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                socket
            })
            .collect();
        let [a, b, c] = sockets.as_slice() else { panic!("three sockets") };

        let direct = round_trip(a, b, 9);
        let ms = Duration::from_millis;
        wan.set_both("a", "b", Link::delayed(ms(20))).unwrap();
        wan.set("a", "c", Link::delayed(ms(40))).unwrap();
        wan.set("c", "a", Link::delayed(ms(20))).unwrap();
        let (near, far) = (round_trip(a, b, 9), round_trip(a, c, 9));
        let (there, back) = (one_way(a, c), one_way(c, a));
        assert!(there >= ms(40) && back >= ms(20) && back < there, "there {there:?}, back {back:?}");
        assert!(direct < ms(20), "without delay: {direct:?}");
        assert!((ms(40)..ms(60)).contains(&near), "20 ms each way: {near:?}");
        assert!((ms(60)..ms(80)).contains(&far), "40 ms there, 20 ms back: {far:?}");

        let six: Vec<UdpSocket> = spaces
            .iter()
            .zip(ADDRESSES)
            .map(|(space, address)| {
                let socket = netns::inside(space.name(), || UdpSocket::bind((sixth(address), 53))).unwrap().unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                socket
            })
            .collect();
        drop(wan.listen());
        let (there, back) = (one_way(&six[0], &six[2]), one_way(&six[2], &six[0]));
        assert!(there >= ms(40) && back >= ms(20) && back < there, "by IPv6: there {there:?}, back {back:?}");
        let heard = wan.listen();
        assert_eq!(heard.len(), 10, "port 53 is recorded");
        assert!(heard.iter().all(|heard| heard.passed && heard.packet.ends_with(b"x")));

        wan.set_both("a", "c", Link::delayed(ms(5))).unwrap();
        assert!(round_trip(a, c, 9) < near, "a link that was changed live");

        wan.change("b", "a", |link| link.cut = true).unwrap();
        a.send_to(b"x", (ADDRESSES[1], 7)).unwrap();
        let mut buffer = [0; 8];
        let (_, back) = b.recv_from(&mut buffer).expect("a to b is open");
        b.send_to(b"y", back).unwrap();
        a.set_read_timeout(Some(ms(200))).unwrap();
        assert!(a.recv_from(&mut buffer).is_err(), "b to a is cut");
        wan.change("b", "a", |link| link.cut = false).unwrap();
        a.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        assert!(round_trip(a, b, 3) >= ms(40), "healed, with the delay it had");

        wan.change("a", "b", |link| link.loss_ppm = 1_000_000).unwrap();
        a.send_to(b"x", (ADDRESSES[1], 7)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while wan.stats().lost == 0 {
            assert!(Instant::now() < deadline, "{:?}", wan.stats());
            std::thread::yield_now();
        }
        assert_eq!(wan.stats().cut, 1);
        assert!(wan.set("a", "nobody", Link::default()).is_err());
        wan.healthy().unwrap();
    }
}
