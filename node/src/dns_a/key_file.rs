//! The secret of a TSIG key, as a file that nobody else may read.
//!
//! Two forms are read: the secret in base64 alone, and what BIND's `tsig-keygen` and Knot's `keymgr -t` print, so that one
//! file can serve both sides.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::tsig::Key;
use crate::config::dns_a::TsigConfig;
use crate::identity;

/// A key file is a few lines.
const MAX_FILE: u64 = 4096;
/// The shortest secret: RFC 8945 section 8 wants at least as much as the digest, and half of SHA-256's is the least that
/// makes sense.
const MIN_SECRET: usize = 16;

/// Why there is no secret; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("{0}: cannot be read: {1}")]
    Io(PathBuf, io::Error),
    /// Others than the owner may use the file.
    #[error("{0}: mode {1:04o} lets others use this key; if nobody has, run: chmod 600 {0}")]
    Loose(PathBuf, u32),
    /// No secret in it.
    #[error("{0}: no secret of at least {MIN_SECRET} octets in base64; tsig-keygen makes one")]
    Damaged(PathBuf),
}

/// Reads the key.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(config: &TsigConfig) -> Result<Key, KeyFileError> {
    let path = &config.secret;
    let secret = secret(&text(path)?).ok_or_else(|| KeyFileError::Damaged(path.clone()))?;
    Ok(Key::new(config.name.clone(), config.algorithm, &secret))
}

fn text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let io = |error| KeyFileError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.mode() & identity::forbidden(path) != 0 {
        return Err(KeyFileError::Loose(path.to_owned(), metadata.mode() & 0o7777));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

fn secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let word = match text.split_once("secret") {
        // secret "…"; or secret: …
        Some((_, rest)) => rest.trim_start_matches([':', ' ', '\t', '"']).split(['"', ';', '\n', ' ']).next()?,
        None => text.trim(),
    };
    let secret = Zeroizing::new(BASE64.decode(word.trim().as_bytes()).ok()?);
    (secret.len() >= MIN_SECRET).then_some(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::catalogue::name::host;
    use crate::dns_a::tsig::Algorithm;

    const WORD: &str = "c2l4dGVlbiBvY3RldHMhc2l4dGVlbiBvY3RldHMh";

    #[test]
    fn a_secret_is_found_alone_and_in_the_files_of_bind_and_knot() {
        let bind = format!("key \"mesh-key\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{WORD}\";\n}};\n");
        let knot = format!("# hmac-sha256:k:{WORD}\nkey:\n  - id: k\n    algorithm: hmac-sha256\n    secret: {WORD}\n");
        for text in [format!("{WORD}\n"), bind, knot] {
            assert_eq!(secret(&text).unwrap().as_slice(), b"sixteen octets!sixteen octets!", "{text}");
        }
        for text in ["", "c2hvcnQ=", "no base64 at all!", "secret \"\";"] {
            assert!(secret(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, WORD).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = TsigConfig { name: host("k").unwrap(), algorithm: Algorithm::Sha256, secret: path.clone() };
        mode(0o640);
        assert!(matches!(read(&config), Err(KeyFileError::Loose(_, 0o100640) | KeyFileError::Loose(_, 0o640))));
        mode(0o600);
        assert!(read(&config).is_ok());
    }
}
