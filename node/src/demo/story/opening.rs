//! Act 0: five nodes find each other, get the catalogue, measure the origins, and answer.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use hickory_proto::rr::RecordType;
use tokio::time::{Instant, sleep};

use super::answers::{measured, misranked};
use crate::admin::report::{ClaimLine, LatencyLine, Peer, ServerState, ServiceLine, Status, Verdict};
use crate::demo::fleet::LOOK_EVERY;
use crate::demo::resolver::lookup::TIMEOUT;
use crate::demo::screen::seconds;
use crate::demo::services::catalogue;
use crate::demo::stage::Stage;
use crate::demo::world::{CITIES, City, ORIGINS, WWW, ZONE};

/// Until a node answers its operator; it opens two ports and a socket.
const UP_WITHIN: Duration = Duration::from_secs(15);
/// Until the mesh is at rest: nodes joined, origins measured, backups volunteered. Seconds, but for a machine that is busy.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);

/// Starts everything; returns when the first answer came.
pub async fn start(stage: &mut Stage, passed: &[u8]) -> anyhow::Result<Duration> {
    introduce(stage, passed);
    let mesh = stage.fleet.mesh_id().to_owned();
    stage.screen.event(&format!("`nigh init`: operator key made, mesh id {mesh}"));
    City::all().try_for_each(|city| stage.fleet.admit(city))?;
    stage.screen.event("`nigh admit`: five certificates, each for a name and the ISPs that its node may claim");
    let mut pids = Vec::new();
    for city in City::all() {
        stage.fleet.start(city)?;
        pids.push(format!("{} ({}, pid {})", city.node(), city.place(), stage.fleet.pid(city).unwrap_or_default()));
    }
    stage.screen.event(&format!("`nigh run`: {}", pids.join(", ")));

    // One node gets the catalogue, as from an operator; the mesh does the rest.
    let entry = City::by_node("nyc").context("the world has no nyc")?;
    until_up(stage, entry).await?;
    stage
        .screen
        .event(&format!("each node shows the mesh to a browser: {} is that of nyc", stage.plan.dashboard(entry)));
    apply(stage, entry).await?;
    let first = first_answer(stage, entry).await?;
    settle(stage).await?;
    Ok(first)
}

fn introduce(stage: &mut Stage, passed: &[u8]) {
    let x = stage.plan.x;
    let timeout = TIMEOUT.as_millis();
    stage.screen.heading(&format!(
        "nigh: a mesh of DNS load balancers, on the loopback addresses 127.{x}.0.0/16, without root"
    ));
    stage.screen.line(&format!(
        "  5 nodes in 5 cities, each a process of this binary; 4 HTTP origins; 5 ISPs with a resolver each.\n\
         \x20 Loopback has no distance, so an origin waits before it answers, and a resolver before it takes a reply,\n\
         \x20 as long as a round trip between the cloud regions there takes. The nodes know nothing of this.\n\
         \x20 The resolvers are a small iterative one of the demo's own: it follows CNAMEs and delegations with glue,\n\
         \x20 caches by TTL, and asks the next server after {timeout} ms. It starts from the delegation of {ZONE} that the\n\
         \x20 zone owner's DNS-A would give (its NS set with glue).\n"
    ));
    if !passed.is_empty() {
        let others: Vec<String> = passed.iter().map(|x| format!("127.{x}")).collect();
        stage.screen.event(&format!("{} in use (another demo?), so this one takes 127.{x}", others.join(", ")));
    }
}

/// Waits until a node answers its operator.
pub async fn until_up(stage: &mut Stage, city: City) -> anyhow::Result<()> {
    let deadline = Instant::now() + UP_WITHIN;
    loop {
        stage.fleet.check_running()?;
        let error = match stage.fleet.read::<Status>(city, "status").await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            let log = stage.fleet.log_tail(city);
            return Err(error)
                .with_context(|| format!("node {} does not answer; its log ends with\n{log}", city.node()));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn apply(stage: &mut Stage, entry: City) -> anyhow::Result<()> {
    let file = stage.fleet.operator_key().with_file_name("services.toml");
    fs::write(&file, catalogue(&stage.plan)).with_context(|| format!("cannot write {}", file.display()))?;
    let key = stage.fleet.operator_key();
    let args = ["apply", &file.to_string_lossy(), "--key", &key.to_string_lossy()];
    stage.fleet.ask(entry, &args).await?;
    stage.screen.event(&format!(
        "`nigh apply services.toml` at {}: {WWW} and api.{ZONE}, {ORIGINS} servers each",
        entry.node()
    ));
    Ok(())
}

/// A client asks until it gets an answer. It asks the node that has the catalogue, so nothing but that node's own start
/// is waited for; whether the answer is the best one is seen when the origins have been measured.
async fn first_answer(stage: &mut Stage, entry: City) -> anyhow::Result<Duration> {
    let isp = entry.next_claimant();
    let deadline = Instant::now() + UP_WITHIN;
    loop {
        stage.fleet.check_running()?;
        let mut client = stage.resolver(isp, stage.plan.resolver(isp), entry)?;
        let answer = client.ask(&stage.www, RecordType::A).await?;
        if answer.address().is_some() {
            let first = stage.screen.elapsed();
            let origin = stage.origin_name(&answer);
            stage.screen.event(&format!(
                "first answer, {} after the start: {} asks for {WWW} and gets {origin}",
                seconds(first),
                isp.isp()
            ));
            return Ok(first);
        }
        if Instant::now() > deadline {
            bail!("no answer for {WWW} from {}: {}", entry.node(), answer.ending);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until every node knows everything, and has measured the origins so often that a stall of this machine does not
/// show.
async fn settle(stage: &mut Stage) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLED_WITHIN;
    let (missing, order) = loop {
        stage.fleet.check_running()?;
        let (missing, order) = match look_around(stage).await {
            Ok(found) => found,
            Err(error) => (vec![format!("{error:#}")], Vec::new()),
        };
        if (missing.is_empty() && order.is_empty()) || Instant::now() > deadline {
            break (missing, order);
        }
        sleep(LOOK_EVERY * 2).await;
    };
    let Stage { checks, screen, .. } = stage;
    let whole =
        "every node knows all 5 nodes, 10 claims, 2 services and every node's measurements; every cut has a backup";
    let rest = checks.claim(screen, whole, missing);
    checks.claim(screen, "every node ranks all four origins by their real distance from its city", order);
    if !rest {
        bail!("the mesh did not come to rest within {SETTLED_WITHIN:?}");
    }
    Ok(())
}

/// What is missing at any node, and whose measurements are out of order.
async fn look_around(stage: &Stage) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let missing = try_join_all(City::all().map(|city| missing_at(stage, city))).await?;
    let rows: Vec<LatencyLine> =
        stage.fleet.read(City::by_node("nyc").context("the world has no nyc")?, "latency").await?;
    Ok((missing.into_iter().flatten().collect(), misranked(&measured(&rows))))
}

/// What a node does not know yet.
async fn missing_at(stage: &Stage, city: City) -> anyhow::Result<Vec<String>> {
    let (fleet, mut missing) = (&stage.fleet, Vec::new());
    let peers: Vec<Peer> = fleet.read(city, "peers").await?;
    let alive =
        peers.iter().filter(|peer| peer.verdict == Verdict::Alive && City::by_node(&peer.name).is_some()).count();
    if alive != CITIES || peers.len() != CITIES {
        missing.push(format!("{}: {alive} of {CITIES} nodes alive", city.node()));
    }
    for cut in City::all() {
        let servers = peers.iter().filter(|peer| peer.cuts.iter().any(|served| served == cut.node())).count();
        if servers < 2 {
            missing.push(format!("{}: {servers} servers of the cut of {}", city.node(), cut.node()));
        }
    }
    let claims: Vec<ClaimLine> = fleet.read(city, "claims").await?;
    if claims.len() != 2 * CITIES {
        missing.push(format!("{}: {} of {} claims", city.node(), claims.len(), 2 * CITIES));
    }
    let services: Vec<ServiceLine> = fleet.read(city, "services").await?;
    if services.len() != 2 {
        missing.push(format!("{}: {} of 2 services", city.node(), services.len()));
    }
    let rows: Vec<LatencyLine> = fleet.read(city, "latency").await?;
    let up = rows.iter().filter(|row| row.state == ServerState::Up && row.rtt_ms.is_some()).count();
    if up != 2 * CITIES * ORIGINS {
        missing.push(format!("{}: {up} of {} measurements", city.node(), 2 * CITIES * ORIGINS));
    }
    Ok(missing)
}
