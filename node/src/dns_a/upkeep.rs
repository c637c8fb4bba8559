//! Keeps delegations at DNS-A: the task behind [`super::delegation`], one for each zone.
//!
//! One node acts for a zone: the first in order of [`super::rank`] of the live ones that are configured for it, and the
//! next one too if that one says that it fails. **Compare first, act on a difference, read back.** Should two act at
//! once, the prerequisites let one of them through and the other sees what it did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use nigh_dns::Label;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::delegation::{Bounds, Candidate, Change, Seen, Watch, choose};
use super::message::Question;
use super::tsig::Key;
use super::zones::{Trouble, signed_exchange};
use crate::catalogue::name::text;
use crate::config::dns_a::DelegationConfig;

/// The parent is looked at this often at most and at least; between, as often as `settle` allows to act.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Failures in a row until another node is to try.
const FAILURES_IN_A_ROW: u32 = 3;
/// How often the pause is doubled at most: from five minutes to more than an hour.
const MOST_DOUBLINGS: u32 = 4;

/// What the rest of the node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// The nodes that may stand in the delegation.
    pub candidates: Vec<Candidate>,
    /// Whether it is this node's turn.
    pub is_my_turn: bool,
    /// Why nothing may be done now, whoever's turn it is: a node that is cut off sees the others dead.
    pub obstacle: Option<String>,
}

/// How a delegation is doing, as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether this node acts.
    pub is_acting: bool,
    /// The name servers that the parent lists; none before the first look.
    pub listed: Option<Vec<String>>,
    /// Those that it should list.
    pub chosen: Vec<Label>,
    /// What would be changed next; empty: nothing.
    pub planned: String,
    /// What was changed last; empty: nothing yet.
    pub done: String,
    /// Why it does not work; empty if it does.
    pub trouble: String,
    /// Whether that has lasted, so that another node is to try.
    pub fails: bool,
}

/// A handle on the task; it ends with it.
pub struct Upkeep {
    /// What it keeps.
    pub config: DelegationConfig,
    scene: watch::Sender<Arc<Scene>>,
    state: watch::Receiver<State>,
    _task: JoinSet<()>,
}

impl Upkeep {
    /// Starts it.
    pub fn spawn(config: DelegationConfig, key: Key) -> Self {
        let (scene, scenes) = watch::channel(Arc::default());
        let (states, state) = watch::channel(State::default());
        let mut task = JoinSet::new();
        let keeping = Keeping {
            config: config.clone(),
            key,
            scenes,
            states,
            watch: Watch::default(),
            listed: Default::default(),
            failures: 0,
            refused: 0,
            changed_at: None,
            epoch: Instant::now(),
        };
        task.spawn(keeping.run());
        Self { config, scene, state, _task: task }
    }

    /// Tells it what is.
    pub fn set(&self, scene: Scene) {
        self.scene.send_if_modified(|held| {
            let changed = **held != scene;
            if changed {
                *held = Arc::new(scene);
            }
            changed
        });
    }

    /// How it is doing.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

struct Keeping {
    config: DelegationConfig,
    key: Key,
    scenes: watch::Receiver<Arc<Scene>>,
    states: watch::Sender<State>,
    watch: Watch,
    /// The nodes that the parent listed when it was last looked at.
    listed: std::collections::BTreeSet<Label>,
    failures: u32,
    /// Changes in a row that came to nothing.
    refused: u32,
    changed_at: Option<Instant>,
    epoch: Instant,
}

impl Keeping {
    async fn run(mut self) {
        let look = (self.config.settle / 4).clamp(LOOK.0, LOOK.1);
        let mut next = Instant::now() + LOOK.0;
        loop {
            let scene = self.scenes.borrow_and_update().clone();
            // Who is there is watched also while another node acts: taking over begins with what was seen.
            self.watch.look(self.epoch.elapsed(), &scene.candidates, &self.listed);
            self.states.send_if_modified(|state| {
                let changed = state.is_acting != scene.is_my_turn;
                state.is_acting = scene.is_my_turn;
                if changed && !scene.is_my_turn {
                    // Whoever acts now says how it goes.
                    *state = State::default();
                    self.failures = 0;
                }
                changed
            });
            if Instant::now() >= next {
                if scene.is_my_turn {
                    self.act(&scene).await;
                }
                next = Instant::now() + look;
            }
            tokio::select! {
                changed = self.scenes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn act(&mut self, scene: &Scene) {
        let mut state = self.states.borrow().clone();
        state.is_acting = true;
        match self.try_to(scene, &mut state).await {
            Ok(()) => {
                self.failures = 0;
                state.trouble = scene.obstacle.clone().unwrap_or_default();
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if state.trouble != why {
                    tracing::warn!(zone = %text(&self.config.zone), %why, "the delegation cannot be kept");
                }
                state.trouble = why;
            }
        }
        state.fails = self.failures >= FAILURES_IN_A_ROW;
        self.states.send_if_modified(|held| {
            let changed = *held != state;
            *held = state;
            changed
        });
    }

    async fn try_to(&mut self, scene: &Scene, state: &mut State) -> Result<(), String> {
        let zone = self.config.zone.clone();
        let seen = self.read().await?;
        self.listed = seen.nodes(&zone);
        let now = self.epoch.elapsed();
        self.watch.look(now, &scene.candidates, &self.listed);
        let DelegationConfig { min, max, settle, .. } = self.config;
        let chosen = choose(now, &self.listed, &scene.candidates, &self.watch, &Bounds { min, max, settle });
        let change = Change::new(&zone, &seen, &chosen, &scene.candidates);
        state.listed = Some(seen.servers.iter().map(text).collect());
        state.chosen = chosen.into_iter().collect();
        state.planned = change.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(change) = change else { return Ok(()) };
        // What is refused once is likely to be refused again: twice as long after each failure.
        let pause = self.config.pause * 2u32.pow(self.refused.min(MOST_DOUBLINGS));
        let too_soon = self.changed_at.is_some_and(|at| at.elapsed() < pause);
        if self.config.dry_run || scene.obstacle.is_some() {
            return Ok(());
        }
        if too_soon {
            // What stood in the way of the last try still does, as far as is known.
            return if self.refused > 0 { Err(state.trouble.clone()) } else { Ok(()) };
        }
        // Whatever comes of it counts: an update that is refused is not tried every second either.
        self.changed_at = Some(Instant::now());
        tracing::info!(zone = %text(&zone), %change, "changing the delegation");
        self.refused = self.refused.saturating_add(1);
        self.update(&change, &seen).await?;
        let after = self.read().await?;
        if after != change.applied(&seen) {
            return Err("the server took the change, but does not show it".into());
        }
        self.refused = 0;
        state.listed = Some(after.servers.iter().map(text).collect());
        state.done = std::mem::take(&mut state.planned);
        Ok(())
    }

    async fn read(&self) -> Result<Seen, String> {
        let question = Question::query(rand::random(), self.config.zone.clone(), RecordType::NS);
        let octets = octets(&question.message(false))?;
        let reply = signed_exchange(self.server(), &question, octets, Some(&self.key)).await;
        Seen::read(&self.config.zone, &reply.map_err(|trouble| trouble.to_string())?)
    }

    async fn update(&self, change: &Change, seen: &Seen) -> Result<(), String> {
        let question = Question {
            id: rand::random(),
            opcode: OpCode::Update,
            name: self.config.parent.clone(),
            rtype: RecordType::SOA,
        };
        let message = change.message(question.id, &self.config.zone, &self.config.parent, seen);
        let reply = signed_exchange(self.server(), &question, octets(&message)?, Some(&self.key)).await;
        let reply = reply.map_err(|trouble: Trouble| trouble.to_string())?;
        match reply.metadata.response_code {
            ResponseCode::NoError => Ok(()),
            code
            @ (ResponseCode::YXDomain | ResponseCode::YXRRSet | ResponseCode::NXRRSet | ResponseCode::NXDomain) => {
                Err(format!("somebody else changed the delegation in between ({code}); looking again"))
            }
            code @ (ResponseCode::Refused | ResponseCode::NotAuth) => Err(format!(
                "the server answers {code}: may the key change NS of {zone} and A and AAAA below it, and is {parent} a \
                 primary zone there?",
                zone = text(&self.config.zone),
                parent = text(&self.config.parent),
            )),
            code => Err(format!("the server answers {code} to the change")),
        }
    }

    fn server(&self) -> SocketAddr {
        self.config.server
    }
}

fn octets(message: &hickory_proto::op::Message) -> Result<Vec<u8>, String> {
    message.to_vec().map_err(|error| format!("the message cannot be written: {error}"))
}
