//! `nigh run`: from a configuration to a node that answers, and out again.
//!
//! ```text
//!   bind everything ─▶ join the mesh ─▶ ┌ loop ─ the mesh changed ───▶ facts ─▶ snapshot, targets, volunteering
//!                                       │       ─ a probe came back ─▶ rows by deadband ─▶ mesh
//!                                       └───────┬──────────────────────────────────────
//!                                     SIGTERM   ▼
//!             claims withdrawn ─▶ answer for a while ─▶ goodbye to the mesh, files written ─▶ DNS fronts stop
//! ```
//!
//! **Invariants:** nothing is published before every port is bound: a node that cannot answer never draws a resolver.
//! And nobody is refused for want of a snapshot, or sent here by a peer that was not told of the end: the fronts open
//! with the first snapshot that has the catalogue, and close after the goodbye.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use nigh_dns::{Counters, Current, Front, Handler, Label, Snapshot};
use nigh_gossip::{Key, Mesh, MeshView, Owner, Page, Slot};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field::Empty, info_span};

use crate::{
    admin::{self, Access, Audit},
    backups::{Move, Standby},
    catalogue::arrival::Arrival,
    certificate::{Kept, Starting},
    config::Config,
    cuts::Cuts,
    discovery::{Witness, finding::Finding},
    dns_a::importer::Resolvers,
    dns_a::side::{Doing, Side},
    facts::{Facts, Reader},
    history::{self, Feed},
    identity,
    measure::{self, Means, Measurements, NodeKey, Prober, Settings, Wanted},
    membership::{self, State},
    pressure::Pressure,
    projection::{self, claims::Claimed, networks::Tables},
    publisher::Publisher,
    running::{Latest, Running},
    service_manager::{Inherited, ServiceManager},
    sockets,
    tables::{self, claims::Claim, latency::Row, profile::Profile},
    telemetry::{Cause, Effects, TARGET, Telemetry, count},
};

/// A node looks for cuts to volunteer for this often, and first after this long: joining brings many changes at once,
/// and a volunteer stays.
const VOLUNTEER: Duration = Duration::from_secs(3);
/// How long the DNS fronts may take to end what has begun: half a question over TCP is waited for longer than a restart
/// should take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// A node that nobody admitted says so in its log this often.
const PLEAD: Duration = Duration::from_secs(60);
/// Without any change the world is made anew this often, so that ages and cuts that linger stay true.
const REFRESH: Duration = Duration::from_secs(5);

/// Runs a node until it is told to stop. What is in the way of its traces is one of its warnings.
///
/// # Errors
/// What keeps it from starting, with what to do; or the mesh ending by itself.
pub async fn run(config: Config, telemetry: Telemetry) -> anyhow::Result<()> {
    let mut node = Node::start(config, telemetry).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        ended = node.work() => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::select! {
        drained = node.drain() => return drained,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("told to stop a second time: stopping at once");
    node.stop().await;
    Ok(())
}

struct Node {
    config: Config,
    running: Arc<Running>,
    mesh: Mesh,
    view: watch::Receiver<Arc<MeshView>>,
    measured: watch::Receiver<Arc<Measurements>>,
    wanted: watch::Sender<Wanted>,
    _prober: Prober,
    finding: Finding,
    dns_a: Side,
    reader: Reader,
    publisher: Publisher,
    cuts: Cuts,
    claimed: Claimed,
    networks: Tables,
    arrival: Arrival,
    /// The mesh was told what this node is, and which cuts it serves.
    introduced: bool,
    /// Of what the packets are answered from only this one makes another.
    current: Current,
    standby: Standby,
    pressure: Pressure,
    serial: u64,
    next_volunteer: Instant,
    next_plea: Instant,
    kept: Kept,
    manager: ServiceManager,
    told_ready: bool,
    /// Bound at the start, served from the first snapshot on: until then questions wait in the sockets.
    bound: Option<(Handler, Vec<UdpSocket>, Vec<TcpListener>)>,
    front: Option<Front>,
    /// Set once the mesh knows that this node leaves. A second request, a signal after `nigh drain`, changes nothing.
    drained_at: Option<Instant>,
    admin: CancellationToken,
    admin_task: tokio::task::JoinHandle<()>,
    audit: Arc<Audit>,
    access: Access,
    telemetry: Telemetry,
    /// Ends when the node begins to answer.
    join: Option<Span>,
    /// What changed the measurements.
    cause: Arc<Cause>,
}

impl Node {
    async fn start(config: Config, telemetry: Telemetry) -> anyhow::Result<Self> {
        let epoch = Instant::now();
        let name = config.node.name.clone();
        let join = info_span!(target: TARGET, "join", bootstrap = count(config.mesh.bootstrap.len()), pages = Empty);
        std::fs::create_dir_all(&config.node.state_dir)
            .with_context(|| format!("cannot make node.state_dir {}", config.node.state_dir.display()))?;
        let signing = identity::node_key(&config.node.state_dir)?;
        let me = identity::public(&signing);
        let claimed: Vec<IpNet> = config.claims.iter().map(|claim| claim.prefix).collect();
        let handed = Starting {
            configured: config.mesh.certificate.as_deref(),
            state_dir: &config.node.state_dir,
            me,
            mesh: config.mesh.id,
            name: &name,
            claims: &claimed,
        }
        .find(unix().as_secs())?;
        let (certificate, appointment) = handed.map(|handed| (handed.certificate, handed.appointment)).unzip();
        let appointment = appointment.flatten();
        let seed = *signing.verifying_key().as_bytes();
        let cuts = Cuts::load(&config.node.state_dir, &name, unix())?;

        let current = Current::new(Snapshot::empty(name.clone()));
        let counters = Arc::new(Counters::new());
        let manager = ServiceManager::from_env();
        let mut inherited = Inherited::from_env();
        let admin_tcp = sockets::open_admin(&config.admin.listen, &mut inherited, &manager)?;
        let (udp, tcp) = sockets::open(&config.dns.listen, inherited, &manager)?;
        // Each address once: a thread has a socket of its own on it.
        let listen: BTreeSet<_> = udp.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let audit = Audit::start(name.as_str(), config.admin.audit.as_deref()).context("cannot write admin.audit")?;
        let access = Access::open(&config.admin)?;
        let admin_server =
            admin::Server::bind(&config.admin.socket)?.with_tcp(admin_tcp, access.clone()).with_audit(audit.clone());
        let mesh = Mesh::start(nigh_gossip::MeshConfig {
            signing: signing.clone(),
            mesh: config.mesh.id,
            certificate,
            appointment,
            listen: config.mesh.listen.clone(),
            advertise: config.mesh.advertise.iter().map(ToString::to_string).collect(),
            bootstrap: config.mesh.bootstrap.iter().map(ToString::to_string).collect(),
            state_dir: config.node.state_dir.clone(),
        })
        .instrument(info_span!(target: TARGET, parent: &join, "enter the mesh"))
        .await?;

        let dns_a = Side::start(&config.dns_a, asked_for_origins(&config))?;
        let witness = Arc::new(Witness::new(signing.clone(), config.mesh.id));
        let mut handler = Handler::new(current.shared(), counters.clone())
            .with_cookies(secret()?)
            .with_witness(witness)
            .with_notify(dns_a.ear());
        if let Some(per_second) = config.dns.rate_limit {
            handler = handler.with_rate_limit(per_second, secret()?);
        }
        let handler = sockets::tapped(handler, &config)?;
        let bound = Some((handler.clone(), udp, tcp));
        let (wanted, aims) = watch::channel(Wanted::default());
        let prober = measure::spawn(Settings { seed, means: Means::of(&config), epoch }, aims);
        let mut reader = Reader::new(name.clone(), config.mesh.id);
        let mut view = mesh.view();
        let facts = reader.read(Duration::ZERO, unix().as_secs(), &view.borrow_and_update());
        let left: Vec<_> =
            view.borrow().pages.of(Owner::Node(mesh.id())).map(|page| (page.key().table, page.key().slot)).collect();
        let finding = Finding::start(&config, mesh.id(), epoch);
        let last_run: Vec<Row> = facts
            .nodes
            .get(&name)
            .filter(|node| node.id == mesh.id())
            .map(|node| node.rows.iter().flat_map(|page| page.iter().cloned()).collect())
            .unwrap_or_default();
        let ran_before = facts.nodes.get(&name).is_some_and(|node| node.id == mesh.id());
        let arrival = Arrival::new(ran_before || !facts.listed.catalogue.zones.is_empty());
        let running = Arc::new(Running {
            mesh_id: config.mesh.id,
            pop: config.node.pop.clone(),
            admit_command: membership::command(me, name.as_str(), &claimed),
            mesh: mesh.clone(),
            snapshot: current.shared(),
            counters,
            listen: listen.into_iter().collect(),
            epoch,
            handler,
            findings: finding.findings(),
            latest: ArcSwap::from_pointee(Latest { facts, serial: 0, warnings: Vec::new(), dns_a: Doing::default() }),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            probes: prober.reporter(),
            feed: Feed::default(),
            measured: prober.measurements(),
            effects: Effects::default(),
        });
        let admin = CancellationToken::new();
        let admin_task = tokio::spawn(serve_admin(admin_server, running.clone(), admin.clone()));
        tokio::spawn(history::record(running.clone(), admin.clone()));
        let profile = Profile {
            name,
            pop: config.node.pop.clone(),
            dns: config.dns.advertise.clone(),
            serves: Vec::new(),
            draining: false,
            version: env!("CARGO_PKG_VERSION").into(),
            pressure: 0,
            location: config.node.location,
        };
        let claims = config.claims.iter().map(|claim| Claim::new(claim.prefix, claim.preference)).collect();
        let publisher = Publisher::new(mesh.clone(), profile, claims, finding.looks(), left, last_run);
        let mut node = Self {
            running,
            view,
            measured: prober.measurements(),
            wanted,
            cause: prober.cause(),
            _prober: prober,
            dns_a,
            reader,
            finding,
            publisher,
            mesh,
            cuts,
            claimed: Claimed::default(),
            networks: Tables::start(config.networks.clone()),
            arrival,
            introduced: false,
            current,
            standby: Standby::default(),
            pressure: Pressure::new(config.dns.capacity.map(u32::from)),
            serial: 0,
            next_volunteer: epoch + VOLUNTEER,
            next_plea: epoch + PLEAD, // the first snapshot's warnings say it as well
            kept: Kept::new(&config.node.state_dir, config.mesh.id),
            manager,
            told_ready: false,
            bound,
            front: None,
            drained_at: None,
            admin,
            admin_task,
            audit,
            access,
            telemetry,
            join: Some(join),
            config,
        };
        // Who joins looks first at what the mesh holds of it: its disk may be lost, or an older copy.
        if node.config.mesh.bootstrap.is_empty() {
            node.introduce().await?;
        }
        Ok(node)
    }

    /// Follows the mesh and the probes until asked to drain.
    async fn work(&mut self) -> anyhow::Result<()> {
        loop {
            let again = self.turn().await?;
            let running = self.running.clone();
            if self.wait(again, running.drain.notified()).await? {
                return self.drain().await;
            }
        }
    }

    /// Waits for a change, or for `until`; true if `asked` came first.
    async fn wait(&mut self, until: Instant, asked: impl Future<Output = ()>) -> anyhow::Result<bool> {
        tokio::select! {
            () = asked => return Ok(true),
            changed = self.view.changed() => changed.context("the mesh ended by itself; see the log")?,
            changed = self.finding.changed() => changed.context("looking for resolvers ended by itself; see the log")?,
            changed = self.measured.changed() => changed.context("measuring ended by itself; see the log")?,
            changed = self.dns_a.changed() => changed.context("asking DNS-A ended by itself; see the log")?,
            () = tokio::time::sleep_until(until) => {}
        }
        Ok(false)
    }

    /// One turn: tells what is worth telling, and answers from what is known. Says when to turn again at the latest.
    async fn turn(&mut self) -> anyhow::Result<Instant> {
        let now = self.running.now();
        let measured = self.measured.borrow_and_update().clone();
        let draining = self.running.draining.load(Ordering::Relaxed);
        // Held until the snapshot is made: this is how long a verdict takes to be one for others.
        let cause = self.cause.take(measured.at);
        let tell = cause.as_ref().map(|cause| info_span!(target: TARGET, parent: cause, "tell the mesh"));
        let tell = tell.unwrap_or_else(Span::none);
        let again = self.publisher.rows(now, &measured).instrument(tell).await?;
        let view = self.view.borrow_and_update().clone();
        let facts = self.reader.read(now, unix().as_secs(), &view);
        self.kept.keep(&view);
        self.plead(&view);
        self.finding.look_out(&facts);
        if let Some(found) = self.finding.tell(now, &view, &self.config) {
            self.publisher.found(found);
        }
        // Until it knows the catalogue it would draw resolvers and refuse them, so it claims nothing. One that lost its disk
        // is known to resolvers from before, so it does not answer either: refused, they avoid it for a quarter of an hour.
        let joining = self.arrival.handle(now, !facts.listed.catalogue.zones.is_empty(), view.pages.len());
        if !self.introduced {
            self.recall_cuts(&view, &facts);
            // To one that is no member nothing of its past comes, and it has to say so.
            let member = membership::own(&view, unix().as_secs()) == State::Admitted;
            if facts.is_told && joining.is_none() || !member || now >= self.arrival.own_pages_by() {
                self.introduce().await?;
            }
        }
        self.publisher.claims(draining || joining.is_some() || measured.isolated).await?;
        self.aim(&facts);
        let waiting = self.import(&facts, view.cut_off).await?;
        let volunteering = !draining && self.introduced && Instant::now() >= self.next_volunteer;
        if volunteering {
            self.next_volunteer = Instant::now() + VOLUNTEER;
            self.volunteer(now, &facts);
        }
        let left = self.leave_cuts_of_the_revoked(&view, &facts);
        // Until our own profile has come round there is nobody to answer as.
        if facts.nodes.contains_key(&facts.me) {
            self.project(facts, &view, &measured);
            // The first node of a mesh has nobody to learn a zone from.
            if joining.is_none() || self.config.mesh.bootstrap.is_empty() {
                self.open()?;
            }
        }
        // A node that leaves has no claims to raise.
        let pressed = !draining && self.pressure.handle(now, self.running.counters.read().queries);
        if volunteering || left || pressed {
            // After the snapshot that answers for the new cuts: nobody is sent here before.
            self.say_what_i_am(draining).await?;
        }
        self.tell_manager(&view);
        let refresh = Instant::now() + self.manager.beat.map_or(REFRESH, |beat| beat.min(REFRESH));
        let again = again.map_or(refresh, |at| refresh.min(self.running.epoch + at));
        let again = waiting.map_or(again, |at| again.min(at));
        let again = joining.map_or(again, |at| again.min(self.running.epoch + at));
        let unsaid = (!self.introduced).then(|| self.running.epoch + self.arrival.own_pages_by());
        let again = unsaid.map_or(again, |at| again.min(at));
        // A node that drains volunteers for nothing, so that moment must not wake it.
        Ok(if draining { again } else { again.min(self.next_volunteer) })
    }

    /// Tells the service manager that the loop turns; and once that the node answers, or that it waits for the operator.
    fn tell_manager(&mut self, view: &MeshView) {
        self.manager.turning();
        let waits = membership::own(view, unix().as_secs()) != State::Admitted;
        if !self.told_ready && (self.front.is_some() || waits) {
            self.told_ready = true;
            self.manager.ready(if waits { "not admitted: `nigh status` says what to do" } else { "answering" });
        }
    }

    /// Makes the snapshot that packets are answered from.
    fn project(&mut self, facts: Facts, view: &MeshView, measured: &Measurements) {
        self.serial += 1;
        let lingering = self.cuts.answered_for(unix()).cloned().chain(membership::cuts_of_the_revoked(view)).collect();
        let tables = self.networks.loaded();
        let pages = facts.nodes.iter().map(|(label, node)| (label, &node.claims));
        let claims = self.claimed.follow(pages, &tables.table);
        let world = projection::world(self.serial, &facts, claims, measured, lingering);
        let (snapshot, problems) = Snapshot::build(world);
        self.current.publish(snapshot);
        self.running.effects.taken(self.serial, |key| view.pages.get(key).map(Page::stamp));
        let mut warnings: Vec<String> =
            membership::own_warning(view, unix().as_secs(), &self.running.admit_command).into_iter().collect();
        warnings.extend(membership::lonely(view));
        warnings.extend(facts.warnings.iter().cloned());
        warnings.extend(self.dns_a.warnings());
        warnings.extend(tables.warnings.iter().cloned());
        warnings.extend(problems.iter().map(ToString::to_string));
        warnings.extend(self.pressure.warning());
        warnings.extend(self.audit.warning());
        warnings.extend(self.access.warnings());
        warnings.extend(self.telemetry.warning());
        if measured.isolated {
            let (alike, others) = facts.unanswered();
            warnings.push(measure::isolation::warning(alike, others));
        }
        warnings.extend(admin::probes::certificates(measured, unix().as_secs()));
        for warning in warnings.iter().filter(|warning| !self.running.latest.load().warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.running.latest.store(Arc::new(Latest { facts, serial: self.serial, warnings, dns_a: self.dns_a.doing() }));
    }

    /// Begins to answer, if that was not done.
    fn open(&mut self) -> anyhow::Result<()> {
        if let Some((handler, udp, tcp)) = self.bound.take() {
            self.front = Some(nigh_dns::serve(handler, udp, tcp).context("no thread to answer with")?);
            if let Some(join) = self.join.take() {
                join.record("pages", count(self.view.borrow().pages.len()));
            }
            tracing::info!(name = %self.config.node.name, dns = ?self.running.listen, mesh = ?self.config.mesh.listen, "answering");
        }
        Ok(())
    }

    /// Says what admits this node, while nothing does.
    fn plead(&mut self, view: &MeshView) {
        let state = membership::own(view, unix().as_secs());
        if state == State::Admitted || Instant::now() < self.next_plea {
            return;
        }
        self.next_plea = Instant::now() + PLEAD;
        if let Some(warning) = membership::own_warning(view, unix().as_secs(), &self.running.admit_command) {
            tracing::warn!("{warning}");
        }
    }

    /// Tells the side at DNS-A what is, and the mesh what it found. Says when to come back for what had to wait.
    async fn import(&mut self, facts: &Facts, cut_off: bool) -> anyhow::Result<Option<Instant>> {
        // From a node that is cut off all others look dead.
        let obstacle = cut_off.then_some("this node is cut off from most others, so it changes nothing");
        let pages = self.dns_a.turn(facts, self.mesh.id(), obstacle);
        self.publisher.dns_a(pages.pools, pages.duties).await?;
        Ok(pages.again)
    }

    /// Tells the prober what to measure, and with whom it shares that, if either changed.
    fn aim(&self, facts: &Facts) {
        let targets = facts.listed.catalogue.targets();
        let others = facts.nodes.values().filter(|node| node.standing.takes_referrals() && node.id != self.mesh.id());
        let others: BTreeSet<NodeKey> = others.map(|node| *node.id.as_bytes()).collect();
        self.wanted.send_if_modified(|wanted| {
            let (aimed, shared) = (*wanted.targets != targets, *wanted.others != others);
            if aimed {
                wanted.targets = Arc::new(targets);
            }
            if shared {
                wanted.others = Arc::new(others);
            }
            aimed || shared
        });
    }

    /// Takes on cuts that lack a backup and have none nearer, and leaves those that nearer ones serve.
    fn volunteer(&mut self, now: Duration, facts: &Facts) {
        for step in self.standby.handle(now, &facts.me, &facts.candidates()) {
            let done = match &step {
                Move::Join(cut) => self.cuts.serve(cut.clone()),
                Move::Leave(cut) => self.cuts.leave(cut, unix()),
            };
            match (done, step) {
                (Ok(()), Move::Join(cut)) => tracing::info!(%cut, "standing in as a backup"),
                (Ok(()), Move::Leave(cut)) => {
                    tracing::info!(%cut, "standing in no longer: nearer backups do; answering for it a while longer");
                }
                (Err(error), step) => {
                    tracing::warn!(?step, "the cuts that this node serves stay as they are: {error:#}");
                    return;
                }
            }
        }
    }

    /// Stands in no longer for nodes that were revoked: nobody is to be sent to their cuts. Whoever was sent there before
    /// still gets an answer.
    fn leave_cuts_of_the_revoked(&mut self, view: &MeshView, facts: &Facts) -> bool {
        let orphans: Vec<Label> = self.cuts.served().filter(|cut| !facts.nodes.contains_key(*cut)).cloned().collect();
        if orphans.is_empty() {
            return false;
        }
        let revoked: BTreeSet<String> = membership::revoked_names(view);
        let mut left = false;
        for cut in orphans.iter().filter(|cut| revoked.contains(cut.as_str())) {
            match self.cuts.leave(cut, unix()) {
                Ok(()) => tracing::info!(%cut, "standing in no longer: its node was revoked"),
                Err(error) => tracing::warn!(%cut, "its node was revoked: {error:#}"),
            }
            left = true;
        }
        left
    }

    /// A node that lost its disk, or got an older copy of it, does not know for which cuts it stood in; its own profile of the
    /// life before, which the others hold until it writes a new one, does. Resolvers were sent here by it.
    fn recall_cuts(&mut self, view: &MeshView, facts: &Facts) {
        let key = Key { owner: Owner::Node(self.mesh.id()), table: tables::PROFILE, slot: Slot::page(0) };
        let Some(before) = view.pages.get(&key).and_then(|page| Profile::decode(page.body())) else { return };
        for cut in before.serves.into_iter().filter(|cut| facts.nodes.contains_key(cut)) {
            if let Err(error) = self.cuts.serve(cut) {
                tracing::warn!("the cuts for which the mesh says that this node stood in: {error:#}");
                return;
            }
        }
    }

    async fn introduce(&mut self) -> anyhow::Result<()> {
        self.introduced = true;
        self.say_what_i_am(self.running.draining.load(Ordering::Relaxed)).await
    }

    async fn say_what_i_am(&mut self, draining: bool) -> anyhow::Result<()> {
        let serves = self.cuts.served().cloned().collect();
        Ok(self.publisher.profile(serves, draining, self.pressure.step()).await?)
    }

    /// Leaves: no new resolvers, then no more node that anybody is sent to, then no more answers.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let until = match self.drained_at {
            Some(until) => until,
            None => {
                let answer_for = self.config.drain.answer_for;
                self.manager.stopping();
                tracing::info!(?answer_for, "draining: claims withdrawn, answering a while longer");
                self.running.draining.store(true, Ordering::Relaxed);
                self.say_what_i_am(true).await?;
                *self.drained_at.insert(Instant::now() + answer_for)
            }
        };
        while Instant::now() < until {
            let again = self.turn().await?.min(until);
            self.wait(again, std::future::pending()).await?;
        }
        self.stop().await;
        Ok(())
    }

    async fn stop(&mut self) {
        self.mesh.leave().await;
        if let Some(front) = self.front.take()
            && tokio::time::timeout(LAST_ANSWERS, front.stop()).await.is_err()
        {
            tracing::info!("a question over TCP is still on its way; stopping all the same");
        }
        self.admin.cancel();
        if (&mut self.admin_task).await.is_err() {
            tracing::warn!("the admin server did not end well");
        }
        tracing::info!("stopped");
    }
}

async fn serve_admin(server: admin::Server, running: Arc<Running>, stop: CancellationToken) {
    if let Err(error) = server.serve(running, stop).await {
        tracing::error!(%error, "the admin socket broke: `nigh status` and its like will not work until a restart");
    }
}

/// The wall clock, since 1970.
pub(crate) fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Who is asked for origins that name no server of DNS-A.
fn asked_for_origins(config: &Config) -> Resolvers {
    let resolvers = &config.resolvers;
    Resolvers { configured: resolvers.addresses.clone(), system: resolvers.system.clone() }
}

/// A secret that lasts as long as this process.
fn secret() -> anyhow::Result<[u8; 16]> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|e| anyhow::anyhow!("no randomness from the system: {e}"))?;
    Ok(secret)
}
