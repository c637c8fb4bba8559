//! The handler inside hickory's own server, for transports that it has and we do not (DoT, DoH, DoQ).
//!
//! hickory hands over a message that it has read, and wants one that it can write. So the octets are answered as ever,
//! and the answer is read once more: what is said stays in one place, and the price is paid where TLS costs more.

use std::time::Duration;

use hickory_proto::op::{Header, HeaderCounts, Message, Metadata};
use hickory_proto::serialize::binary::BinDecoder;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};
use tracing::debug;

use crate::serve::clock;
use crate::{Arrival, Handler, Transport};

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let transport = match request.protocol() {
            Protocol::Udp => Transport::Udp,
            // hickory's own, and not told to us.
            _ => Transport::Tcp { idle: Duration::ZERO },
        };
        let at = clock();
        let reply = self.respond(request.as_slice(), Arrival { source: request.src(), transport, at });
        let Some(message) = reply.and_then(|octets| Message::from_vec(&octets).ok()) else {
            return info(&request.metadata);
        };
        let none = Queries::read(&mut BinDecoder::new(&[]), 0).ok();
        let none = none.as_ref().filter(|_| message.queries.is_empty());
        let response = MessageResponseBuilder::new(none.unwrap_or(&request.queries), message.edns.as_ref()).build(
            message.metadata,
            &message.answers,
            &message.authorities,
            [],
            &message.additionals,
        );
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                debug!(source = %request.src(), %error, "a reply could not be sent");
                info(&message.metadata)
            }
        }
    }
}

fn info(metadata: &Metadata) -> ResponseInfo {
    Header { metadata: *metadata, counts: HeaderCounts::default() }.into()
}
