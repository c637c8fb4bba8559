//! Exit codes, so that a script and a service manager tell what kind of trouble it is: those of sysexits.h where one fits.
//!
//! **Invariant:** the code follows from the error's type or kind, never from its words.

use std::io::ErrorKind;

use nigh_gossip::MeshError;

use super::{NoFile, WrongFile, WrongInput, init};
use crate::admin::{AccessError, BindError, ClientError, RefusalKind, RemoteError};
use crate::certificate::CertificateError;
use crate::identity::KeyError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Failed = 1,
    WrongInput = 2,
    Damaged = 65,
    Unreadable = 66,
    Unreachable = 69,
    Taken = 73,
    Disk = 74,
    NotAdmitted = 76,
    NotAllowed = 77,
    Configuration = 78,
}

/// What stands in `nigh --help` and in the manual.
pub(super) const HELP: &str = "\
Exit codes:
   0  done
   1  it could not be done, for a reason that is told
   2  wrong arguments, or something that they name
  65  a key, certificate or token is damaged, of another kind, or there are two
  66  a file is not there, or cannot be read
  69  no node listens on the admin socket or at the URL, or it does not answer
  73  a port, a socket, a file or a state directory is taken
  74  the disk is full, read-only or broken
  76  the certificate does not admit this node: ended, another node's, another mesh's
  77  not allowed: a file's owner or mode, a missing capability, an admin socket of others, a missing or wrong token
  78  a configuration or a catalogue is wrong; every mistake is told, with its line";

/// What kind of trouble an error is.
pub(super) fn of(error: &anyhow::Error) -> Exit {
    // Not only the chain: what was attached as context is found by its type here alone.
    if error.is::<WrongInput>() {
        return Exit::WrongInput;
    }
    if error.is::<WrongFile>() {
        return Exit::Configuration;
    }
    if error.is::<NoFile>() {
        return Exit::Unreadable;
    }
    if error.is::<init::Taken>() {
        return Exit::Taken;
    }
    for cause in error.chain() {
        let known = cause
            .downcast_ref()
            .and_then(of_key)
            .or_else(|| cause.downcast_ref().and_then(of_certificate))
            .or_else(|| cause.downcast_ref().and_then(of_client))
            .or_else(|| cause.downcast_ref().and_then(of_admin_socket))
            .or_else(|| cause.downcast_ref().and_then(of_access))
            .or_else(|| cause.downcast_ref().and_then(of_remote))
            .or_else(|| cause.downcast_ref().and_then(of_mesh))
            .or_else(|| cause.downcast_ref::<std::io::Error>().and_then(|error| of_system(error.kind())));
        if let Some(exit) = known {
            return exit;
        }
    }
    Exit::Failed
}

fn of_key(error: &KeyError) -> Option<Exit> {
    match error {
        KeyError::Loose { .. } | KeyError::Foreign { .. } => Some(Exit::NotAllowed),
        KeyError::NotAFile { .. } | KeyError::Damaged { .. } | KeyError::WrongKind { .. } | KeyError::Two { .. } => {
            Some(Exit::Damaged)
        }
        KeyError::Exists(_) => Some(Exit::Taken),
        KeyError::Missing { .. } => Some(Exit::Unreadable),
        KeyError::Io { .. } => None,
    }
}

fn of_certificate(error: &CertificateError) -> Option<Exit> {
    match error {
        CertificateError::Damaged(_) => Some(Exit::Damaged),
        CertificateError::Missing { .. } => Some(Exit::Unreadable),
        CertificateError::Io { .. } => None,
        _ => Some(Exit::NotAdmitted),
    }
}

fn of_client(error: &ClientError) -> Option<Exit> {
    match error {
        ClientError::NobodyListens(_) | ClientError::Unreachable { .. } | ClientError::Slow(_) => {
            Some(Exit::Unreachable)
        }
        ClientError::NotAllowed(_) => Some(Exit::NotAllowed),
        ClientError::Refused(refusal) if refusal.kind == RefusalKind::Unknown => Some(Exit::NotAllowed),
        // As a service or a node that a command looks for by itself: named, and known to nobody.
        ClientError::Refused(refusal) if refusal.kind == RefusalKind::NotFound => Some(Exit::WrongInput),
        ClientError::Refused(_) | ClientError::Untrusted { .. } | ClientError::Broken { .. } => Some(Exit::Failed),
    }
}

fn of_remote(error: &RemoteError) -> Option<Exit> {
    match error {
        RemoteError::Url { .. } => Some(Exit::WrongInput),
        RemoteError::Loose { .. } => Some(Exit::NotAllowed),
        RemoteError::Damaged { .. } => Some(Exit::Damaged),
        RemoteError::Io { .. } => None,
        RemoteError::Tls(_) => Some(Exit::Failed),
    }
}

fn of_admin_socket(error: &BindError) -> Option<Exit> {
    match error {
        BindError::InUse { .. } | BindError::NotASocket(_) => Some(Exit::Taken),
        BindError::Io { .. } => None,
    }
}

fn of_access(error: &AccessError) -> Option<Exit> {
    match error {
        AccessError::Loose { .. } => Some(Exit::NotAllowed),
        AccessError::Tokens(_) => Some(Exit::Configuration),
        AccessError::Certificate { .. } => Some(Exit::Damaged),
        AccessError::Missing { .. } => Some(Exit::Unreadable),
        AccessError::Io { .. } => None,
    }
}

fn of_mesh(error: &MeshError) -> Option<Exit> {
    match error {
        MeshError::Epoch { .. } => Some(Exit::Damaged),
        MeshError::InUse { .. } | MeshError::Listen { .. } => Some(Exit::Taken),
        MeshError::Replica { .. } => Some(Exit::Disk),
        _ => None,
    }
}

fn of_system(kind: ErrorKind) -> Option<Exit> {
    Some(match kind {
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory => Exit::Unreadable,
        ErrorKind::PermissionDenied => Exit::NotAllowed,
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::AlreadyExists => Exit::Taken,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => Exit::Disk,
        _ => return None,
    })
}
