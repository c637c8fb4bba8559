//! What a bed stands on, and what is never left behind: runs, namespaces, processes.
//!
//! A [`Run`] owns a directory and a prefix for its network namespaces; [`Daemon`]s die with it. All three clean up when
//! dropped, so also when a test panics or Ctrl-C unwinds the scenario. When the harness itself is killed, the kernel
//! kills the daemons ([`crate::sys::tie_to_parent`]) and the next run clears the namespaces of dead runs ([`runs`]).

pub mod cores;
pub mod netns;
pub mod own_root;
pub mod process;
pub mod ram;
pub mod runs;
pub mod wait;

pub use netns::Namespace;
pub use process::Daemon;
pub use runs::Run;
