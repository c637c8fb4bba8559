//! The thin shell: a tokio task that owns the [engine](crate::engine), the libp2p swarm and the files, and a handle to it.
//!
//! ```text
//!   Mesh (handle) ── Command ──▶┐                       ┌──▶ writer task per link ──▶ stream
//!   swarm events  ─────────────▶│  one task: Engine     │
//!   reader tasks ── verified ──▶│  handle_* / poll_*  ──┤
//!   clock         ─────────────▶┘                       └──▶ watch channel: Arc<MeshView>
//! ```
//!
//! All of it lives on one thread of its own, with its own runtime. A heartbeat is a packet, an acknowledgement and four
//! tasks that wake each other; where they wake each other across threads, the waking costs more than the work
//! (`cargo run --release -p nigh-gossip --example peers -- --only nigh` says what an idle node costs). It also keeps the
//! mesh's bursts, a megabyte of pages to verify at a join, off the threads that answer.
//!
//! Every channel is bounded; a full one makes the reader wait, and with it the peer's stream.

#![allow(clippy::disallowed_methods, reason = "the shell: here the clock, the seed, the disk and the sockets come in")]

#[doc(hidden)]
pub mod bare;
mod contacts;
mod disk;
mod door;
mod pace;
mod saving;
mod streams;
mod swarm;
mod task;
mod view;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use ed25519_dalek::SigningKey;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    id::NodeId,
    page::{Page, Slot, Table},
    replica::{Accepted, Refused},
};
pub use contacts::FOREIGN;
pub use view::{MemberView, MeshView};

/// Commands waiting for the engine; callers wait when it is full.
const COMMANDS: usize = 64;

/// What a node needs to be a member.
#[derive(Clone)]
pub struct MeshConfig {
    /// The node's key; libp2p's identity is the same one.
    pub signing: SigningKey,
    /// The mesh: its root's public key. Its holder admits nodes, writes the catalogue, and appoints others to.
    pub mesh: NodeId,
    /// This node's certificate, if it was handed one. Without it the node waits until the mesh has one for it.
    pub certificate: Option<Page>,
    /// The appointment of the key that signed it, if that is not the root's.
    pub appointment: Option<Page>,
    /// Where to listen, QUIC on UDP and TCP on the same port.
    pub listen: Vec<SocketAddr>,
    /// `host:port` under which others reach this node.
    pub advertise: Vec<String>,
    /// `host:port` of first contacts.
    pub bootstrap: Vec<String>,
    /// Where epoch and replica are remembered.
    pub state_dir: PathBuf,
}

/// Why a node could not become a member.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The state directory cannot be used.
    #[error("cannot use {path}: is the directory there, writable, and not full?")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The epoch file holds something else.
    #[error("{path} does not hold a number; if the file is damaged, delete it: the node will find its place again")]
    Epoch {
        /// The file.
        path: PathBuf,
    },
    /// Another process has this state.
    #[error("another nigh uses the state in {path}; stop it, or give each its own state_dir and key")]
    InUse {
        /// What it holds.
        path: PathBuf,
    },
    /// What is known cannot be kept on disk. A running node goes on: it writes it when it can.
    #[error("cannot keep what is known in {path}: {reason}. Is there room, and may nigh write there?")]
    Replica {
        /// The file.
        path: PathBuf,
        /// The database's words.
        reason: String,
    },
    /// A port could not be bound.
    #[error("cannot listen on {address} for the mesh: {reason}. Is another nigh running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// libp2p's words.
        reason: String,
    },
    /// libp2p could not be set up.
    #[error("cannot set up the mesh's transport: {0}")]
    Transport(String),
    /// The thread that the mesh runs in could not be made.
    #[error("cannot start a thread for the mesh: is the limit of processes or of memory reached?")]
    Thread(#[source] std::io::Error),
    /// The mesh task has ended.
    #[error("the mesh has stopped")]
    Stopped,
}

enum Command {
    Publish { table: Table, slot: Slot, body: Vec<u8> },
    Submit { pages: Vec<Page>, answer: oneshot::Sender<Vec<Result<Accepted, Refused>>> },
    Leave { done: oneshot::Sender<()> },
    Die,
}

/// A handle to the running mesh. Cheap to clone; the mesh ends when [`Mesh::leave`] is called or all handles are gone.
#[derive(Clone)]
pub struct Mesh {
    id: NodeId,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<MeshView>>,
}

impl Mesh {
    /// Reads what is remembered, binds the ports and starts the task.
    ///
    /// # Errors
    /// [`MeshError`] before anything runs.
    pub async fn start(config: MeshConfig) -> Result<Self, MeshError> {
        let id = NodeId::from(config.signing.verifying_key());
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (publish, view) = watch::channel(Arc::new(MeshView::empty(id)));
        let (begun, began) = oneshot::channel();
        std::thread::Builder::new()
            .name("nigh-mesh".to_owned())
            .spawn(move || thread(config, inbox, publish, begun))
            .map_err(MeshError::Thread)?;
        began.await.map_err(|_| MeshError::Stopped)??;
        Ok(Self { id, commands, view })
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What is known, newest last; changes are gathered for a few milliseconds.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<MeshView>> {
        self.view.clone()
    }

    /// Writes one of this node's own pages. Unchanged content costs nothing; an empty body withdraws the page.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn publish(&self, table: Table, slot: Slot, body: Vec<u8>) -> Result<(), MeshError> {
        self.send(Command::Publish { table, slot, body }).await
    }

    /// Takes in pages that an operator signed; says for each what became of it.
    ///
    /// # Errors
    /// [`MeshError::Stopped`].
    pub async fn submit(&self, pages: Vec<Page>) -> Result<Vec<Result<Accepted, Refused>>, MeshError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Submit { pages, answer }).await?;
        answered.await.map_err(|_| MeshError::Stopped)
    }

    /// Says goodbye, gives it a moment to reach the neighbours, writes the files and ends the task.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        if self.send(Command::Leave { done }).await.is_ok() {
            let _ = left.await;
        }
    }

    /// Ends the task on the spot, as SIGKILL would: nothing is said to anybody, nothing is saved. For tests.
    #[doc(hidden)]
    pub async fn die(&self) {
        if self.send(Command::Die).await.is_ok() {
            self.commands.closed().await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), MeshError> {
        self.commands.send(command).await.map_err(|_| MeshError::Stopped)
    }
}

/// The mesh's own thread, with all its tasks.
fn thread(
    config: MeshConfig,
    commands: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<MeshView>>,
    begun: oneshot::Sender<Result<(), MeshError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = begun.send(Err(MeshError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        match task::Task::new(config, commands, view).await {
            Ok(task) => {
                if begun.send(Ok(())).is_ok() {
                    task.run().await;
                }
            }
            Err(error) => drop(begun.send(Err(error))),
        }
    });
}
