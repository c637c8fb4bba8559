//! Tokens: who may come over TCP, and to do what.
//!
//! ```text
//!   # role  name      SHA-256 of the token
//!   read    grafana   7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069
//! ```
//!
//! The file has no secret: a token is 256 random bits, and nobody finds those from their hash. Slow hashes are for
//! passwords, which people choose; here one would only make each request slow.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::access::AccessError;

/// Tokens in a file: more than an operator gives out, few enough to compare one with all of them.
pub const MAX_TOKENS: usize = 1000;
/// The largest file: as many tokens, each with a line of comment.
const MAX_FILE: u64 = 256 << 10;
/// The longest name.
const MAX_NAME: usize = 64;
/// The bits of a mode that let others read the file, or write it: the group may read, as a service's does.
const OTHERS: u32 = 0o027;
/// What a token begins with, so that one is known where it does not belong.
const PREFIX: &str = "nigh_";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask.
    Read,
    /// Ask and edit.
    Write,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            _ => Err("\"read\" or \"write\" is expected".into()),
        }
    }
}

/// Whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) role: Role,
    hash: [u8; 32],
}

/// All tokens of a node.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Holder>);

impl Tokens {
    /// Reads the file.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, AccessError> {
        let path = paths.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        let text = guarded(path, MAX_FILE)?;
        let text =
            std::str::from_utf8(&text).map_err(|_| AccessError::Tokens(format!("{}: not UTF-8", path.display())))?;
        Self::parse(text).map_err(|faults| {
            let lines = faults.iter().map(|(line, fault)| format!("{}:{line}: {fault}", path.display()));
            AccessError::Tokens(lines.collect::<Vec<_>>().join("\n"))
        })
    }

    /// Every mistake, with the number of its line.
    fn parse(text: &str) -> Result<Self, Vec<(usize, String)>> {
        let (mut holders, mut faults): (Vec<Holder>, Vec<_>) = (Vec::new(), Vec::new());
        for (at, line) in (1..).zip(text.lines()) {
            let words = line.split('#').next().unwrap_or_default();
            if words.trim().is_empty() {
                continue;
            }
            match holder(words) {
                Ok(new) if holders.iter().any(|old| old.name == new.name) => {
                    faults.push((at, format!("{} has a token already; every token has a name of its own", new.name)));
                }
                Ok(new) if holders.iter().any(|old| old.hash == new.hash) => {
                    faults.push((at, "this token is listed before, under another name".into()));
                }
                Ok(new) => holders.push(new),
                Err(fault) => faults.push((at, fault)),
            }
            if holders.len() > MAX_TOKENS {
                faults.push((at, format!("more than {MAX_TOKENS} tokens")));
                break;
            }
        }
        if faults.is_empty() { Ok(Self(holders)) } else { Err(faults) }
    }

    /// Whose token this is. Takes as long for a wrong one as for a right one.
    pub(super) fn holder(&self, token: &[u8]) -> Option<&Holder> {
        let hash = digest(&SHA256, token);
        let mut found = None;
        for holder in &self.0 {
            if bool::from(holder.hash.ct_eq(hash.as_ref())) {
                found = Some(holder);
            }
        }
        found
    }
}

fn holder(line: &str) -> Result<Holder, String> {
    let mut words = line.split_whitespace();
    let (Some(role), Some(name), Some(hash), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("role, name and SHA-256 are expected, as printed by `nigh token`".into());
    };
    let role = role.parse().map_err(|problem| format!("role {role:?}: {problem}"))?;
    self::name(name)?;
    let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
    let hash = hash.ok_or("the SHA-256 of the token is expected last: 64 characters 0-9 and a-f")?;
    Ok(Holder { name: name.into(), role, hash })
}

/// A name that stands in a line of the file, and of the audit log.
///
/// # Errors
/// What is allowed.
pub fn name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err(format!("name {name:?}: at most {MAX_NAME} of a-z, A-Z, 0-9 and ._@+- are expected"));
    }
    Ok(())
}

/// A new token, and its line for the file.
///
/// # Errors
/// The name is none, or the system has no randomness.
pub fn make(name: &str, role: Role) -> Result<(Zeroizing<String>, String), String> {
    self::name(name)?;
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut()).map_err(|e| format!("no randomness from the system: {e}"))?;
    let token = Zeroizing::new(format!("{PREFIX}{}", BASE32_NOPAD.encode(random.as_ref()).to_ascii_lowercase()));
    let hash = data_encoding::HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref());
    Ok((token, format!("{} {name} {hash}", role.as_str())))
}

/// Reads a file that others may not write, and only the group read.
pub(super) fn guarded(path: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, AccessError> {
    let io = |source| AccessError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.mode() & OTHERS != 0 {
        return Err(AccessError::Loose { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > most {
        return Err(AccessError::Tokens(format!("{}: larger than {} KiB", path.display(), most >> 10)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_that_was_made_is_known_and_no_other() {
        let (token, line) = make("grafana", Role::Read).unwrap();
        let (other, second) = make("ops@example.com", Role::Write).unwrap();
        assert!(token.starts_with("nigh_") && token.len() == 57 && *token != *other);
        let tokens = Tokens::parse(&format!("# who\n\n{line} # since May\n  {second}\n")).unwrap();
        let known = |token: &str| tokens.holder(token.as_bytes()).map(|holder| (holder.name.as_str(), holder.role));
        assert_eq!(known(&token), Some(("grafana", Role::Read)));
        assert_eq!(known(&other), Some(("ops@example.com", Role::Write)));
        for wrong in ["", "nigh_", line.split(' ').next_back().unwrap(), &token[1..]] {
            assert_eq!(known(wrong), None, "{wrong}");
        }
        assert!(make("two words", Role::Read).is_err() && make("", Role::Read).is_err());
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let hash = "7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069";
        let text = format!(
            "read a {hash}\nadmin b {hash}\nread c\nread a/b {hash}\nread d {}\nread a 00{}\nwrite e {hash}\n",
            &hash[1..],
            &hash[2..]
        );
        let faults = Tokens::parse(&text).unwrap_err();
        let lines: Vec<usize> = faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7], "{faults:?}");
        assert_eq!(faults[0].1, "role \"admin\": \"read\" or \"write\" is expected");
        assert!(Tokens::parse("").unwrap().0.is_empty());
    }

    #[test]
    fn a_file_that_others_may_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, "").unwrap();
        for (mode, good) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Tokens::read(std::slice::from_ref(&path)).is_ok(), good, "{mode:o}");
        }
        let gone = Tokens::read(&[folder.path().join("none")]).unwrap_err();
        assert!(matches!(gone, AccessError::Io { .. }));
    }
}
