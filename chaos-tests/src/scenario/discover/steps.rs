//! What is proven, in the order in which it is.

use super::places::{EVERY, GRACE, POPS, Pop, SERVICE};
use super::world::{Wanted, World};
use crate::lab::wait::{Look, until};
use crate::report::Report;
use crate::scenario::Step;
use anyhow::{Context, Result, bail};
use hickory_proto::rr::RecordType;
use std::time::{Duration, Instant};

/// From the name of a resolver in resolv.conf to a proven claim at every node.
const AIM: Duration = Duration::from_secs(2);
/// A machine that is busy with other things gets more; what it took is said, and more than [`AIM`] is a failure.
const PATIENCE: Duration = Duration::from_secs(20);
/// Three silent rounds, each of which may wait for two tries of a question, and what lies between them.
const LOSS_PATIENCE: Duration = Duration::from_secs(45);
/// An address that is gone is missed by so many questions that it takes some rounds to be sure.
const GONE_PATIENCE: Duration = Duration::from_secs(60);

const STEPS: [Step<World>; 9] = [
    Step { key: "proven", claim: "four cold resolvers are proven at every node", prove: proven, essential: true },
    Step { key: "soon", claim: "each within 2 s of its name in resolv.conf", prove: soon, essential: false },
    Step {
        key: "families",
        claim: "each resolver is proven by IPv4 and by IPv6, with its round trip",
        prove: families,
        essential: false,
    },
    Step {
        key: "referred",
        claim: "and a question through it is led to its own node's cut",
        prove: referred,
        essential: false,
    },
    Step {
        key: "farm",
        claim: "of a resolver with two outgoing addresses both are claimed",
        prove: farm,
        essential: false,
    },
    Step {
        key: "changed",
        claim: "a changed address is proven at once, and the old one still claimed",
        prove: changed,
        essential: false,
    },
    Step {
        key: "outside",
        claim: "an address outside of the certificate is claimed nowhere, and said",
        prove: outside,
        essential: false,
    },
    Step { key: "lost", claim: "the claims of a resolver that is gone are withdrawn", prove: lost, essential: false },
    Step {
        key: "forgotten",
        claim: "the address given up is claimed no more after a CNAME's TTL",
        prove: forgotten,
        essential: false,
    },
];

/// The steps; without the slow last one, if so.
pub fn steps(fast: bool) -> &'static [Step<World>] {
    static ALL: [Step<World>; 9] = STEPS;
    if fast { &ALL[..8] } else { &ALL }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Starts every resolver cold, then names them all at once.
fn proven(world: &mut World, _: &Report) -> Result<String> {
    for pop in &POPS {
        world.start_resolver(pop, &pop.egress())?;
    }
    let mut took = Vec::new();
    for pop in &POPS {
        let begun = Instant::now();
        world.name_resolver(pop)?;
        let time = world.known(pop, pop.isp().into(), Wanted::Proven, begun, PATIENCE)?;
        took.push((pop, time));
    }
    let said: Vec<String> =
        took.iter().map(|(pop, time)| format!("{} {}", pop.resolver.name(), seconds(*time))).collect();
    world.took = took.into_iter().map(|(pop, time)| (pop.node, time)).collect();
    Ok(said.join(", "))
}

fn soon(world: &mut World, _: &Report) -> Result<String> {
    let slowest = world.took.iter().max_by_key(|(_, time)| *time).context("nothing was measured")?;
    let said = format!("the slowest was {} with {}", slowest.0, seconds(slowest.1));
    if slowest.1 > AIM { bail!("{said}") } else { Ok(said) }
}

fn families(world: &mut World, _: &Report) -> Result<String> {
    let begun = Instant::now();
    let mut said = Vec::new();
    for pop in &POPS {
        for address in pop.egress() {
            world.known(pop, address, Wanted::Proven, begun, PATIENCE)?;
        }
        let rtt = until(&format!("every node knows how far {}'s resolver is", pop.node), PATIENCE, || {
            let rows = world.claims_of(pop, pop.isp().into())?;
            let rtt: Option<Vec<f64>> = rows.iter().map(|row| row.as_ref()?.rtt_ms).collect();
            Ok(rtt.and_then(|all| all.first().copied()).map_or(Look::NotYet(format!("{rows:?}")), Look::Done))
        })?;
        // Both hosts are in one region: a millisecond or four, and never the way to the mesh.
        if rtt > 60.0 {
            bail!("{} is {rtt} ms from its resolver", pop.node);
        }
        said.push(format!("{} {rtt:.1} ms", pop.resolver.name()));
    }
    Ok(format!("{} in all after {}", said.join(", "), seconds(begun.elapsed())))
}

fn referred(world: &mut World, _: &Report) -> Result<String> {
    for pop in &POPS {
        let client = world.client(pop)?;
        let own = format!("www.{}.lb.lab", pop.node);
        until(&format!("{} is led to {own}", pop.resolver.name()), PATIENCE, || {
            let lookup = client.ask(SERVICE, RecordType::A);
            let reply = lookup.outcome.map_err(|failure| anyhow::anyhow!("{}: {failure}", pop.resolver.name()))?;
            let led = reply.aliases.iter().any(|(alias, _)| alias.trim_end_matches('.').eq_ignore_ascii_case(&own));
            Ok(if led { Look::Done(()) } else { Look::NotYet(format!("{:?}", reply.aliases)) })
        })?;
    }
    Ok("all four".to_owned())
}

fn farm(world: &mut World, _: &Report) -> Result<String> {
    let pop = &POPS[0];
    let [v4, v6] = pop.egress();
    world.start_resolver(pop, &[v4, v6, pop.second()])?;
    let begun = Instant::now();
    let time = world.known(pop, pop.second(), Wanted::Proven, begun, PATIENCE)?;
    // Four rounds later, in which each had its turns by chance, both are still there.
    let later = begun.elapsed() + 4 * EVERY;
    until("four more rounds have passed", PATIENCE, || {
        Ok(if begun.elapsed() > later { Look::Done(()) } else { Look::NotYet(String::new()) })
    })?;
    for address in [v4, pop.second()] {
        world.known(pop, address, Wanted::Proven, begun, Duration::ZERO)?;
    }
    Ok(format!("{v4} and {}, the second after {} (a round is {})", pop.second(), seconds(time), seconds(EVERY)))
}

fn changed(world: &mut World, _: &Report) -> Result<String> {
    let pop = &POPS[2];
    let [old, v6] = pop.egress();
    world.start_resolver(pop, &[pop.second(), v6])?;
    let begun = Instant::now();
    let time = world.known(pop, pop.second(), Wanted::Proven, begun, PATIENCE)?;
    world.known(pop, old, Wanted::Proven, begun, Duration::ZERO).context("the old address is claimed no more")?;
    world.given_up = Some((begun, old));
    Ok(format!("{} after {} (a round is {}), {old} still there", pop.second(), seconds(time), seconds(EVERY)))
}

fn outside(world: &mut World, _: &Report) -> Result<String> {
    let pop = &POPS[3];
    let [_, v6] = pop.egress();
    world.start_resolver(pop, &[pop.outside(), v6])?;
    let begun = Instant::now();
    until("its status says that an address is outside", PATIENCE, || {
        let status = world.node(pop)?.status()?;
        let egress: Vec<_> = status.resolvers.iter().flat_map(|resolver| resolver.egress.clone()).collect();
        let said = egress.iter().any(|egress| egress.address == pop.outside() && egress.state == "outside");
        Ok(if said { Look::Done(()) } else { Look::NotYet(format!("{egress:?}")) })
    })?;
    world.known(pop, pop.outside(), Wanted::Nothing, begun, Duration::ZERO)?;
    Ok(format!("{} after {}", pop.outside(), seconds(begun.elapsed())))
}

fn lost(world: &mut World, _: &Report) -> Result<String> {
    let pop: &Pop = &POPS[1];
    world.stop_resolver(pop)?;
    let begun = Instant::now();
    for address in pop.egress() {
        world.known(pop, address, Wanted::Nothing, begun, LOSS_PATIENCE)?;
    }
    let time = begun.elapsed();
    let status = world.node(pop)?.status()?;
    if !status.resolvers.iter().any(|resolver| resolver.lost) {
        bail!("its status does not say that it is lost: {:?}", status.resolvers);
    }
    world.start_resolver(pop, &pop.egress())?;
    let again = world.known(pop, pop.isp().into(), Wanted::Proven, Instant::now(), PATIENCE)?;
    Ok(format!("after {}, and claimed again {} after its return", seconds(time), seconds(again)))
}

fn forgotten(world: &mut World, _: &Report) -> Result<String> {
    let (since, address) = world.given_up.context("no address was given up")?;
    let pop = &POPS[2];
    if since.elapsed() < GRACE - EVERY {
        world.known(pop, address, Wanted::Proven, since, Duration::ZERO).context("forgotten before its time")?;
    }
    let time = world.known(pop, address, Wanted::Nothing, since, GRACE + GONE_PATIENCE)?;
    Ok(format!("after {}", seconds(time)))
}
