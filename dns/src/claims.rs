//! Which node is near a client: longest prefix match over all claims.
//!
//! The longest prefix that covers the client and has a claimant who may be referred to wins; among its claimants the
//! best rank ([`Rank`]), then the lower name, so that every node that holds the same claims picks the same winner. If
//! nobody of the longest prefix can be referred to, the next shorter one is asked.
//!
//! The table knows no standings: who may be referred to is the caller's question, asked anew for each snapshot, by the
//! small number that the table gives to each node.
//!
//! **Scope of an answer (RFC 7871 section 7.2.1).** A resolver reuses an answer for the whole block that its scope
//! names, so the block must be answered alike everywhere. That is the claim's prefix, unless more specific claims lie
//! inside it: then the largest block around the client that holds none of them. Rejected: always the claim's prefix,
//! which would hand the answer for 10/8 to the claimants of 10.1/16.
//!
//! **Invariant:** a copy costs nothing and never changes; what changes in one shares all else with the others
//! ([`trie`]). So the next table is made beside the answering threads, in the time that the change takes.

mod bits;
mod bucket;
mod names;
pub(crate) mod networks;
#[cfg(test)]
mod tests;
mod trie;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bits::{Bits, Wide};
use bucket::Entry;
use ipnet::IpNet;
use names::Names;
use trie::{Changes, Trie};

use crate::{Claim, Label, Rank};

/// Leading bits that an IPv4 address must have in common with a claim to be taken for its neighbour: registries give an
/// operator a /16 and longer, and what lies further apart is somebody else's, as likely as not on another continent.
pub const NEIGHBOURS_V4: u8 = 16;
/// The same of IPv6, where an operator's block is a /32.
pub const NEIGHBOURS_V6: u8 = 32;

/// All claims, laid out for look-up.
#[derive(Clone, Default)]
pub struct ClaimTable {
    v4: Trie<u32>,
    v6: Trie<Wide>,
    names: Arc<Names>,
    /// How many claims there are of each node, by number.
    counts: Arc<Vec<u32>>,
}

/// What changes of one node's claims: prefixes and ranks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimChange {
    /// Those it does not make any more. One that it never made is no matter.
    pub gone: Vec<(IpNet, Rank)>,
    /// Those it makes from now on. One that is made twice counts once, and goes only when it went twice.
    pub come: Vec<(IpNet, Rank)>,
}

/// The claim that wins for a client: of the block of that length around the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    /// The number of the node that made it: see [`ClaimTable::node`].
    pub node: u16,
    /// How good it is.
    pub rank: Rank,
    /// The length of its prefix.
    pub length: u8,
}

impl Best {
    /// The prefix of the claim that won for this client.
    pub fn prefix(&self, client: IpNet) -> IpNet {
        block_around(client, self.length)
    }
}

impl ClaimTable {
    /// A table without claims.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes changes of several nodes at once, in whatever order. Returns the nodes for whose claims there was no room:
    /// 65,536 may claim something at one time.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = (Label, ClaimChange)>) -> Vec<Label> {
        let (mut v4, mut v6) = (Pending::default(), Pending::default());
        let mut left_out = Vec::new();
        for (label, change) in changes {
            let known = self.names.number(&label);
            if known.is_none() && change.come.is_empty() {
                continue;
            }
            let Some(node) = known.or_else(|| Arc::make_mut(&mut self.names).add(&label)) else {
                left_out.push(label);
                continue;
            };
            for (claims, is_new) in [(change.gone, false), (change.come, true)] {
                for (prefix, rank) in claims {
                    match prefix.trunc() {
                        IpNet::V4(net) => {
                            v4.add(is_new, u32::from(net.network()), net.prefix_len(), rank, node);
                        }
                        IpNet::V6(net) => {
                            v6.add(is_new, u128::from(net.network()).into(), net.prefix_len(), rank, node);
                        }
                    }
                }
            }
        }
        let counts = Arc::make_mut(&mut self.counts);
        counts.resize(self.names.bound(), 0);
        let emptied =
            [v4.apply(&mut self.v4, &self.names, counts), v6.apply(&mut self.v6, &self.names, counts)].concat();
        for node in emptied {
            if counts[usize::from(node)] == 0 {
                Arc::make_mut(&mut self.names).remove(node);
            }
        }
        left_out
    }

    /// Adds one claim.
    pub fn insert(&mut self, claim: Claim) {
        self.extend([claim]);
    }

    /// The claim that wins for the client among those whose node is `usable`.
    #[inline]
    pub fn best(&self, client: IpNet, usable: impl Fn(u16) -> bool) -> Option<Best> {
        match client {
            IpNet::V4(net) => self.v4.best(net.addr().into(), net.prefix_len(), &usable),
            IpNet::V6(net) => self.v6.best(u128::from(net.addr()).into(), net.prefix_len(), &usable),
        }
    }

    /// For a client that nobody usable claims: the claim of the neighbour that it has the most leading bits in common with,
    /// if those are as many as one operator's block has (`NEIGHBOURS_V4`, `NEIGHBOURS_V6`). All clients of a block in
    /// which nobody has a claim ([`ClaimTable::scope`]) have the same one. With it comes where the neighbour is.
    pub fn nearest(&self, client: IpNet, usable: impl Fn(u16) -> bool) -> Option<(Best, IpNet)> {
        self.nearest_of(&self.around(client), usable)
    }

    /// The claims to both sides of a client.
    pub(crate) fn around(&self, client: IpNet) -> Around {
        Around(match client {
            IpNet::V4(net) => Families::V4(Sides::of(&self.v4, net.addr().into())),
            IpNet::V6(net) => Families::V6(Sides::of(&self.v6, u128::from(net.addr()).into())),
        })
    }

    /// [`ClaimTable::nearest`] for who has looked around already.
    pub(crate) fn nearest_of(&self, around: &Around, usable: impl Fn(u16) -> bool) -> Option<(Best, IpNet)> {
        match &around.0 {
            Families::V4(sides) => sides.nearest(&self.v4, NEIGHBOURS_V4, &usable),
            Families::V6(sides) => sides.nearest(&self.v6, NEIGHBOURS_V6, &usable),
        }
    }

    /// The claims whose prefix covers the client, longest prefix first, best claimant first, each node once for a prefix.
    pub fn covering(&self, client: IpNet) -> Vec<Best> {
        let mut found: Vec<Best> = Vec::new();
        match client {
            IpNet::V4(net) => {
                self.v4.covering(net.addr().into(), net.prefix_len(), &mut |entry| found.push(entry.best()));
            }
            IpNet::V6(net) => {
                let client = u128::from(net.addr()).into();
                self.v6.covering(client, net.prefix_len(), &mut |entry| found.push(entry.best()));
            }
        }
        // A stable sort: claimants of one prefix stay in their order.
        found.sort_by_key(|claim| std::cmp::Reverse(claim.length));
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|claim| seen.insert((claim.length, claim.node)));
        found
    }

    /// The length of the largest block around the client within which nobody has a claim of his own, given the length of
    /// the claim that won for it. Never longer than the client's own prefix, never shorter than the winning one.
    ///
    /// Claims count here whether their node is there or not: a block that is too small is still right, and asking
    /// each claim inside a large block would let one question cost as much as all claims.
    pub fn scope(&self, client: IpNet, won: Option<u8>) -> u8 {
        if won.is_some_and(|won| won >= client.prefix_len()) {
            return client.prefix_len();
        }
        self.around(client).scope(client.prefix_len(), won)
    }

    /// The node of that number, if it claims anything.
    pub fn node(&self, number: u16) -> Option<&Label> {
        self.names.label(number)
    }

    /// The nodes that claim something, in the order of their names: number, name, and how many claims.
    pub fn nodes(&self) -> impl Iterator<Item = (u16, &Label, usize)> {
        let count = |number: u16| self.counts.get(usize::from(number)).map_or(0, |count| *count as usize);
        self.names.iter().map(move |(number, label)| (number, label, count(number)))
    }

    /// All numbers of nodes are below this.
    pub fn numbers(&self) -> usize {
        self.names.bound()
    }

    /// The claim that won for this client, as it was made; its round trip in the steps of its rank.
    pub fn claim(&self, best: Best, client: IpNet) -> Option<Claim> {
        let Best { node, rank, .. } = best;
        Some(Claim {
            node: self.node(node)?.clone(),
            prefix: best.prefix(client),
            preference: rank.preference(),
            proven: rank.proven(),
            rtt: rank.rtt(),
        })
    }

    /// All claims: by prefix, rank and name.
    pub fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        self.v4.each(&mut |entry| claims.extend(self.claim(entry.best(), entry.network.block(entry.length))));
        self.v6.each(&mut |entry| claims.extend(self.claim(entry.best(), entry.network.block(entry.length))));
        claims.sort_by(|a, b| (a.prefix, a.rank()).cmp(&(b.prefix, b.rank())));
        claims
    }

    /// How many claims there are.
    pub fn len(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets that the claims take, but for what the allocator needs and the names of the nodes.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }
}

impl Extend<Claim> for ClaimTable {
    fn extend<I: IntoIterator<Item = Claim>>(&mut self, claims: I) {
        self.apply(claims.into_iter().map(|claim| {
            let come = vec![(claim.prefix, claim.rank().0)];
            (claim.node, ClaimChange { gone: Vec::new(), come })
        }));
    }
}

impl FromIterator<Claim> for ClaimTable {
    fn from_iter<I: IntoIterator<Item = Claim>>(claims: I) -> Self {
        let mut table = Self::new();
        table.extend(claims);
        table
    }
}

/// Equal claims: numbers may differ.
impl PartialEq for ClaimTable {
    fn eq(&self, other: &Self) -> bool {
        self.claims() == other.claims()
    }
}

impl fmt::Debug for ClaimTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.claims()).finish()
    }
}

/// Changes of one address family on their way into the table.
struct Pending<K> {
    gone: Vec<Entry<K>>,
    come: Vec<Entry<K>>,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self { gone: Vec::new(), come: Vec::new() }
    }
}

impl<K: Bits> Pending<K> {
    fn add(&mut self, is_new: bool, network: K, length: u8, rank: Rank, node: u16) {
        let list = if is_new { &mut self.come } else { &mut self.gone };
        list.push(Entry { network, length, rank, node });
    }

    /// Returns whose claims went.
    fn apply(mut self, trie: &mut Trie<K>, names: &Names, counts: &mut [u32]) -> Vec<u16> {
        self.gone.sort_unstable_by(|a, b| a.compare(b, names));
        self.come.sort_unstable_by(|a, b| a.compare(b, names));
        let taken = trie.apply(Changes { gone: &self.gone, come: &self.come }, names);
        self.come.iter().for_each(|entry| counts[usize::from(entry.node)] += 1);
        taken.iter().for_each(|entry| counts[usize::from(entry.node)] -= 1);
        let mut nodes: Vec<u16> = taken.iter().map(|entry| entry.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// The claims to both sides of a client, in the order of addresses: what tells how far the answer to it goes, and who is
/// its neighbour. To find them is most of the work of either, so who wants both looks once.
pub(crate) struct Around(Families);

enum Families {
    V4(Sides<u32>),
    V6(Sides<Wide>),
}

impl Around {
    /// [`ClaimTable::scope`], for a client's block of that length.
    pub(crate) fn scope(&self, length: u8, won: Option<u8>) -> u8 {
        let free = match &self.0 {
            Families::V4(sides) => sides.scope(won),
            Families::V6(sides) => sides.scope(won),
        };
        free.min(length)
    }
}

struct Sides<K> {
    client: K,
    /// Where the last claim begins that does so at the client or before it, and how long it is.
    before: Option<(K, u8)>,
    /// Where the next one begins.
    behind: Option<K>,
}

impl<K: Bits> Sides<K> {
    fn of(trie: &Trie<K>, client: K) -> Self {
        let (before, behind) = trie.around(client);
        Self { client, before, behind }
    }

    /// As long as the most bits that the client has in common with a claim of somebody else, and one more.
    ///
    /// That claim is a neighbour of the client in the order of addresses: any other one to the same side has fewer bits in
    /// common with the client, or covers it and is shorter.
    fn scope(&self, won: Option<u8>) -> u8 {
        let from = won.unwrap_or(0);
        let before = self.before.map(|(network, length)| (length, length.min(self.client.common(network))));
        let behind = self.behind.map(|network| (u8::MAX, self.client.common(network)));
        [before, behind]
            .into_iter()
            .flatten()
            .filter(|(length, common)| won.is_none_or(|won| *length > won && *common >= won))
            .fold(from, |scope, (_, common)| scope.max(common.saturating_add(1)))
    }

    /// Of the neighbours to both sides, the one with more bits in common first.
    fn nearest(&self, trie: &Trie<K>, least: u8, usable: &impl Fn(u16) -> bool) -> Option<(Best, IpNet)> {
        let common = |network| self.client.common(network);
        let before = self.before.map(|(network, length)| (length.min(common(network)), network, length));
        let behind = self.behind.map(|network| (common(network), network, K::WIDTH));
        let (first, second) = match (before, behind) {
            (Some(before), Some(behind)) if behind.0 > before.0 => (Some(behind), Some(before)),
            other => other,
        };
        let near = [first, second].into_iter().flatten().filter(|(common, ..)| *common >= least);
        near.into_iter()
            .find_map(|(_, network, length)| Some((trie.best(network, length, usable)?, network.block(length))))
    }
}

/// A single address as a prefix. An IPv4 address that a dual-stack socket reports inside IPv6 is an IPv4 address.
pub(crate) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address.to_canonical())
}

/// The block of that length around a prefix.
pub(crate) fn block_around(client: IpNet, length: u8) -> IpNet {
    IpNet::new(client.addr(), length).map_or(client, |net| net.trunc())
}
