//! `nigh id`: the node's public key, which its admission needs, before the node has run.

use std::path::PathBuf;

use super::{output, read_config};
use crate::identity;

/// The arguments of `nigh id`.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Id {
    /// The node's configuration
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The node's configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's state directory, in place of a configuration
    #[arg(long, value_name = "PATH")]
    state_dir: Option<PathBuf>,
}

impl Id {
    /// Prints the id alone, for scripts. Makes the key if there is none: it is the first start's work, done early.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let state_dir = match (self.state_dir, self.file.or(self.config)) {
            (Some(state_dir), _) => state_dir,
            (None, file) => read_config(&file.unwrap_or_default())?.node.state_dir,
        };
        Ok(output::print(&identity::node_id(&state_dir)?.to_string())?)
    }
}
