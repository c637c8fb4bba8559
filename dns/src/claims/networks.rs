//! Whose an address is: by operator (autonomous system) and by country, for clients whom nobody claims.
//!
//! A resolver that no node claims, and no node the neighbours of, may still belong to an operator or lie in a country where
//! nodes claim others: the node that claims most of those is a better guess than the node that happened to be asked.
//! [`NetworkTable`] says which range of addresses is whose, [`Networks`] which nodes claim how much of whom.
//!
//! The table comes from outside (the node reads vendors' files); this crate has sorted ranges alone, so a look-up is a
//! binary search and no packet meets a file format. Rejected: to keep the vendors' tree, which is made for look-ups of all
//! that a vendor knows, and costs a decoder on the way of a packet.
//!
//! **Invariant:** a copy costs nothing and never changes. The counts are those of the claims that came and did not go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{ClaimChange, Label};

/// Ranges in one table and family: the Internet's routing tables have a million routes, of which neighbours with one
/// owner are joined here.
pub const MOST_RANGES: usize = 4_000_000;
/// Nodes of a network that are looked at for one that may be referred to.
const LOOKED_AT: usize = 8;
/// Parts of the counts, so that a change copies one of them.
const PARTS: u32 = 256;

/// By what a place of a client is guessed that nobody claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Guess {
    /// The node claims addresses with the same first bits.
    Neighbours,
    /// The node claims most of what is claimed of the same operator.
    Network,
    /// The node claims most of what is claimed in the same country.
    Country,
}

/// More ranges than [`MOST_RANGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MOST_RANGES} ranges of one family")]
pub struct TooManyRanges;

/// Which range of addresses is whose: what is not there is nobody's.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    v4: Sorted<u32>,
    v6: Sorted<u128>,
}

/// Where ranges begin, and the value of each; 0 is nobody.
#[derive(Clone, Default, PartialEq, Eq)]
struct Sorted<K> {
    starts: Vec<K>,
    values: Vec<u32>,
}

impl Ranges {
    /// Lays out networks, in any order. Of two that overlap the one that begins later, or was given later, counts only
    /// behind the other.
    ///
    /// # Errors
    /// [`TooManyRanges`].
    pub fn new(networks: impl IntoIterator<Item = (IpNet, u32)>) -> Result<Self, TooManyRanges> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, value) in networks {
            match network {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()), value)),
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()), value)),
            }
        }
        Ok(Self { v4: Sorted::new(v4, |end| end.checked_add(1))?, v6: Sorted::new(v6, |end| end.checked_add(1))? })
    }

    /// Whose it is.
    pub fn of(&self, address: IpAddr) -> Option<u32> {
        let value = match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.of(v4.into()),
            IpAddr::V6(v6) => self.v6.of(v6.into()),
        };
        (value != 0).then_some(value)
    }

    /// The length of the largest block around a prefix in which all addresses are the same one's; never longer than the
    /// prefix itself.
    pub fn block(&self, around: IpNet) -> u8 {
        let least = match around {
            IpNet::V4(net) => self
                .v4
                .outside(net.network().into())
                .map(|(address, outside)| (address ^ outside).leading_zeros())
                .max(),
            IpNet::V6(net) => self
                .v6
                .outside(net.network().into())
                .map(|(address, outside)| (address ^ outside).leading_zeros())
                .max(),
        };
        least.map_or(0, |common| (common as u8).saturating_add(1)).min(around.prefix_len())
    }

    /// How many there are, the gaps between them among them.
    pub fn len(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len()
    }

    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Copy + Ord + Default> Sorted<K> {
    fn new(mut ranges: Vec<(K, K, u32)>, next: impl Fn(K) -> Option<K>) -> Result<Self, TooManyRanges> {
        // Stable: of two that begin together the one that was given first counts.
        ranges.sort_by_key(|(start, ..)| *start);
        let mut this = Self { starts: Vec::new(), values: Vec::new() };
        // Where the range before ended; none: it went to the end of all addresses.
        let mut free = Some(K::default());
        for (start, end, value) in ranges {
            let Some(begin) = free.map(|free| free.max(start)).filter(|begin| *begin <= end) else { continue };
            if free.is_some_and(|free| free < begin) {
                this.push(free.unwrap_or_default(), 0);
            }
            this.push(begin, value);
            free = next(end);
        }
        if let Some(free) = free.filter(|_| !this.starts.is_empty()) {
            this.push(free, 0);
        }
        this.starts.shrink_to_fit();
        this.values.shrink_to_fit();
        if this.starts.len() > MOST_RANGES { Err(TooManyRanges) } else { Ok(this) }
    }

    fn push(&mut self, start: K, value: u32) {
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    fn of(&self, address: K) -> u32 {
        let behind = self.starts.partition_point(|start| *start <= address);
        behind.checked_sub(1).and_then(|at| self.values.get(at)).copied().unwrap_or_default()
    }
}

/// The nearest addresses that are somebody else's, each beside the address that was asked about.
trait Outside<K> {
    fn outside(&self, address: K) -> impl Iterator<Item = (K, K)>;
}

macro_rules! outside {
    ($number:ty) => {
        impl Outside<$number> for Sorted<$number> {
            fn outside(&self, address: $number) -> impl Iterator<Item = ($number, $number)> {
                let behind = self.starts.partition_point(|start| *start <= address);
                let first = behind.checked_sub(1).and_then(|at| self.starts.get(at)).copied();
                let before = first.and_then(|first| first.checked_sub(1));
                before.into_iter().chain(self.starts.get(behind).copied()).map(move |outside| (address, outside))
            }
        }
    };
}
outside!(u32);
outside!(u128);

impl std::fmt::Debug for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ranges").field("v4", &self.v4.starts.len()).field("v6", &self.v6.starts.len()).finish()
    }
}

/// What vendors say about addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkTable {
    /// By the number of the autonomous system.
    pub operators: Ranges,
    /// By country: the two letters of ISO 3166, as [`country_value`] has them.
    pub countries: Ranges,
}

impl NetworkTable {
    /// Is nothing known?
    pub fn is_empty(&self) -> bool {
        self.operators.is_empty() && self.countries.is_empty()
    }

    /// The two letters of the country that an address is in.
    pub fn country(&self, address: IpAddr) -> Option<String> {
        let [.., first, second] = self.countries.of(address)?.to_be_bytes();
        Some([first, second].map(char::from).iter().collect())
    }
}

/// Two letters as a number; nothing: they are none.
pub fn country_value(code: &str) -> Option<u32> {
    match code.as_bytes() {
        [first, second] if code.chars().all(|c| c.is_ascii_alphabetic()) => {
            Some(u32::from_be_bytes([0, 0, first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
        }
        _ => None,
    }
}

/// Which nodes claim something of whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Networks {
    table: Arc<NetworkTable>,
    operators: Claimants,
    countries: Claimants,
}

/// The nodes that claim something there and how much, who claims most first.
type Shares = Vec<(Label, usize)>;

/// By owner, in parts of which a change copies only its own.
#[derive(Clone, Debug, Default)]
struct Claimants {
    parts: Vec<Arc<BTreeMap<u32, Shares>>>,
}

impl Networks {
    /// With this table, and no claims yet.
    pub fn new(table: Arc<NetworkTable>) -> Self {
        Self { table, ..Self::default() }
    }

    /// The table.
    pub fn table(&self) -> &Arc<NetworkTable> {
        &self.table
    }

    /// Takes changes of claims, as [`crate::ClaimTable::apply`] does. A claim counts where it begins.
    pub fn apply(&mut self, changes: &[(Label, ClaimChange)]) {
        if self.table.is_empty() {
            return;
        }
        self.operators.apply(&self.table.operators, changes);
        self.countries.apply(&self.table.countries, changes);
    }

    /// The node, among those that are usable, which claims most of what is claimed of the operator of this address, or else
    /// in its country.
    pub(crate) fn near<'n, T>(
        &'n self,
        address: IpAddr,
        usable: impl Fn(&'n Label) -> Option<T>,
    ) -> Option<(T, Guess)> {
        let of_operator = self.table.operators.of(address).and_then(|owner| self.operators.first(owner, &usable));
        of_operator.map(|node| (node, Guess::Network)).or_else(|| {
            let country = self.table.countries.of(address)?;
            Some((self.countries.first(country, &usable)?, Guess::Country))
        })
    }

    /// Does the table say that these two are of different operators?
    pub(crate) fn are_strangers(&self, one: IpAddr, other: IpAddr) -> bool {
        let operators = &self.table.operators;
        !operators.is_empty() && operators.of(one).zip(operators.of(other)).is_some_and(|(one, other)| one != other)
    }

    /// The length of the largest block around a prefix for which [`Networks::near`] says one thing.
    pub(crate) fn block(&self, around: IpNet) -> u8 {
        self.table.operators.block(around).max(self.table.countries.block(around))
    }
}

/// Equal counts: parts that hold nothing need not be there.
impl PartialEq for Claimants {
    fn eq(&self, other: &Self) -> bool {
        let held = |this: &Self| -> Vec<_> { this.parts.iter().flat_map(|part| part.as_ref().clone()).collect() };
        held(self) == held(other)
    }
}

impl Claimants {
    fn apply(&mut self, ranges: &Ranges, changes: &[(Label, ClaimChange)]) {
        if ranges.is_empty() {
            return;
        }
        self.parts.resize_with(PARTS as usize, Arc::default);
        let mut touched = BTreeSet::new();
        for (label, change) in changes {
            let gone = change.gone.iter().map(|(prefix, _)| (prefix, false));
            for (prefix, comes) in gone.chain(change.come.iter().map(|(prefix, _)| (prefix, true))) {
                let Some(owner) = ranges.of(prefix.network()) else { continue };
                let Some(part) = self.parts.get_mut((owner % PARTS) as usize) else { continue };
                let held = Arc::make_mut(part).entry(owner).or_default();
                match held.iter_mut().find(|(node, _)| node == label) {
                    Some((_, count)) if comes => *count += 1,
                    Some((_, count)) => *count = count.saturating_sub(1),
                    None if comes => held.push((label.clone(), 1)),
                    None => {}
                }
                touched.insert(owner);
            }
        }
        for owner in touched {
            let Some(part) = self.parts.get_mut((owner % PARTS) as usize).map(Arc::make_mut) else { continue };
            let Some(held) = part.get_mut(&owner) else { continue };
            held.retain(|(_, count)| *count > 0);
            held.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
            if held.is_empty() {
                part.remove(&owner);
            }
        }
    }

    fn first<'n, T>(&'n self, owner: u32, usable: impl Fn(&'n Label) -> Option<T>) -> Option<T> {
        let held = self.parts.get((owner % PARTS) as usize)?.get(&owner)?;
        held.iter().take(LOOKED_AT).find_map(|(node, _)| usable(node))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::Rank;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn of(ranges: &Ranges, address: &str) -> Option<u32> {
        ranges.of(address.parse().unwrap())
    }

    #[test]
    fn ranges_say_whose_an_address_is_and_how_far_that_holds() {
        let ranges = Ranges::new([
            (net("10.0.1.0/24"), 7),
            (net("10.0.0.0/24"), 7),
            (net("255.0.0.0/8"), 9),
            (net("2001:db8::/32"), 7),
            (net("10.0.3.0/24"), 8),
        ])
        .unwrap();
        assert_eq!(of(&ranges, "10.0.0.0"), Some(7));
        assert_eq!(of(&ranges, "10.0.1.255"), Some(7));
        assert_eq!((of(&ranges, "10.0.2.0"), of(&ranges, "10.0.3.1"), of(&ranges, "10.0.4.0")), (None, Some(8), None));
        assert_eq!((of(&ranges, "255.255.255.255"), of(&ranges, "9.255.255.255")), (Some(9), None));
        assert_eq!((of(&ranges, "2001:db8:ffff::1"), of(&ranges, "2001:db9::")), (Some(7), None));
        assert_eq!(of(&ranges, "::ffff:10.0.0.1"), Some(7));
        let block = |text| ranges.block(net(text));
        assert_eq!((block("10.0.0.0/25"), block("10.0.2.0/24"), block("10.0.3.7/32")), (23, 24, 24));
        assert_eq!((block("255.1.2.0/24"), block("128.0.0.0/16"), block("10.0.0.0/8")), (8, 2, 8));
        assert_eq!((Ranges::default().block(net("10.0.0.0/24")), of(&Ranges::default(), "10.0.0.1")), (0, None));
    }

    proptest! {
        /// Beside the plain way: the first network, in order, that holds the address; and blocks in which all are alike.
        #[test]
        fn a_search_finds_what_looking_at_all_finds(
            nets in prop::collection::vec((any::<u8>(), 2..=8_u8, 1..4_u32), 0..20),
            at: u8,
        ) {
            let mut seen: Vec<(IpNet, u32)> = Vec::new();
            for (bits, length, value) in nets {
                let net = IpNet::new(Ipv4Addr::from(u32::from(bits) << 24).into(), length).unwrap().trunc();
                if !seen.iter().any(|(held, _)| held.contains(&net) || net.contains(held)) {
                    seen.push((net, value));
                }
            }
            let ranges = Ranges::new(seen.iter().copied()).unwrap();
            let whose = |n: u32| {
                let address = IpAddr::from(Ipv4Addr::from(n));
                seen.iter().find(|(net, _)| net.contains(&address)).map(|(_, value)| *value)
            };
            let address = u32::from(at) << 24;
            prop_assert_eq!(ranges.of(Ipv4Addr::from(address).into()), whose(address));
            let length = ranges.block(IpNet::new(Ipv4Addr::from(address).into(), 8).unwrap());
            let block = IpNet::new(Ipv4Addr::from(address).into(), length).unwrap().trunc();
            let inside = |n: &u32| block.contains(&IpAddr::from(Ipv4Addr::from(n << 24)));
            prop_assert!((0..256).filter(inside).all(|n| whose(n << 24) == whose(address)), "{block}");
            let wider = IpNet::new(Ipv4Addr::from(address).into(), length.saturating_sub(1)).unwrap().trunc();
            let inside = |n: &u32| wider.contains(&IpAddr::from(Ipv4Addr::from(n << 24)));
            prop_assert!(length == 0 || !(0..256).filter(inside).all(|n| whose(n << 24) == whose(address)), "{wider}");
        }
    }

    fn change(gone: &[&str], come: &[&str]) -> ClaimChange {
        let of = |list: &[&str]| list.iter().map(|text| (net(text), Rank::new(10, false, None))).collect();
        ClaimChange { gone: of(gone), come: of(come) }
    }

    #[test]
    fn who_claims_most_of_an_operator_comes_first_and_then_of_the_country() {
        let operators = Ranges::new([(net("10.0.0.0/8"), 64500), (net("20.0.0.0/8"), 64501)]).unwrap();
        let countries = [("10.0.0.0/8", "DE"), ("20.0.0.0/8", "de"), ("30.0.0.0/8", "DE"), ("40.0.0.0/8", "FR")];
        let countries =
            Ranges::new(countries.map(|(prefix, code)| (net(prefix), country_value(code).unwrap()))).unwrap();
        let table = Arc::new(NetworkTable { operators, countries });
        assert_eq!(table.country("20.1.1.1".parse().unwrap()).as_deref(), Some("DE"));
        assert_eq!((country_value("D1"), country_value("DEU"), country_value("Ü")), (None, None, None));
        let mut networks = Networks::new(table);
        let label = |name: &str| name.parse::<Label>().unwrap();
        networks.apply(&[
            (label("ber"), change(&[], &["10.1.0.0/24", "10.2.0.0/24"])),
            (label("fra"), change(&[], &["10.3.0.0/24", "30.0.0.0/24", "30.0.1.0/24"])),
        ]);
        let before = networks.clone();
        let near = |networks: &Networks, address: &str, away: &str| {
            let usable = |node: &Label| (node.as_str() != away).then(|| node.to_string());
            networks.near(address.parse().unwrap(), usable)
        };
        let said = |name: &str, guess| Some((name.to_owned(), guess));
        assert_eq!(near(&networks, "10.200.0.1", ""), said("ber", Guess::Network));
        assert_eq!(near(&networks, "10.200.0.1", "ber"), said("fra", Guess::Network));
        assert_eq!(near(&networks, "20.0.0.1", ""), said("fra", Guess::Country), "three of five in the country");
        assert_eq!((near(&networks, "40.0.0.1", ""), near(&networks, "50.0.0.1", "")), (None, None));
        networks.apply(&[(label("fra"), change(&["30.0.0.0/24", "30.0.1.0/24", "10.3.0.0/24", "10.9.0.0/24"], &[]))]);
        assert_eq!(near(&networks, "20.0.0.1", ""), said("ber", Guess::Country));
        assert_eq!(near(&networks, "10.200.0.1", "ber"), None);
        assert_eq!(near(&before, "20.0.0.1", ""), said("fra", Guess::Country), "copies do not change");
        assert!(networks.are_strangers("10.0.0.1".parse().unwrap(), "20.0.0.1".parse().unwrap()));
        assert!(!networks.are_strangers("10.0.0.1".parse().unwrap(), "40.0.0.1".parse().unwrap()), "not known");
    }
}
