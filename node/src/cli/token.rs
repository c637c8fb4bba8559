//! `nigh token`: lets somebody use the admin API over TCP.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::{WrongInput, output};
use crate::admin::{Role, make_token};

/// The arguments of `nigh token`.
#[derive(Debug, clap::Args)]
pub(super) struct Token {
    /// Whose it is: a word that the audit log names them by
    name: String,
    /// What it allows: read, or write (edits, drain, and all that reads)
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Where to put the token, mode 0600; never overwritten [default: NAME.token]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the line as JSON
    #[arg(long)]
    json: bool,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (token, line) = make_token(&self.name, self.role).map_err(WrongInput)?;
        let path = self.out.unwrap_or_else(|| PathBuf::from(format!("{}.token", self.name)));
        write(&path, &token).with_context(|| format!("cannot write the token to {}", path.display()))?;
        if self.json {
            return output::print_json(&json!({ "line": line, "file": path }));
        }
        let file = path.display();
        Ok(output::print(&format!(
            "token written to {file}: who has it may {} as {}. It is nowhere else.\n\
             \n\
             Add this line to the file that admin.tokens names on each node that shall take it:\n\
             \n\
             {line}\n\
             \n\
             Then: nigh status --url https://NODE:8053 --token-file {file}\n\
             (http:// where the node listens on loopback without TLS)",
            self.role.as_str(),
            self.name
        ))?)
    }
}

fn write(path: &Path, token: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()
}
