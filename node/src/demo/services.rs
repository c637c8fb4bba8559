//! The demo's catalogue: two services on the same four origins, one per mode.

use std::fmt::Write as _;

use super::world::{API, Origin, Plan, WWW, ZONE};

/// TTL of the addresses: short, so that the story need not wait long for a refresh.
pub const TTL_SECS: u32 = 2;

/// The text for `nigh apply`.
pub fn catalogue(plan: &Plan) -> String {
    let mut text = format!("[[zone]]\nname = \"{ZONE}\"\n");
    for (name, mode) in [(WWW, "refer"), (API, "answer")] {
        // Equal probes of two services are made once, so the second service costs the origins nothing.
        write!(
            text,
            r#"
[[service]]
name = "{name}"
mode = "{mode}"
ttl = {TTL_SECS}
[service.probe]
kind = "http"
port = {port}
path = "/healthz"
host = "{WWW}"
interval = "500ms"
timeout = "500ms"
rise = 1
fall = 2
"#,
            port = plan.http_port
        )
        .ok(); // writing to a String cannot fail
        for origin in Origin::all() {
            let (id, place, address) = (origin.id(), origin.place(), plan.origin(origin));
            write!(text, "[[service.server]]        # {place}\nid = \"{id}\"\naddress = \"{address}\"\n").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::demo::world::ORIGINS;

    #[test]
    fn the_catalogue_is_right_and_holds_both_modes() {
        let plan = Plan { x: 77, dns_port: 5300, mesh_port: 4242, http_port: 8080, admin_port: 8053 };
        let text = catalogue(&plan);
        let catalogue = Catalogue::parse(&text).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        assert_eq!((catalogue.zones.len(), catalogue.services.len()), (1, 2));
        assert!(catalogue.services.values().all(|service| service.servers.len() == ORIGINS));
    }
}
