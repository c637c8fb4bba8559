//! `/v1/coverage`: the claims that someone looks for, up to a bound. `/v1/claims` has them all, which may be a million.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::picture::Coverage;
use super::report::ClaimLine;
use super::{Refusal, RefusalKind, Source};

/// Claims that are told unless fewer are asked for.
const MOST: usize = 1000;

/// `?find=fra&limit=100`
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct CoverageQuery {
    /// An address, a prefix, or a part of a node's name.
    #[serde(default)]
    find: String,
    /// The most claims that are told.
    limit: Option<usize>,
}

pub(super) async fn coverage<S: Source>(
    State(node): State<Arc<S>>,
    query: Result<Query<CoverageQuery>, QueryRejection>,
) -> Result<Json<Coverage>, Refusal> {
    let Query(query) = query.map_err(|e| Refusal {
        kind: RefusalKind::Invalid,
        error: e.body_text(),
        hint: "as in /v1/coverage?find=203.0.113.53&limit=100".into(),
    })?;
    Ok(Json(cover(node.claims(), query.find.trim(), query.limit.unwrap_or(MOST).min(MOST))))
}

fn cover(mut claims: Vec<ClaimLine>, find: &str, limit: usize) -> Coverage {
    let net = find.parse::<IpNet>().ok().or_else(|| find.parse::<IpAddr>().ok().map(IpNet::from));
    let word = find.to_lowercase();
    claims.retain(|claim| match net {
        // Those around what is looked for decide about it; those within are a part of it.
        Some(net) => claim.prefix.contains(&net) || net.contains(&claim.prefix),
        None => word.is_empty() || claim.node.contains(&word) || claim.prefix.to_string().starts_with(&word),
    });
    let left_out = claims.len().saturating_sub(limit);
    claims.truncate(limit);
    Coverage { claims, left_out }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::admin::report::Verdict;

    fn claim(prefix: &str, node: &str) -> ClaimLine {
        ClaimLine {
            prefix: prefix.parse().unwrap(),
            node: node.into(),
            preference: 10,
            verdict: Verdict::Alive,
            best: true,
            void: false,
            proven: false,
            witness: None,
            proof_age_s: None,
            rtt_ms: None,
        }
    }

    #[test]
    fn claims_are_found_by_address_prefix_node_and_the_beginning_of_a_prefix() {
        let all =
            || vec![claim("192.0.2.0/24", "fra"), claim("192.0.2.128/25", "nyc"), claim("2001:db8::/32", "fra-2")];
        let nodes = |find: &str| {
            let found = cover(all(), find, 10);
            found.claims.iter().map(|claim| claim.node.clone()).collect::<Vec<_>>().join(" ")
        };
        for (find, expected) in [
            ("", "fra nyc fra-2"),
            ("192.0.2.1", "fra"),
            ("192.0.2.200", "fra nyc"),
            ("192.0.0.0/16", "fra nyc"),
            ("2001:db8::53", "fra-2"),
            ("FRA", "fra fra-2"),
            ("192.0", "fra nyc"),
            ("sin", ""),
        ] {
            assert_eq!(nodes(find), expected, "{find}");
        }
        let cut = cover(all(), "", 1);
        assert_eq!((cut.claims.len(), cut.left_out), (1, 2));
    }
}
