//! The resolvers of this host (resolv.conf(5)): who is asked for an origin that names no server of DNS-A.
//!
//! Read at each question, so that a change needs no restart: a question leaves every few seconds at most.

use std::net::SocketAddr;
use std::path::Path;

use crate::catalogue::origin::server;

/// Where it is.
pub const PATH: &str = "/etc/resolv.conf";
/// What is read of it: a hundred times what one is long.
const MAX_FILE: usize = 64 << 10;
/// As many as the C library asks (MAXNS).
const MAX_SERVERS: usize = 3;

/// The resolvers that a text names, in its order.
pub fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    // A link-local address has its interface behind a `%`: not supported, for nothing else here has scopes.
    servers.filter_map(|word| server(word).ok()).take(MAX_SERVERS).collect()
}

/// The resolvers of this host; none if there is no such file.
pub async fn read(path: &Path) -> Vec<SocketAddr> {
    let text = tokio::fs::read(path).await.unwrap_or_default();
    parse(&String::from_utf8_lossy(&text[..text.len().min(MAX_FILE)]))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_first_three_are_taken_and_the_rest_is_passed_over() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver 127.0.0.53\n nameserver 2001:db8::1 # two\n\
                    nameserver nonsense\nnameserver fe80::1%eth0\nnameserver\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let read: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(read, ["127.0.0.53:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
    }
}
