//! The commands that read: fetch a report, print it.

use serde_json::Value;

use super::{output, probes, table};
use crate::admin::report::{
    ClaimLine, EquivocationLine, LatencyLine, MemberLine, Peer, ProbedLine, ServiceLine, Status, UnclaimedLine,
};
use crate::admin::{Client, ExplainQuery};

/// Fetches `what`: as JSON it passes through as it came, fields of later versions included.
pub(super) async fn show<T: serde::de::DeserializeOwned>(
    client: Client,
    json: bool,
    what: &str,
    render: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    if json {
        return output::print_json(&client.get::<Value>(what).await?);
    }
    Ok(output::print(&render(&client.get(what).await?))?)
}

pub(super) async fn status(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Status>(client, json, "status", table::status).await
}

pub(super) async fn peers(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<Peer>>(client, json, "peers", |lines| table::peers(lines)).await
}

pub(super) async fn members(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<MemberLine>>(client, json, "members", |lines| table::members(lines)).await
}

pub(super) async fn equivocations(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<EquivocationLine>>(client, json, "equivocations", |lines| table::equivocations(lines)).await
}

pub(super) async fn claims(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<ClaimLine>>(client, json, "claims", |lines| table::claims(lines)).await
}

pub(super) async fn unclaimed(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<UnclaimedLine>>(client, json, "unclaimed", |lines| table::unclaimed(lines)).await
}

pub(super) async fn latency(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<LatencyLine>>(client, json, "latency", |lines| table::latency(lines)).await
}

pub(super) async fn probes(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<ProbedLine>>(client, json, "probes", |lines| probes::table(lines)).await
}

pub(super) async fn services(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<ServiceLine>>(client, json, "services", |lines| table::services(lines)).await
}

pub(super) async fn explain(client: Client, json: bool, query: ExplainQuery) -> anyhow::Result<()> {
    if json {
        return output::print_json(&client.explain_json(&query).await?);
    }
    Ok(output::print(client.explain_text(&query).await?.trim_end())?)
}

pub(super) async fn drain(client: Client) -> anyhow::Result<()> {
    client.drain().await?;
    Ok(output::print("draining: the claims are withdrawn, and queries are answered a while longer")?)
}
