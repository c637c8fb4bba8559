//! A certificate as a file: how a node is handed its admission before it has met anybody.
//!
//! One line, `nigh-certificate-1:` and the signed page in base64. If a key signed it that the mesh's root appointed, a
//! second one follows, `nigh-appointment-1:` and the root's page about that key: so the file leads back to `mesh.id`, and
//! a node whose disk is empty can check it, and show it. Neither is a secret: every member holds both.
//!
//! A node reads the file its configuration names and the one in its state directory, and begins with the newer. It
//! keeps the latter up to date from the mesh, so one that was renewed there is not refused, a year later, for a file
//! that somebody put beside its configuration when it was young.
//!
//! **Invariant:** a file that is there and cannot be right keeps the node from starting: better at once, with the
//! reason, than a node that runs and that nobody talks to.

mod kept;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use nigh_gossip::{Certificate, NodeId, Page, Table};

use crate::config::Label;
use crate::membership::{self, State};

pub use kept::Kept;

/// The certificate's name within the state directory.
pub const FILE: &str = "certificate";
const TAG: &str = "nigh-certificate-1:";
const APPOINTMENT_TAG: &str = "nigh-appointment-1:";
/// A certificate of as many prefixes as there may be takes 8 KiB.
const MAX_FILE: u64 = 64 << 10;

/// Why a file gives no certificate; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The system refused.
    #[error("{path}: cannot {action}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing where the configuration says that it is.
    #[error(
        "{path}: no such file, but mesh.certificate names it; write it where the operator's key is, and put it here: \
         {command} --out certificate; or take mesh.certificate away, and the node runs and waits to be admitted"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What issues it.
        command: String,
    },
    /// Something else, or cut short.
    #[error(
        "{0}: no certificate, or a damaged one; write it anew: nigh admit NODE_ID --name NAME --key operator.key --out FILE"
    )]
    Damaged(PathBuf),
    /// Another node's.
    #[error(
        "{path}: the certificate of node {found}, but this node's key is {me}; name the right file, or issue one: {command}"
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who we are.
        me: NodeId,
        /// What issues the right one.
        command: String,
    },
    /// Another mesh's, or by a key of which the file does not say who appointed it.
    #[error(
        "{path}: signed by {found}, but mesh.id is {mesh}, and no line of it shows that this one appointed that key; \
         name the right file, set mesh.id, or issue another with a key that may admit: {command}"
    )]
    OtherMesh {
        /// The file.
        path: PathBuf,
        /// Who signed it.
        found: NodeId,
        /// Whom we believe.
        mesh: NodeId,
        /// What issues another.
        command: String,
    },
    /// The appointment beside it does not lead to the mesh.
    #[error("{path}: signed by {signer}, {problem}; issue another with a key that may admit: {command}")]
    Chain {
        /// The file.
        path: PathBuf,
        /// Who signed it.
        signer: NodeId,
        /// What is wrong with its appointment.
        problem: String,
        /// What issues another.
        command: String,
    },
    /// The operator calls the node something else.
    #[error(
        "{path}: admits this node as {found}, but node.name is {name}; set node.name to {found}, or issue another: {command}"
    )]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The certificate's name.
        found: String,
        /// The configuration's.
        name: Label,
        /// What issues another.
        command: String,
    },
    /// Too old.
    #[error("{path}: ended on {at}, so no other node would talk to this one; renew it: {command}")]
    Ended {
        /// The file.
        path: PathBuf,
        /// When.
        at: String,
        /// What renews it.
        command: String,
    },
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// The certificate.
    pub certificate: Page,
    /// The appointment of the key that signed it, if that is not the root's.
    pub appointment: Option<Page>,
}

impl Handed {
    /// A certificate by the root, which needs no more.
    pub fn by_the_root(certificate: Page) -> Self {
        Self { certificate, appointment: None }
    }

    /// To which mesh it admits, going by what it says itself.
    pub fn mesh(&self) -> NodeId {
        self.appointment.as_ref().unwrap_or(&self.certificate).signer()
    }

    /// Whose key admitted the node, if that is the key of `mesh` or one that it appointed for this.
    fn check(&self, mesh: NodeId) -> Result<(), Option<String>> {
        let signer = self.certificate.signer();
        if signer == mesh {
            return Ok(());
        }
        let Some(page) = &self.appointment else { return Err(None) };
        let appointment = page.appointment().filter(|appointment| appointment.operator == signer);
        Err(Some(match appointment {
            _ if page.signer() != mesh => format!("which {} appointed, but mesh.id is {mesh}", page.signer()),
            None => "and the appointment beside it is another key's".to_owned(),
            Some(appointment) if !appointment.appointed => format!("a key that was dismissed ({})", appointment.name),
            Some(appointment) if !appointment.rights.allow(Table::ADMISSION) => {
                format!("a key that was not appointed to admit nodes ({})", appointment.name)
            }
            Some(_) => return Ok(()),
        }))
    }
}

/// Reads a certificate and checks its signatures; who signed it is for the caller to judge.
///
/// # Errors
/// [`CertificateError::Io`] or [`CertificateError::Damaged`].
pub fn read(path: &Path) -> Result<Handed, CertificateError> {
    let io = |action, source| CertificateError::Io { path: path.to_owned(), action, source };
    // O_NONBLOCK: a pipe put in the file's place must not hang the start.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|source| io("open the certificate", source))?;
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text).map_err(|source| io("read the certificate", source))?;
    decode(&text).ok_or_else(|| CertificateError::Damaged(path.to_owned()))
}

fn decode(text: &[u8]) -> Option<Handed> {
    let mut lines = std::str::from_utf8(text).ok()?.trim_end().lines();
    let certificate = from_line(lines.next()?, TAG).filter(|page| page.certificate().is_some())?;
    let appointment = match lines.next() {
        Some(line) => Some(appointment_from_line(line)?),
        None => None,
    };
    lines.next().is_none().then_some(Handed { certificate, appointment })
}

fn from_line(line: &str, tag: &str) -> Option<Page> {
    let encoded = line.trim_end().strip_prefix(tag)?;
    Page::from_bytes(&BASE64.decode(encoded.as_bytes()).ok()?).ok()
}

fn line(tag: &str, page: &Page) -> String {
    format!("{tag}{}\n", BASE64.encode(&page.to_bytes()))
}

/// The appointment on a line of its own, as it stands below a certificate and beside a key.
pub fn appointment_from_line(text: &str) -> Option<Page> {
    from_line(text, APPOINTMENT_TAG).filter(|page| page.appointment().is_some())
}

/// The line of an appointment.
pub fn appointment_line(page: &Page) -> String {
    line(APPOINTMENT_TAG, page)
}

/// Writes a certificate, in place of an older one if there is one; a crash leaves either whole.
///
/// # Errors
/// [`CertificateError::Io`].
pub fn write(path: &Path, handed: &Handed) -> Result<(), CertificateError> {
    let mut text = line(TAG, &handed.certificate);
    text.extend(handed.appointment.iter().map(appointment_line));
    let beside = path.with_extension("new");
    let attempt = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    attempt().map_err(|source| CertificateError::Io { path: path.to_owned(), action: "write the certificate", source })
}

/// Who starts, and what it says of itself.
#[derive(Debug)]
pub struct Starting<'a> {
    /// The file that the configuration names.
    pub configured: Option<&'a Path>,
    /// Where the node keeps its own copy.
    pub state_dir: &'a Path,
    /// Its key.
    pub me: NodeId,
    /// The mesh: its root key.
    pub mesh: NodeId,
    /// Its name.
    pub name: &'a Label,
    /// What it claims.
    pub claims: &'a [ipnet::IpNet],
}

impl Starting<'_> {
    /// The certificate to begin with, if there is one, at this Unix time.
    ///
    /// # Errors
    /// [`CertificateError`]: a file is there, and cannot be right.
    pub fn find(&self, unix: u64) -> Result<Option<Handed>, CertificateError> {
        let command = || membership::command(self.me, self.name.as_str(), self.claims);
        let kept = self.state_dir.join(FILE);
        let mut newest: Option<(Handed, Certificate, &Path)> = None;
        for path in self.configured.into_iter().chain(kept.exists().then_some(kept.as_path())) {
            let handed = read(path).map_err(|error| match error {
                CertificateError::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    CertificateError::Missing { path, command: command() }
                }
                other => other,
            })?;
            let Some(certificate) = handed.certificate.certificate().cloned() else { continue };
            let path_of = || path.to_owned();
            if let Err(problem) = handed.check(self.mesh) {
                let (found, command) = (handed.certificate.signer(), command());
                return Err(match problem {
                    None => CertificateError::OtherMesh { path: path_of(), found, mesh: self.mesh, command },
                    Some(problem) => CertificateError::Chain { path: path_of(), signer: found, problem, command },
                });
            }
            if certificate.node != self.me {
                let found = certificate.node;
                return Err(CertificateError::OtherNode { path: path_of(), found, me: self.me, command: command() });
            }
            let newer = |newest: &Handed| newest.certificate.stamp() < handed.certificate.stamp();
            if newest.as_ref().is_none_or(|(newest, ..)| newer(newest)) {
                newest = Some((handed, certificate, path));
            }
        }
        let Some((handed, certificate, path)) = newest else { return Ok(None) };
        let path = path.to_owned();
        if State::of(&certificate, unix) == State::Ended {
            let at = membership::moment(certificate.not_after);
            return Err(CertificateError::Ended { path, at, command: command() });
        }
        if certificate.name != self.name.as_str() {
            let (found, name) = (certificate.name, self.name.clone());
            return Err(CertificateError::OtherName { path, found, name, command: command() });
        }
        Ok(Some(handed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use nigh_gossip::{Appointment, Rights};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn page(operator: u8, node: u8, name: &str, not_after: u64, at: u64) -> Page {
        let node = key(node).verifying_key().into();
        Certificate { node, name: name.into(), serial: 1, prefixes: Vec::new(), not_after }.sign(&key(operator), at, 0)
    }

    /// What a node with key 1 of the mesh of key 9, named fra, finds at time 1000.
    fn find(configured: Option<&Page>, kept: Option<&Page>) -> Result<Option<Page>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fra.certificate");
        configured.inspect(|page| write(&file, &Handed::by_the_root((*page).clone())).unwrap());
        kept.inspect(|page| write(&folder.path().join(FILE), &Handed::by_the_root((*page).clone())).unwrap());
        let name = "fra".parse().unwrap();
        let starting = Starting {
            configured: configured.map(|_| file.as_path()),
            state_dir: folder.path(),
            me: key(1).verifying_key().into(),
            mesh: key(9).verifying_key().into(),
            name: &name,
            claims: &[],
        };
        let found = starting.find(1000).map_err(|error| error.to_string())?;
        Ok(found.map(|handed| handed.certificate))
    }

    #[test]
    fn the_newer_of_two_files_is_taken_and_only_it_must_hold() {
        assert_eq!(find(None, None), Ok(None));
        let (old, new) = (page(9, 1, "fra", 999, 1), page(9, 1, "fra", 1000, 2));
        assert_eq!(find(Some(&old), Some(&new)), Ok(Some(new.clone())));
        assert_eq!(find(Some(&new), Some(&old)), Ok(Some(new)));
        let ended = find(None, Some(&old)).unwrap_err();
        assert!(ended.contains("certificate: ended on 1970-01-01T00:16:39Z, "), "{ended}");
        assert!(
            ended.contains("; renew it: nigh admit ") && ended.ends_with(" --name fra --key operator.key"),
            "{ended}"
        );
    }

    #[test]
    fn what_is_not_this_nodes_is_refused_with_both_names() {
        let ids = [1, 2, 8, 9].map(|seed| NodeId::from(key(seed).verifying_key()));
        let other = find(Some(&page(9, 2, "fra", 2000, 1)), None).unwrap_err();
        let expected = format!("the certificate of node {}, but this node's key is {}; ", ids[1], ids[0]);
        assert!(other.contains(&expected), "{other}");
        let other = find(None, Some(&page(8, 1, "fra", 2000, 1))).unwrap_err();
        assert!(other.contains(&format!("signed by {}, but mesh.id is {}, and no line", ids[2], ids[3])), "{other}");
        let other = find(None, Some(&page(9, 1, "nyc", 2000, 1))).unwrap_err();
        assert!(other.contains("admits this node as nyc, but node.name is fra"), "{other}");
    }

    /// Key 8 admits; who appointed it, and for what?
    #[test]
    fn an_appointment_beside_it_leads_back_to_the_mesh_or_the_node_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let (name, ids) = ("fra".parse().unwrap(), [1, 7, 8, 9].map(|seed| NodeId::from(key(seed).verifying_key())));
        let starting =
            Starting { configured: None, state_dir: folder.path(), me: ids[0], mesh: ids[3], name: &name, claims: &[] };
        let certificate = page(8, 1, "fra", 2000, 1);
        let find = |root: u8, operator: NodeId, appointed: bool, rights: Rights| {
            let appointment = Appointment { operator, name: "berta".into(), appointed, rights }.sign(&key(root), 1, 0);
            let handed = Handed { certificate: certificate.clone(), appointment: Some(appointment) };
            write(&folder.path().join(FILE), &handed).unwrap();
            let found = starting.find(1000).map_err(|error| error.to_string())?;
            assert_eq!(found, Some(handed));
            Ok::<(), String>(())
        };
        assert_eq!(find(9, ids[2], true, Rights::ALL), Ok(()));
        let signed = format!("signed by {}, ", ids[2]);
        let refused = |found: Result<(), String>, why: &str| {
            let said = found.unwrap_err();
            assert!(said.contains(&format!("{signed}{why}; issue another ")), "{said}");
        };
        let other = format!("which {} appointed, but mesh.id is {}", ids[1], ids[3]);
        refused(find(7, ids[2], true, Rights::ALL), &other);
        refused(find(9, ids[1], true, Rights::ALL), "and the appointment beside it is another key's");
        refused(find(9, ids[2], false, Rights::ALL), "a key that was dismissed (berta)");
        let catalogue = Rights { catalogue: true, admissions: false };
        refused(find(9, ids[2], true, catalogue), "a key that was not appointed to admit nodes (berta)");
    }

    #[test]
    fn a_file_that_is_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let good = format!("{TAG}{}\n", BASE64.encode(&page(9, 1, "fra", 2000, 1).to_bytes()));
        let short = &good[..good.len() - 9];
        let other = nigh_gossip::admission::revoke(&key(9), key(1).verifying_key().into(), 1, 0);
        let other = format!("{TAG}{}", BASE64.encode(&other.to_bytes()));
        let twice = format!("{good}{good}");
        let more = format!("{good}{APPOINTMENT_TAG}AAAA");
        for text in ["", "\n", "nigh-node-key-1:abc", TAG, short, &other, &good.replace("-1:", "-2:"), &twice, &more] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(CertificateError::Damaged(_))), "{text}");
        }
        fs::write(&path, good).unwrap();
        assert!(read(&path).is_ok());
        assert!(matches!(read(&folder.path().join("none")), Err(CertificateError::Io { .. })));
    }
}
