//! The UDP front: one task per socket, one packet after the other.
//!
//! An answer takes a few microseconds and never waits, so a task per packet would cost more than the answer. What comes
//! faster than it is answered waits in the socket's buffer, whose size is the only queue there is, and is lost beyond.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error};

use crate::serve::{LAST_CALL, LAST_CALLS, clock, told_to_stop};
use crate::{Arrival, Handler};

/// Longer datagrams are cut, and then not understood: no question with its options comes near it.
const LONGEST_QUERY: usize = 4096;

/// Packets answered before other tasks of the same thread get their turn.
const BURST: usize = 64;

/// After so many failed receptions in a row the socket is given up: it does not come back.
const MOST_FAILURES: usize = 1000;

/// Answers until stopped, then what is still in the socket's buffer.
pub(crate) async fn run(socket: UdpSocket, handler: Handler, mut stop: watch::Receiver<bool>) {
    let mut buffer = vec![0; LONGEST_QUERY];
    let mut failures = 0;
    let mut stopped = pin!(told_to_stop(&mut stop));
    while failures < MOST_FAILURES {
        tokio::select! {
            biased;
            () = &mut stopped => {
                last_call(&socket, &handler, &mut buffer).await;
                return;
            }
            received = socket.recv_from(&mut buffer) => match received {
                Ok((length, source)) => {
                    failures = 0;
                    reply(&socket, &handler, &buffer[..length], source).await;
                    burst(&socket, &handler, &mut buffer).await;
                }
                Err(error) => {
                    failures += 1;
                    debug!(%error, "receiving a UDP packet failed");
                }
            },
        }
    }
    error!(failures, "a UDP socket receives nothing but errors: its address is no longer answered for");
}

/// Answers what came before the stop, or together with it. Under a steady load there is no pause that tells where that
/// ends, so there is a limit as well.
async fn last_call(socket: &UdpSocket, handler: &Handler, buffer: &mut [u8]) {
    let answers = async {
        while let Ok(received) = timeout(LAST_CALL, socket.recv_from(buffer)).await {
            match received {
                Ok((length, source)) => reply(socket, handler, &buffer[..length], source).await,
                Err(error) => debug!(%error, "receiving a UDP packet failed"),
            }
        }
    };
    if timeout(LAST_CALLS, answers).await.is_err() {
        debug!("questions still come; whoever asks now will ask another server");
    }
}

/// Answers what is known to be here, without a turn of the runtime for each.
async fn burst(socket: &UdpSocket, handler: &Handler, buffer: &mut [u8]) {
    for _ in 0..BURST {
        match socket.try_recv_from(buffer) {
            Ok((length, source)) => reply(socket, handler, &buffer[..length], source).await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => debug!(%error, "receiving a UDP packet failed"),
        }
    }
}

async fn reply(socket: &UdpSocket, handler: &Handler, packet: &[u8], source: SocketAddr) {
    // Nothing listens on port 0: such a source is forged or broken.
    if source.port() == 0 {
        return;
    }
    let Some(reply) = handler.respond(packet, Arrival::udp(source, clock())) else {
        return;
    };
    if let Err(error) = socket.send_to(&reply, source).await {
        debug!(%source, %error, "sending a UDP reply failed");
    }
}
