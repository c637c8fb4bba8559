//! Reading the files that commands are given.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::Context;

use super::{NoFile, WrongFile};
use crate::config::ConfigErrors;

/// The largest file read: ten times a catalogue of 10,000 services with 10 servers each; `/dev/zero` is larger.
const MAX_FILE: u64 = 128 << 20;

/// The largest zone file read: a thousand octets for each RRset of a catalogue that is full.
const MAX_ZONE_FILE: u64 = 10 << 20;

/// What to begin with.
const EXAMPLES: &str = "to make one, copy nigh.example.toml for a node or services.example.toml for a catalogue (in deploy/ \
                        of the source, in /usr/share/doc/nigh/examples of the package)";

/// Reads the text of a file that `toml` names, relative to where that is.
pub(super) fn beside(toml: &Path, path: &str) -> Result<String, String> {
    let path = toml.parent().unwrap_or(Path::new("")).join(path);
    let file = File::open(&path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(MAX_ZONE_FILE + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if bytes.len() as u64 > MAX_ZONE_FILE {
        return Err(format!("{} is larger than {} MiB", path.display(), MAX_ZONE_FILE >> 20));
    }
    String::from_utf8(bytes)
        .map_err(|e| format!("{} is not UTF-8 at byte {}", path.display(), e.utf8_error().valid_up_to()))
}

/// Reads a file with `parse`; its mistakes come with the file's name before each.
pub(super) fn read<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, ConfigErrors>) -> anyhow::Result<T> {
    let name = path.display().to_string();
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(NoFile(format!("{name}: no such file; {EXAMPLES}")).into());
        }
        opened => opened.with_context(|| format!("cannot open {name}"))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(WrongFile(format!("{name}: larger than {} MiB", MAX_FILE >> 20)).into());
    }
    let text = String::from_utf8(bytes)
        .map_err(|e| WrongFile(format!("{name}: not UTF-8 at byte {}; TOML is", e.utf8_error().valid_up_to())))?;
    parse(&text).map_err(|errors| {
        let count = errors.count();
        let mistakes = if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") };
        WrongFile(format!("{mistakes} in {name}\n{}", errors.in_file(&name))).into()
    })
}
