//! What became of the first contacts: why a node that meets nobody meets nobody.
//!
//! ```text
//!   dialled ─▶ failed ───────────────────────────────▶ an obstacle
//!          └─▶ met ─▶ speaks of another mesh ────────▶ an obstacle
//!                 └─▶ opened ────────────────────────▶ none
//! ```
//!
//! **Invariant:** at most one entry for each address that the configuration names, whoever answers there.

use std::{collections::BTreeMap, fmt, sync::Arc};

use libp2p::swarm::ConnectionId;

use crate::id::NodeId;

/// What is told of a contact that is somebody else's.
pub const FOREIGN: &str = "a node answers there, and it is of another mesh";
/// What is told of a failure.
const MAX_WORDS: usize = 160;

/// The first contacts, by what the configuration calls them.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    /// Connections that were begun, until we know who answered.
    dialled: BTreeMap<ConnectionId, String>,
    met: BTreeMap<String, NodeId>,
    obstacles: Arc<BTreeMap<String, String>>,
    changed: bool,
}

impl Contacts {
    /// A connection was begun.
    pub(super) fn handle_dialled(&mut self, connection: ConnectionId, address: String) {
        self.dialled.insert(connection, address);
    }

    /// A connection was made; the address if it was to a first contact.
    pub(super) fn handle_connected(&mut self, connection: ConnectionId, node: Option<NodeId>) -> Option<String> {
        let address = self.dialled.remove(&connection)?;
        match node {
            Some(node) => self.changed |= self.met.insert(address.clone(), node) != Some(node),
            None => self.put(&address, Some("what answers there is no node of a mesh".to_owned())),
        }
        Some(address)
    }

    /// It was not made.
    pub(super) fn handle_failed(&mut self, connection: ConnectionId, error: &dyn fmt::Display) {
        if let Some(address) = self.dialled.remove(&connection) {
            self.put(&address, Some(shortened(error)));
        }
    }

    /// A name leads nowhere.
    pub(super) fn handle_unresolved(&mut self, address: &str) {
        self.put(address, Some("the name has no address".to_owned()));
    }

    /// A node talks with us.
    pub(super) fn handle_opened(&mut self, node: NodeId) {
        for address in self.of(node) {
            self.put(&address, None);
        }
    }

    /// A node is there, and speaks nothing of this mesh.
    pub(super) fn handle_foreign(&mut self, node: NodeId) {
        for address in self.of(node) {
            self.put(&address, Some(FOREIGN.to_owned()));
        }
    }

    /// Why they are not reached; nothing while one of them is, for the mesh makes the others known.
    pub(super) fn obstacles(&self) -> Arc<BTreeMap<String, String>> {
        let one_talks = self.met.keys().any(|address| !self.obstacles.contains_key(address));
        if one_talks { Arc::default() } else { self.obstacles.clone() }
    }

    /// Whether that is another than when this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn of(&self, node: NodeId) -> Vec<String> {
        self.met.iter().filter(|(_, met)| **met == node).map(|(address, _)| address.clone()).collect()
    }

    fn put(&mut self, address: &str, obstacle: Option<String>) {
        if self.obstacles.get(address) == obstacle.as_ref() {
            return;
        }
        let obstacles = Arc::make_mut(&mut self.obstacles);
        match obstacle {
            Some(why) => drop(obstacles.insert(address.to_owned(), why)),
            None => drop(obstacles.remove(address)),
        }
        self.changed = true;
    }
}

/// The end of libp2p's words, which is what the system said; the rest names the address again.
fn shortened(error: &dyn fmt::Display) -> String {
    let words = error.to_string();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = (words.len().saturating_sub(MAX_WORDS)..words.len()).find(|at| words.is_char_boundary(*at));
    words[start.unwrap_or(0)..].chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        ed25519_dalek::SigningKey::from_bytes(&[n; 32]).verifying_key().into()
    }

    #[test]
    fn each_contact_has_one_obstacle_until_it_talks() {
        let mut contacts = Contacts::default();
        let told = |contacts: &Contacts| contacts.obstacles().get("fra:4242").cloned().unwrap_or_default();
        let mut last = 0;
        let mut dial = |contacts: &mut Contacts| {
            last += 1;
            let connection = ConnectionId::new_unchecked(last);
            contacts.handle_dialled(connection, "fra:4242".into());
            connection
        };
        let at = dial(&mut contacts);
        contacts.handle_failed(at, &"Failed to\n negotiate: Connection refused");
        assert!(told(&contacts).ends_with("negotiate: Connection refused") && contacts.take_changed());
        let at = dial(&mut contacts);
        contacts.handle_failed(at, &"Failed to negotiate: Connection refused");
        assert!(!contacts.take_changed(), "nothing new");
        for who in [1, 2] {
            let at = dial(&mut contacts);
            assert_eq!(contacts.handle_connected(at, Some(node(who))).as_deref(), Some("fra:4242"));
            contacts.handle_foreign(node(who));
            assert!(told(&contacts).contains("another mesh"));
            assert_eq!(contacts.met.len(), 1, "whoever answers there");
        }
        contacts.handle_opened(node(1));
        assert!(!told(&contacts).is_empty(), "another one answered there since");
        contacts.handle_opened(node(2));
        assert!(told(&contacts).is_empty() && contacts.take_changed());
        contacts.handle_unresolved("fra:4242");
        assert!(told(&contacts).contains("no address"));
        assert!(contacts.dialled.is_empty());

        // Of another mesh beside one that talks: this node is in the right one, and is told what else it needs.
        contacts.handle_dialled(ConnectionId::new_unchecked(99), "nyc:4242".into());
        contacts.handle_connected(ConnectionId::new_unchecked(99), Some(node(3)));
        contacts.handle_opened(node(3));
        assert!(contacts.obstacles().is_empty() && contacts.take_changed());
        contacts.handle_foreign(node(3));
        assert_eq!(contacts.obstacles().len(), 2);
        let long = "é".repeat(MAX_WORDS);
        assert!(shortened(&long).len() <= MAX_WORDS && !shortened(&long).is_empty());
        assert_eq!(shortened(&""), "");
    }
}
