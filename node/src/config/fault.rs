//! Mistakes in a file, and how they are shown: one line each, place first, as editors and `grep -n` write places.

use std::fmt;
use std::ops::Range;

/// The most mistakes that are shown. Nobody mends more in one go, and a file that is something else altogether has
/// millions.
const MAX_SHOWN: usize = 100;

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line and column, both from 1; a key that is missing with its whole section has none.
    pub place: Option<(usize, usize)>,
    /// The key, as in `claim[1].prefix`, counted from 0; empty for faulty syntax.
    pub path: String,
    /// The value as the file has it, shortened.
    pub value: Option<String>,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}: ")?;
        }
        match (self.path.as_str(), &self.value) {
            ("", _) => {}
            (path, None) => write!(f, "{path}: ")?,
            (path, Some(value)) => write!(f, "{path} = {value}: ")?,
        }
        f.write_str(&self.problem)
    }
}

/// All mistakes of one file, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    shown: Vec<Fault>,
    more: usize,
}

/// A mistake as it is found: its place is still a range of bytes.
pub(crate) struct Found {
    pub(crate) span: Option<Range<usize>>,
    pub(crate) path: String,
    pub(crate) value: Option<String>,
    pub(crate) problem: String,
}

impl Faults {
    /// Sorts what was found in `text` by place; mistakes of one place stay in the order in which they were found.
    pub(crate) fn new(text: &str, mut found: Vec<Found>) -> Self {
        debug_assert!(!found.is_empty(), "nothing was read, yet no mistake was found");
        found.sort_by_key(|found| (found.span.is_none(), found.span.as_ref().map(|span| span.start)));
        let more = found.len().saturating_sub(MAX_SHOWN);
        let shown = found.into_iter().take(MAX_SHOWN).map(|Found { span, path, value, problem }| Fault {
            place: span.map(|span| place(text, span.start)),
            path,
            value,
            problem,
        });
        Self { shown: shown.collect(), more }
    }

    /// The mistakes, one by one, up to a hundred.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.shown.iter()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shown.len() + self.more
    }

    /// One line per mistake, each beginning with the file's name.
    pub fn in_file(&self, file: &str) -> String {
        self.lines(|fault| match fault.place {
            Some(_) => format!("{file}:{fault}"),
            None => format!("{file}: {fault}"),
        })
    }

    fn lines(&self, line: impl Fn(&Fault) -> String) -> String {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.shown.iter().map(line).chain(more).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(Fault::to_string))
    }
}

impl std::error::Error for Faults {}

/// Line and column (in characters), both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
