//! The root's word about a key, kept beside it: so a certificate can be issued where no node is in reach.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nigh_gossip::{NodeId, Page, operator};

use crate::certificate::{appointment_from_line, appointment_line};

/// Where it is: `anna.key.appointment` for `anna.key`.
pub(super) fn beside(key: &Path) -> PathBuf {
    let mut name = OsString::from(key);
    name.push(".appointment");
    name.into()
}

/// Writes it, in place of an older one.
pub(super) fn keep(key: &Path, page: &Page) -> anyhow::Result<PathBuf> {
    let path = beside(key);
    fs::write(&path, appointment_line(page)).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The newest appointment of this key, as a node told it or as it lies beside the key; nothing for a root's.
pub(in crate::cli) fn find(operator: NodeId, key: &Path, told: &[Page]) -> anyhow::Result<Option<Page>> {
    let path = beside(key);
    let kept = match fs::read_to_string(&path) {
        Ok(text) => match appointment_from_line(&text).filter(|page| page.key() == operator::key(operator)) {
            Some(page) => Some(page),
            None => bail!(
                "{}: not the appointment of the key in {}; delete it, or have it written anew: nigh operator appoint",
                path.display(),
                key.display()
            ),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let told = told.iter().filter(|page| page.key() == operator::key(operator)).cloned();
    Ok(told.chain(kept).max_by_key(Page::stamp))
}
