//! Which pages a node takes from an operator: records of the catalogue, certificates, revocations, appointments.
//!
//! The check is made once, where an edit enters the mesh; pages that come from peers are checked for their signature
//! and merged. A bound that depends on a node's clock must not decide what a replica holds.

use nigh_gossip::{NodeId, Owner, Page, Table, admission};

use super::TABLE;
use super::hlc::{self, TooFarAhead};
use super::operators::Operators;
use super::record::{Record, Unreadable};
use crate::config::Label;

/// Pages in one request: a request stays small, and a large file is sent as several.
pub const MAX_SUBMIT: usize = 1000;

/// Why pages are not taken. None of a request is, if one is not.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// Signed by a key that may not.
    #[error(
        "signed by {signer}, a key that mesh {mesh} has not appointed for this; `nigh operator list` has those that it has"
    )]
    Signer {
        /// Who signed.
        signer: NodeId,
        /// The mesh's root.
        mesh: NodeId,
    },
    /// An appointment by another key than the root's.
    #[error("signed by {signer}, but only the root key of mesh {mesh} appoints and dismisses; sign with that one")]
    NotRoot {
        /// Who signed.
        signer: NodeId,
        /// The mesh's root.
        mesh: NodeId,
    },
    /// Another table's page, or another owner's.
    #[error("a page that is no edit of an operator; only `nigh apply`, `nigh admit` and their like submit here")]
    NotAnEdit,
    /// Not readable here, so it would not be answered from here.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A certificate, a revocation or an appointment that every node would pass over.
    #[error("a certificate, revocation or appointment that does not read; is another version of nigh in use?")]
    NoAdmission,
    /// A name that no zone can have.
    #[error("a certificate for {0:?}, which is no node name: {1}")]
    Name(String, String),
    /// From the future.
    #[error("{0}: {1}")]
    Ahead(String, TooFarAhead),
    /// More than [`MAX_SUBMIT`].
    #[error("{0} records in one request, where at most {MAX_SUBMIT} are allowed; send them in parts")]
    TooMany(usize),
}

/// Checks pages that an operator submits to this node.
///
/// # Errors
/// The first reason not to take them.
pub fn admit(pages: &[Page], operators: &Operators, now_millis: u64) -> Result<(), NotAdmitted> {
    if pages.len() > MAX_SUBMIT {
        return Err(NotAdmitted::TooMany(pages.len()));
    }
    for page in pages {
        if page.key().owner != Owner::Operators {
            return Err(NotAdmitted::NotAnEdit);
        }
        let (signer, mesh, table) = (page.signer(), operators.root, page.key().table);
        if table == Table::OPERATOR && signer != mesh {
            return Err(NotAdmitted::NotRoot { signer, mesh });
        }
        if !operators.may_sign(signer, table) {
            return Err(NotAdmitted::Signer { signer, mesh });
        }
        let subject = subject(page)?;
        hlc::bound(page.stamp().into(), now_millis).map_err(|ahead| NotAdmitted::Ahead(subject, ahead))?;
    }
    Ok(())
}

/// What the page is about, if it makes sense.
fn subject(page: &Page) -> Result<String, NotAdmitted> {
    match page.key().table {
        TABLE => Ok(Record::decode(page.key(), page.body())?.identity.to_string()),
        Table::ADMISSION => {
            let certificate = page.certificate().ok_or(NotAdmitted::NoAdmission)?;
            // In the one spelling that a profile can have, or the node would be admitted and never obeyed.
            match certificate.name.parse::<Label>() {
                Ok(label) if label.as_str() == certificate.name => Ok(format!("certificate of {label}")),
                Ok(label) => Err(NotAdmitted::Name(certificate.name.clone(), format!("{label} is meant"))),
                Err(problem) => Err(NotAdmitted::Name(certificate.name.clone(), problem.to_string())),
            }
        }
        Table::REVOCATION => match admission::read_revocation(page) {
            Some(node) => Ok(format!("revocation of {node}")),
            None => Err(NotAdmitted::NoAdmission),
        },
        Table::OPERATOR => match page.appointment() {
            Some(appointment) => Ok(format!("appointment of {}", appointment.name)),
            None => Err(NotAdmitted::NoAdmission),
        },
        _ => Err(NotAdmitted::NotAnEdit),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ed25519_dalek::SigningKey;
    use nigh_gossip::{Appointment, Certificate, Key, Rights, Slot};

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn certificate(name: &str) -> Certificate {
        let node = key(1).verifying_key().into();
        Certificate { node, name: name.into(), serial: 1, prefixes: Vec::new(), not_after: u64::MAX }
    }

    /// Root 9 has appointed 7 for all, 6 for the catalogue.
    fn operators() -> Operators {
        let [root, all, catalogue] = [9, 7, 6].map(|seed| key(seed).verifying_key().into());
        let appointed = [(all, Rights::ALL), (catalogue, Rights { catalogue: true, admissions: false })];
        Operators { root, appointed: appointed.into() }
    }

    fn refusal(page: Page) -> String {
        admit(&[page], &operators(), 1000).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn certificates_and_revocations_pass_if_the_operator_signed_them_and_they_make_sense() {
        let (operator, node) = (key(9), NodeId::from(key(1).verifying_key()));
        assert_eq!(refusal(certificate("fra").sign(&operator, 1000, 0)), "");
        assert_eq!(refusal(admission::revoke(&operator, node, 1000, 0)), "");
        assert!(refusal(certificate("fra").sign(&key(8), 1, 0)).starts_with("signed by "));
        assert!(refusal(admission::revoke(&key(8), node, 1, 0)).starts_with("signed by "));
        let late = 1000 + 700_000;
        assert!(
            refusal(certificate("fra").sign(&operator, late, 0)).starts_with("certificate of fra: stamped 11m 40s")
        );
        assert!(refusal(admission::revoke(&operator, node, late, 0)).starts_with("revocation of "));
        for name in ["", "fra.nyc", "ns-fra", "FRA"] {
            assert!(refusal(certificate(name).sign(&operator, 1, 0)).contains("which is no node name"), "{name}");
        }
        for table in [Table::ADMISSION, Table::REVOCATION, Table::OPERATOR] {
            let page = Page::sign(&operator, admission::key(table, node), 1, 0, b"?".to_vec());
            assert!(refusal(page).starts_with("a certificate, revocation or appointment that does not read"));
        }
        let other = Key { owner: Owner::Operators, table: Table(99), slot: Slot::page(0) };
        assert!(refusal(Page::sign(&operator, other, 1, 0, vec![])).starts_with("a page that is no edit"));
    }

    #[test]
    fn appointed_keys_are_taken_for_what_they_were_appointed_for_and_only_the_root_appoints() {
        let node = NodeId::from(key(1).verifying_key());
        assert_eq!(refusal(certificate("fra").sign(&key(7), 1000, 0)), "");
        assert_eq!(refusal(admission::revoke(&key(7), node, 1000, 0)), "");
        for by in [6, 8] {
            assert!(refusal(certificate("fra").sign(&key(by), 1000, 0)).contains("has not appointed for this"));
        }
        let appointment = Appointment { operator: node, name: "anna".into(), appointed: true, rights: Rights::ALL };
        assert_eq!(refusal(appointment.sign(&key(9), 1000, 0)), "");
        assert!(refusal(appointment.sign(&key(7), 1000, 0)).contains("only the root key of mesh"));
        assert!(refusal(appointment.sign(&key(9), 701_000, 0)).starts_with("appointment of anna: stamped "));
    }
}
