//! A name server that says what a function tells it to, by UDP: for questions about resolvers that no real server asks.

use super::Bed;
use crate::lab::netns;
use anyhow::{Context, Result};
use hickory_proto::op::{Message, MessageType};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How late the end may be seen.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Larger than any question.
const QUESTION_MAX: usize = 4096;

/// Fills in the reply, which has the id and the question of what was asked, and neither AA nor records.
pub type Script = fn(&mut Message);

/// A server at work. Ends when dropped.
pub struct Scripted {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Starts a server on a host.
    pub fn start(bed: &Bed, host: &str, address: Ipv4Addr, script: Script) -> Result<Self> {
        let socket = netns::inside(bed.space(host)?.name(), || UdpSocket::bind((address, 53)))?
            .with_context(|| format!("binding port 53 on {host}"))?;
        socket.set_read_timeout(Some(LOOK_EVERY)).context("setting a timeout")?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("scripted".to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || serve(&socket, &stop, script)
            })
            .context("starting a server's thread")?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(socket: &UdpSocket, stop: &AtomicBool, script: Script) {
    let mut buffer = [0; QUESTION_MAX];
    while !stop.load(Ordering::Relaxed) {
        // An error is a timeout, or says that somebody's port is closed by now.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(reply) = reply(buffer.get(..length).unwrap_or_default(), script) else { continue };
        drop(socket.send_to(&reply, from));
    }
}

fn reply(question: &[u8], script: Script) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).ok()?;
    if message.metadata.message_type != MessageType::Query || message.queries.len() != 1 {
        return None;
    }
    message.metadata.message_type = MessageType::Response;
    message.metadata.authentic_data = false;
    message.additionals.clear();
    if let Some(edns) = &mut message.edns {
        let mut ours = hickory_proto::op::Edns::new();
        ours.set_max_payload(1232);
        ours.set_dnssec_ok(edns.flags().dnssec_ok);
        *edns = ours;
    }
    script(&mut message);
    message.to_vec().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::reply;
    use hickory_proto::op::{Message, MessageType, Query};
    use hickory_proto::rr::RecordType;

    #[test]
    fn a_question_is_answered_by_the_script_and_a_reply_is_not() {
        let mut question = Message::query();
        question.add_query(Query::query("wWw.lab.".parse().unwrap(), RecordType::A));
        let said = reply(&question.to_vec().unwrap(), |message| message.metadata.authoritative = true).unwrap();
        let said = Message::from_vec(&said).unwrap();
        assert_eq!((said.metadata.id, &said.queries), (question.metadata.id, &question.queries));
        assert!(said.metadata.authoritative && said.metadata.message_type == MessageType::Response);
        assert_eq!(reply(&said.to_vec().unwrap(), |_| ()), None);
        assert_eq!(reply(b"x", |_| ()), None);
    }
}
