//! What is done to a node's disk while the node is not there, or behind its back.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::path::Path;

/// The disk of a node whose disk will be full: a replica of this mesh has less than a tenth of it.
pub(super) const DISK_MIB: u32 = 24;
/// What fills it.
pub(super) const BALLAST: &str = "ballast";

/// Writes until the disk is full.
pub(super) fn fill(file: &Path) -> Result<()> {
    let failed = || format!("filling {}", file.display());
    let mut ballast = fs::File::create(file).with_context(failed)?;
    let block = [0x5a_u8; 4096];
    for _ in 0..DISK_MIB * 256 + 1 {
        match ballast.write_all(&block) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            written => written.with_context(failed)?,
        }
    }
    bail!("{} was not filled: it is no small disk", file.display())
}

pub(super) fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.exists() {
        fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Noise in the middle third of a file.
pub(super) fn corrupt(file: &Path) -> Result<()> {
    let mut bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let third = bytes.len() / 3;
    for (place, byte) in bytes.iter_mut().enumerate().skip(third).take(third) {
        *byte = byte.wrapping_mul(31).wrapping_add(u8::try_from(place % 251).unwrap_or_default());
    }
    fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
}
