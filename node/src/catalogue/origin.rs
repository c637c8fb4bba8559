//! Where a service's servers come from, if they are not all written down: a name at DNS-A.
//!
//! What stands here is signed by an operator; what DNS-A answers is not. So an operator may say within which prefixes
//! addresses are believed: plain DNS can be forged, and any node that imports could make an answer up.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::name;
use crate::config::document::{Item, Section, all};
use crate::config::value;

/// Servers of DNS-A to ask for one name; one and a few that stand in.
pub const MAX_FROM: usize = 4;
/// Prefixes within which addresses are believed.
pub const MAX_WITHIN: usize = 32;
/// The port of the DNS.
const DNS_PORT: u16 = 53;

/// A name whose addresses are servers of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The name.
    pub name: Name,
    /// Who is asked, in this order; nobody in particular: the importing node's own resolver.
    pub from: Vec<SocketAddr>,
    /// Other addresses are left out; empty: any.
    pub within: Vec<IpNet>,
}

impl Origin {
    /// Whether an address may be a server.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.within.is_empty() || self.within.iter().any(|prefix| prefix.contains(&address))
    }

    /// Reads `origin`, `origin_from` and `origin_within` of a service; the outer nothing: they are at fault.
    pub(super) fn read(service: &Section<'_>) -> Option<Option<Self>> {
        let from = one_or_many(service.get("origin_from"), server, MAX_FROM);
        let within = one_or_many(service.get("origin_within"), value::prefix, MAX_WITHIN);
        let Some(item) = service.get("origin") else {
            for item in ["origin_from", "origin_within"].iter().filter_map(|key| service.get(key)) {
                item.fault("without a name to ask for; write origin = \"www.origin.example.com\" as well");
            }
            return from.and(within).map(|_| None);
        };
        let name = item.text(name::host);
        Some(Some(Self { name: name?, from: from?, within: within? }))
    }

    pub(super) fn to_wire(&self) -> Wire {
        Wire {
            name: name::text(&self.name),
            from: self.from.iter().map(ToString::to_string).collect(),
            within: self.within.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) fn from_wire(wire: &Wire) -> Result<Self, String> {
        if wire.from.len() > MAX_FROM || wire.within.len() > MAX_WITHIN {
            return Err(format!("origin: {} servers, {} prefixes beyond bounds", wire.from.len(), wire.within.len()));
        }
        let from: Result<_, _> = wire.from.iter().map(|text| server(text)).collect();
        let within: Result<_, _> = wire.within.iter().map(|text| value::prefix(text)).collect();
        Ok(Self { name: name::host(&wire.name)?, from: from?, within: within? })
    }

    /// The fields that a plan of changes shows.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        fn list<T: ToString>(list: &[T]) -> Option<String> {
            let words: Vec<String> = list.iter().map(ToString::to_string).collect();
            (!words.is_empty()).then(|| words.join(" "))
        }
        let fields = [
            ("origin", Some(name::text(&self.name))),
            ("origin_from", list(&self.from)),
            ("origin_within", list(&self.within)),
        ];
        fields.into_iter().filter_map(|(field, value)| Some((field, value?)))
    }
}

/// As it travels: text, which is short and checked by the same functions as the file's.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wire {
    name: String,
    from: Vec<String>,
    within: Vec<String>,
}

/// A name server: an address, with a port where that is not 53.
pub(crate) fn server(text: &str) -> Result<SocketAddr, String> {
    let address = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(ip), _) => SocketAddr::new(ip, DNS_PORT),
        (_, Ok(address)) if address.port() != 0 => address,
        _ => {
            return Err(
                "the address of a name server is expected, such as \"203.0.113.1\", with a port if it is not 53"
                    .to_owned(),
            );
        }
    };
    value::contactable(address.ip()).map(|()| address)
}

/// One value, or a list of at most so many.
pub(crate) fn one_or_many<T>(
    item: Option<Item<'_>>,
    read: impl Fn(&str) -> Result<T, String>,
    most: usize,
) -> Option<Vec<T>> {
    let Some(item) = item else { return Some(Vec::new()) };
    if !item.is_list() {
        return item.text(read).map(|one| vec![one]);
    }
    let items = item.list();
    if items.is_empty() || items.len() > most {
        item.fault(format!("{} of these, where 1 to {most} are expected", items.len()));
        return None;
    }
    all(&items, |item| item.text(&read))
}
