//! `nigh demo`: a whole mesh on loopback, and the story it tells.
//!
//! ```text
//!   ground   a block 127.X of its own, ports, a private folder
//!   world    who is where, and how far           fleet    five real `nigh run` processes and the operator's commands
//!   origins  HTTP servers that are far away      resolver what the ISPs run
//!   story    the acts, on `stage`                live     after the story, until Ctrl-C
//! ```
//!
//! For people it shows in half a minute what the mesh does; for a test (`--once`) it is an end-to-end run with nothing
//! but this binary. **Invariant:** every claim that is printed was checked in code (`checks`), and nothing that the
//! demo started survives it, however it ends (`fleet`).
//!
//! Linux only: elsewhere 127.0.0.0/8 is not all there, and nothing ends the nodes with the demo.

#[cfg(target_os = "linux")]
mod checks;
#[cfg(target_os = "linux")]
mod fleet;
#[cfg(target_os = "linux")]
mod ground;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod origins;
#[cfg(target_os = "linux")]
mod play;
#[cfg(target_os = "linux")]
mod resolver;
#[cfg(target_os = "linux")]
mod screen;
#[cfg(target_os = "linux")]
mod services;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod story;
#[cfg(target_os = "linux")]
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

/// `nigh demo`
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Tell the story and end; exit code 0 only if every claim in it was found true
    #[arg(long)]
    pub once: bool,
    /// Leave configurations, state and logs in place at the end
    #[arg(long)]
    pub keep: bool,
    /// Used by the demo itself: become the node with this configuration, and end with the demo
    #[arg(long, hide = true, requires = "parent", value_name = "CONFIG")]
    pub become_node: Option<PathBuf>,
    /// Used by the demo itself: its pid
    #[arg(long, hide = true, value_name = "PID")]
    pub parent: Option<i32>,
}

/// Runs the demo to its end, or until Ctrl-C.
///
/// # Errors
/// Whatever kept the story from being told; the message says where the logs are.
#[cfg(target_os = "linux")]
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match (&args.become_node, args.parent) {
        (Some(config), Some(parent)) => Err(fleet::become_node(config, parent)),
        _ => play::play(&args),
    }
}

/// Says that it cannot.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "the demo runs on Linux only: it needs all of 127.0.0.0/8 on the loopback interface; try it in a container"
    )
}
