//! Who is a member: certificates and revocations, written by an [operator](crate::operator).
//!
//! A node's certificate is a page of [`Table::ADMISSION`], a revocation one of [`Table::REVOCATION`]; both stand in the
//! slot of the node's key, and both are replicated like any other page. **A certificate holds while its stamp is above
//! that of the node's revocation.** So a revocation ends every certificate that was written before it, also those that
//! somebody kept, and a node can be admitted anew by a later one.
//!
//! What follows from a certificate: pages of the node are stored and passed on, links to it are kept, it stands on the
//! rings at places that its `serial` fixes (the operator draws it, so nobody can grind a key into a chosen
//! neighbourhood), and its claims count within its `prefixes`.
//!
//! **Invariant:** no merge rule reads a wall clock. `not_after` ends what a node *does* with another (links, answers);
//! what is stored ends with a revocation.

use ed25519_dalek::SigningKey;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    codec,
    id::NodeId,
    page::{Key, Owner, Page, Slot, Table},
};

/// Prefixes in one certificate: more than an ISP announces at one point of presence, and they fit one page.
pub const MAX_PREFIXES: usize = 256;
/// Characters of a node's name: a DNS label.
pub const MAX_NAME: usize = 63;

/// The operator's word that a node is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The member's key.
    pub node: NodeId,
    /// Its name in the mesh; one DNS label.
    pub name: String,
    /// Fixes its places on the rings; drawn at random when the node is first admitted, kept when it is renewed.
    pub serial: u64,
    /// Within which its claims count. None: it may claim nothing.
    pub prefixes: Vec<IpNet>,
    /// Unix time in seconds after which it ends.
    pub not_after: u64,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    node: NodeId,
    name: String,
    serial: u64,
    /// 4 or 16 bytes of address, and the length.
    prefixes: Vec<(ByteBuf, u8)>,
    not_after: u64,
}

#[derive(Serialize, Deserialize)]
struct Revocation {
    node: NodeId,
}

impl Certificate {
    /// Signs it; (major, minor) is the operator's hybrid logical clock.
    ///
    /// # Panics
    /// If it has more than [`MAX_PREFIXES`] prefixes or a name longer than [`MAX_NAME`]: who makes one checks.
    #[must_use]
    pub fn sign(&self, operator: &SigningKey, major: u64, minor: u64) -> Page {
        assert!(self.prefixes.len() <= MAX_PREFIXES && self.name.len() <= MAX_NAME, "a certificate that is too large");
        let wire = Wire {
            node: self.node,
            name: self.name.clone(),
            serial: self.serial,
            prefixes: self.prefixes.iter().map(to_wire).collect(),
            not_after: self.not_after,
        };
        Page::sign(operator, key(Table::ADMISSION, self.node), major, minor, codec::encode(&wire))
    }

    /// Whether a claim of this prefix counts.
    #[must_use]
    pub fn allows(&self, claim: &IpNet) -> bool {
        self.prefixes.iter().any(|prefix| prefix.contains(claim))
    }

    pub(crate) fn read(page: &Page) -> Option<Self> {
        let wire: Wire = codec::decode(page.body()).ok()?;
        let Wire { node, name, serial, prefixes, not_after } = wire;
        let good = page.key() == key(Table::ADMISSION, node)
            && name.len() <= MAX_NAME
            && prefixes.len() <= MAX_PREFIXES
            && node.verifying_key().is_ok();
        let prefixes = prefixes.iter().map(from_wire).collect::<Option<_>>()?;
        good.then_some(Self { node, name, serial, prefixes, not_after })
    }
}

/// Signs the end of every certificate of `node` that was signed before (major, minor).
#[must_use]
pub fn revoke(operator: &SigningKey, node: NodeId, major: u64, minor: u64) -> Page {
    Page::sign(operator, key(Table::REVOCATION, node), major, minor, codec::encode(&Revocation { node }))
}

/// Whose certificates a page of [`Table::REVOCATION`] ends.
#[must_use]
pub fn read_revocation(page: &Page) -> Option<NodeId> {
    let Revocation { node } = codec::decode(page.body()).ok()?;
    (page.key() == key(Table::REVOCATION, node)).then_some(node)
}

/// Whose membership a page is about, if it can be read.
pub(crate) fn whose(page: &Page) -> Option<NodeId> {
    match page.key_ref().table {
        Table::REVOCATION => read_revocation(page),
        _ => page.certificate().map(|certificate| certificate.node),
    }
}

/// Where a node's certificate, or its revocation, stands.
#[must_use]
pub fn key(table: Table, node: NodeId) -> Key {
    let mut slot = [0; 16];
    slot.copy_from_slice(&node.as_bytes()[..16]);
    Key { owner: Owner::Operators, table, slot: Slot(slot) }
}

fn to_wire(prefix: &IpNet) -> (ByteBuf, u8) {
    let address = match prefix {
        IpNet::V4(v4) => v4.network().octets().to_vec(),
        IpNet::V6(v6) => v6.network().octets().to_vec(),
    };
    (ByteBuf::from(address), prefix.prefix_len())
}

fn from_wire((address, length): &(ByteBuf, u8)) -> Option<IpNet> {
    let address = match address.len() {
        4 => <[u8; 4]>::try_from(&address[..]).ok()?.into(),
        16 => <[u8; 16]>::try_from(&address[..]).ok()?.into(),
        _ => return None,
    };
    Some(IpNet::new(address, *length).ok()?.trunc())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn certificate() -> Certificate {
        Certificate {
            node: SigningKey::from_bytes(&[1; 32]).verifying_key().into(),
            name: "fra".into(),
            serial: 7,
            prefixes: vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            not_after: 2_000_000_000,
        }
    }

    #[test]
    fn a_certificate_survives_the_wire_and_bounds_the_claims() {
        let operator = SigningKey::from_bytes(&[9; 32]);
        let page = certificate().sign(&operator, 1, 2);
        let read = Page::from_bytes(&page.to_bytes()).unwrap();
        assert_eq!(read.certificate(), Some(&certificate()));
        assert!(certificate().allows(&"198.51.100.128/25".parse().unwrap()));
        assert!(!certificate().allows(&"198.51.0.0/16".parse().unwrap()));
        assert!(!certificate().allows(&"2001:db9::/48".parse().unwrap()));
        let end = revoke(&operator, certificate().node, 3, 0);
        assert_eq!(read_revocation(&end), Some(certificate().node));
    }

    /// Else one page could end, or make, the membership of another.
    #[test]
    fn a_certificate_in_the_wrong_slot_is_none() {
        let operator = SigningKey::from_bytes(&[9; 32]);
        let good = certificate().sign(&operator, 1, 2);
        let other = SigningKey::from_bytes(&[2; 32]).verifying_key().into();
        let moved = Page::sign(&operator, key(Table::ADMISSION, other), 1, 2, good.body().to_vec());
        assert_eq!(moved.certificate(), None);
        let end = revoke(&operator, other, 1, 1);
        let moved = Page::sign(&operator, key(Table::REVOCATION, certificate().node), 1, 1, end.body().to_vec());
        assert_eq!(read_revocation(&moved), None);
    }
}
