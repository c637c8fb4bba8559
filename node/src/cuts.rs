//! Which cuts this node has served: the memory behind "when in doubt, answer".
//!
//! Resolvers keep NS records for their TTL, and longer when they serve stale. A node that stood in a cut's NS set must
//! therefore go on answering for it after it has left the set, even over a restart: a lame answer makes some resolvers
//! avoid a server for 15 minutes. So the set is on disk **before** it is in the profile that others read.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use nigh_dns::{Label, NAMESERVER_TTL};
use serde::{Deserialize, Serialize};

/// How long a cut is answered for after this node left its NS set: the TTL, and as much again for resolvers that
/// serve stale records while they try.
pub const LINGER: Duration = Duration::from_secs(2 * NAMESERVER_TTL as u64);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Served {
    /// Unix seconds at which it was left; none while it is served.
    left: Option<u64>,
}

/// The cuts served now and until recently.
#[derive(Debug)]
pub struct Cuts {
    path: PathBuf,
    cuts: BTreeMap<Label, Served>,
}

impl Cuts {
    /// Reads what the last run served and takes this node's own cut in. `unix` is the wall clock: all that a restart
    /// leaves to count by.
    ///
    /// # Errors
    /// A file that cannot be read or written, with what to do.
    pub fn load(state_dir: &Path, own: &Label, unix: Duration) -> anyhow::Result<Self> {
        let path = state_dir.join("cuts.json");
        let cuts = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is damaged; if no resolver can hold old name server records any more, delete it",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut this = Self { path, cuts };
        this.forget(unix);
        this.serve(own.clone())?;
        Ok(this)
    }

    /// Serves a cut from now on; on disk when this returns.
    ///
    /// # Errors
    /// The file cannot be written; the cut is not served then.
    pub fn serve(&mut self, cut: Label) -> anyhow::Result<()> {
        if self.cuts.get(&cut).is_some_and(|served| served.left.is_none()) {
            return Ok(());
        }
        let before = self.cuts.insert(cut.clone(), Served { left: None });
        self.write().inspect_err(|_| {
            match before {
                Some(before) => self.cuts.insert(cut.clone(), before),
                None => self.cuts.remove(&cut),
            };
        })
    }

    /// Leaves a cut's NS set; it is answered for until [`LINGER`] has passed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn leave(&mut self, cut: &Label, unix: Duration) -> anyhow::Result<()> {
        if let Some(served) = self.cuts.get_mut(cut) {
            served.left.get_or_insert(unix.as_secs());
        }
        self.write()
    }

    /// The cuts to list in the profile.
    pub fn served(&self) -> impl Iterator<Item = &Label> {
        self.cuts.iter().filter(|(_, served)| served.left.is_none()).map(|(cut, _)| cut)
    }

    /// All cuts to answer for: those served, whether the profile that says so has come round or not, and those left.
    pub fn answered_for(&self, unix: Duration) -> impl Iterator<Item = &Label> {
        self.served().chain(self.lingering(unix))
    }

    /// The cuts no longer listed but still answered for.
    pub fn lingering(&self, unix: Duration) -> impl Iterator<Item = &Label> {
        self.cuts
            .iter()
            .filter(move |(_, served)| served.left.is_some_and(|left| !over(left, unix)))
            .map(|(cut, _)| cut)
    }

    fn forget(&mut self, unix: Duration) {
        self.cuts.retain(|_, served| !served.left.is_some_and(|left| over(left, unix)));
    }

    fn write(&self) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}: is the disk full?", self.path.display());
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(&self.cuts).with_context(failed)?;
        fs::write(&new, text).and_then(|()| fs::File::open(&new)?.sync_all()).with_context(failed)?;
        fs::rename(&new, &self.path).with_context(failed)?;
        // The rename itself must survive a power cut.
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::File::open(dir).and_then(|dir| dir.sync_all()).with_context(failed)
    }
}

/// A clock that was set back never makes us forget early.
fn over(left: u64, unix: Duration) -> bool {
    unix.as_secs().saturating_sub(left) > LINGER.as_secs()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn label(text: &str) -> Label {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    fn names<'a>(cuts: impl Iterator<Item = &'a Label>) -> Vec<&'a str> {
        cuts.map(Label::as_str).collect()
    }

    #[test]
    fn a_cut_is_answered_for_after_it_was_left_even_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut cuts = Cuts::load(dir.path(), &label("fra"), at(0)).unwrap();
        cuts.serve(label("nyc")).unwrap();
        drop(cuts);
        let mut cuts = Cuts::load(dir.path(), &label("fra"), at(1)).unwrap();
        assert_eq!(names(cuts.served()), ["fra", "nyc"]);
        cuts.leave(&label("nyc"), at(2)).unwrap();
        drop(cuts);
        let cuts = Cuts::load(dir.path(), &label("fra"), at(7000)).unwrap();
        assert_eq!((names(cuts.served()), names(cuts.lingering(at(7202)))), (vec!["fra"], vec!["nyc"]));
        assert_eq!(names(cuts.lingering(at(7203))), Vec::<&str>::new());
        let cuts = Cuts::load(dir.path(), &label("fra"), at(8000)).unwrap();
        assert_eq!(cuts.cuts.len(), 1, "forgotten");
    }

    #[test]
    fn what_cannot_be_written_is_not_served() {
        let dir = tempfile::tempdir().unwrap();
        let mut cuts = Cuts::load(dir.path(), &label("fra"), at(0)).unwrap();
        // A directory in the way of the new file fails for root too.
        fs::create_dir(dir.path().join("cuts.new")).unwrap();
        assert!(cuts.serve(label("nyc")).is_err());
        assert_eq!(names(cuts.served()), ["fra"]);
    }

    #[test]
    fn a_damaged_file_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cuts.json"), "{").unwrap();
        let error = Cuts::load(dir.path(), &label("fra"), at(0)).unwrap_err();
        assert!(error.to_string().contains("cuts.json is damaged"), "{error}");
    }
}
