//! Nothing panicked, and no secret stands in a log.

use super::Findings;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Words of a panic, as Rust's standard library writes them.
const PANIC: &str = "panicked at";
/// Shorter words of a key file are its labels, not its secret.
const SECRET_MIN: usize = 32;

/// The words of a key file that are secret.
pub fn secrets(key_file: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(key_file).with_context(|| format!("reading {}", key_file.display()))?;
    Ok(text.split_whitespace().filter(|word| word.len() >= SECRET_MIN).map(str::to_owned).collect())
}

/// Looks through all logs.
pub fn verdict<'a>(logs: impl IntoIterator<Item = &'a Path>, secrets: &[String]) -> Result<String> {
    let mut findings = Findings::default();
    let (mut files, mut lines) = (0, 0);
    for log in logs {
        let text =
            String::from_utf8_lossy(&fs::read(log).with_context(|| format!("reading {}", log.display()))?).into_owned();
        files += 1;
        for (number, line) in text.lines().enumerate() {
            lines += 1;
            if line.contains(PANIC) {
                findings.add(format!("{}:{}: {line}", log.display(), number + 1));
            }
            if secrets.iter().any(|secret| line.contains(secret.as_str())) {
                findings.add(format!("{}:{}: a secret key", log.display(), number + 1));
            }
        }
    }
    findings.verdict(format!("{lines} lines of {files} logs, {} secrets looked for", secrets.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{secrets, verdict};
    use std::fs;

    #[test]
    fn panics_and_secrets_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let (key, log) = (folder.path().join("key"), folder.path().join("log"));
        fs::write(&key, "nigh-node-key ed25519:abcdefghijklmnopqrstuvwxyz234567abcdefgh\n").unwrap();
        let secrets = secrets(&key).unwrap();
        assert_eq!(secrets.len(), 1);
        fs::write(&log, "INFO all is well\n").unwrap();
        assert!(verdict([log.as_path()], &secrets).is_ok());
        fs::write(&log, "thread 'main' panicked at src/x.rs:1:1\n").unwrap();
        assert!(verdict([log.as_path()], &secrets).is_err());
        fs::write(&log, format!("DEBUG key {}\n", secrets[0])).unwrap();
        assert!(verdict([log.as_path()], &secrets).is_err());
    }
}
