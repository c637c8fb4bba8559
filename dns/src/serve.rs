//! The fronts: sockets in, sockets out, and a stop that loses no question.
//!
//! Why not hickory's own `Server`: its stop aborts what is on its way (a question already in the socket's buffer, a
//! reply not yet written), it takes any number of idle TCP connections, and it spends a task, a channel and a zeroed
//! buffer of 4 KiB on each datagram. It can still carry the same [`Handler`] for DoT, DoH and DoQ.
//!
//! **Bind one UDP socket per address.** A socket on a wildcard address answers from whichever address the route back
//! prefers; where that is not the one that was asked, resolvers throw the answer away. Several sockets on one address
//! (`SO_REUSEPORT`) are served in parallel, one thread each.

#![allow(clippy::disallowed_methods, reason = "the shell: here the clock comes in")]

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::dnstap::Tapper;
use crate::house::House;
use crate::{Handler, tcp, udp};

/// A running server. Dropping it ends it at once; [`Front::stop`] ends it well.
#[must_use = "dropping the front ends it"]
pub struct Front {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    threads: Threads,
    tapper: Option<Arc<Tapper>>,
}

/// The threads that answer by UDP; they end when this goes.
struct Threads {
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Answers on the sockets until told to stop. Must be called within a tokio runtime.
///
/// # Errors
/// The operating system gives no thread for a UDP socket.
pub fn serve(handler: Handler, udp: Vec<UdpSocket>, tcp: Vec<TcpListener>) -> io::Result<Front> {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut threads = Threads { stop: Arc::default(), running: Vec::new() };
    for socket in udp {
        if socket.local_addr().is_ok_and(|address| address.ip().is_unspecified()) {
            info!(
                "a UDP socket is bound to all addresses: on a machine with several, answers may leave from another \
                 than was asked. List them one by one in dns.listen then"
            );
        }
        let (handler, stop) = (handler.on(socket.local_addr().ok()), threads.stop.clone());
        let thread = Builder::new().name("nigh-dns".to_owned());
        threads.running.push(thread.spawn(move || udp::run(&socket, &handler, &stop))?);
    }
    let house = House::new(tcp::LIMITS.connections, tcp::LIMITS.of_one_network);
    for listener in tcp {
        let handler = handler.on(listener.local_addr().ok());
        tasks.spawn(tcp::run(listener, handler, stopped.clone(), tcp::LIMITS, house.clone()));
    }
    Ok(Front { stop, tasks, threads, tapper: handler.tapper() })
}

impl Front {
    /// Takes no more questions, answers those that are already here, and closes the sockets.
    pub async fn stop(mut self) {
        // Nobody listening means that all fronts have ended already.
        let _ = self.stop.send(true);
        self.threads.stop.store(true, Ordering::Relaxed);
        let running = std::mem::take(&mut self.threads.running);
        let joined = tokio::task::spawn_blocking(|| {
            for thread in running {
                if thread.join().is_err() {
                    warn!("a thread that answers by UDP did not end well");
                }
            }
        });
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                warn!(%error, "a DNS front did not end well");
            }
        }
        let _ = joined.await;
        if let Some(tapper) = self.tapper.take() {
            let _ = tokio::task::spawn_blocking(move || tapper.stop()).await;
        }
    }
}

/// After the stop, whatever has not come within this was not on its way. The runtime learns that a socket is readable
/// only when it next looks, so asking without any wait would miss what is already in the socket's buffer.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(20);

/// The longest last call: many times what empties a full socket buffer, and nothing that a restart would notice.
pub(crate) const LAST_CALLS: Duration = Duration::from_millis(250);

/// Waits for the stop.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error says that the front is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The time since 1970, which cookies carry.
pub(crate) fn clock() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
