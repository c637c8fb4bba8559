//! What was left out when a snapshot was built, in words for the operator.
//!
//! A world is never refused: a mesh whose tables are half-way here must still answer. So each thing that does not fit
//! is left out alone and named here, with what to do about it.

use std::fmt;

use hickory_proto::rr::{Name, RecordType};

use crate::Label;
use crate::wire_name::{mnemonic, plain};

/// Something in a [`World`](crate::World) that the snapshot could not use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The world does not hold the node it is for.
    MeMissing(Label),
    /// Two nodes of one name.
    NodeTwice(Label),
    /// A node without DNS addresses.
    NodeWithoutAddress(Label),
    /// A zone is listed twice.
    ZoneTwice(Name),
    /// A zone has no name server with an address.
    ZoneWithoutNameserver(Name),
    /// A zone names a name server that is no node, or one without addresses.
    Nameserver(Name, Label),
    /// A zone names more name servers than are listed.
    TooManyNameservers(Name, usize),
    /// A service is listed twice.
    ServiceTwice(Name),
    /// A service lies in no mesh zone.
    ServiceOutside(Name),
    /// A service's name has a wildcard label that is not its first.
    Wildcard(Name),
    /// A service has the name of a name server of the mesh.
    ServiceOnNameserver(Name),
    /// A service has the name at which resolvers learn who they are.
    ServiceOnWhoami(Name),
    /// A service has no servers.
    ServiceEmpty(Name),
    /// Two servers of one service share an id.
    ServerTwice(Name, String),
    /// A node's cut cannot be made in a zone because a service or another zone has its name.
    CutTaken(Name),
    /// Static records that cannot stand where they are, and why.
    Records(Name, RecordType, &'static str),
    /// A child zone that is delegated to a name server inside of it, without an address.
    NoGlue(Name, Name),
    /// A service's name becomes too long below the longest node name.
    NameTooLong(Name),
    /// Claims that were made by nodes that are not known.
    ClaimsOfStrangers(Label, usize),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeMissing(me) => write!(f, "node {me} is not in its own view of the mesh yet"),
            Self::NodeTwice(node) => write!(
                f,
                "two nodes are named {node}: only the first is used. Give one of them another name in its [node] section"
            ),
            Self::NodeWithoutAddress(node) => write!(
                f,
                "node {node} has no DNS address, so no resolver can be sent to it: set dns.advertise in its configuration"
            ),
            Self::ZoneTwice(zone) => {
                write!(f, "zone {zone} is in the catalogue twice: only the first is used", zone = plain(zone))
            }
            Self::ZoneWithoutNameserver(zone) => {
                write!(
                    f,
                    "zone {zone} has no name server: none of its nodes is known here with an address",
                    zone = plain(zone)
                )
            }
            Self::Nameserver(zone, node) => write!(
                f,
                "zone {zone} lists {node} as a name server, but no node of that name is known here with an address",
                zone = plain(zone)
            ),
            Self::TooManyNameservers(zone, count) => {
                write!(
                    f,
                    "zone {zone} lists {count} name servers: only the first {} are used",
                    crate::MOST_NAMESERVERS,
                    zone = plain(zone)
                )
            }
            Self::ServiceTwice(name) => {
                write!(f, "service {name} is in the catalogue twice: only the first is used", name = plain(name))
            }
            Self::ServiceOutside(name) => write!(
                f,
                "service {name} lies in no zone of the mesh, so nobody asks for it here: add its zone to the catalogue",
                name = plain(name)
            ),
            Self::Wildcard(name) => {
                write!(f, "service {name} is left out: only the first label can be a wildcard", name = plain(name))
            }
            Self::ServiceOnNameserver(name) => write!(
                f,
                "service {name} is left out: names that begin with \"ns-\" directly in a zone belong to the mesh's name servers",
                name = plain(name)
            ),
            Self::ServiceOnWhoami(name) => write!(
                f,
                "service {name} is left out: \"whoami\" directly in a zone tells resolvers who they are",
                name = plain(name)
            ),
            Self::ServiceEmpty(name) => {
                write!(f, "service {name} has no servers, so it has no addresses", name = plain(name))
            }
            Self::ServerTwice(name, id) => {
                write!(
                    f,
                    "service {name} has two servers with the id {id:?}: only the first is used",
                    name = plain(name)
                )
            }
            Self::CutTaken(cut) => write!(
                f,
                "there is no cut {cut} because a service, a record or a zone is at or below that name: resolvers are \
                 answered at once instead of being referred there. Rename the node or what stands there",
                cut = plain(cut)
            ),
            Self::Records(name, rtype, why) => {
                write!(f, "records {} {} are left out: {why}", plain(name), mnemonic(*rtype))
            }
            Self::NoGlue(zone, server) => write!(
                f,
                "{zone} is delegated to {server}, which lies inside of it, so no resolver can find it without an address: \
                 add its A or AAAA record",
                zone = plain(zone),
                server = plain(server)
            ),
            Self::NameTooLong(name) => write!(
                f,
                "service {name} has too long a name to stand below every node's cut: there it is answered at once",
                name = plain(name)
            ),
            Self::ClaimsOfStrangers(node, count) => {
                write!(f, "{count} claims were made by {node}, which is no node known here: they are not used")
            }
        }
    }
}
