//! Operators' keys: the root, and the one that does the daily work.

use ed25519_dalek::SigningKey;

use super::{Index, Sim, number};
use crate::{
    id::NodeId,
    operator::{Appointment, Rights},
    page::Page,
    replica::{Accepted, Refused},
};

/// Keys of the operators.
pub(super) struct Keys {
    /// Names the mesh.
    pub(super) root: SigningKey,
    /// Signs certificates and edits.
    pub(super) daily: SigningKey,
    /// Of the daily one; none while that is the root.
    pub(super) appointment: Option<Page>,
}

impl Keys {
    pub(super) fn new(root: SigningKey) -> Self {
        Self { daily: root.clone(), root, appointment: None }
    }
}

impl Sim {
    /// The root appoints a key through one node, or dismisses it; returns the page.
    pub fn appoint(&mut self, via: Index, operator: NodeId, appointed: bool, rights: Rights) -> Page {
        let appointment = Appointment { operator, name: operator.short().to_string(), appointed, rights };
        self.edits += 1;
        let page = appointment.sign(&self.keys.root, 1, self.edits);
        let accepted = self.submit(via, page.clone());
        debug_assert!(accepted.is_ok(), "{accepted:?}");
        page
    }

    /// From now on nodes that are added are admitted by this key, and edits are signed with it.
    pub fn work_with(&mut self, daily: SigningKey, appointment: Option<Page>) {
        (self.keys.daily, self.keys.appointment) = (daily, appointment);
    }

    /// The mesh's root key.
    #[must_use]
    pub fn root(&self) -> SigningKey {
        self.keys.root.clone()
    }

    /// Brings a page to one node, as a program beside it does.
    ///
    /// # Errors
    /// [`Refused`], if the node takes no such page.
    ///
    /// # Panics
    /// If the node does not run.
    pub fn submit(&mut self, via: Index, page: Page) -> Result<Accepted, Refused> {
        let now = self.now;
        let host = &mut self.hosts[via];
        let clock = host.clock(now);
        #[expect(clippy::expect_used, reason = "said above; simulations are tests")]
        let accepted = host.engine.as_mut().expect("a node that runs").submit(clock, page);
        self.pump(number(via));
        accepted
    }
}
