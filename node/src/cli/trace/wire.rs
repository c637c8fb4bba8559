//! Sends a walk's questions: a resolver's, with a few options more, to learn who answers.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption, NSIDPayload};

use super::walk::{Ask, Heard};
use crate::dns_a::exchange::{self, Failure};
use crate::dns_a::message::{Question, UDP_SIZE};

/// Sends a question and waits for its reply; how long that took comes along.
pub(crate) async fn exchange(ask: &Ask) -> (Heard, Duration) {
    let began = Instant::now();
    let heard = match talk(ask).await {
        Ok((message, octets)) => Heard::Reply(Box::new(message), octets),
        Err(Failure::Io(_, error)) => match error.kind() {
            ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable | ErrorKind::Unsupported => Heard::NoWay,
            ErrorKind::ConnectionRefused => {
                let port = if ask.tcp { "TCP" } else { "UDP" };
                Heard::Nothing(format!("nothing listens on {port} port {}", ask.server.port()))
            }
            _ => Heard::Nothing(error.to_string()),
        },
        Err(Failure::Silent(_)) => Heard::Nothing(format!(
            "no reply over {} within {:.1} s",
            if ask.tcp { "TCP" } else { "UDP" },
            began.elapsed().as_secs_f64()
        )),
        Err(failure) => Heard::Nothing(failure.to_string()),
    };
    (heard, began.elapsed())
}

async fn talk(ask: &Ask) -> Result<(Message, usize), Failure> {
    let question = Question::query(rand::random(), ask.name.clone(), ask.rtype);
    let octets = exchange::octets(&message(&question, ask), ask.server)?;
    let check = |octets: &[u8]| question.reply(octets).ok().map(|message| (message, octets.len()));
    match ask.tcp {
        true => exchange::tcp(ask.server, &octets, check).await,
        false => exchange::udp(ask.server, &octets, check).await,
    }
}

fn message(question: &Question, ask: &Ask) -> Message {
    let mut message = question.message(false);
    message.edns = ask.edns.then(|| {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_SIZE);
        let options = edns.options_mut();
        // An empty one asks for it (RFC 5001 section 2.1).
        if let Ok(nsid) = NSIDPayload::new(Vec::new()) {
            options.insert(EdnsOption::NSID(nsid));
        }
        if let Some(address) = ask.subnet {
            let length = if address.is_ipv4() { 32 } else { 128 };
            options.insert(EdnsOption::Subnet(ClientSubnet::new(address, length, 0)));
        }
        edns
    });
    message
}
