//! A node that is none: fixed reports behind the real admin server.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use nigh::admin::dns_a_report::{DelegationLine, Imports, PoolLine, PoolState, ZoneLine};
use nigh::admin::picture::{Heat, MeshMap};
use nigh::admin::preview::{Preview, ServicePreview};
use nigh::admin::report::{
    Admission, AdmissionStatus, CatalogueStatus, ClaimLine, DnsStatus, EquivocationLine, LatencyLine, MeasureStatus,
    MemberLine, MeshStatus, NodeStatus, OperatorLine, Peer, ProbeLine, ProbedLine, ServerLine, ServerState,
    ServiceLine, SnapshotStatus, Status, UnclaimedLine, Verdict,
};
use nigh::admin::{Access, ExplainQuery, Explained, Refusal, RefusalKind, Server, Source, Submitted};
use nigh::catalogue::{operators::Operators, record::Record};
use nigh::history::Feed;
use nigh::identity;
use nigh_gossip::{NodeId, Page, Table};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// What a fake node holds.
pub struct Fake {
    pub operator: SigningKey,
    pub pages: Mutex<Vec<Page>>,
    pub draining: AtomicBool,
    /// Whether `submit` never ends.
    pub stuck: AtomicBool,
    pub request_timeout: Duration,
    pub feed: Feed,
}

impl Fake {
    pub fn new(operator: SigningKey) -> Arc<Self> {
        Arc::new(Self::stuck_after(operator, false, Duration::from_secs(10)))
    }

    /// One whose `submit` may never end, and that gives requests up after `request_timeout`.
    pub fn stuck_after(operator: SigningKey, stuck: bool, request_timeout: Duration) -> Self {
        Self {
            operator,
            pages: Mutex::default(),
            draining: false.into(),
            stuck: stuck.into(),
            request_timeout,
            feed: Feed::default(),
        }
    }

    /// Serves over TCP as well, and says where.
    pub async fn serve_tcp(self: &Arc<Self>, folder: &Path, access: Access) -> (SocketAddr, CancellationToken) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = Server::bind(&folder.join("nigh.sock")).unwrap().with_tcp(vec![listener], access);
        tokio::spawn(server.serve(Arc::clone(self), stop.clone()));
        (address, stop)
    }

    /// Serves until the token is cancelled or dropped by the test's end.
    pub fn serve(self: &Arc<Self>, folder: &Path) -> (PathBuf, CancellationToken) {
        let path = folder.join("nigh.sock");
        let stop = CancellationToken::new();
        let server = Server::bind(&path).unwrap().with_request_timeout(self.request_timeout);
        tokio::spawn(server.serve(Arc::clone(self), stop.clone()));
        (path, stop)
    }
}

impl Source for Fake {
    fn mesh_id(&self) -> NodeId {
        identity::public(&self.operator)
    }

    fn operators(&self) -> Operators {
        let pages = self.pages.lock().unwrap();
        let appointed = pages.iter().filter_map(Page::appointment).filter(|appointment| appointment.appointed);
        let appointed = appointed.map(|appointment| (appointment.operator, appointment.rights)).collect();
        Operators { root: self.mesh_id(), appointed }
    }

    fn operator_lines(&self) -> Vec<OperatorLine> {
        self.operators().lines(self.pages.lock().unwrap().iter())
    }

    fn metrics(&self) -> String {
        "nigh_dns_queries_total 7\n".into()
    }

    fn status(&self) -> Status {
        Status {
            node: NodeStatus {
                name: "fra".into(),
                id: "aaaa".into(),
                pop: "Frankfurt".into(),
                version: "0.1.0".into(),
                uptime_s: 3725,
                draining: self.draining.load(Ordering::Relaxed),
            },
            mesh: MeshStatus {
                id: self.mesh_id().to_string(),
                members: 3,
                alive: 2,
                links: 1,
                pages: 17,
                state_hash: "beef".into(),
            },
            dns: DnsStatus::new(
                vec!["192.0.2.7:53".parse().unwrap()],
                &json!({ "queries": 12, "referrals": 7, "cut_answers": 5, "errors": 0 }),
            ),
            admission: AdmissionStatus {
                state: Admission::Admitted,
                ends: Some(2_000_000_000),
                silenced: false,
                equivocations: 0,
            },
            catalogue: CatalogueStatus { zones: 1, services: 1, servers: 2, records: 3 },
            snapshot: SnapshotStatus { serial: 42 },
            resolvers: Vec::new(),
            measuring: MeasureStatus { servers: 2, up: 1, down: 1, flapping: 1, unknown: 0, isolated: true },
            warnings: vec!["no claim for 203.0.113.0/24".into()],
        }
    }

    fn peers(&self) -> Vec<Peer> {
        let peer = |name: &str, verdict, rtt_ms: Option<f64>| Peer {
            name: name.into(),
            id: "abcdefghijklmnop".into(),
            pop: String::new(),
            verdict,
            linked: rtt_ms.is_some(),
            rtt_ms,
            incarnation: 3,
            mesh_addresses: vec!["192.0.2.7:4242".parse().unwrap()],
            dns_addresses: vec!["192.0.2.7".parse().unwrap()],
            cuts: vec![name.into()],
            equivocated: name == "nyc",
            version: "0.1.0".into(),
            is_self: name == "fra",
        };
        vec![peer("fra", Verdict::Alive, None), peer("nyc", Verdict::Dead, Some(81.25))]
    }

    fn members(&self) -> Vec<MemberLine> {
        let member = |name: &str, admission, ends_in_s| MemberLine {
            name: name.into(),
            id: "abcdefghijklmnop".into(),
            admission,
            verdict: if name == "fra" { Verdict::Alive } else { Verdict::Absent },
            linked: false,
            prefixes: vec!["203.0.113.0/24".parse().unwrap()],
            ends: Some(2_000_000_000),
            ends_in_s: Some(ends_in_s),
            is_self: name == "fra",
        };
        vec![
            member("fra", Admission::Admitted, 86_400 * 40),
            member("nyc", Admission::Ended, -5),
            member("sin", Admission::Revoked, 86_400 * 40),
        ]
    }

    fn equivocations(&self) -> Vec<EquivocationLine> {
        let (name, id) = ("nyc".into(), "abcdefghijklmnop".into());
        vec![EquivocationLine { name, id, table: 17, version: [3, 9], kept: "AAAA".into(), lost: "BBBB".into() }]
    }

    fn claims(&self) -> Vec<ClaimLine> {
        let claim = |node: &str, preference, best, void| ClaimLine {
            prefix: "203.0.113.0/24".parse().unwrap(),
            node: node.into(),
            preference,
            verdict: Verdict::Alive,
            best,
            void,
            proven: best,
            witness: best.then(|| "nyc".into()),
            proof_age_s: best.then_some(90),
            rtt_ms: best.then_some(1.25),
        };
        vec![claim("fra", 10, true, false), claim("nyc", 200, false, true)]
    }

    fn unclaimed(&self) -> Vec<UnclaimedLine> {
        let line = |network: &str, questions, nearest: Option<&str>| UnclaimedLine {
            network: network.parse().unwrap(),
            questions,
            error: 16,
            nearest: nearest.map(str::to_owned),
            by: nearest.map(|_| nigh_dns::Guess::Network),
            operator: nearest.map(|_| 64500),
            country: nearest.map(|_| "DE".into()),
        };
        vec![line("198.51.100.0/24", 3200, Some("fra")), line("2001:db8:7::/48", 160, None)]
    }

    fn latency(&self) -> Vec<LatencyLine> {
        let row = |server: &str, state, rtt_ms| LatencyLine {
            node: "fra".into(),
            service: "www.lb.example.com".into(),
            server: server.into(),
            address: Some("192.0.2.1".parse().unwrap()),
            state,
            rtt_ms,
            loss: 0.25,
            load: rtt_ms.map(|_| 0.3),
            age_s: 1.5,
            why: String::new(),
            flapping: false,
        };
        vec![row("fra-1", ServerState::Up, Some(1.26)), row("nyc-1", ServerState::Down, None)]
    }

    fn map(&self) -> MeshMap {
        MeshMap::default()
    }

    fn heat(&self, service: &str) -> Result<Heat, Refusal> {
        Ok(Heat { service: service.into(), ..Heat::default() })
    }

    fn feed(&self) -> &Feed {
        &self.feed
    }

    fn pools(&self) -> Imports {
        let pool = PoolLine {
            origin: "www.origin.example.com".into(),
            from: vec!["203.0.113.1:53".parse().unwrap()],
            services: vec!["www.lb.example.com".into()],
            state: PoolState::Kept,
            held_by: Some("fra".into()),
            importers: vec!["fra".into(), "nyc".into()],
            addresses: vec!["192.0.2.1".parse().unwrap()],
            trouble: "203.0.113.1:53 does not reply".into(),
        };
        let zone = ZoneLine { zone: "origin.example.com".into(), serial: 7, records: 1 };
        Imports { pools: vec![pool], zones: vec![zone] }
    }

    fn delegations(&self) -> Vec<DelegationLine> {
        vec![DelegationLine {
            zone: "lb.example.com".into(),
            keepers: vec!["fra".into()],
            acting: true,
            dry_run: Some(true),
            listed: Some(vec!["ns-nyc.lb.example.com".into()]),
            wanted: vec!["fra".into()],
            planned: "+ NS ns-fra.lb.example.com".into(),
            ..DelegationLine::default()
        }]
    }

    async fn probes(&self) -> Vec<ProbedLine> {
        let line = ProbedLine {
            service: "www.lb.example.com".into(),
            server: "fra-1".into(),
            address: "192.0.2.1".parse().unwrap(),
            role: "both".into(),
            kind: "https".into(),
            port: 443,
            verify: Some(true),
            interval_ms: 20_000.0,
            pace: "thin".into(),
            next_ms: Some(1500.0),
            last: Some("answered".into()),
            last_ms: Some(12.34),
            last_age_ms: Some(250.0),
            state: ServerState::Up,
            streak: 40,
            needed: 3,
            certificate_days: Some(9),
            flapping_for_ms: None,
        };
        let failing = ProbedLine {
            server: "nyc-1".into(),
            last: Some("timeout after 1s".into()),
            last_ms: None,
            streak: 2,
            certificate_days: None,
            flapping_for_ms: Some(75_000.0),
            ..line.clone()
        };
        vec![line, failing]
    }

    fn services(&self) -> Vec<ServiceLine> {
        let server = |id: &str, weight| ServerLine {
            id: id.into(),
            address: "192.0.2.1".parse().unwrap(),
            weight,
            tier: 0,
            state: "up".into(),
            canary_percent: if weight > 1 { 2.5 } else { 0.0 },
            cost: 0.0,
            cost_of: BTreeMap::new(),
        };
        vec![ServiceLine {
            name: "www.lb.example.com".into(),
            mode: "refer".into(),
            ttl: 20,
            answers: 1,
            spread_ms: 0.0,
            choose: "best".into(),
            objective: "latency".into(),
            min_up: 1,
            all_down: "last-good".into(),
            sticky: "client".into(),
            ttl_min: None,
            overrides: Vec::new(),
            probe: ProbeLine {
                kind: "tcp".into(),
                port: 443,
                interval_ms: 2000.0,
                timeout_ms: 1000.0,
                rise: 2,
                fall: 3,
                budget: 50,
                ..ProbeLine::default()
            },
            servers: vec![server("fra-1", 1), server("nyc-1", 10)],
        }]
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Explained, Refusal> {
        if !query.name.ends_with("lb.example.com") {
            return Err(Refusal {
                kind: RefusalKind::NotFound,
                error: format!("{} is in no zone of the mesh", query.name),
                hint: "see nigh services".into(),
            });
        }
        Ok(Explained {
            json: json!({ "name": query.name, "type": query.rtype, "from": query.from, "at": query.at }),
            text: format!("{} {} from {}\n", query.name, query.rtype, query.from),
        })
    }

    fn catalogue(&self) -> Vec<Page> {
        self.pages.lock().unwrap().clone()
    }

    fn admissions(&self) -> Vec<Page> {
        let admissions = [Table::OPERATOR, Table::ADMISSION, Table::REVOCATION];
        self.pages.lock().unwrap().iter().filter(|page| admissions.contains(&page.key().table)).cloned().collect()
    }

    fn preview(&self, proposal: Vec<Record>) -> Preview {
        let services = proposal.iter().map(|record| ServicePreview {
            service: record.identity.to_string(),
            unmeasured: vec!["fra-2".into()],
            changes: Vec::new(),
            nodes_changed: 0,
            nodes: 2,
            claims_changed: 0,
            left_out: 0,
        });
        Preview { services: services.collect(), services_left_out: 0 }
    }

    fn submit(&self, pages: Vec<Page>) -> impl Future<Output = Result<Submitted, Refusal>> + Send {
        let submitted = Submitted { accepted: pages.len(), superseded: 0 };
        let mut held = self.pages.lock().unwrap();
        held.retain(|old| pages.iter().all(|new| new.key() != old.key()));
        held.extend(pages);
        drop(held);
        let stuck = self.stuck.load(Ordering::Relaxed);
        async move { if stuck { std::future::pending().await } else { Ok(submitted) } }
    }

    fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
