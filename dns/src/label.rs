//! A node's name as one DNS label.
//!
//! The name of a node is the name of its cut (`fra` -> `fra.lb.example.com`) and, behind a prefix, of its name server
//! (`ns-fra`). Both uses bound what a name may be: letters, digits and hyphens (RFC 1123 section 2.1), short enough to
//! carry the prefix within the 63 octets of a label (RFC 1035 section 2.3.4), and not itself beginning with the prefix,
//! or the cut of one node would lie on the name server of another.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What stands before a node's name in the name of its name server.
pub(crate) const NAMESERVER_PREFIX: &str = "ns-";

/// The longest node name: a label has 63 octets, three of which the name server's prefix takes.
pub const LONGEST_LABEL: usize = 63 - NAMESERVER_PREFIX.len();

/// A node's name: one DNS label in lower case, made of letters, digits and hyphens.
#[derive(Clone, Debug, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Arc<str>);

/// Why a text is not a node name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Nothing at all.
    #[error("a node name needs at least one letter or digit")]
    Empty,
    /// Longer than [`LONGEST_LABEL`].
    #[error("a node name has at most {LONGEST_LABEL} characters, this one has {0}")]
    TooLong(usize),
    /// A character that may not stand in a host name.
    #[error("a node name is made of letters, digits and hyphens; {0:?} is none of them")]
    Character(char),
    /// A hyphen first or last.
    #[error("a node name begins and ends with a letter or a digit")]
    Hyphen,
    /// The prefix of the name servers' names.
    #[error("node names do not begin with {NAMESERVER_PREFIX:?}: the mesh names its own name servers that way")]
    Reserved,
}

impl Label {
    /// The name as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of this node's name server, still without a zone: `ns-fra`.
    pub fn nameserver(&self) -> String {
        format!("{NAMESERVER_PREFIX}{self}")
    }
}

/// Copies of one label are told to be equal without looking at what they say: that is elsewhere in memory, and every
/// answer compares labels.
impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let text = text.to_ascii_lowercase();
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(LabelError::Character(odd));
        }
        if text.len() > LONGEST_LABEL {
            return Err(LabelError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(LabelError::Hyphen);
        }
        if text.starts_with(NAMESERVER_PREFIX) {
            return Err(LabelError::Reserved);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.0.as_ref().to_owned()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Label, LabelError};

    #[test]
    fn a_label_is_lowered_and_checked() {
        assert_eq!("FRA-1".parse::<Label>().unwrap().as_str(), "fra-1");
        let longest = "a".repeat(60);
        assert_eq!(longest.parse::<Label>().unwrap().nameserver().len(), 63);
        let cases = [
            ("", LabelError::Empty),
            ("fra.nyc", LabelError::Character('.')),
            ("frä", LabelError::Character('ä')),
            ("-fra", LabelError::Hyphen),
            ("fra-", LabelError::Hyphen),
            ("ns-fra", LabelError::Reserved),
            (&"a".repeat(61), LabelError::TooLong(61)),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Label>(), Err(error), "{text:?}");
        }
    }
}
