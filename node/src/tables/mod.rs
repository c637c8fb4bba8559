//! The node's own tables: what a page of each holds, and how a table is cut into pages.
//!
//! | table | writer | content | page |
//! |---|---|---|---|
//! | [`PROFILE`] | each node | name, place, DNS addresses, cuts served | one |
//! | [`CLAIMS`] | each node | resolver prefixes | 64 rows in order of prefix |
//! | [`EVIDENCE`] | each node | who has seen its resolvers, and how far they are | 16 rows |
//! | [`LATENCY`] | each node | what it measured of each server | rows by hash of (service, server) |
//! | [`DUTIES`] | each node | what it can do at DNS-A | one |
//! | [`POOLS`] | importing nodes | addresses of a name at DNS-A | one a source |
//! | [`crate::catalogue::TABLE`] | operators | zones, services, servers | one record |
//!
//! Bodies are CBOR through [`nigh_gossip::codec`]. Other nodes' pages are input from a wire: a body that does not read,
//! or a row that makes no sense, is left out, and never more than the bounds here are taken from one page.

pub mod claims;
pub mod duties;
pub mod evidence;
pub mod latency;
pub mod memo;
pub mod pools;
pub mod profile;

use nigh_gossip::Table;

/// [`profile::Profile`].
pub const PROFILE: Table = Table(16);
/// [`claims`].
pub const CLAIMS: Table = Table(17);
/// [`evidence`].
pub const EVIDENCE: Table = Table(20);
/// [`latency`].
pub const LATENCY: Table = Table(18);
/// [`duties::Duties`].
pub const DUTIES: Table = Table(24);
/// [`pools::Pool`].
pub const POOLS: Table = Table(25);

/// Rows of a page as a writer fills it: about a kilobyte.
pub const ROWS_PER_PAGE: usize = 64;
/// Rows of a page that a reader looks at.
const MAX_ROWS: usize = 4 * ROWS_PER_PAGE;
