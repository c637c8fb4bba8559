//! Files, packed or not. Unpacking is left to `gzip`, which is there wherever such files are: a crate for it would be
//! in every build for the sake of one command.

use std::process::Command;

/// A text file; `.gz` is unpacked.
pub fn read(path: &str) -> Result<String, String> {
    if !path.ends_with(".gz") {
        return std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    }
    let unpacked = Command::new("gzip").args(["-dc", "--", path]).output();
    let unpacked = unpacked.map_err(|error| format!("{path}: gzip: {error}; unpack the file and give that one"))?;
    if !unpacked.status.success() {
        return Err(format!("{path}: {}", String::from_utf8_lossy(&unpacked.stderr).trim()));
    }
    String::from_utf8(unpacked.stdout).map_err(|_| format!("{path}: not text"))
}
