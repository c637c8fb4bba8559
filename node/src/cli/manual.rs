//! Manual pages and shell completions, made from the command line's own description, so that they cannot disagree.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use super::{Cli, output};

/// The arguments of `nigh completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "nigh", &mut script);
        Ok(output::print(String::from_utf8_lossy(&script).trim_end())?)
    }
}

/// The arguments of `nigh man`, which is for those who make packages.
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// Where to write nigh.1, nigh-run.1 and so on
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Manual {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let folder = self.folder.display().to_string();
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {folder}"))?;
        clap_mangen::generate_to(Cli::command(), &self.folder).with_context(|| format!("cannot write to {folder}"))
    }
}
