//! The certificate in the state directory, kept up to date from the mesh: the next start may come before the mesh is met.

use std::path::{Path, PathBuf};

use nigh_gossip::{MeshView, NodeId, Page, Table, admission, operator};

use super::{FILE, Handed, read, write};

/// The file, and what is known to be in it.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    mesh: NodeId,
    /// Nothing was compared yet, or this was.
    seen: Option<Page>,
}

impl Kept {
    /// That of a node of this mesh; looks at no file yet.
    pub fn new(state_dir: &Path, mesh: NodeId) -> Self {
        Self { path: state_dir.join(FILE), mesh, seen: None }
    }

    /// Writes what the mesh holds, if the file is older. A file that cannot be written is said and costs nothing now.
    pub fn keep(&mut self, view: &MeshView) {
        let Some(page) = view.pages.get(&admission::key(Table::ADMISSION, view.me)) else { return };
        if !view.is_admitted() || self.seen.as_ref() == Some(page) {
            return;
        }
        let by_root = page.signer() == self.mesh;
        let appointment = view.pages.get(&operator::key(page.signer())).filter(|_| !by_root).cloned();
        // A file that is newer may be somebody's gift for the next start; but what a key signed that was dismissed since
        // is none, however it is dated.
        let newer = |file: &Handed| {
            let signer = file.certificate.signer();
            let may = signer == self.mesh || view.operators.get(&signer).is_some_and(|may| may.admissions);
            may && file.certificate.stamp() >= page.stamp()
        };
        if !read(&self.path).is_ok_and(|file| newer(&file))
            && let Err(error) = write(&self.path, &Handed { certificate: page.clone(), appointment })
        {
            tracing::warn!("{:#}; the node asks the mesh for it when it starts again", anyhow::Error::new(error));
        }
        self.seen = Some(page.clone());
    }
}
