//! `nigh init`: a root key, and with it a new mesh.

use std::path::PathBuf;

use super::output;
use crate::identity::{self, KeyError, Kind};

/// The arguments of `nigh init`.
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// Where to put the key; never overwritten
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print the mesh id as JSON
    #[arg(long)]
    json: bool,
}

/// There is a key already, and whose.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Taken(String);

impl Init {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = match identity::create(&self.key, Kind::Operator) {
            Err(exists @ KeyError::Exists(_)) => {
                // Most who come here a second time want to know the id.
                return Err(match identity::load(&self.key, Kind::Operator) {
                    Ok(key) => Taken(format!("{exists}\nits mesh id is {}", identity::public(&key))).into(),
                    Err(_) => exists.into(),
                });
            }
            made => made?,
        };
        let id = identity::public(&key);
        let file = self.key.display();
        if self.json {
            return output::print_json(&serde_json::json!({ "mesh_id": id, "key": self.key }));
        }
        let text = format!(
            "operator key written to {file}: keep a copy, and keep it away from the nodes.\n\
             It is the root of the mesh: whoever has it rules the mesh, and it can never be replaced.\n\
             mesh id: {id}\n\
             \n\
             Put this into the configuration of every node:\n\
             \n\
             [mesh]\n\
             id = \"{id}\"\n\
             \n\
             Then admit each node, by the id that it prints: nigh id nigh.toml\n\
             nigh admit NODE_ID --name NAME --key {file} --out certificate\n\
             \n\
             Once a node runs, let another key do the daily work, and put this one away:\n\
             nigh operator rotate --key {file} --from {file} --to daily.key"
        );
        Ok(output::print(&text)?)
    }
}
