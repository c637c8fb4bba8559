//! `nigh pools` and `nigh delegations`: what is taken from DNS-A, and what is kept there.

use super::read::show;
use super::table::{Column, count, list, or_nothing, table};
use crate::admin::Client;
use crate::admin::dns_a_report::{DelegationLine, Imports};

pub(super) async fn pools(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Imports>(client, json, "pools", imports).await
}

pub(super) async fn delegations(client: Client, json: bool) -> anyhow::Result<()> {
    show::<Vec<DelegationLine>>(client, json, "delegations", |lines| delegation_table(lines)).await
}

fn imports(imports: &Imports) -> String {
    use Column::Text;
    if imports.pools.is_empty() && imports.zones.is_empty() {
        return "no service has its servers from DNS-A: write origin = \"NAME\" into the catalogue for one".to_owned();
    }
    let columns = [
        Text("ORIGIN"),
        Text("FROM"),
        Text("SERVICES"),
        Text("STATE"),
        Text("HELD BY"),
        Text("IMPORTERS"),
        Text("ADDRESSES"),
        Text("TROUBLE"),
    ];
    let rows = imports.pools.iter().map(|pool| {
        vec![
            pool.origin.clone(),
            if pool.from.is_empty() { "resolver".to_owned() } else { list(&pool.from) },
            list(&pool.services),
            pool.state.as_str().to_owned(),
            or_nothing(pool.held_by.as_deref().unwrap_or_default()),
            list(&pool.importers),
            list(&pool.addresses),
            or_nothing(&pool.trouble),
        ]
    });
    let mut text = table(&columns, rows);
    for zone in &imports.zones {
        let records = count(zone.records, "address or alias record");
        text.push_str(&format!("\nzone {} held here: serial {}, {records}", zone.zone, zone.serial));
    }
    text
}

fn delegation_table(lines: &[DelegationLine]) -> String {
    if lines.is_empty() {
        return "no node keeps a delegation: write [[delegation]] into the configuration of some".to_owned();
    }
    let mut text = Vec::new();
    for line in lines {
        let dry = if line.dry_run == Some(true) { ", dry run here" } else { "" };
        text.push(format!("{}: kept by {}{dry}", line.zone, list(&line.keepers)));
        if line.acting {
            text.push(format!(
                "  parent lists  {}",
                line.listed.as_deref().map_or_else(|| "not seen yet".into(), list)
            ));
            text.push(format!("  should list   {}", list(&line.wanted)));
            text.push(format!("  next change   {}", or_nothing(&line.planned)));
            text.push(format!("  last change   {}", or_nothing(&line.done)));
        }
        if !line.trouble.is_empty() {
            text.push(format!("  trouble       {}", line.trouble));
        }
    }
    text.join("\n")
}
