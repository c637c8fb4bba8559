//! This node as a witness for others: signs what it saw of their resolvers, so often and no oftener.
//!
//! A signature costs some 20 µs, a hundred times an answer, and anybody can ask for one. So there are at most
//! [`SIGNATURES`] a second, whatever is asked: one per cent of a core. Who comes too late gets an answer without a
//! statement, and asks another node. A mesh of 10,000 nodes with two resolvers of both families each makes some 2,000 a
//! second in all, a fifth of one a second for each node.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use nigh_dns::NONCE;
use nigh_gossip::NodeId;

use super::statement::Statement;

/// Signatures a second.
pub const SIGNATURES: u64 = 500;
/// What may come at once, in microseconds' worth: a quarter of a second.
const BURST: u64 = 250_000;
/// Microseconds that a signature is worth.
const COST: u64 = 1_000_000 / SIGNATURES;

/// Signs for this node.
pub struct Witness {
    key: SigningKey,
    mesh: NodeId,
    /// When all that was signed will be paid for (GCRA), in microseconds since 1970.
    paid: AtomicU64,
}

impl Witness {
    /// With the node's key, for its mesh.
    pub fn new(key: SigningKey, mesh: NodeId) -> Self {
        Self { key, mesh, paid: AtomicU64::new(0) }
    }

    /// Takes the worth of a signature, if it is there. A clock that was set back by more than the burst starts anew.
    fn afford(&self, now: u64) -> bool {
        let paid = self.paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            let debt = match paid.saturating_sub(now) {
                debt if debt > 2 * BURST => 0,
                debt => debt,
            };
            (debt + COST <= BURST).then_some(now.saturating_add(debt + COST))
        });
        paid.is_ok()
    }
}

impl nigh_dns::Witness for Witness {
    fn attest(&self, nonce: &[u8; NONCE], source: IpAddr, at: Duration) -> Option<String> {
        let now = u64::try_from(at.as_micros()).ok()?;
        let time = u32::try_from(at.as_secs()).ok()?;
        self.afford(now).then(|| Statement::sign(&self.key, self.mesh, nonce, source, time).to_text())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nigh_dns::Witness as _;

    use super::*;

    #[test]
    fn a_flood_gets_so_many_signatures_and_the_next_second_has_as_many_again() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let witness = Witness::new(key.clone(), key.verifying_key().into());
        let at = Duration::from_secs(1_800_000_000);
        let second =
            |from: Duration| (0..10_000u64).filter(|n| witness.afford((from.as_micros() as u64) + n * 100)).count();
        assert!((SIGNATURES..SIGNATURES + BURST / COST + 2).contains(&(second(at) as u64)));
        assert!((SIGNATURES - 1..=SIGNATURES + 1).contains(&(second(at + Duration::from_secs(1)) as u64)));
        // A clock set back by an hour neither stops the signing nor frees it.
        let back = second(at - Duration::from_secs(3600)) as u64;
        assert!((SIGNATURES..SIGNATURES + BURST / COST + 2).contains(&back), "{back}");
    }

    #[test]
    fn what_is_said_can_be_checked() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let mesh = NodeId::from(key.verifying_key());
        let nonce = [b'a'; NONCE];
        let source = "2001:db8::53".parse().unwrap();
        let text = Witness::new(key, mesh).attest(&nonce, source, Duration::from_secs(1_800_000_000)).unwrap();
        let read = Statement::from_text(text.as_bytes()).unwrap();
        assert_eq!(read.verify(mesh, &nonce, source), Ok(()));
        assert_eq!(read.time, 1_800_000_000);
    }
}
