//! Resolvers that are everybody's: public anycast services, whose addresses say nothing about where their clients are.
//!
//! A node whose DNS-ISP forwards to one of these would claim, by its egress, clients of half a continent. So an address
//! in the list that ships (`public.txt`, with its sources), or in the operator's own `resolvers.public`, is seen and
//! reported, never claimed. Rejected: telling them by the delay or by the number of nodes that see one address; both are
//! guesses where the operators of these services publish the ranges.

use std::net::IpAddr;

use ipnet::IpNet;

/// The list that ships: a line each of prefix and operator, `#` begins a comment.
const SHIPPED: &str = include_str!("public.txt");

/// Whose addresses are nobody's to claim.
#[derive(Clone, Debug)]
pub struct Public {
    prefixes: Vec<(IpNet, String)>,
}

impl Public {
    /// The list that ships, and the operator's own prefixes.
    pub fn new(own: &[IpNet]) -> Self {
        let own = own.iter().map(|prefix| (*prefix, "resolvers.public".to_owned()));
        Self { prefixes: own.chain(shipped()).collect() }
    }

    /// The public service that an address belongs to.
    pub fn operator(&self, address: IpAddr) -> Option<String> {
        let address = address.to_canonical();
        self.prefixes.iter().find(|(prefix, _)| prefix.contains(&address)).map(|(_, operator)| operator.clone())
    }
}

/// The lines of the list. One that does not read is left out; a test sees to it that there is none.
fn shipped() -> impl Iterator<Item = (IpNet, String)> {
    lines().filter_map(|line| {
        let (prefix, operator) = line.split_once(char::is_whitespace)?;
        Some((prefix.parse().ok()?, operator.trim().to_owned()))
    })
}

fn lines() -> impl Iterator<Item = &'static str> {
    SHIPPED.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_of_the_list_reads_and_none_hides_an_isp() {
        assert_eq!(shipped().count(), lines().count());
        for (prefix, operator) in shipped() {
            let shortest = if prefix.addr().is_ipv4() { 12 } else { 28 };
            assert!(prefix == prefix.trunc() && prefix.prefix_len() >= shortest, "{prefix} {operator}");
        }
    }

    #[test]
    fn public_services_are_told_from_isps() {
        let public = Public::new(&["192.0.2.0/24".parse().unwrap()]);
        let operator = |text: &str| public.operator(text.parse().unwrap());
        assert_eq!(operator("8.8.8.8").as_deref(), Some("Google"));
        assert_eq!(operator("172.253.1.1").as_deref(), Some("Google"));
        assert_eq!(operator("::ffff:1.1.1.1").as_deref(), Some("Cloudflare"));
        assert_eq!(operator("2620:fe::fe").as_deref(), Some("Quad9"));
        assert_eq!(operator("208.67.222.222").as_deref(), Some("OpenDNS"));
        assert_eq!(operator("192.0.2.53").as_deref(), Some("resolvers.public"));
        assert_eq!(operator("203.0.113.53"), None);
    }
}
