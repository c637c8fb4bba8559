//! A resolver as a name server sees it: asks it the same question at a steady rate, or as fast as answers come.
//!
//! **Steady:** every question is sent once, at its time, whether answers come or not, and is lost when its answer has not
//! come within [`PATIENCE`]: what a server keeps under a flood is counted without the retries that hide it.
//!
//! **As fast as it can:** so many questions are outstanding; what answers there are tell the server's capacity.

use crate::lab::{Namespace, cores, netns};
use anyhow::{Context, Result, bail};
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RecordType};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, UdpGsoSegment};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// When an answer has not come by then, a resolver has given up on this server and asks another.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Questions that the loader has outstanding: far more than a server's batch, far less than its socket holds.
const OUTSTANDING: usize = 512;
/// Questions sent in one system call.
const BURST: usize = 32;
/// Nothing has come for so long: what is outstanding is lost.
const STILL: Duration = Duration::from_millis(100);
/// Room for the answers of a moment in which this thread has no core.
const ROOM: usize = 4 << 20;
/// Larger than any answer.
const ANSWER_MAX: usize = 4096;
/// COOKIE (RFC 7873).
const COOKIE: u16 = 10;
/// What the client puts into its half of the cookie: any octets do.
const CLIENT_COOKIE: [u8; 8] = *b"nigh-lab";

/// A question for the addresses of a name, with EDNS, and a cookie if there is one.
pub fn question(name: &str, cookie: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut message = Message::query();
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    if let Some(cookie) = cookie {
        edns.options_mut().insert(EdnsOption::Unknown(COOKIE, cookie.to_vec()));
    }
    message.edns = Some(edns);
    let name = Name::from_ascii(format!("{name}.")).with_context(|| format!("{name} is no name"))?;
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().context("writing a question")
}

/// One question and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it was sent.
    pub at: Instant,
    /// How long its answer took, if it came in time.
    pub took: Option<Duration>,
}

/// A socket to one server, which takes answers with its questions' ids and nothing else.
fn connect(space: &Namespace, server: SocketAddr) -> Result<UdpSocket> {
    let socket = netns::inside(space.name(), || UdpSocket::bind(("0.0.0.0", 0)))?.context("opening a UDP socket")?;
    socket.connect(server).with_context(|| format!("no way to {server}"))?;
    // Less is no reason not to ask.
    let _ = setsockopt(&socket, RcvBuf, &ROOM);
    Ok(socket)
}

/// The id of an answer that says something: no error, and not one that is cut short.
fn good(answer: &[u8]) -> Option<u16> {
    let &[a, b, flags, code, ..] = answer.first_chunk::<12>()?;
    (flags & 0x82 == 0x80 && code & 0x0f == 0).then_some(u16::from_be_bytes([a, b]))
}

/// Asks for a cookie of the server, which sets the asker free from its rate limit.
fn cookie(socket: &UdpSocket, name: &str) -> Result<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
    socket.send(&question(name, Some(&CLIENT_COOKIE))?).context("asking for a cookie")?;
    let mut buffer = [0; ANSWER_MAX];
    let length = socket.recv(&mut buffer).context("no answer to a question for a cookie")?;
    let answer = Message::from_vec(buffer.get(..length).unwrap_or_default()).context("reading a cookie")?;
    let option = answer.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Cookie));
    match option {
        Some(EdnsOption::Unknown(_, cookie)) if cookie.len() > CLIENT_COOKIE.len() => Ok(cookie.clone()),
        other => bail!("the server gives no cookie but {other:?}"),
    }
}

/// Asks as fast as answers come; tells how many came in a second.
pub fn capacity(space: &Namespace, server: SocketAddr, name: &str, length: Duration, core: usize) -> Result<f64> {
    let socket = connect(space, server)?;
    let asked = question(name, Some(&cookie(&socket, name)?))?;
    socket.set_nonblocking(true).context("setting up a socket")?;
    let segment = libc::c_int::try_from(asked.len()).context("a question too long")?;
    setsockopt(&socket, UdpGsoSegment, &segment).context("sending many questions at once (UDP_SEGMENT)")?;
    let mut burst = asked.repeat(BURST);
    std::thread::scope(|scope| {
        let loader = scope.spawn(move || -> Result<f64> {
            cores::settle(core)?;
            let (mut outstanding, mut answers, mut id) = (0_usize, 0_u64, 0_u16);
            let mut buffer = [0; ANSWER_MAX];
            let begun = Instant::now();
            let mut heard = begun;
            while begun.elapsed() < length {
                while outstanding + BURST <= OUTSTANDING {
                    for question in burst.chunks_exact_mut(asked.len()) {
                        id = id.wrapping_add(1);
                        if let Some(place) = question.first_chunk_mut() {
                            *place = id.to_be_bytes();
                        }
                    }
                    if socket.send(&burst).is_err() {
                        break; // full for a moment
                    }
                    outstanding += BURST;
                }
                while let Ok(length) = socket.recv(&mut buffer) {
                    outstanding = outstanding.saturating_sub(1);
                    answers += u64::from(good(buffer.get(..length).unwrap_or_default()).is_some());
                    heard = Instant::now();
                }
                if heard.elapsed() > STILL {
                    (outstanding, heard) = (0, Instant::now());
                }
            }
            Ok(answers as f64 / begun.elapsed().as_secs_f64())
        });
        loader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A steady asker at work. Ends when asked for what it saw, or dropped.
pub struct Steady {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Asked>>>,
}

impl Steady {
    /// Begins to ask so often a second.
    pub fn start(space: &Namespace, server: SocketAddr, name: &str, per_second: u32, core: usize) -> Result<Self> {
        let socket = connect(space, server)?;
        let mut asked = question(name, None)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("steady".to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    drop(cores::settle(core)); // where it cannot, it asks from any
                    ask(&socket, &mut asked, Duration::from_secs(1) / per_second.max(1), &stop)
                }
            })
            .context("starting an asker's thread")?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it: everything that was asked.
    pub fn finish(mut self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.map_or_else(Vec::new, |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn ask(socket: &UdpSocket, question: &mut [u8], every: Duration, stop: &AtomicBool) -> Vec<Asked> {
    let mut asked: Vec<Asked> = Vec::new();
    let mut buffer = [0; ANSWER_MAX];
    let mut next = Instant::now();
    let mut ends = None;
    while ends.is_none_or(|end| Instant::now() < end) {
        if ends.is_none() && stop.load(Ordering::Relaxed) {
            ends = Some(Instant::now() + PATIENCE);
        }
        let now = Instant::now();
        if ends.is_none() && now >= next {
            // After a moment without a core: what was due meanwhile is left out, for at once it would be a burst.
            next = (next + every).max(now.checked_sub(every).unwrap_or(now));
            if let Some(id) = question.first_chunk_mut() {
                *id = (asked.len() as u16).to_be_bytes();
            }
            asked.push(Asked { at: Instant::now(), took: None });
            // A question that the kernel does not take is lost like any other.
            drop(socket.send(question));
        }
        let pause = if ends.is_none() { next.saturating_duration_since(Instant::now()) } else { every };
        drop(socket.set_read_timeout(Some(pause.max(Duration::from_micros(100)))));
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Some(id) = good(buffer.get(..length).unwrap_or_default()) else { continue };
        // Ids come round after 65,536 questions, long after the patience.
        let newest = asked.len();
        let place = (0..=newest / 65_536).rev().map(|round| round * 65_536 + usize::from(id)).find(|at| *at < newest);
        if let Some(one) = place.and_then(|at| asked.get_mut(at)).filter(|one| one.took.is_none()) {
            one.took = Some(one.at.elapsed()).filter(|took| *took <= PATIENCE);
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Asked, ask, good, question};
    use hickory_proto::op::Message;
    use std::net::UdpSocket;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[test]
    fn only_answers_that_say_something_count() {
        let mut message = Message::from_vec(&question("www.lb.lab", None).unwrap()).unwrap();
        assert_eq!(good(&message.to_vec().unwrap()), None, "a question");
        message.metadata.message_type = hickory_proto::op::MessageType::Response;
        assert_eq!(good(&message.to_vec().unwrap()), Some(message.metadata.id));
        message.metadata.truncation = true;
        assert_eq!(good(&message.to_vec().unwrap()), None, "come by TCP: a slipped answer");
        message.metadata.truncation = false;
        message.metadata.response_code = hickory_proto::op::ResponseCode::Refused;
        assert_eq!(good(&message.to_vec().unwrap()), None);
        assert_eq!(good(b"short"), None);
    }

    #[test]
    fn a_server_that_answers_every_other_question_keeps_half() {
        let (server, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        let stop = AtomicBool::new(false);
        let asked: Vec<Asked> = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 512];
                for number in 0..100 {
                    let (length, from) = server.recv_from(&mut buffer).unwrap();
                    buffer[2] |= 0x80;
                    if number % 2 == 0 {
                        server.send_to(&buffer[..length], from).unwrap();
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
            let mut question = question("www.lb.lab", None).unwrap();
            ask(&client, &mut question, Duration::from_millis(1), &stop)
        });
        let answered = asked[..100].iter().filter(|asked| asked.took.is_some()).count();
        assert_eq!(answered, 50);
    }
}
