//! The running node as its operators see it: the reports behind `nigh status` and its like.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use data_encoding::{BASE64, HEXLOWER};
use hickory_proto::rr::Name;
use nigh_dns::{Counters, Exposition, Handler, Label, RowState, Snapshot, Standing};
use nigh_gossip::{Accepted, MemberView, Mesh, NodeId, Owner, Page, Table, verdict};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tracing::{Instrument, field::Empty, info_span};

use crate::{
    admin::{
        ExplainQuery, Explained, Refusal, RefusalKind, Source, Submitted,
        dns_a_report::{DelegationLine, Imports},
        picture::{Heat, MeshMap},
        preview::Preview,
        report::{
            Admission, AdmissionStatus, CatalogueStatus, ClaimLine, DnsStatus, EquivocationLine, LatencyLine,
            MeasureStatus, MemberLine, MeshStatus, NodeStatus, OperatorLine, OverrideLine, Peer, ProbeLine, ProbedLine,
            ServerLine, ServerState, ServiceLine, SnapshotStatus, Status, UnclaimedLine, Verdict,
        },
    },
    catalogue::{self, Records, name::text, operators::Operators, record::Record},
    dashboard,
    discovery::{Findings, shown},
    dns_a::side::{self, Doing},
    facts::{Facts, NodeFacts},
    history::Feed,
    measure::{Measurements, Reporter},
    membership::{self, State},
    metrics,
    run::unix,
    telemetry::{Effects, TARGET},
};

/// What the main loop found last, with the warnings of that moment.
pub struct Latest {
    /// The facts.
    pub facts: Facts,
    /// The snapshot's number.
    pub serial: u64,
    /// What someone should look at.
    pub warnings: Vec<String>,
    /// What this node does at DNS-A.
    pub dns_a: Doing,
}

/// Networks that `nigh unclaimed` lists.
const MOST_UNCLAIMED: usize = 100;

/// Shared by the main loop, the DNS fronts and the admin server.
pub struct Running {
    /// The mesh's root key.
    pub mesh_id: NodeId,
    /// This node's place, for people.
    pub pop: String,
    /// What admits this node: a command for the operator.
    pub admit_command: String,
    /// The mesh.
    pub mesh: Mesh,
    /// What packets are answered from.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What was answered.
    pub counters: Arc<Counters>,
    /// Where DNS is answered.
    pub listen: Vec<SocketAddr>,
    /// Time zero.
    pub epoch: Instant,
    /// What answers, for the networks that it noted.
    pub handler: Handler,
    /// The resolvers that this node asks, and what was found of them.
    pub findings: watch::Receiver<Arc<Findings>>,
    /// What is known.
    pub latest: ArcSwap<Latest>,
    /// The node is leaving.
    pub draining: AtomicBool,
    /// Asks the main loop to leave.
    pub drain: Notify,
    /// Asks the prober what it is doing.
    pub probes: Reporter,
    /// What it remembers of itself.
    pub feed: Feed,
    /// What it found.
    pub measured: watch::Receiver<Arc<Measurements>>,
    /// Edits that were taken in and that no snapshot has yet.
    pub effects: Effects,
}

impl Running {
    /// The process's clock.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

impl Source for Running {
    fn mesh_id(&self) -> NodeId {
        self.mesh_id
    }

    fn operators(&self) -> Operators {
        Operators { root: self.mesh_id, appointed: self.mesh.view().borrow().operators.clone() }
    }

    fn operator_lines(&self) -> Vec<OperatorLine> {
        let view = self.mesh.view().borrow().clone();
        let operators = Operators { root: self.mesh_id, appointed: view.operators.clone() };
        operators.lines(view.pages.of(Owner::Operators))
    }

    fn status(&self) -> Status {
        let latest = self.latest.load();
        let view = self.mesh.view().borrow().clone();
        let catalogue = &latest.facts.listed.catalogue;
        Status {
            node: NodeStatus {
                name: latest.facts.me.to_string(),
                id: self.mesh.id().to_string(),
                pop: self.pop.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
                uptime_s: self.now().as_secs(),
                draining: self.draining.load(Ordering::Relaxed),
            },
            mesh: MeshStatus {
                id: self.mesh_id.to_string(),
                members: view.members.len(),
                alive: view.members.values().filter(|member| member.verdict == verdict::Verdict::Alive).count(),
                links: view.members.values().filter(|member| member.linked).count(),
                pages: view.pages.len(),
                state_hash: HEXLOWER.encode(&view.state_hash),
            },
            dns: DnsStatus::new(self.listen.clone(), &self.counters.read()),
            admission: AdmissionStatus {
                state: admission(membership::own(&view, unix().as_secs())),
                ends: view.certificates.get(&view.me).map(|certificate| certificate.not_after),
                silenced: view.silenced,
                equivocations: view.equivocations.len(),
            },
            catalogue: CatalogueStatus {
                zones: catalogue.zones.len(),
                services: catalogue.services.len(),
                servers: catalogue.server_count(),
                records: catalogue.records.len(),
            },
            snapshot: SnapshotStatus { serial: latest.serial },
            resolvers: shown::lines(
                &self.findings.borrow(),
                &latest.facts,
                view.certificates.get(&view.me),
                self.now(),
            ),
            measuring: MeasureStatus::of(&self.measured.borrow()),
            warnings: latest.warnings.clone(),
        }
    }

    fn metrics(&self) -> String {
        let mut text = Exposition::new();
        let latest = self.latest.load();
        let view = self.mesh.view().borrow().clone();
        let known = metrics::node::Known {
            pop: &self.pop,
            id: self.mesh.id(),
            draining: self.draining.load(Ordering::Relaxed),
            latest: &latest,
            findings: &self.findings.borrow().clone(),
            pools: &side::imports(&latest.facts, &latest.dns_a).pools,
            delegations: &side::delegations(&latest.facts, &latest.dns_a),
        };
        metrics::node::expose(&mut text, &known);
        self.handler.expose(&mut text);
        metrics::mesh::expose(&mut text, &view, unix().as_secs());
        metrics::servers::expose(&mut text, &self.measured.borrow().clone());
        metrics::process::expose(&mut text);
        text.finish()
    }

    fn peers(&self) -> Vec<Peer> {
        let latest = self.latest.load();
        let me = self.mesh.id();
        let named = latest.facts.nodes.iter().map(|(label, node)| Peer {
            name: label.to_string(),
            pop: node.profile.pop.clone(),
            verdict: standing(node.standing),
            dns_addresses: node.profile.dns.clone(),
            cuts: node.profile.serves.iter().map(Label::to_string).collect(),
            version: node.profile.version.clone(),
            ..peer(node.id, &node.member, me)
        });
        let nameless = latest.facts.nameless.iter().map(|(id, member)| peer(*id, member, me));
        let mut peers: Vec<Peer> = named.chain(nameless).collect();
        let view = self.mesh.view().borrow().clone();
        for (signer, ..) in membership::two_faced(&view) {
            let signer = signer.to_string();
            peers.iter_mut().filter(|peer| peer.id == signer).for_each(|peer| peer.equivocated = true);
        }
        peers
    }

    fn members(&self) -> Vec<MemberLine> {
        let view = self.mesh.view().borrow().clone();
        let now = unix().as_secs();
        membership::all(&view, now)
            .into_iter()
            .map(|spoken| {
                let member = view.members.get(&spoken.id);
                let certificate = spoken.certificate.as_ref();
                let ends = certificate.map(|certificate| certificate.not_after);
                MemberLine {
                    name: certificate.map(|certificate| certificate.name.clone()).unwrap_or_default(),
                    id: spoken.id.to_string(),
                    admission: admission(spoken.state),
                    verdict: member.map_or(Verdict::Absent, |member| verdict_of(member.verdict)),
                    linked: member.is_some_and(|member| member.linked),
                    prefixes: certificate.map(|certificate| certificate.prefixes.clone()).unwrap_or_default(),
                    ends,
                    ends_in_s: ends.map(|ends| i64::try_from(i128::from(ends) - i128::from(now)).unwrap_or(i64::MAX)),
                    is_self: spoken.id == view.me,
                }
            })
            .collect()
    }

    fn equivocations(&self) -> Vec<EquivocationLine> {
        let view = self.mesh.view().borrow().clone();
        membership::two_faced(&view)
            .map(|(signer, kept, lost)| EquivocationLine {
                name: view.certificates.get(&signer).map(|certificate| certificate.name.clone()).unwrap_or_default(),
                id: signer.to_string(),
                table: kept.key().table.0,
                version: [kept.stamp().major, kept.stamp().minor],
                kept: BASE64.encode(&kept.to_bytes()),
                lost: BASE64.encode(&lost.to_bytes()),
            })
            .collect()
    }

    fn claims(&self) -> Vec<ClaimLine> {
        let latest = self.latest.load();
        let facts = &latest.facts;
        let mut lines: Vec<ClaimLine> = facts
            .nodes
            .iter()
            .flat_map(|(label, node)| {
                let good = node.claims.iter().flat_map(|page| page.iter()).map(|claim| (claim, false));
                let now = unix().as_secs();
                good.chain(node.void.iter().map(|claim| (claim, true))).map(move |(claim, void)| {
                    let rows = node.evidence.iter().flat_map(|page| page.iter());
                    let row = rows.filter(|_| claim.proven).find(|row| row.prefix == claim.prefix);
                    let statement = row.and_then(|row| row.proof).map(|proof| proof.statement);
                    ClaimLine {
                        prefix: claim.prefix,
                        node: label.to_string(),
                        preference: claim.preference,
                        verdict: standing(node.standing),
                        best: false,
                        void,
                        proven: claim.proven,
                        witness: statement.map(|said| shown::name_of(facts, said.witness)),
                        proof_age_s: statement.map(|said| now.saturating_sub(said.time.into())),
                        rtt_ms: claim.rtt.map(millis),
                    }
                })
            })
            .collect();
        let rank = |line: &ClaimLine| {
            let rtt = line.rtt_ms.unwrap_or(f64::MAX);
            let away = line.void || line.verdict != Verdict::Alive;
            (line.prefix, away, line.preference, !line.proven, (rtt * 1e3) as u64, line.node.clone())
        };
        lines.sort_by_cached_key(rank);
        for at in 0..lines.len() {
            let first = at == 0 || lines[at - 1].prefix != lines[at].prefix;
            lines[at].best = first && lines[at].verdict == Verdict::Alive && !lines[at].void;
        }
        lines
    }

    fn unclaimed(&self) -> Vec<UnclaimedLine> {
        let snapshot = self.snapshot.load();
        self.handler
            .unclaimed(MOST_UNCLAIMED)
            .into_iter()
            .map(|demanded| {
                let estimate = nigh_dns::estimate(&snapshot, demanded.network);
                let whose = snapshot.networks().table();
                UnclaimedLine {
                    network: demanded.network,
                    questions: demanded.questions,
                    error: demanded.error,
                    nearest: estimate.map(|(label, _)| label.to_string()),
                    by: estimate.map(|(_, guess)| guess),
                    operator: whose.operators.of(demanded.network.addr()),
                    country: whose.country(demanded.network.addr()),
                }
            })
            .collect()
    }

    fn latency(&self) -> Vec<LatencyLine> {
        let latest = self.latest.load();
        let now = self.now();
        let mut lines: Vec<LatencyLine> =
            latest.facts.nodes.iter().flat_map(|(label, node)| latency(&latest.facts, label, node, now)).collect();
        let measured = self.measured.borrow().clone();
        let me = latest.facts.me.to_string();
        for line in lines.iter_mut().filter(|line| line.node == me) {
            line.flapping = measured.row(&line.service, &line.server).is_some_and(|row| row.flapping);
        }
        lines.sort_by(|a, b| (&a.service, &a.server, &a.node).cmp(&(&b.service, &b.server, &b.node)));
        lines
    }

    async fn probes(&self) -> Vec<ProbedLine> {
        let now = unix().as_secs();
        self.probes.probes().await.iter().map(|report| ProbedLine::new(report, now)).collect()
    }

    fn services(&self) -> Vec<ServiceLine> {
        let latest = self.latest.load();
        latest.facts.listed.catalogue.services.iter().map(|(name, service)| service_line(name, service)).collect()
    }

    fn map(&self) -> MeshMap {
        dashboard::map(&self.latest.load().facts)
    }

    fn heat(&self, service: &str) -> Result<Heat, Refusal> {
        let not_found = || Refusal {
            kind: RefusalKind::NotFound,
            error: format!("no service named {service:?} is known here"),
            hint: "`nigh services` lists them".into(),
        };
        let mut name = Name::from_str_relaxed(service).map_err(|_| not_found())?;
        name.set_fqdn(true);
        dashboard::heat(&self.latest.load().facts, &self.snapshot.load(), &name).ok_or_else(not_found)
    }

    fn feed(&self) -> &Feed {
        &self.feed
    }

    fn pools(&self) -> Imports {
        let latest = self.latest.load();
        side::imports(&latest.facts, &latest.dns_a)
    }

    fn delegations(&self) -> Vec<DelegationLine> {
        let latest = self.latest.load();
        side::delegations(&latest.facts, &latest.dns_a)
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explained, Refusal> {
        let snapshot = self.snapshot.load();
        let facts = &self.latest.load().facts;
        let name = Name::from_str_relaxed(&query.name).map_err(|error| Refusal {
            kind: RefusalKind::Invalid,
            error: format!("{:?} is not a domain name: {error}", query.name),
            hint: "give a name such as www.lb.example.com".into(),
        })?;
        let at = match &query.at {
            None => facts.me.clone(),
            Some(at) => at.parse().ok().filter(|at| facts.nodes.contains_key(at)).ok_or_else(|| Refusal {
                kind: RefusalKind::NotFound,
                error: format!("no node named {at:?} is known here"),
                hint: "`nigh peers` lists the nodes".into(),
            })?,
        };
        Explained::new(&nigh_dns::explain(&snapshot, &at, &name, query.rtype.0, query.from, self.now()))
    }

    fn catalogue(&self) -> Vec<Page> {
        let view = self.mesh.view().borrow().clone();
        view.pages.of_operators(catalogue::TABLE).cloned().collect()
    }

    fn admissions(&self) -> Vec<Page> {
        let view = self.mesh.view().borrow().clone();
        let of = |table| view.pages.of_operators(table).cloned();
        of(Table::OPERATOR).chain(of(Table::ADMISSION)).chain(of(Table::REVOCATION)).collect()
    }

    fn preview(&self, proposal: Vec<Record>) -> Preview {
        let view = self.mesh.view().borrow().clone();
        let records = Records::from_pages(view.pages.of_operators(catalogue::TABLE));
        crate::preview::preview(&self.snapshot.load(), &self.latest.load().facts, &records, proposal)
    }

    async fn submit(&self, pages: Vec<Page>) -> Result<Submitted, Refusal> {
        let newest = pages.iter().max_by_key(|page| page.stamp()).cloned();
        let replicate = info_span!(target: TARGET, "replicate");
        let outcome = self.mesh.submit(pages).instrument(replicate).await.map_err(|error| Refusal {
            kind: RefusalKind::Unavailable,
            error: error.to_string(),
            hint: "the node is stopping; apply to another one".into(),
        })?;
        let mut submitted = Submitted::default();
        for page in outcome {
            match page {
                Ok(Accepted::New) => submitted.accepted += 1,
                Ok(Accepted::Duplicate | Accepted::Stale) => submitted.superseded += 1,
                Err(refused) => {
                    return Err(Refusal {
                        kind: RefusalKind::Forbidden,
                        error: refused.to_string(),
                        hint: "records must be signed by the root key of this mesh or one that it appointed for them (`nigh operator list`), and the mesh has room for a bounded number".into(),
                    });
                }
            }
        }
        if let Some(newest) = newest.filter(|_| submitted.accepted > 0) {
            self.effects.wait_for(info_span!(target: TARGET, "take effect", snapshot = Empty), &newest);
        }
        Ok(submitted)
    }

    fn drain(&self) {
        self.drain.notify_one();
    }
}

pub(crate) fn standing(standing: Standing) -> Verdict {
    match standing {
        Standing::Alive => Verdict::Alive,
        Standing::Draining => Verdict::Draining,
        Standing::Dead => Verdict::Dead,
        Standing::Left => Verdict::Left,
    }
}

pub(crate) fn verdict_of(verdict: verdict::Verdict) -> Verdict {
    match verdict {
        verdict::Verdict::Alive => Verdict::Alive,
        verdict::Verdict::Dead => Verdict::Dead,
        verdict::Verdict::Left => Verdict::Left,
        verdict::Verdict::Absent => Verdict::Absent,
    }
}

fn admission(state: State) -> Admission {
    match state {
        State::Admitted => Admission::Admitted,
        State::Ended => Admission::Ended,
        State::Revoked => Admission::Revoked,
        State::Waiting => Admission::Waiting,
    }
}

fn millis(time: Duration) -> f64 {
    // Microseconds are all that was measured.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn peer(id: NodeId, member: &MemberView, me: NodeId) -> Peer {
    Peer {
        name: String::new(),
        id: id.to_string(),
        pop: String::new(),
        verdict: verdict_of(member.verdict),
        linked: member.linked,
        rtt_ms: member.rtt.map(millis),
        incarnation: member.member.incarnation,
        mesh_addresses: member.member.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        dns_addresses: Vec::new(),
        cuts: Vec::new(),
        equivocated: false,
        version: String::new(),
        is_self: id == me,
    }
}

fn latency<'a>(
    facts: &'a Facts,
    label: &'a Label,
    node: &'a NodeFacts,
    now: Duration,
) -> impl Iterator<Item = LatencyLine> + 'a {
    node.rows.iter().flat_map(|page| page.iter()).filter_map(move |row| {
        let (service, server) = facts.listed.servers.get(&row.server)?;
        let listed = facts.listed.catalogue.services.get(service)?.servers.get(server);
        Some(LatencyLine {
            node: label.to_string(),
            service: text(service),
            server: server.clone(),
            address: listed.map(|server| server.address),
            state: match row.state.into() {
                RowState::Up => ServerState::Up,
                RowState::Down => ServerState::Down,
                RowState::Unknown => ServerState::Unknown,
            },
            rtt_ms: row.rtt().map(millis),
            loss: f64::from(row.loss_permille) / 1000.0,
            load: row.load_permille.map(|load| f64::from(load) / 1000.0),
            age_s: (now.saturating_sub(node.confirmed).as_secs_f64() * 10.0).round() / 10.0,
            why: row.why().to_owned(),
            flapping: false,
        })
    })
}

fn service_line(name: &Name, service: &catalogue::Service) -> ServiceLine {
    let policy = &service.policy;
    ServiceLine {
        name: text(name),
        mode: policy.mode.as_str().into(),
        ttl: policy.ttl,
        answers: policy.answers,
        spread_ms: millis(policy.spread),
        choose: policy.steering.choice.as_str().into(),
        objective: catalogue::objective_text(&policy.steering.objective),
        min_up: policy.steering.min_up.max(1),
        all_down: catalogue::all_down_text(&policy.steering.all_down),
        sticky: policy.steering.sticky.as_str().into(),
        ttl_min: policy.steering.ttl_min,
        overrides: policy.steering.overrides.iter().map(override_line).collect(),
        probe: ProbeLine::from(&*policy.probe),
        servers: service.servers.iter().map(|(id, server)| server_line(id, server)).collect(),
    }
}

fn override_line(this: &catalogue::Override) -> OverrideLine {
    let (servers, tier) = match &this.to {
        catalogue::Pin::Servers(ids) => (ids.clone(), None),
        catalogue::Pin::Tier(tier) => (Vec::new(), Some(*tier)),
    };
    OverrideLine { prefix: this.prefix, node: this.node.as_ref().map(ToString::to_string), servers, tier }
}

fn server_line(id: &str, server: &catalogue::Server) -> ServerLine {
    let number = |milli: catalogue::Milli| f64::from(milli.0) / 1000.0;
    ServerLine {
        id: id.to_owned(),
        address: server.address,
        weight: server.weight,
        tier: server.tier,
        state: server.state.unwrap_or_default().as_str().into(),
        canary_percent: number(server.canary),
        cost: number(server.cost.default),
        cost_of: server.cost.nodes.iter().map(|(node, cost)| (node.to_string(), number(*cost))).collect(),
    }
}
