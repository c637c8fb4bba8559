//! Acts 1 and 2: who gets which server and why, and what a refresh costs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use hickory_proto::rr::RecordType;

use crate::admin::report::LatencyLine;
use crate::demo::origins::fetch;
use crate::demo::resolver::{Answer, Got};
use crate::demo::screen::{Align, millis};
use crate::demo::stage::{Stage, bare};
use crate::demo::world::{API, CITIES, City, Origin, WWW, zone_name};

/// Act 1: every ISP's resolver asks with an empty cache.
pub async fn who_gets_what(stage: &mut Stage) -> anyhow::Result<()> {
    stage
        .screen
        .heading(&format!("1. Five ISPs ask for {WWW}, each a node that is not near and does not serve its cut"));
    stage.screen.line(
        "  Every node is a DNS-B: it knows who claims the asking resolver and sends it into the claimant's cut,\n\
         \x20 where the claimant answers as its DNS-LB, by what it measured itself.\n",
    );
    let cuts = stage.servers_of_cuts(City::by_node("nyc").context("the world has no nyc")?).await?;
    stage.resolvers.clear();
    let mut asked_first = Vec::new();
    for city in City::all() {
        let first = stranger_to(city, cuts.get(&city).map_or(&[], Vec::as_slice));
        asked_first.push(first);
        let resolver = stage.resolver(city, stage.plan.resolver(city), first)?;
        stage.resolvers.push(resolver);
    }
    let www = stage.www.clone();
    let answers = stage.ask_all(&www).await?;
    let plan = stage.plan;
    let pages = try_join_all(City::all().zip(&answers).filter_map(|(city, answer)| {
        let address = answer.address()?;
        Some(async move { fetch(plan.resolver(city), &plan, address).await })
    }))
    .await?;
    let rows: Vec<LatencyLine> = stage.fleet.read(asked_first[0], "latency").await?;
    let measured = measured(&rows);
    show_answers(stage, &answers, &measured);

    let paths = City::all().zip(&answers).zip(&asked_first).filter_map(|((city, answer), first)| {
        let wanted = [
            (
                stage.plan.node(*first),
                Got::Alias { target: zone_name(&city.in_cut()).ok()?, cut: zone_name(&cut(city)).ok() },
            ),
            (stage.plan.node(city), Got::Addresses),
        ];
        let got: Vec<_> = answer.hops.iter().map(|hop| (hop.server, hop.got.clone())).collect();
        (got != wanted).then(|| format!("{}: {}", city.isp(), stage.way(answer)))
    });
    let paths = paths.collect();
    let best = City::all().zip(&answers).filter_map(|(city, answer)| {
        let best = stage.plan.origin(city.best_origin());
        (answer.address() != Some(best)).then(|| format!("{}: {}, not {best}", city.isp(), answer.ending))
    });
    let best = best.collect();
    let fetched = City::all().zip(&pages).filter_map(|(city, (who, _))| {
        let best = city.best_origin().id();
        (who != best).then(|| format!("{}: page from {who:?}, not {best}", city.isp()))
    });
    let mut fetched: Vec<String> = fetched.collect();
    if pages.len() != CITIES {
        fetched.push(format!("{} of {CITIES} clients had an address to fetch from", pages.len()));
    }

    let times = pages.iter().map(|(_, took)| *took);
    let (least, most) = (times.clone().min().unwrap_or_default(), times.max().unwrap_or_default());
    let fetching = format!("each client fetched a page from that origin, in {} to {}", millis(least), millis(most));

    let Stage { checks, screen, .. } = stage;
    checks.claim(
        screen,
        "each was sent into its own node's cut, in one message with the cut's servers and glue",
        paths,
    );
    checks.claim(screen, "each got the origin that is nearest to its POP", best);
    checks.claim(screen, &fetching, fetched);
    answer_mode(stage).await
}

/// Nodes whose measurements do not put the origins in their real order.
pub fn misranked(measured: &BTreeMap<(City, Origin), Duration>) -> Vec<String> {
    let nearest_first = |distance: &dyn Fn(Origin) -> Option<Duration>| {
        let mut all: Vec<_> = Origin::all().filter_map(|origin| Some((distance(origin)?, origin.id()))).collect();
        all.sort();
        all.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    let wrong = City::all().filter_map(|city| {
        let found = nearest_first(&|origin| measured.get(&(city, origin)).copied());
        let real = nearest_first(&|origin| Some(city.to_origin(origin)));
        (found != real).then(|| format!("{}: {found:?}, really {real:?}", city.node()))
    });
    wrong.collect()
}

fn cut(city: City) -> String {
    format!("{}.{}", city.node(), crate::demo::world::ZONE)
}

/// A node that neither is the city's own nor serves its cut, so that the roles are seen apart: two cities further on,
/// or the next one after that.
fn stranger_to(city: City, servers: &[City]) -> City {
    (2..CITIES + 2)
        .filter_map(|step| City::all().nth((city.index() + step) % CITIES))
        .find(|other| *other != city && !servers.contains(other))
        .unwrap_or(city.next_claimant())
}

/// By node and origin: the measured round trip.
pub fn measured(rows: &[LatencyLine]) -> BTreeMap<(City, Origin), Duration> {
    rows.iter()
        .filter(|row| row.service.trim_end_matches('.') == WWW)
        .filter_map(|row| {
            let city = City::by_node(&row.node)?;
            let origin = Origin::all().find(|origin| origin.id() == row.server)?;
            let rtt = Duration::try_from_secs_f64(row.rtt_ms? / 1000.0).ok()?;
            Some(((city, origin), rtt))
        })
        .collect()
}

fn show_answers(stage: &mut Stage, answers: &[Answer], measured: &BTreeMap<(City, Origin), Duration>) {
    let mut table = Vec::new();
    for (city, answer) in City::all().zip(answers) {
        let hop = |n: usize| {
            let hop = answer.hops.get(n);
            hop.map_or_else(String::new, |hop| format!("{} {:>6}", stage.node_name(hop.server), millis(hop.took)))
        };
        let best = city.best_origin();
        let rtt = measured.get(&(city, best)).map_or_else(String::new, |rtt| millis(*rtt));
        let next = Origin::all().filter(|origin| *origin != best).min_by_key(|origin| city.to_origin(*origin));
        let next = next.and_then(|next| Some(format!("{} {}", next.id(), millis(*measured.get(&(city, next))?))));
        table.push(vec![
            city.isp().to_owned(),
            hop(0),
            bare(&answer.canonical),
            hop(1),
            stage.origin_name(answer),
            rtt,
            next.unwrap_or_default(),
        ]);
    }
    let columns = [
        ("ISP", Align::Left),
        ("DNS-B asked", Align::Left),
        ("its CNAME", Align::Left),
        ("DNS-LB asked", Align::Left),
        ("its answer", Align::Left),
        ("RTT there", Align::Right),
        ("next best", Align::Left),
    ];
    stage.screen.table(&columns, &table);
}

/// The same servers under a name in `answer` mode.
async fn answer_mode(stage: &mut Stage) -> anyhow::Result<()> {
    let name = zone_name(API)?;
    let mut clients = Vec::new();
    for city in City::all() {
        clients.push(stage.cold_resolver(city, stranger_to(city, &[]))?);
    }
    let answers = try_join_all(clients.iter_mut().map(|client| client.ask(&name, RecordType::A))).await?;
    let problems = City::all().zip(&answers).filter_map(|(city, answer)| {
        let best = stage.plan.origin(city.best_origin());
        let right = answer.address() == Some(best) && answer.hops.len() == 1 && answer.canonical == name;
        (!right).then(|| format!("{}: {}", city.isp(), stage.way(answer)))
    });
    let problems = problems.collect();
    let claim = format!("{API}, in answer mode, gives each ISP the same origin in one message, without a CNAME");
    stage.checks.claim(&mut stage.screen, &claim, problems);
    Ok(())
}

/// Any node explains an answer.
pub async fn why(stage: &mut Stage) -> anyhow::Result<()> {
    let city = City::by_node("tyo").context("the world has no tyo")?;
    let cuts = stage.servers_of_cuts(city).await?;
    let at = stranger_to(city, cuts.get(&city).map_or(&[], Vec::as_slice));
    let from = stage.plan.resolver(city).to_string();
    stage.screen.line(&format!(
        "\n  Why {}? Any node can say; here {}:  nigh explain {WWW} --from {from}\n",
        city.isp(),
        at.node()
    ));
    let text = stage.fleet.ask(at, &["explain", WWW, "--from", &from]).await?;
    stage.screen.quote(&text);
    let json = stage.fleet.ask(at, &["explain", WWW, "--from", &from, "--json"]).await?;
    let json: serde_json::Value = serde_json::from_str(&json).context("`nigh explain --json`")?;
    let best = city.best_origin();
    // (where in the JSON, what marks the line that counts, field, what the ISP really got)
    let wanted = [
        ("/claims", "won", "node", city.node().to_owned()),
        ("/claims", "won", "prefix", stage.plan.network(city)),
        ("/servers", "chosen", "address", stage.plan.origin(best).to_string()),
    ];
    let problems = wanted.iter().filter(|(list, mark, field, wanted)| {
        let lines = json.pointer(list).and_then(serde_json::Value::as_array);
        let counts = |line: &&serde_json::Value| line.get(mark) == Some(&serde_json::Value::Bool(true));
        let found: Vec<_> = lines.into_iter().flatten().filter(counts).filter_map(|line| line.get(field)).collect();
        found != [wanted.as_str()]
    });
    let mut problems: Vec<String> = problems.map(|wanted| format!("{wanted:?} is not in {json}")).collect();
    let target = json.pointer("/answer/0").and_then(serde_json::Value::as_str).unwrap_or_default();
    if !target.contains(&format!("CNAME {}", city.in_cut())) {
        problems.push(format!("the answer is {target:?}"));
    }
    let claim = format!("the explanation names what {} got: the claim, the CNAME and the origin", city.isp());
    stage.checks.claim(&mut stage.screen, &claim, problems);
    Ok(())
}

/// Act 2: the addresses have run out, the aliases and cuts have not.
pub async fn refresh(stage: &mut Stage) -> anyhow::Result<()> {
    let ttl = crate::demo::services::TTL_SECS;
    stage.screen.heading(&format!(
        "2. {ttl} s later the addresses have run out; the CNAME (60 s) and the cut's servers (1 h) have not"
    ));
    stage.let_addresses_run_out().await?;
    let before = stage.counters().await?;
    let www = stage.www.clone();
    let answers = stage.ask_all(&www).await?;
    let after = stage.counters().await?;
    let table = City::all().zip(&answers).map(|(city, answer)| {
        let asked: Vec<String> = answer.hops.iter().map(|hop| stage.node_name(hop.server)).collect();
        vec![city.isp().to_owned(), asked.join(", "), stage.origin_name(answer), millis(answer.took)]
    });
    let table: Vec<_> = table.collect();
    let columns = [("ISP", Align::Left), ("asks", Align::Left), ("gets", Align::Left), ("after", Align::Right)];
    stage.screen.table(&columns, &table);

    let mut problems = Vec::new();
    for city in City::all() {
        let (before, after) =
            (before.get(&city).cloned().unwrap_or_default(), after.get(&city).cloned().unwrap_or_default());
        let rises: BTreeMap<&str, u64> = after
            .iter()
            .map(|(name, count)| (name.as_str(), count.saturating_sub(before.get(name).copied().unwrap_or_default())))
            .filter(|(_, rise)| *rise > 0)
            .collect();
        if rises != BTreeMap::from([("queries", 1), ("cut_answers", 1)]) {
            problems.push(format!("{}: counters rose by {rises:?}", city.node()));
        }
    }
    for (city, answer) in City::all().zip(&answers) {
        if answer.hops.len() != 1 || answer.answered_by() != Some(stage.plan.node(city)) {
            problems.push(format!("{}: {}", city.isp(), stage.way(answer)));
        }
    }
    let claim = "each refresh was one question to the ISP's own node; the counters of all nodes show no other query";
    stage.checks.claim(&mut stage.screen, claim, problems);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_dns_b_is_never_one_that_serves_the_cut() {
        let cities: Vec<City> = City::all().collect();
        for city in City::all() {
            let others: Vec<City> = City::all().filter(|other| *other != city).collect();
            assert_eq!(stranger_to(city, &[]), cities[(city.index() + 2) % CITIES]);
            for stranger in &others {
                let serving: Vec<City> = City::all().filter(|other| other != stranger).collect();
                assert_eq!(stranger_to(city, &serving), *stranger);
            }
        }
    }

    #[test]
    fn a_swapped_or_missing_measurement_is_told() {
        let mut measured = BTreeMap::new();
        for city in City::all() {
            measured.extend(Origin::all().map(|origin| ((city, origin), city.to_origin(origin))));
        }
        assert_eq!(misranked(&measured), Vec::<String>::new());
        let (city, best) = City::all().map(|city| (city, city.best_origin())).last().unwrap_or_else(|| unreachable!());
        measured.insert((city, best), Duration::from_secs(1));
        assert!(misranked(&measured)[0].starts_with(city.node()));
        measured.remove(&(city, best));
        assert_eq!(misranked(&measured).len(), 1);
    }
}
