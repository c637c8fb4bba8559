//! `nigh check-config`: what a configuration that is good says, and what of it is not on this machine.
//!
//! **Invariant:** nothing is opened. A file that is missing here is told, and is no mistake: the machine on which a
//! configuration is checked need not be the node's, and a key may come with the unit (LoadCredential=).

use std::net::SocketAddr;
use std::path::Path;

use crate::admin::{NO_TLS, NO_TOKENS};
use crate::config::Config;
use crate::telemetry::{self, Telemetry};

/// What `nigh check-config` prints.
pub(super) fn report(config: &Config) -> String {
    let list = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let bootstrap: Vec<String> = config.mesh.bootstrap.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        format!("configuration is good: node {}", config.node.name),
        format!("  mesh    {} on {}", config.mesh.id.short(), list(&config.mesh.listen)),
        format!(
            "  peers   {}",
            if bootstrap.is_empty() { "none: the first node of a mesh".into() } else { bootstrap.join(", ") }
        ),
        format!("  DNS     {}", list(&config.dns.listen)),
        format!("  claims  {}", config.claims.len()),
    ];
    if let Some(telemetry) = &config.telemetry {
        lines.push(format!("  traces  to {}", telemetry.otlp));
        if !Telemetry::BUILT {
            lines.push(format!("          but not from here: {}", telemetry::NOT_BUILT));
        }
    }
    lines.extend(missing(config));
    lines.join("\n")
}

/// The files without which the node would not start, and which are not here.
fn missing(config: &Config) -> Vec<String> {
    let admit = format!("nigh admit NODE_ID --name {} --key operator.key --out FILE", config.node.name);
    let mut named: Vec<(&str, &Path, &str)> = Vec::new();
    named.extend(config.mesh.certificate.iter().map(|path| ("mesh.certificate", path.as_path(), admit.as_str())));
    named.extend(config.admin.tokens.iter().map(|path| ("admin.tokens", path.as_path(), NO_TOKENS)));
    if let Some(tls) = &config.admin.tls {
        named.push(("admin.tls_certificate", &tls.certificate, NO_TLS));
        named.push(("admin.tls_key", &tls.key, NO_TLS));
    }
    let keys = config.dns_a.keys.iter();
    named.extend(keys.map(|tsig| ("tsig.secret", tsig.secret.as_path(), "tsig-keygen makes one")));
    // What may not be looked at is not missing.
    named.retain(|(_, path, _)| path.try_exists().is_ok_and(|exists| !exists));
    let told = |(key, path, remedy): (&str, &Path, &str)| {
        format!("  missing {} ({key}): the node starts only with it; {remedy}", path.display())
    };
    named.into_iter().map(told).collect()
}
