//! Which override holds for whom: the longest prefix, and of equal ones the one that names the deciding node.
//!
//! Overrides without a prefix hold for every client of a node, so they are looked at once, when its order is found. Those
//! with one are few ([`MAX_OVERRIDES`]), and read from the longest on, for services that have any.

use ipnet::IpNet;

use crate::{Label, Override, Pin};

/// The most overrides of a service: each costs its packets a comparison. What needs more is a service of its own.
pub const MAX_OVERRIDES: usize = 64;

/// The overrides of a service.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    /// Longest first, those with a node before those without.
    by_prefix: Vec<(IpNet, Option<Label>, Pin)>,
    /// Those with a node before those without.
    for_all: Vec<(Option<Label>, Pin)>,
}

impl Overrides {
    pub(super) fn new(mut overrides: Vec<Override>) -> Self {
        overrides.truncate(MAX_OVERRIDES);
        // Stable: of equal ones the first listed holds.
        overrides.sort_by_key(|this| (std::cmp::Reverse(this.prefix.map(|net| net.prefix_len())), this.node.is_none()));
        let mut this = Self::default();
        for Override { prefix, node, to } in overrides {
            match prefix {
                Some(net) => this.by_prefix.push((net.trunc(), node, to)),
                None => this.for_all.push((node, to)),
            }
        }
        this
    }

    pub(super) fn by_prefix(&self) -> usize {
        self.by_prefix.len()
    }

    /// Room for the orders of all overrides by prefix.
    pub(super) fn slots(&self) -> Box<[[std::sync::OnceLock<Option<super::Order>>; 2]]> {
        self.by_prefix.iter().map(|_| Default::default()).collect()
    }

    /// The overrides whose prefix covers a client, best first, each with the place of its order in a
    /// [`View`](super::View).
    pub(super) fn covering<'o>(&'o self, client: IpNet, node: &'o Label) -> impl Iterator<Item = (usize, &'o Pin)> {
        let holds = move |(_, (net, own, _)): &(usize, &(IpNet, Option<Label>, Pin))| {
            net.contains(&client) && own.as_ref().is_none_or(|own| own == node)
        };
        self.by_prefix.iter().enumerate().filter(holds).map(|(at, (_, _, pin))| (at, pin))
    }

    /// The overrides for all clients of a node.
    pub(super) fn for_all<'o>(&'o self, node: Option<&'o Label>) -> impl Iterator<Item = &'o Pin> {
        let holds = move |(own, _): &&(Option<Label>, Pin)| own.as_ref().is_none_or(|own| Some(own) == node);
        self.for_all.iter().filter(holds).map(|(_, pin)| pin)
    }

    /// See [`super::Pool::scope`].
    pub(super) fn scope(&self, subnet: IpNet, least: u8) -> u8 {
        let needed = self.by_prefix.iter().filter_map(|(net, _, _)| apart(*net, subnet));
        needed.fold(least, u8::max).min(subnet.prefix_len().max(least))
    }
}

/// The length from which on a block around the subnet lies wholly within the prefix, or wholly beside it.
fn apart(net: IpNet, subnet: IpNet) -> Option<u8> {
    let bits = |net: IpNet| match net {
        IpNet::V4(net) => (u128::from(u32::from(net.network())) << 96, 4),
        IpNet::V6(net) => (u128::from(net.network()), 6),
    };
    let ((net_bits, family), (subnet_bits, other)) = (bits(net), bits(subnet));
    if family != other {
        return None;
    }
    let common = (net_bits ^ subnet_bits).leading_zeros();
    let length = net.prefix_len();
    Some(if common >= u32::from(length) { length } else { common as u8 + 1 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn to(prefix: Option<&str>, node: Option<&str>, tier: u8) -> Override {
        let prefix = prefix.map(|prefix| prefix.parse().unwrap());
        Override { prefix, node: node.map(|node| node.parse().unwrap()), to: Pin::Tier(tier) }
    }

    fn overrides() -> Overrides {
        Overrides::new(vec![
            to(Some("10.0.0.0/8"), None, 1),
            to(None, None, 2),
            to(Some("10.1.0.0/16"), None, 3),
            to(Some("10.1.0.0/16"), Some("fra"), 4),
            to(None, Some("fra"), 5),
        ])
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_node() {
        let overrides = overrides();
        let tiers = |client: &str, node: &str| -> Vec<Pin> {
            let node = node.parse().unwrap();
            overrides.covering(client.parse().unwrap(), &node).map(|(_, pin)| pin.clone()).collect()
        };
        assert_eq!(tiers("10.1.2.3/32", "fra"), [4, 3, 1].map(Pin::Tier));
        assert_eq!(tiers("10.1.2.3/32", "nyc"), [3, 1].map(Pin::Tier));
        assert_eq!(tiers("10.2.0.0/24", "fra"), [1].map(Pin::Tier));
        assert_eq!(tiers("10.0.0.0/7", "fra"), []);
        assert_eq!(tiers("2001:db8::/32", "fra"), []);
        let all = |node: Option<&str>| -> Vec<Pin> {
            let node = node.map(|node| node.parse().unwrap());
            overrides.for_all(node.as_ref()).cloned().collect()
        };
        assert_eq!(all(Some("fra")), [5, 2].map(Pin::Tier));
        assert_eq!(all(None), [2].map(Pin::Tier));
    }

    #[test]
    fn a_scope_parts_those_within_an_override_from_those_beside_it() {
        let overrides = overrides();
        let scope = |subnet: &str, least| overrides.scope(subnet.parse().unwrap(), least);
        assert_eq!(scope("10.1.2.0/24", 0), 16);
        assert_eq!(scope("10.1.2.0/24", 20), 20);
        assert_eq!(scope("10.0.0.0/24", 0), 16, "10.0/16 and 10.1/16 differ in their last bit");
        assert_eq!(scope("10.128.0.0/24", 0), 9);
        assert_eq!(scope("11.0.0.0/24", 0), 8);
        assert_eq!(scope("192.0.2.0/24", 0), 1);
        assert_eq!(scope("10.0.0.0/10", 0), 10, "never longer than what the client sent");
        assert_eq!(scope("2001:db8::/48", 0), 0);
    }
}
