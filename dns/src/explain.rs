//! Why an answer is what it is.
//!
//! The explanation runs the very functions that answer a packet and writes down what they said, so it cannot drift from
//! what a resolver gets. It holds everything that an operator needs to disagree with it: the claims that lost and why,
//! every server with its measurement, age and reason, the records, and one plain sentence.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use serde::Serialize;

use crate::alias::{target, walk};
use crate::answer::answer_as;
use crate::claims::host;
use crate::claims::networks::Guess;
use crate::decide::{Basis, Client, Course, Direct, Turn, Way, course};
use crate::explain_names;
use crate::snapshot::{CutRole, Snapshot};
use crate::steer::{Family, Millis, Ranked, Ranking, Reason, Score};
use crate::wire_name::{WireName, mnemonic, plain};
use crate::{AllDown, Best, Duty, Label, Node, Question, Reply, RowState, Service, Standing, Sticky};

/// Why a resolver gets what it gets. As text it is a page for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    #[serde(rename = "type")]
    pub qtype: String,
    /// Who asks.
    pub from: IpAddr,
    /// The node that is asked.
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub at: Label,
    /// The number of the snapshot that it answers from.
    pub snapshot: u64,
    /// The service, if the name is one's, or stands for one in a cut.
    pub service: Option<String>,
    /// The claims whose prefix covers the asker, best first. Empty inside a cut: there the name decides.
    pub claims: Vec<ClaimLine>,
    /// The node whose measurements decide.
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    pub decided_by: Option<Label>,
    /// The servers, those of the answer first.
    pub servers: Vec<ServerLine>,
    /// The response code.
    pub code: String,
    /// Whether the answer is authoritative.
    pub authoritative: bool,
    /// The answer section.
    pub answer: Vec<String>,
    /// The authority section.
    pub authority: Vec<String>,
    /// The additional section.
    pub additional: Vec<String>,
    /// It all in a few sentences.
    pub why: String,
}

/// A claim that covers the asker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema), schemars(rename = "ExplainedClaim"))]
pub struct ClaimLine {
    /// What it covers.
    pub prefix: String,
    /// Who made it.
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub node: Label,
    /// The lower the better.
    pub preference: u16,
    /// Was it found by asking the resolvers? False: it was configured.
    pub proven: bool,
    /// Round trip from the node to the resolvers, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// How the mesh sees the node.
    pub standing: Standing,
    /// Did it win?
    pub won: bool,
    /// Why it won or lost.
    pub why: String,
}

/// A server of the service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema), schemars(rename = "ExplainedServer"))]
pub struct ServerLine {
    /// Is it in the answer?
    pub chosen: bool,
    /// Its id.
    pub id: String,
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u16,
    /// What the deciding node sees.
    pub state: RowState,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Share of probes lost.
    pub loss: Option<f32>,
    /// Share of its capacity in use, as it reports.
    pub load: Option<f32>,
    /// What it costs to use it from the deciding node, in units of the operator's choice.
    pub cost: f64,
    /// Its tier: the lower comes first.
    pub tier: u8,
    /// Whether it is in service.
    pub duty: Duty,
    /// How good it is; the least is best. Nothing: its round-trip time counts, and is not known.
    pub score: Option<ScoreLine>,
    /// Age of the measurement in seconds.
    pub age_s: Option<f64>,
    /// Why it stands where it does.
    pub reason: String,
}

/// What the score of a server is made of, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema), schemars(rename = "ExplainedScore"))]
pub struct ScoreLine {
    /// The sum.
    pub total_ms: f64,
    /// For its round-trip time.
    pub latency_ms: f64,
    /// For its losses.
    pub loss_ms: f64,
    /// For its load.
    pub load_ms: f64,
    /// For its cost.
    pub cost_ms: f64,
}

impl From<Score> for ScoreLine {
    fn from(score: Score) -> Self {
        let [total_ms, latency_ms, loss_ms, load_ms, cost_ms] =
            [score.total, score.latency, score.loss, score.load, score.cost].map(|part| part.as_secs_f64() * 1000.0);
        Self { total_ms, latency_ms, loss_ms, load_ms, cost_ms }
    }
}

/// Explains what `as_node` would answer to `from`. `now` is on the clock of the rows' `as_of`.
pub fn explain(
    snapshot: &Snapshot,
    as_node: &Label,
    name: &Name,
    qtype: RecordType,
    from: IpAddr,
    now: Duration,
) -> Explanation {
    let mut name = name.clone();
    name.set_fqdn(true);
    let question = Question::new(name.clone(), qtype, from);
    let reply = answer_as(snapshot, as_node, &question);
    let walk = walk(snapshot, as_node, &question);
    let end = walk.aliases.last().and_then(target).unwrap_or(&name).clone();
    let course = course_of(snapshot, as_node, &end, qtype, from);
    let ranking = course.as_ref().map(|course| course.rank(Family::of_type(qtype).unwrap_or(Family::V4)));
    let text = |records: &[Record]| records.iter().map(ToString::to_string).collect();
    Explanation {
        qtype: mnemonic(qtype),
        from,
        at: as_node.clone(),
        snapshot: snapshot.serial(),
        service: course.as_ref().map(|course| plain(&course.pool.service().name)),
        claims: course.as_ref().map_or_else(Vec::new, |course| claims(snapshot, course, from)),
        decided_by: course.as_ref().map(|course| course.decider().clone()),
        servers: match (&course, &ranking) {
            (Some(course), Some(ranking)) => ranking.servers.iter().map(|server| line(course, server, now)).collect(),
            _ => Vec::new(),
        },
        code: code(reply.code),
        authoritative: reply.authoritative,
        answer: text(&reply.answers),
        authority: text(&reply.authorities),
        additional: text(&reply.additionals),
        why: {
            let way = match walk.end.is_some() {
                true => why(snapshot, as_node, &question, &end, &reply, course.as_ref(), ranking.as_ref()),
                false => "That is a circle, or further than one reply goes: the resolver is left to it.".to_owned(),
            };
            explain_names::aliases(snapshot, &walk.aliases) + &way
        },
        name: plain(&name),
    }
}

/// The course of a question that a service's servers decide.
fn course_of<'s>(
    snapshot: &'s Snapshot,
    as_node: &'s Label,
    name: &Name,
    qtype: RecordType,
    from: IpAddr,
) -> Option<Course<'s>> {
    let path = WireName::new(name);
    let place = snapshot.place(&path)?;
    let stand = snapshot.stand(&place, snapshot.find(&place, &path)?)?;
    // Where other records stand beside it, a service answers for its own types alone.
    if stand.beside && !stand.pool.has(qtype) {
        return None;
    }
    Some(course(snapshot, as_node, &place, &path, stand, Client::from(from)))
}

/// The claims that cover the asker, with what became of each.
fn claims(snapshot: &Snapshot, course: &Course<'_>, from: IpAddr) -> Vec<ClaimLine> {
    if matches!(course.turn, Turn::Serve(_) | Turn::Delegate) {
        return Vec::new();
    }
    let covering = snapshot.claims().covering(host(from));
    let usable = |claim: &&Best| snapshot.claimant(claim.node).is_some_and(|node| node.standing.takes_referrals());
    let next = covering.iter().filter(usable).find(|claim| course.claim != Some(**claim)).copied();
    let alone = covering.len() == 1;
    covering.into_iter().filter_map(|claim| claim_line(snapshot, course, from, claim, (next, alone))).collect()
}

/// Why a claim wins over the next best one.
fn victory(best: Best, next: Option<Best>, alone: bool) -> &'static str {
    match next {
        None if alone => "wins: there is no other claim",
        None => "wins: the only one whose node is up",
        Some(next) if best.length != next.length => "wins: the longest prefix",
        Some(next) if best.rank.preference() != next.rank.preference() => "wins: the lowest preference",
        Some(next) if best.rank.proven() != next.rank.proven() => "wins: proven by another node",
        Some(next) if best.rank != next.rank => "wins: the shortest round trip",
        Some(_) => "wins: equally good ones go by name",
    }
}

fn claim_line(
    snapshot: &Snapshot,
    course: &Course<'_>,
    from: IpAddr,
    claim: Best,
    (next, alone): (Option<Best>, bool),
) -> Option<ClaimLine> {
    let Node { label, standing, .. } = snapshot.claimant(claim.node)?;
    let won = course.claim == Some(claim);
    let best = course.claim.and_then(|best| Some((best, &snapshot.claimant(best.node)?.label)));
    let why = match best {
        _ if won => victory(claim, next, alone).to_owned(),
        _ if !standing.takes_referrals() => format!("not used: {label} is {standing}"),
        Some((best, _)) if best.length != claim.length => {
            format!("a longer prefix wins: {}", best.prefix(host(from)))
        }
        Some((best, winner)) if best.rank.preference() != claim.rank.preference() => {
            format!("{winner} has the lower preference")
        }
        Some((best, winner)) if best.rank.proven() && !claim.rank.proven() => format!("{winner} has proven its claim"),
        Some((best, winner)) if best.rank != claim.rank => format!("{winner} has the shorter round trip"),
        Some((_, winner)) => format!("as good as that of {winner}, whose name comes first"),
        None => "not used".to_owned(),
    };
    Some(ClaimLine {
        prefix: claim.prefix(host(from)).to_string(),
        node: label.clone(),
        preference: claim.rank.preference(),
        proven: claim.rank.proven(),
        rtt_ms: claim.rank.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
        standing: *standing,
        won,
        why,
    })
}

fn line(course: &Course<'_>, ranked: &Ranked<'_>, now: Duration) -> ServerLine {
    let seen = ranked.seen;
    let terms = &ranked.server.terms;
    let cost = terms.cost.from(Some(course.decider()));
    let score = ranked.score.map(ScoreLine::from);
    // By latency alone, the score is what stands in another column.
    let by_latency = course.pool.service().policy.objective.is_latency();
    let parts = score.filter(|_| !by_latency).map(parts);
    let reason = if by_latency { ranked.reason.to_string() } else { ranked.reason.by_score() };
    let detail = seen.map(|seen| seen.why.clone()).filter(|why| !why.is_empty());
    let details: Vec<String> = detail.into_iter().chain(parts).collect();
    ServerLine {
        chosen: ranked.reason.is_chosen(),
        id: ranked.server.id.clone(),
        address: ranked.server.address,
        weight: ranked.server.weight,
        state: seen.map_or(RowState::Unknown, |seen| seen.state),
        rtt_ms: seen.and_then(|seen| seen.rtt).map(|rtt| rtt.as_secs_f64() * 1000.0),
        loss: seen.map(|seen| seen.loss),
        load: seen.and_then(|seen| seen.load),
        cost: f64::from(cost.0) / 1000.0,
        tier: terms.tier,
        duty: terms.duty,
        score,
        age_s: seen.map(|seen| now.saturating_sub(seen.as_of).as_secs_f64()),
        reason: match details.as_slice() {
            [] => reason,
            details => format!("{reason} ({})", details.join("; ")),
        },
    }
}

/// A score with its parts, such as "score 54.5 = latency 20.0 + load 34.5".
fn parts(score: ScoreLine) -> String {
    let parts =
        [("latency", score.latency_ms), ("loss", score.loss_ms), ("load", score.load_ms), ("cost", score.cost_ms)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, part)| *part > 0.0).map(|(name, part)| format!("{name} {part:.1}")).collect();
    let sum = if parts.is_empty() { "0".to_owned() } else { parts.join(" + ") };
    format!("score {:.1} = {sum}", score.total_ms)
}

/// The whole story in a sentence or two.
fn why(
    snapshot: &Snapshot,
    as_node: &Label,
    question: &Question,
    name: &Name,
    reply: &Reply,
    course: Option<&Course<'_>>,
    ranking: Option<&Ranking<'_>>,
) -> String {
    let Some(course) = course else {
        return explain_names::what_stands(snapshot, name, question.qtype)
            .unwrap_or_else(|| without_service(&plain(name), reply));
    };
    let from = question.source;
    let wild = explain_names::wildcard(snapshot, name);
    let name = plain(name);
    let wild = wild.map_or(String::new(), |source| format!("{name} falls under the service {source}. "));
    let decider = course.decider();
    let claim = course.claim.and_then(|best| snapshot.claims().claim(best, host(from)));
    let claimed = claim.map_or(String::new(), |claim| {
        format!("{from} lies in {}, which {} claims with preference {}", claim.prefix, claim.node, claim.preference)
    });
    let way = match &course.turn.way() {
        Way::Refer { cut, serves: None } => {
            format!(
                "{claimed}; so {as_node} sends the resolver to {cut}'s own zone (its cut), where {cut} or its backup answers"
            )
        }
        Way::Refer { serves: Some(CutRole::Own), .. } => {
            format!("{claimed}; {as_node} was asked itself, so the addresses come in the same answer")
        }
        Way::Refer { cut, serves: Some(_) } => {
            format!("{claimed}; {as_node} serves {cut}'s cut itself, so the addresses come in the same answer")
        }
        Way::Answer(Direct::Unclaimed) => {
            let lost = snapshot.is_claimed(from);
            let nobody = if lost { "Every node that claims" } else { "No node claims" };
            let away = if lost { " is away" } else { "" };
            format!("{nobody} {from}{away}, so {as_node} answers at once from its own measurements")
        }
        Way::Answer(Direct::Estimated) => {
            format!(
                "No node claims {from}, but {decider} claims {}, so it is answered at once from {decider}'s measurements",
                match course.basis {
                    Some(Basis::Guess(Guess::Network)) => "more addresses of its operator than others",
                    Some(Basis::Guess(Guess::Country)) => "more addresses in its country than others",
                    _ => "its neighbours",
                }
            )
        }
        Way::Answer(Direct::Mode) => format!("{claimed}; the service is answered at once, in mode \"answer\""),
        Way::Answer(Direct::Subnet) => format!("{claimed}; the client's subnet came along, so it is answered at once"),
        Way::Answer(Direct::Apex) => {
            format!("{claimed}; {name} is the apex of a zone, where no CNAME may stand, so it is answered at once")
        }
        Way::Answer(Direct::Beside) => {
            format!("{claimed}; other records stand at the name, where no CNAME may, so it is answered at once")
        }
        Way::Answer(Direct::NoCut) => {
            format!(
                "{claimed}; but {decider} has no zone of its own here that could be asked, so it is answered at once"
            )
        }
        Way::Serve(CutRole::Own) => {
            format!("{name} lies in {decider}'s own zone (its cut): {decider}'s measurements count there, whoever asks")
        }
        Way::Serve(CutRole::Backup) => format!(
            "{name} lies in {decider}'s own zone (its cut), for which {as_node} is a backup: {decider}'s measurements count \
             there, whoever asks"
        ),
        Way::Serve(CutRole::Orphan) => format!(
            "{name} lies in {decider}'s own zone (its cut), which no node that is up serves, so {as_node} answers from \
             {decider}'s last measurements"
        ),
        Way::Delegate => {
            format!("{name} lies in {decider}'s own zone (its cut), so {as_node} names the servers of that")
        }
    };
    match ranking.map(|ranking| seen_by(decider, course.pool.service(), ranking)) {
        Some(seen) => format!("{wild}{way}. {seen}"),
        None => format!("{wild}{way}."),
    }
}

/// What the deciding node's measurements said.
fn seen_by(decider: &Label, service: &Service, ranking: &Ranking<'_>) -> String {
    let chosen: Vec<String> = ranking.chosen().map(with_rtt).collect();
    let ids = chosen.join(" and ");
    let unmeasured = ranking.servers.iter().all(|ranked| ranked.seen.is_none());
    let withheld = ranking.servers.iter().any(|ranked| ranked.reason == Reason::Instead);
    match ranking.chosen().next().map(|first| &first.reason) {
        None if withheld => match &service.policy.all_down {
            AllDown::Addresses(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("{decider} sees no server up, so what is given is {} instead.", addresses.join(" and "))
            }
            _ => format!("{decider} sees no server up, and the service gives no address then."),
        },
        None => "The service has no server of that address family.".to_owned(),
        Some(Reason::FailOpen) if unmeasured => {
            format!("{decider} has measured none of the servers yet, so the answer gives {ids} unmeasured.")
        }
        Some(Reason::FailOpen) => format!("{decider} sees no server up, so the answer gives {ids} all the same."),
        Some(Reason::Shared { .. }) if service.policy.sticky == Sticky::None => {
            format!("Seen from {decider}, several are near, and each query draws one anew: {ids}, say.")
        }
        Some(Reason::Shared { .. }) => format!("Seen from {decider}, several are near; this client gets {ids}."),
        Some(Reason::Pinned) => format!("An override gives this client {ids}."),
        Some(Reason::Canary { share }) => format!("{ids} is a canary for {share} % of the clients, and this is one."),
        Some(Reason::Listed) => format!("Seen from {decider}, the first of the list that is up is {ids}."),
        Some(_) if service.policy.objective.is_latency() => format!("Seen from {decider}, the nearest is {ids}."),
        Some(_) => format!("Seen from {decider}, {ids} has the least score."),
    }
}

fn with_rtt(ranked: &Ranked<'_>) -> String {
    match ranked.seen.and_then(|seen| seen.rtt) {
        Some(rtt) => format!("{} ({})", ranked.server.id, Millis(rtt)),
        None => ranked.server.id.clone(),
    }
}

fn without_service(name: &str, reply: &Reply) -> String {
    match (reply.code, reply.kind) {
        (ResponseCode::Refused, _) => format!("{name} is in no zone of the mesh."),
        (ResponseCode::NXDomain, _) => format!("There is no service and no record at {name}, and no name below it."),
        (_, crate::Kind::Negative) => format!("{name} exists, but has no records of that type."),
        (_, crate::Kind::Static) => format!("{name} is in no zone of the mesh, so the resolver goes on elsewhere."),
        (_, crate::Kind::Delegation) => {
            format!("{name} lies in the own zone (the cut) of a node, and other nodes serve that.")
        }
        _ => format!("{name} is a name of the mesh itself: its zones, cuts and name servers."),
    }
}

/// A response code as `dig` writes it.
fn code(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    }
}
