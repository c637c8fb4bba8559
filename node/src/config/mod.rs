//! The node's configuration: one TOML file, checked whole before anything is opened.
//!
//! ```text
//!   text ─▶ document (syntax, keys, kinds) ─▶ value (each on its own) ─▶ check (one against the other) ─▶ Config
//!                └──────────────── every mistake, with key path, value and what is allowed ──────────▶ ConfigErrors
//! ```
//!
//! **Invariant:** [`Config::parse`] is pure. It opens no file, looks up no name and binds no port, so `nigh
//! check-config` on a laptop says what the node will say.
//! **Invariant:** in a [`Config`] the defaults are filled in; nothing reads the file a second time.

mod check;
pub mod dns_a;
mod dnstap;
pub(crate) mod document;
mod fault;
mod read;
mod telemetry;
#[cfg(test)]
mod tests;
pub(crate) mod value;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use nigh_gossip::NodeId;

pub use dns_a::DnsAConfig;
pub use dnstap::DnstapConfig;
pub use fault::{Fault, Faults as ConfigErrors};
pub use nigh_dns::Label;
pub use telemetry::TelemetryConfig;
pub use value::HostPort;

use crate::location::Location;

/// Where the admin socket is unless the file, `--socket` or `NIGH_SOCKET` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/nigh/nigh.sock";

/// The preference of a claim that states none; lower wins.
pub const DEFAULT_PREFERENCE: u16 = 10;

/// From one round of questions to a resolver to the next.
pub const DEFAULT_REDISCOVERY: Duration = Duration::from_secs(60);

/// The prefixes of public resolvers that a configuration may add.
pub const MAX_PUBLIC: usize = 256;

/// The claims one node may list. A thousand times what an ISP has resolvers, and yet few enough pages that one node's
/// mistake does not fill the mesh.
pub const MAX_CLAIMS: usize = 10_000;

/// At some 200 octets a reply a third of a megabit per second, which is no flood; and more than a network of resolvers
/// asks of one node, whose names they keep for 20 s and longer.
pub const DEFAULT_RATE_LIMIT: u32 = 200;

/// The highest limit: beyond it there is none.
pub const MAX_RATE_LIMIT: u32 = 1_000_000;

/// The highest capacity: no host answers more.
pub const MAX_CAPACITY: u32 = 100_000_000;

/// The addresses in any one list of addresses: more than a host has that serve one purpose.
pub const MAX_ADDRESSES: usize = 16;

/// Everything `nigh run` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[mesh]`
    pub mesh: MeshConfig,
    /// `[dns]`
    pub dns: DnsConfig,
    /// `[[claim]]`, in the order of the file.
    pub claims: Vec<ClaimConfig>,
    /// `[resolvers]`
    pub resolvers: ResolversConfig,
    /// `[networks]`: tables of whose an address is, for clients that nobody claims.
    pub networks: Vec<PathBuf>,
    /// `[measure]`
    pub measure: MeasureConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[drain]`
    pub drain: DrainConfig,
    /// `[dnstap]`, if messages are shown to anybody.
    pub dnstap: Option<DnstapConfig>,
    /// `[telemetry]`, if traces are sent to anybody.
    pub telemetry: Option<TelemetryConfig>,
    /// `[[tsig]]`, `[[origin_zone]]` and `[[delegation]]`
    pub dns_a: DnsAConfig,
}

/// Who this node is and where it keeps what must survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Names the node and its cut.
    pub name: Label,
    /// The point of presence, for people; may be empty.
    pub pop: String,
    /// Where it stands, for maps.
    pub location: Option<Location>,
    /// Key, pages and learnt peers are kept here.
    pub state_dir: PathBuf,
}

/// How the node takes part in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfig {
    /// The operator's public key: only what it signed is believed, in the catalogue and of who is a member.
    pub id: NodeId,
    /// The file that admits this node; without one, `certificate` in the state directory if that is there.
    pub certificate: Option<PathBuf>,
    /// QUIC (UDP) and TCP on each.
    pub listen: Vec<SocketAddr>,
    /// Where other nodes reach this one; as `listen` unless stated.
    pub advertise: Vec<SocketAddr>,
    /// Peers to contact first; any one of them suffices, none at all makes a first node.
    pub bootstrap: Vec<HostPort>,
}

/// Where DNS is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// UDP and TCP on each.
    pub listen: Vec<SocketAddr>,
    /// The addresses that name server records (glue) carry; those of `listen` unless stated.
    pub advertise: Vec<IpAddr>,
    /// Replies of one kind per second and network (/24 or /56) by UDP; networks that somebody claims get ten times as
    /// much on top. None: no limit.
    pub rate_limit: Option<NonZeroU32>,
    /// Questions a second that the node can answer; near that it leaves resolvers to other claimants. None: never.
    pub capacity: Option<NonZeroU32>,
}

/// "The resolvers in this prefix are near me."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimConfig {
    /// The resolvers.
    pub prefix: IpNet,
    /// Lower wins where several nodes claim one resolver.
    pub preference: u16,
}

/// The resolvers that this node is a client of: found out about, and claimed where that is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolversConfig {
    /// Those to ask.
    pub addresses: Vec<SocketAddr>,
    /// The file with those that the system uses, if they are asked too.
    pub system: Option<PathBuf>,
    /// Addresses that are nobody's to claim, beside the list that ships.
    pub public: Vec<IpNet>,
    /// The preference of a claim that was found, where no configured one covers it.
    pub preference: u16,
    /// From one round of questions to the next.
    pub interval: Duration,
}

impl Default for ResolversConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            system: None,
            public: Vec::new(),
            preference: DEFAULT_PREFERENCE,
            interval: DEFAULT_REDISCOVERY,
        }
    }
}

/// How probes leave the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeasureConfig {
    /// Source addresses of probes, at most one per family; where there is none the routing table chooses.
    pub source: Vec<IpAddr>,
    /// The directory with files of certificate authorities, which probes name.
    pub authorities: Option<PathBuf>,
    /// The directory with the programs that probes may run; without one they run none.
    pub commands: Option<PathBuf>,
}

impl MeasureConfig {
    /// The address to bind to before probing `target`.
    pub fn source_for(&self, target: IpAddr) -> Option<IpAddr> {
        self.source.iter().copied().find(|source| source.is_ipv4() == target.is_ipv4())
    }
}

/// The doors for `nigh status` and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// HTTP over TCP on each; none: the socket alone.
    pub listen: Vec<SocketAddr>,
    /// Who comes over TCP and shows no token.
    pub anonymous: Anonymous,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// TLS on all of `listen`; without it that is loopback only.
    pub tls: Option<TlsFiles>,
    /// Names, beside addresses and `localhost`, under which the listener is reached.
    pub names: Vec<String>,
    /// The file that edits are written down in.
    pub audit: Option<PathBuf>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            socket: PathBuf::from(DEFAULT_SOCKET),
            listen: Vec::new(),
            anonymous: Anonymous::Nothing,
            tokens: None,
            tls: None,
            names: Vec::new(),
            audit: None,
        }
    }
}

/// A certificate and its key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What those may do who come over TCP and show no token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nothing.
    #[default]
    Nothing,
    /// Read.
    Read,
}

/// How logs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level, or a filter in tracing's form such as `info,nigh_dns=debug`.
    pub level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Human,
    /// One JSON object per event.
    Json,
}

/// How the node leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long queries are still answered after SIGTERM, once the claims are withdrawn.
    pub answer_for: Duration,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Every mistake in the text, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let document = document::Document::parse(text)?;
        let read = read::config(&document);
        document.finish(read)
    }
}
