//! What the mesh promises in times, all in one place: who judges reads its bounds here.

use std::time::Duration;

/// From a death to the verdict, which all nodes come to alike: 1.5 s on a quiet machine.
pub const VERDICT: Duration = Duration::from_secs(2);
/// The TTL of the CNAME that sends a resolver into a cut.
pub const CNAME_TTL: Duration = Duration::from_secs(60);
/// From the verdict until a new backup stands in for one that died.
pub const NEW_BACKUP: Duration = Duration::from_secs(5);
/// From the heal of killed nodes until all hold the same pages.
pub const EQUAL_AFTER_KILL: Duration = Duration::from_secs(10);
/// The same from the heal of a partition.
pub const EQUAL_AFTER_SPLIT: Duration = Duration::from_secs(5);
/// How long an origin that died may still be answered: probes that fail (two, a second apart, and their timeout: 2.9 s), the
/// news, and as long as a resolver keeps an answer with a TTL of a second: Knot Resolver keeps every answer for 5 s.
pub const STALE: Duration = Duration::from_secs(9);
/// How long resolvers avoid servers that they found silent, at the most (unbound tries others first for so long).
pub const AVOIDED: Duration = Duration::from_secs(30);
/// How late a resolver may be with what it asks when a CNAME has ended: unbound was seen to need 4 s.
pub const LATE: Duration = Duration::from_secs(10);
/// Looks at the world are half a second apart, and take as long on a machine that does all this.
pub const LOOKS: Duration = Duration::from_secs(1);
