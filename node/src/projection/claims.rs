//! The table of claims, kept from one world to the next.
//!
//! A million claims are laid out once. What comes after that is a page now and then: the pages of each node are compared
//! with those that the table was made of, which are the same memory unless they changed, and only what differs is taken
//! out of the table or put in. The tables of the worlds before share all the rest.
//!
//! **Invariant:** the table holds the claims of the pages that are remembered beside it, no more and no less.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use nigh_dns::{ClaimChange, ClaimTable, Label, NetworkTable, Networks, Rank};

use crate::tables::claims::Claim;

type Pages = Vec<Arc<Vec<Claim>>>;

/// The claims of all nodes.
#[derive(Default)]
pub struct Claimed {
    table: ClaimTable,
    /// The same by whose they are.
    networks: Networks,
    /// What the table was made of.
    pages: BTreeMap<Label, Pages>,
}

impl Claimed {
    /// The table of these pages, and in which networks they lie as `whose` says. Nodes are told that do not fit in: the
    /// table has room for 65,536 that claim something.
    pub fn follow<'p>(
        &mut self,
        nodes: impl Iterator<Item = (&'p Label, &'p Pages)>,
        whose: &Arc<NetworkTable>,
    ) -> (ClaimTable, Networks) {
        let mut changes = Vec::new();
        let mut gone = std::mem::take(&mut self.pages);
        for (label, pages) in nodes.filter(|(_, pages)| !pages.is_empty()) {
            let held = gone.remove(label).unwrap_or_default();
            if !is_same(&held, pages) {
                changes.push((label.clone(), change(&held, pages)));
            }
            self.pages.insert(label.clone(), pages.clone());
        }
        changes.extend(gone.into_iter().map(|(label, pages)| (label, change(&pages, &[]))));
        if !changes.is_empty() {
            // Those that go first make room for those that come.
            changes.sort_by_key(|(_, change)| !change.come.is_empty());
            self.networks.apply(&changes);
            for label in self.table.apply(changes) {
                tracing::warn!(node = %label, "its claims do not count: too many other nodes claim something");
                let pages = self.pages.remove(&label).unwrap_or_default();
                self.networks.apply(&[(label, change(&pages, &[]))]);
            }
        }
        if !Arc::ptr_eq(whose, self.networks.table()) {
            let all: Vec<_> = self.pages.iter().map(|(label, pages)| (label.clone(), change(&[], pages))).collect();
            self.networks = Networks::new(whose.clone());
            self.networks.apply(&all);
        }
        (self.table.clone(), self.networks.clone())
    }
}

/// Pages are decoded once, so the same claims are the same memory.
fn is_same(held: &[Arc<Vec<Claim>>], pages: &[Arc<Vec<Claim>>]) -> bool {
    held.len() == pages.len() && held.iter().zip(pages).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// What differs between the pages that one node had and those that it has.
fn change(held: &[Arc<Vec<Claim>>], pages: &[Arc<Vec<Claim>>]) -> ClaimChange {
    // A page in the middle may have come or gone: pages are told apart by where they lie, which is not known to another.
    let lies = |pages: &[Arc<Vec<Claim>>]| -> std::collections::BTreeSet<usize> {
        pages.iter().map(|page| Arc::as_ptr(page) as usize).collect()
    };
    let (before, after) = (lies(held), lies(pages));
    let claims = |of: &[Arc<Vec<Claim>>], others: &std::collections::BTreeSet<usize>| -> Vec<(IpNet, Rank)> {
        let changed = of.iter().filter(|page| !others.contains(&(Arc::as_ptr(page) as usize)));
        let mut claims: Vec<(IpNet, Rank)> = changed.flat_map(|page| page.iter()).map(of_page).collect();
        claims.sort_unstable();
        claims
    };
    without_common(claims(held, &after), claims(pages, &before))
}

fn of_page(claim: &Claim) -> (IpNet, Rank) {
    (claim.prefix, Rank::new(claim.preference, claim.proven, claim.rtt))
}

/// Leaves out of two sorted lists what both have, as often as both have it.
fn without_common(gone: Vec<(IpNet, Rank)>, come: Vec<(IpNet, Rank)>) -> ClaimChange {
    let mut change = ClaimChange::default();
    let (mut gone, mut come) = (gone.into_iter().peekable(), come.into_iter().peekable());
    loop {
        let order = match (gone.peek(), come.peek()) {
            (Some(old), Some(new)) => old.cmp(new),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return change,
        };
        if order.is_lt() {
            change.gone.extend(gone.next());
        } else if order.is_gt() {
            change.come.extend(come.next());
        } else {
            gone.next();
            come.next();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use nigh_dns as dns;
    use proptest::prelude::*;

    use super::*;

    fn page() -> impl Strategy<Value = Arc<Vec<Claim>>> {
        let claim = (0..8_u8, 24..26_u8, 0..3_u16).prop_map(|(third, length, preference)| {
            let prefix = IpNet::new(Ipv4Addr::new(10, 0, third, 0).into(), length).unwrap();
            Claim::new(prefix, preference)
        });
        prop::collection::vec(claim, 0..6).prop_map(Arc::new)
    }

    /// A table of one operator's networks.
    fn whose(prefix: &str) -> Arc<NetworkTable> {
        let operators = nigh_dns::Ranges::new([(prefix.parse().unwrap(), 64500)]).unwrap();
        Arc::new(NetworkTable { operators, ..NetworkTable::default() })
    }

    /// What happens to a page of a node, and whether the other table is there then.
    fn step() -> impl Strategy<Value = (u8, usize, Option<Arc<Vec<Claim>>>, bool)> {
        (0..3_u8, 0..4_usize, proptest::option::weighted(0.7, page()), proptest::bool::weighted(0.2))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_table_is_that_of_the_pages_whatever_came_before(steps in prop::collection::vec(step(), 0..40)) {
            let mut nodes: BTreeMap<Label, Pages> = BTreeMap::new();
            let mut claimed = Claimed::default();
            let whose = [whose("10.0.0.0/22"), whose("10.0.4.0/23")];
            for (node, slot, page, other) in steps {
                let pages = nodes.entry(format!("n{node}").parse().unwrap()).or_default();
                match page {
                    Some(page) if slot < pages.len() => pages[slot] = page,
                    Some(page) => pages.push(page),
                    None if slot < pages.len() => drop(pages.remove(slot)),
                    None => pages.clear(),
                }
                let (table, networks) = claimed.follow(nodes.iter(), &whose[usize::from(other)]);
                let mut anew = Networks::new(whose[usize::from(other)].clone());
                anew.apply(&nodes.iter().map(|(label, pages)| (label.clone(), change(&[], pages))).collect::<Vec<_>>());
                prop_assert_eq!(networks, anew);
                let all = nodes.iter().flat_map(|(label, pages)| pages.iter().flat_map(|page| page.iter()).map(|claim| dns::Claim {
                    node: label.clone(),
                    prefix: claim.prefix,
                    preference: claim.preference,
                    proven: false,
                    rtt: None,
                }));
                prop_assert_eq!(table, all.collect::<ClaimTable>());
            }
        }
    }

    #[test]
    fn a_page_that_changed_changes_only_what_differs() {
        let claim =
            |third, preference| Claim::new(IpNet::new(Ipv4Addr::new(10, 0, third, 0).into(), 24).unwrap(), preference);
        let kept = Arc::new(vec![claim(1, 10)]);
        let before = [kept.clone(), Arc::new(vec![claim(2, 10), claim(3, 10), claim(3, 10)])];
        let after = [kept, Arc::new(vec![claim(2, 10), claim(3, 10), claim(3, 5)])];
        let change = change(&before, &after);
        let rank = |preference| Rank::new(preference, false, None);
        assert_eq!(change.gone, [(claim(3, 0).prefix, rank(10))]);
        assert_eq!(change.come, [(claim(3, 0).prefix, rank(5))]);
    }
}
