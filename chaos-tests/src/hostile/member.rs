//! The member: an engine of nigh-gossip on its bare transport, and what is twisted on the way out.

use super::Malice;
use super::junk::Junk;
use super::lies::{CLAIMS, PROFILE, Truth, accusations};
use anyhow::{Context, Result};
use data_encoding::{BASE32_NOPAD_NOCASE, BASE64};
use ed25519_dalek::SigningKey;
use nigh_gossip::engine::{Action, Engine, Setup, Shared, Target};
use nigh_gossip::frame::Frame;
use nigh_gossip::message::Message;
use nigh_gossip::shell::bare::{Bare, Heard};
use nigh_gossip::{Key, Moment, NodeId, Owner, Page, Slot, Table};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// As a member of good standing it gets to know the mesh, before it begins.
const GOOD_FOR: Duration = Duration::from_secs(3);
/// Between two attempts to reach everybody, also those that closed the door.
const CALL_EVERY: Duration = Duration::from_secs(1);
/// Between two new lies of one that says different things to different nodes.
const TWO_FACED_EVERY: Duration = Duration::from_secs(2);
/// Between two bursts of a flood.
const BURST_EVERY: Duration = Duration::from_millis(10);
/// Between two looks at the pages of others.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Own sequence numbers above all that the engine uses.
const ABOVE: u64 = 1 << 32;

/// What it plays, and where. Hidden from nobody: `chaos hostile --help`.
#[derive(Clone, Debug, clap::Args)]
pub struct Part {
    /// How it misbehaves.
    #[arg(long)]
    pub malice: Malice,
    /// The mesh's id.
    #[arg(long)]
    pub mesh: NodeId,
    /// The folder with the node's key and certificate, as `nigh id` and `nigh admit` left them.
    #[arg(long)]
    pub state: PathBuf,
    /// Where the mesh listens on all nodes, this one included.
    #[arg(long)]
    pub port: u16,
    /// The nodes that it calls.
    #[arg(long = "node", value_name = "NAME=ADDRESS")]
    pub nodes: Vec<String>,
    /// The resolvers that are not its own.
    #[arg(long = "resolver", value_name = "ADDRESS")]
    pub resolvers: Vec<Ipv4Addr>,
    /// The service that it lies about.
    #[arg(long)]
    pub service: String,
    /// Its servers.
    #[arg(long = "server", value_name = "ID")]
    pub servers: Vec<String>,
    /// Of a flood, messages to each node in a second; 0: as many as are taken.
    #[arg(long, default_value_t = 0)]
    pub pace: u32,
}

/// Misbehaves until it is killed.
pub fn play(part: Part) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("making a runtime")?;
    runtime.block_on(async { Liar::new(part)?.run().await })
}

struct Liar {
    part: Part,
    truth: Truth,
    signing: SigningKey,
    me: NodeId,
    epoch: u64,
    engine: Engine,
    bare: Bare,
    junk: Junk,
    random: ChaCha8Rng,
    others: Vec<Page>,
    start: Instant,
    called: Duration,
    looked: Duration,
    spoke: Duration,
    /// Messages that the pace has let through to each.
    sent: u64,
}

impl Liar {
    fn new(part: Part) -> Result<Self> {
        let signing = key(&part.state.join("node.key"))?;
        let certificate = certificate(&part.state.join("certificate"))?;
        let at = SocketAddr::from((part.malice.address(), part.port));
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
        let bare = Bare::new(&signing, part.mesh, &[at])?;
        let mut names = Vec::new();
        let mut bootstrap = Vec::new();
        for node in &part.nodes {
            let (name, address) = node.split_once('=').with_context(|| format!("{node} is no NAME=ADDRESS"))?;
            names.push(name.to_owned());
            bootstrap.push(format!("{address}:{}", part.port));
        }
        let engine = Engine::new(
            Moment::ZERO,
            Setup {
                signing: signing.clone(),
                roots: vec![part.mesh],
                certificate: Some(certificate),
                appointment: None,
                epoch,
                addresses: vec![at.to_string()],
                bootstrap,
                pages: Vec::new(),
                seed: epoch,
                shared: Shared::default(),
            },
        );
        let truth = Truth {
            malice: part.malice,
            service: part.service.clone(),
            servers: part.servers.clone(),
            nodes: names,
            resolvers: part.resolvers.clone(),
        };
        Ok(Self {
            me: NodeId::from(signing.verifying_key()),
            junk: Junk::new(signing.clone(), epoch),
            random: ChaCha8Rng::seed_from_u64(epoch),
            truth,
            signing,
            epoch,
            engine,
            bare,
            others: Vec::new(),
            start: Instant::now(),
            called: Duration::ZERO,
            looked: Duration::ZERO,
            spoke: Duration::ZERO,
            sent: 0,
            part,
        })
    }

    fn now(&self) -> Moment {
        self.start.elapsed().into()
    }

    async fn run(mut self) -> Result<()> {
        for (table, slot, body) in self.truth.pages() {
            self.engine.publish(self.now(), table, slot, body);
        }
        loop {
            let since = self.start.elapsed();
            self.pump();
            if since > GOOD_FOR {
                self.misbehave(since);
            }
            self.call(since)?;
            let due = self.start + self.engine.poll_timeout().since(Moment::ZERO);
            let wake = if self.part.malice == Malice::Floods { due.min(Instant::now() + BURST_EVERY) } else { due };
            tokio::select! {
                heard = self.bare.next() => self.hear(heard),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            self.engine.handle_wall_clock(unix);
            self.engine.handle_timeout(self.now());
        }
    }

    fn hear(&mut self, heard: Heard) {
        let now = self.now();
        match heard {
            Heard::Up(peer) => self.engine.handle_link_up(now, peer),
            Heard::Down(peer) => self.engine.handle_link_down(now, peer),
            // One that says two things must not be shown both, or its own engine would tell on it.
            Heard::Message(_, Message::News(_) | Message::Given(_))
                if self.part.malice == Malice::Equivocates && self.start.elapsed() > GOOD_FOR => {}
            Heard::Message(peer, message) => self.engine.handle_message(now, peer, message),
        }
    }

    /// Carries out what the engine asks for, but for what would be to its own harm.
    fn pump(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            if let Action::Dial { target: Target::Bootstrap(at), .. } = action
                && let Ok(at) = at.parse()
            {
                self.bare.dial(at);
            }
        }
        let ready: Vec<NodeId> = self.engine.ready().collect();
        for peer in ready {
            while self.bare.has_room(peer) {
                let now = self.now();
                let Some(message) = self.engine.poll_transmit(now, peer) else { break };
                self.bare.send(peer, message.encode());
            }
        }
    }

    /// Calls all whom it has no stream to, whatever they think of it.
    fn call(&mut self, since: Duration) -> Result<()> {
        if since < self.called + CALL_EVERY {
            return Ok(());
        }
        self.called = since;
        if self.bare.links().count() < self.part.nodes.len() {
            for node in &self.part.nodes {
                let (_, address) = node.split_once('=').context("checked at the start")?;
                self.bare.dial(SocketAddr::new(address.parse().context("no address")?, self.part.port));
            }
        }
        Ok(())
    }

    fn misbehave(&mut self, since: Duration) {
        match self.part.malice {
            Malice::Claims => {}
            Malice::Lies => self.accuse(),
            Malice::Equivocates if since >= self.spoke + TWO_FACED_EVERY => {
                self.spoke = since;
                self.speak_twice(since);
            }
            Malice::Equivocates => {}
            Malice::Floods => self.flood(since),
        }
    }

    fn accuse(&mut self) {
        let all: Vec<(NodeId, u64)> = self
            .engine
            .members()
            .filter(|(id, ..)| *id != self.me)
            .map(|(id, member, _)| (id, member.incarnation))
            .collect();
        let now = self.now();
        self.engine.publish(now, Table::WATCH, Slot::page(0), accusations(all.into_iter()));
    }

    /// Two profiles and two lists of claims, each with one version; every other node gets the one, the rest the other.
    fn speak_twice(&mut self, since: Duration) {
        let minor = ABOVE + u64::try_from(since.as_millis()).unwrap_or_default();
        let page = |table, body| {
            let key = Key { owner: Owner::Node(self.me), table, slot: Slot::page(0) };
            Frame::from(Page::sign(&self.signing, key, self.epoch, minor, body))
        };
        let faces = [
            vec![page(PROFILE, self.truth.profile("here")), page(CLAIMS, self.truth.claims())],
            vec![page(PROFILE, self.truth.profile("there")), page(CLAIMS, Vec::new())],
        ];
        for (peer, face) in self.bare.links().collect::<Vec<_>>().into_iter().zip(faces.iter().cycle()) {
            self.bare.send(peer, Message::News(face.clone()).encode());
        }
    }

    fn flood(&mut self, since: Duration) {
        if since >= self.looked + LOOK_EVERY {
            self.looked = since;
            self.others =
                self.engine.replica().pages().iter().filter(|page| page.signer() != self.me).cloned().collect();
        }
        let most = match self.part.pace {
            0 => u64::MAX,
            pace => u64::try_from((since - GOOD_FOR).as_millis()).unwrap_or_default() * u64::from(pace) / 1000,
        };
        let peers: BTreeSet<NodeId> = self.bare.links().collect();
        while self.sent < most && peers.iter().any(|peer| self.bare.has_room(*peer)) {
            self.sent += 1;
            let octets = self.junk.next(&self.others, &mut self.random);
            for peer in &peers {
                // Whoever has no room now is spared this one.
                self.bare.send(*peer, octets.clone());
            }
        }
    }
}

/// The secret in a node's key file.
fn key(path: &Path) -> Result<SigningKey> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let encoded =
        text.trim().strip_prefix("nigh-node-key-1:").with_context(|| format!("{} holds no key", path.display()))?;
    let secret = BASE32_NOPAD_NOCASE.decode(encoded.trim().as_bytes()).context("no base32 in a key file")?;
    let secret: [u8; 32] = secret.try_into().ok().context("a key of another length")?;
    Ok(SigningKey::from_bytes(&secret))
}

/// The page in a certificate file.
fn certificate(path: &Path) -> Result<Page> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("nigh-certificate-1:"));
    let encoded = line.with_context(|| format!("{} holds no certificate", path.display()))?;
    let bytes = BASE64.decode(encoded.trim().as_bytes()).context("no base64 in a certificate")?;
    Ok(Page::from_bytes(&bytes)?)
}
