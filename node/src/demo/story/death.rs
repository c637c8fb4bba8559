//! Acts 3 to 5: a node dies, its ISP goes on, the mesh finds out, and the node comes back.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use hickory_proto::rr::RecordType;
use tokio::time::{Instant, sleep, timeout};

use super::watching::{Seen, Watching};
use super::{Figures, opening};
use crate::admin::report::{ClaimLine, Peer, Verdict};
use crate::demo::fleet::LOOK_EVERY;
use crate::demo::resolver::lookup::AVOID;
use crate::demo::resolver::{Answer, Got};
use crate::demo::screen::{millis, seconds};
use crate::demo::stage::{Stage, bare};
use crate::demo::world::{City, WWW};

/// The node that is killed.
const VICTIM: &str = "fra";
/// A client of the dead node's ISP must have an answer by then: one time-out, the longest way, and a busy machine.
const GOOD_WITHIN: Duration = Duration::from_secs(2);
/// Every node must know by then; about 1.2 s on a machine that is not busy.
const KNOWN_WITHIN: Duration = Duration::from_secs(8);
/// The mesh must have the node back by then.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// How long clients are watched after a kill: longer than the addresses live, so that every ISP refreshed.
const WATCH: Duration = Duration::from_millis(3500);

fn victim() -> anyhow::Result<City> {
    City::by_node(VICTIM).with_context(|| format!("the world has no {VICTIM}"))
}

fn others(victim: City) -> impl Iterator<Item = City> {
    City::all().filter(move |city| *city != victim)
}

/// Acts 3 and 4: SIGKILL, and what follows.
pub async fn kill(stage: &mut Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let victim = victim()?;
    let isp = victim.isp();
    stage.screen.heading(&format!(
        "3. The node of {} dies (SIGKILL), just when {isp}'s cached addresses have run out",
        victim.place()
    ));
    stage.let_addresses_run_out().await?;
    let before = stage.counters().await?;
    let pid = stage.fleet.pid(victim).context("the node to kill is not running")?;
    let killed = Instant::now();
    stage.fleet.kill(victim)?;
    stage.screen.event(&format!("pid {pid} ({VICTIM}) is gone; all five ISPs go on asking, 20 times a second each"));
    let mut watching = Watching::start(std::mem::take(&mut stage.resolvers), &stage.www);
    let (fresh, known) = tokio::join!(fresh_answer(&mut watching, victim), known_dead(stage, victim, killed));
    let (fresh, known) = (fresh?, known?);
    figures.good_again = fresh.at.saturating_duration_since(killed);
    figures.known_dead = known;
    tell_way(stage, &fresh, figures.good_again);
    stage.screen.event(&format!(
        "{VICTIM} is dead in `nigh peers` at all four other nodes, {} after the kill",
        seconds(figures.known_dead)
    ));
    sleep(WATCH.saturating_sub(killed.elapsed())).await;
    let (resolvers, record) = watching.finish().await?;
    stage.resolvers = resolvers;
    let after = stage.counters().await?;
    figures.lookups += record.len();

    let best = stage.plan.origin(victim.best_origin());
    let backup = fresh.answer.answered_by().and_then(|address| stage.plan.city_at(address));
    let mut late = wrong(stage, &record, |city| city == victim);
    if figures.good_again > GOOD_WITHIN {
        late.push(format!("it took {}", seconds(figures.good_again)));
    }
    let mut from_backup = Vec::new();
    let silent_first =
        fresh.answer.hops.first().is_some_and(|hop| hop.server == stage.plan.node(victim) && hop.got == Got::Silence);
    if !silent_first || fresh.answer.address() != Some(best) {
        from_backup.push(stage.way(&fresh.answer));
    }
    let count = |at: &std::collections::BTreeMap<City, std::collections::BTreeMap<String, u64>>| {
        Some(*at.get(&backup?)?.get("backup_answers")?)
    };
    if count(&after) <= count(&before) {
        from_backup.push(format!("backup_answers at {backup:?}: {:?}, before {:?}", count(&after), count(&before)));
    }
    let elsewhere = wrong(stage, &record, |city| city != victim);
    let slow = (figures.known_dead > KNOWN_WITHIN).then(|| format!("it took {}", seconds(figures.known_dead)));
    let (lookups, theirs) = (record.len(), record.iter().filter(|seen| seen.city == victim).count());

    let Stage { checks, screen, .. } = stage;
    checks.claim(
        screen,
        &format!(
            "{isp} asked {theirs} times and got the right origin every time, new after {}",
            seconds(figures.good_again)
        ),
        late,
    );
    checks.claim(
        screen,
        "that answer was the cut's backup's, from the dead node's own measurements (its `backup_answers` rose)",
        from_backup,
    );
    checks.claim(
        screen,
        &format!("the other four ISPs noticed nothing: {} lookups, all right", lookups - theirs),
        elsewhere,
    );
    checks.claim(screen, "all four other nodes agree that it is dead", slow.into_iter().collect());
    next_claimant(stage, victim).await
}

/// The first answer of the victim's ISP that did not come from the cache.
async fn fresh_answer(watching: &mut Watching, victim: City) -> anyhow::Result<Seen> {
    let wait = async {
        while let Some(seen) = watching.news.recv().await {
            if seen.city == victim && seen.answer.address().is_some() && !seen.answer.hops.is_empty() {
                return Some(seen);
            }
        }
        None
    };
    let seen = timeout(KNOWN_WITHIN, wait).await.ok().flatten();
    seen.with_context(|| format!("{} got no answer within {KNOWN_WITHIN:?} of the kill", victim.isp()))
}

/// Until every other node says so; gives the time since `since`.
async fn known_dead(stage: &Stage, victim: City, since: Instant) -> anyhow::Result<Duration> {
    until_verdict(stage, victim, Verdict::Dead, BACK_WITHIN).await?;
    Ok(since.elapsed())
}

async fn until_verdict(stage: &Stage, about: City, wanted: Verdict, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let verdicts = try_join_all(others(about).map(async |city| {
            let peers: Vec<Peer> = stage.fleet.read(city, "peers").await?;
            anyhow::Ok(peers.iter().find(|peer| peer.name == about.node()).map(|peer| peer.verdict))
        }));
        let verdicts = verdicts.await?;
        if verdicts.iter().all(|verdict| *verdict == Some(wanted)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("after {within:?} {} is not {} everywhere: {verdicts:?}", about.node(), wanted.as_str());
        }
        sleep(LOOK_EVERY).await;
    }
}

fn tell_way(stage: &mut Stage, seen: &Seen, since_kill: Duration) {
    let way = stage.way(&seen.answer);
    stage.screen.event(&format!(
        "{} has its next answer {} after the kill: {way}",
        seen.city.isp(),
        seconds(since_kill)
    ));
}

/// Lookups that did not end at the origin that is best for the ISP's own city.
fn wrong(stage: &Stage, record: &[Seen], of: impl Fn(City) -> bool) -> Vec<String> {
    let bad: Vec<&Seen> = record
        .iter()
        .filter(|seen| of(seen.city) && seen.answer.address() != Some(stage.plan.origin(seen.city.best_origin())))
        .collect();
    let mut lines: Vec<String> =
        bad.iter().take(3).map(|seen| format!("{}: {}", seen.city.isp(), stage.way(&seen.answer))).collect();
    if bad.len() > lines.len() {
        lines.push(format!("{} more like these", bad.len() - lines.len()));
    }
    lines
}

/// Act 4: a resolver of the same ISP that holds nothing.
async fn next_claimant(stage: &mut Stage, victim: City) -> anyhow::Result<()> {
    let next = victim.next_claimant();
    stage.screen.heading(&format!(
        "4. The mesh knows: {}'s resolvers are now sent to the next claimant, {}",
        victim.isp(),
        next.place()
    ));
    let (answer, witness) = ask_cold(stage, victim, next).await?;
    stage.screen.event(&format!(
        "a resolver of {} with an empty cache (as when the CNAME's 60 s have run out) asks {}: CNAME {}, which answers {}",
        victim.isp(),
        witness.node(),
        bare(&answer.canonical),
        stage.origin_name(&answer)
    ));
    let claims: Vec<ClaimLine> = stage.fleet.read(witness, "claims").await?;
    let network = stage.plan.network(victim);
    let best: Vec<&str> = claims
        .iter()
        .filter(|claim| claim.best && claim.prefix.to_string() == network)
        .map(|claim| claim.node.as_str())
        .collect();
    let mut problems = not_sent_to(stage, &answer, witness, next);
    if best != [next.node()] {
        problems.push(format!("best claim for {network} at {}: {best:?}", witness.node()));
    }
    let claim = format!(
        "it is sent to {}, which gives the origin that is best from there ({})",
        next.node(),
        next.best_origin().place()
    );
    stage.checks.claim(&mut stage.screen, &claim, problems);
    Ok(())
}

/// Asks with an empty cache, at a node that is neither the ISP's own nor the one that the answer should lead to.
async fn ask_cold(stage: &mut Stage, isp: City, expected: City) -> anyhow::Result<(Answer, City)> {
    let cuts = stage.servers_of_cuts(isp.next_claimant()).await?;
    let serving = cuts.get(&expected).cloned().unwrap_or_default();
    let witness = others(isp).find(|city| *city != expected && !serving.contains(city)).unwrap_or(isp.next_claimant());
    let mut client = stage.cold_resolver(isp, witness)?;
    let www = stage.www.clone();
    Ok((client.ask(&www, RecordType::A).await?, witness))
}

/// What is wrong with an answer that should come from `node` on the word of `witness`.
fn not_sent_to(stage: &Stage, answer: &Answer, witness: City, node: City) -> Vec<String> {
    let path: Vec<_> = answer.hops.iter().map(|hop| hop.server).collect();
    let right = path == [stage.plan.node(witness), stage.plan.node(node)]
        && bare(&answer.canonical) == node.in_cut()
        && answer.address() == Some(stage.plan.origin(node.best_origin()));
    if right { Vec::new() } else { vec![stage.way(answer)] }
}

/// Act 5: the same node again, with the state it left on disk.
pub async fn come_back(stage: &mut Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let victim = victim()?;
    let isp = victim.isp();
    stage.screen.heading(&format!("5. The node of {} comes back", victim.place()));
    let started = Instant::now();
    stage.fleet.start(victim)?;
    stage.screen.event(&format!(
        "{VICTIM} started again, pid {}, with its state on disk",
        stage.fleet.pid(victim).unwrap_or_default()
    ));
    let mut watching = Watching::start(std::mem::take(&mut stage.resolvers), &stage.www);
    opening::until_up(stage, victim).await?;
    until_verdict(stage, victim, Verdict::Alive, BACK_WITHIN).await?;
    stage.screen.event(&format!("alive again at every node {} after its start", seconds(started.elapsed())));

    let (answer, witness) = until_sent_home(stage, victim).await?;
    stage.screen.event(&format!(
        "a resolver of {isp} with an empty cache asks {}: CNAME {}, which answers {}",
        witness.node(),
        bare(&answer.canonical),
        stage.origin_name(&answer)
    ));
    let home = not_sent_to(stage, &answer, witness, victim);
    let own = stage.plan.node(victim);
    let returned = timeout(BACK_WITHIN, async {
        while let Some(seen) = watching.news.recv().await {
            if seen.city == victim && seen.answer.answered_by() == Some(own) && seen.answer.address().is_some() {
                return Some(seen);
            }
        }
        None
    });
    let returned = returned.await.ok().flatten();
    let (resolvers, record) = watching.finish().await?;
    stage.resolvers = resolvers;
    figures.lookups += record.len();
    let mut own_again = Vec::new();
    match &returned {
        Some(seen) => stage.screen.event(&format!(
            "{isp}'s first resolver, which asks a silent server again after {} s, is with {VICTIM} again: {} after {}",
            AVOID.as_secs(),
            stage.origin_name(&seen.answer),
            millis(seen.answer.took)
        )),
        None => own_again.push(format!("not within {BACK_WITHIN:?}")),
    }
    let counters = stage.counters().await?;
    if counters.get(&victim).and_then(|all| all.get("cut_answers")).copied().unwrap_or_default() == 0 {
        own_again.push(format!("{VICTIM} counted no answer for its cut: {:?}", counters.get(&victim)));
    }
    let failed = wrong(stage, &record, |_| true);
    let Stage { checks, screen, .. } = stage;
    checks.claim(screen, &format!("{isp}'s resolvers are sent to {VICTIM} again"), home);
    checks.claim(screen, &format!("the one that never forgot {VICTIM}'s cut asks it directly again"), own_again);
    let never = format!("all the while {} lookups of five ISPs for {WWW}, and each got the right origin", record.len());
    checks.claim(screen, &never, failed);
    Ok(())
}

/// The claims of a node that came back count as soon as its verdict is known where the question is asked.
async fn until_sent_home(stage: &mut Stage, victim: City) -> anyhow::Result<(Answer, City)> {
    let deadline = Instant::now() + BACK_WITHIN;
    loop {
        let (answer, witness) = ask_cold(stage, victim, victim).await?;
        if not_sent_to(stage, &answer, witness, victim).is_empty() || Instant::now() > deadline {
            return Ok((answer, witness));
        }
        sleep(LOOK_EVERY).await;
    }
}
