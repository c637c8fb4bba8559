//! A wide area network in one thread: delay, jitter, loss and cuts per directed pair of hosts, changed live.
//!
//! ```text
//!   namespace A            one thread             namespace B
//!   eth0 (TUN) --packet--> link A->B ----------> eth0 (TUN)
//!                          lost? cut? due when?
//! ```
//!
//! A TUN device in every namespace gives the packets of its host to the thread, which keeps each for the delay of its
//! link and writes it to the device of the host that has the destination address. [`core`] decides (pure, tested
//! without root), [`switch`] moves the bytes, [`lines`] and
//! [`session`] serve people (`chaos wan`).
//!
//! Rejected: `tc netem`, which many kernels (containers above all) do not have, and a bridge with nft rules, which can
//! cut and lose but not delay. IPv4 and IPv6; nothing has to find neighbours, for a TUN device has none (it carries bare
//! packets to whoever reads it), so a route for the prefix of the address is all that a host needs.
//!
//! What hosts say to each other's port 53 can be recorded ([`tap`]): the truth about who asked whom.

pub mod core;
pub mod lines;
pub mod session;
pub mod switch;
pub mod tap;

pub use self::core::{HostId, Link, Stats};
pub use self::switch::{DEVICE, Port, Wan};
pub use self::tap::Captured;
