//! What is wrong between values that are each right on their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::document::{Item, Section};
use super::value;

/// No two sockets on one address: the second bind would fail, or on a wildcard take the first one's packets.
pub(super) fn listen(items: &[Item<'_>], read: Option<&[SocketAddr]>) {
    for (i, one) in read.unwrap_or_default().iter().enumerate() {
        let earlier = read.unwrap_or_default()[..i].iter().position(|other| overlap(*one, *other));
        if let Some(earlier) = earlier {
            items[i].fault(format!("overlaps with {}; list each address once", items[earlier].path()));
        }
    }
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let wildcard = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && same_family && (wildcard || one.ip() == other.ip())
}

/// A value listed twice is a slip, and often one that hides a value left out.
pub(super) fn no_repeats<T: PartialEq>(items: &[Item<'_>], read: Option<&[T]>) {
    let read = read.unwrap_or_default();
    for (i, one) in read.iter().enumerate() {
        if let Some(earlier) = read[..i].iter().position(|other| other == one) {
            items[i].fault(format!("listed before as {}", items[earlier].path()));
        }
    }
}

/// An address of a family that the node does not listen on cannot be reached; `[::]` is bound for IPv6 alone.
pub(super) fn reachable(items: &[Item<'_>], stated: Option<&[IpAddr]>, listen: Option<&[SocketAddr]>) {
    let Some(listen) = listen.filter(|listen| !listen.is_empty()) else { return };
    for (item, ip) in items.iter().zip(stated.unwrap_or_default()) {
        if !listen.iter().any(|at| at.is_ipv4() == ip.is_ipv4()) {
            let (family, wildcard) = if ip.is_ipv4() { ("IPv4", "0.0.0.0") } else { ("IPv6", "[::]") };
            item.fault(format!("nothing listens on {family}; add an {family} address to listen, such as {wildcard}"));
        }
    }
}

/// What others are told: as stated, else where the node listens, which a wildcard address cannot be.
pub(super) fn advertised<T>(
    section: &Section<'_>,
    items: &[Item<'_>],
    listen: Option<&[SocketAddr]>,
    stated: Option<Vec<T>>,
    from_listen: impl Fn(SocketAddr) -> T,
    example: &str,
) -> Option<Vec<T>> {
    let stated = stated?;
    if !stated.is_empty() || section.get("advertise").is_some() {
        return Some(stated);
    }
    let listen = listen?;
    if let Some(wildcard) = listen.iter().position(|at| at.ip().is_unspecified()) {
        section.require(
            "advertise",
            &format!("{} is a wildcard, so say where others reach this node: {example}", items[wildcard].path()),
        );
        return None;
    }
    Some(listen.iter().map(|at| from_listen(*at)).collect())
}

/// The mesh's QUIC and the DNS both want UDP and TCP of what they are given, and the admin API TCP.
pub(super) fn one_port_one_purpose(root: &Section<'_>) {
    let read = |section: &'static str| -> Vec<(Item<'_>, SocketAddr)> {
        let listen = root.get(section).and_then(|item| item.child("listen"));
        let items = listen.map(|item| if item.is_list() { item.items() } else { vec![item] }).unwrap_or_default();
        items
            .into_iter()
            .filter_map(|item| Some((item.clone(), value::listen_address(item.as_text()?).ok()?)))
            .collect()
    };
    let mut taken = read("mesh");
    for section in ["dns", "admin"] {
        let wanted = read(section);
        for (item, address) in &wanted {
            if let Some((other, _)) = taken.iter().find(|(_, other)| overlap(*address, *other)) {
                item.fault(format!(
                    "taken by {}; the mesh, the DNS and the admin API need ports of their own",
                    other.path()
                ));
            }
        }
        taken.extend(wanted);
    }
}

/// What may stand in `[admin]`; all from the fourth on is about `listen`.
pub(super) const ADMIN_KEYS: [&str; 8] =
    ["socket", "audit", "listen", "anonymous", "tokens", "tls_certificate", "tls_key", "names"];

/// Over TCP the admin API is open to whoever reaches it, so that nobody may read along or come unasked.
pub(super) fn doors(section: &Section<'_>, items: &[Item<'_>], listen: Option<&[SocketAddr]>) {
    let far: Vec<&Item<'_>> = items
        .iter()
        .zip(listen.unwrap_or_default())
        .filter(|(_, at)| !at.ip().is_loopback())
        .map(|(item, _)| item)
        .collect();
    match (section.get("tls_certificate"), section.get("tls_key")) {
        (Some(_), Some(_)) => {}
        (Some(one), None) => one.fault("needs its key; add tls_key"),
        (None, Some(one)) => one.fault("needs its certificate; add tls_certificate"),
        (None, None) => far.iter().for_each(|item| {
            item.fault(
                "others could read along; without tls_certificate and tls_key only loopback addresses are allowed, \
                 such as \"127.0.0.1:8053\"",
            );
        }),
    }
    let anonymous = section.get("anonymous").filter(|item| item.as_text() != Some("none"));
    match (&anonymous, far.first()) {
        (Some(item), Some(address)) if section.get("listen").is_some() => {
            item.fault(format!("{} is open to others, who may not read without a token", address.path()));
        }
        _ => {}
    }
    if section.get("listen").is_some() {
        if anonymous.is_none() && section.get("tokens").is_none() {
            section.fault("nobody could use admin.listen; name a file of tokens, which `nigh token` makes lines for");
        }
        return;
    }
    for item in ADMIN_KEYS[3..].iter().filter_map(|key| section.get(key)) {
        item.fault("is about admin.listen, which is not there; add listen = \"127.0.0.1:8053\"");
    }
}

/// Two claims on one prefix would leave open whose preference holds.
pub(super) fn claims(items: &[Option<Item<'_>>], read: &[Option<IpNet>]) {
    let mut seen: BTreeMap<IpNet, &Item<'_>> = BTreeMap::new();
    for (item, prefix) in items.iter().zip(read) {
        let (Some(item), Some(prefix)) = (item, prefix) else { continue };
        match seen.get(prefix) {
            Some(earlier) => item.fault(format!("claimed before as {}", earlier.path())),
            None => {
                seen.insert(*prefix, item);
            }
        }
    }
}

/// A probe has one source address, and it must be of its target's family.
pub(super) fn one_per_family(items: &[Item<'_>], read: Option<&[IpAddr]>) {
    let read = read.unwrap_or_default();
    for (i, one) in read.iter().enumerate() {
        if let Some(earlier) = read[..i].iter().position(|other| other.is_ipv4() == one.is_ipv4()) {
            let family = if one.is_ipv4() { "IPv4" } else { "IPv6" };
            items[i].fault(format!("{} is the {family} source already; at most one per family", items[earlier].path()));
        }
    }
}
