//! Reading a TOML document so that every mistake in it is reported in one pass.
//!
//! Problem: serde stops at the first mistake, and an operator who edits a file on a server far away then learns of
//! five mistakes in five rounds. Here a document is walked by hand: each value is read on its own, a mistake is noted
//! with its key path, its place and what would be allowed, and reading goes on.
//!
//! **Invariant:** a document that yields a value yielded no fault, and the other way round ([`Document::finish`]).
//!
//! A document with faulty *syntax* is reported for its syntax alone: what the parser recovers from it would make
//! the rest of the report guesswork. Rejected: serde with a path tracker (first mistake only).

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use nigh_dns::Milli;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Faults, Found};

/// The longest excerpt of a value that a fault shows; a pasted certificate should not fill the screen.
const EXCERPT_CHARS: usize = 60;

/// A document being read.
pub(crate) struct Document<'t> {
    text: &'t str,
    table: Spanned<DeTable<'t>>,
    found: RefCell<Vec<Found>>,
}

impl<'t> Document<'t> {
    /// Parses the syntax; all faults of syntax at once.
    pub(crate) fn parse(text: &'t str) -> Result<Self, Faults> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let document = Self { text, table, found: RefCell::default() };
        for error in &errors {
            document.note(error.span(), String::new(), None, format!("not TOML: {}", error.message()));
        }
        if errors.is_empty() { Ok(document) } else { Err(document.into_faults()) }
    }

    /// The top of the document, with the keys that may stand there.
    pub(crate) fn root<'d>(&'d self, keys: &[&'static str]) -> Section<'d> {
        Section::new(self, String::new(), None, Some(self.table.get_ref()), keys)
    }

    /// The value that was read, or all that stood in its way.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, Faults> {
        match read {
            Some(read) if self.found.borrow().is_empty() => Ok(read),
            _ => Err(self.into_faults()),
        }
    }

    fn into_faults(self) -> Faults {
        Faults::new(self.text, self.found.into_inner())
    }

    fn note(&self, span: Option<Range<usize>>, path: String, value: Option<String>, problem: String) {
        self.found.borrow_mut().push(Found { span, path, value, problem });
    }

    fn excerpt(&self, span: &Range<usize>) -> String {
        let raw = self.text.get(span.clone()).unwrap_or_default();
        let line = raw.lines().next().unwrap_or_default();
        let short: String = line.chars().take(EXCERPT_CHARS).collect();
        if short.len() == raw.len() { short } else { format!("{short}…") }
    }
}

/// A table of the document; also stands for a table that is missing, so that the keys it needs are asked for.
pub(crate) struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    span: Option<Range<usize>>,
    table: Option<&'d DeTable<'d>>,
    /// Known keys that an unknown one looks like: not reported as missing too.
    misspelt: Vec<&'static str>,
}

impl<'d> Section<'d> {
    fn new(
        document: &'d Document<'d>,
        path: String,
        span: Option<Range<usize>>,
        table: Option<&'d DeTable<'d>>,
        keys: &[&'static str],
    ) -> Self {
        let mut section = Self { document, path, span, table, misspelt: Vec::new() };
        for key in table.into_iter().flat_map(DeTable::keys) {
            let name: &str = key.get_ref();
            if keys.contains(&name) {
                continue;
            }
            let problem = match nearest(name, keys) {
                Some(near) => {
                    section.misspelt.push(near);
                    format!("unknown key; did you mean `{near}`?")
                }
                None => format!("unknown key; allowed here: {}", keys.join(", ")),
            };
            document.note(Some(key.span()), section.path_of(name), None, problem);
        }
        section
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a mistake in the table as a whole.
    pub(crate) fn fault(&self, problem: impl Into<String>) {
        self.document.note(self.span.clone(), self.path.clone(), None, problem.into());
    }

    /// The value at `key`, if there is one.
    pub(crate) fn get(&self, key: &'static str) -> Option<Item<'d>> {
        let value = self.table?.get(key)?;
        Some(Item { document: self.document, path: self.path_of(key), span: value.span(), value: value.get_ref() })
    }

    /// The value at `key`, which must be there; `what` tells what to write.
    pub(crate) fn require(&self, key: &'static str, what: &str) -> Option<Item<'d>> {
        let found = self.get(key);
        if found.is_none() && !self.misspelt.contains(&key) {
            self.document.note(self.span.clone(), self.path_of(key), None, format!("missing; {what}"));
        }
        found
    }

    /// The table at `key`, with the keys that may stand in it; an empty one where there is none.
    pub(crate) fn section(&self, key: &'static str, keys: &[&'static str]) -> Section<'d> {
        match self.get(key) {
            Some(item) => item.section(keys),
            None => {
                let mut absent = Section::new(self.document, self.path_of(key), None, None, keys);
                if self.misspelt.contains(&key) {
                    absent.misspelt = keys.to_vec();
                }
                absent
            }
        }
    }

    /// The items of the list at `key`; none where there is no such key.
    pub(crate) fn list(&self, key: &'static str) -> Vec<Item<'d>> {
        self.get(key).map(|item| item.list()).unwrap_or_default()
    }

    /// The tables `[[key]]`, each with the keys that may stand in it.
    pub(crate) fn sections(&self, key: &'static str, keys: &[&'static str]) -> Vec<Section<'d>> {
        let Some(item) = self.get(key) else { return Vec::new() };
        if matches!(item.value, DeValue::Table(_)) {
            item.fault(format!("one table, where a list of them is expected: write [[{}]]", item.path));
            return Vec::new();
        }
        item.list().iter().map(|item| item.section(keys)).collect()
    }
}

/// One value of the document, with its path and place.
#[derive(Clone)]
pub(crate) struct Item<'d> {
    document: &'d Document<'d>,
    path: String,
    span: Range<usize>,
    value: &'d DeValue<'d>,
}

impl<'d> Item<'d> {
    /// The key path of the value.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Notes a mistake in this value.
    pub(crate) fn fault(&self, problem: impl Into<String>) {
        let scalar = !matches!(self.value, DeValue::Table(_) | DeValue::Array(_));
        let value = scalar.then(|| self.document.excerpt(&self.span));
        self.document.note(Some(self.span.clone()), self.path.clone(), value, problem.into());
    }

    /// A string, read by `parse`, whose error says what is allowed.
    pub(crate) fn text<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let DeValue::String(text) = self.value else {
            self.fault(format!("a string is expected, not {}", kind(self.value)));
            return None;
        };
        parse(text).map_err(|problem| self.fault(problem)).ok()
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        let DeValue::Boolean(value) = self.value else {
            self.fault(format!("true or false is expected, not {}", kind(self.value)));
            return None;
        };
        Some(*value)
    }

    /// A whole number within `range`.
    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let allowed = || format!("a whole number from {} to {} is expected", range.start(), range.end());
        let DeValue::Integer(number) = self.value else {
            self.fault(format!("{}, not {}", allowed(), kind(self.value)));
            return None;
        };
        let read = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let inside = read.and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        if inside.is_none() {
            self.fault(allowed());
        }
        inside
    }

    /// A number within `range`, with at most three digits behind the point.
    pub(crate) fn decimal(&self, range: RangeInclusive<Milli>) -> Option<Milli> {
        let allowed = || format!("a number from {} to {} is expected", range.start(), range.end());
        let read = match self.value {
            DeValue::Integer(number) => {
                let whole = i128::from_str_radix(number.as_str(), number.radix()).ok();
                whole.and_then(|whole| u32::try_from(whole.checked_mul(1000)?).ok())
            }
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(read) if (0.0..=f64::from(u32::MAX) / 1000.0).contains(&read) => {
                    let thousandths = read * 1000.0;
                    if (thousandths - thousandths.round()).abs() > 1e-6 {
                        self.fault(format!("{}, with at most three digits behind the point", allowed()));
                        return None;
                    }
                    Some(thousandths.round() as u32)
                }
                _ => None,
            },
            other => {
                self.fault(format!("{}, not {}", allowed(), kind(other)));
                return None;
            }
        };
        let inside = read.map(Milli).filter(|read| range.contains(read));
        if inside.is_none() {
            self.fault(allowed());
        }
        inside
    }

    /// What stands in a table, in the order of its keys, whatever those are; nothing: it is no table.
    pub(crate) fn entries(&self) -> Option<Vec<(&'d str, Item<'d>)>> {
        let table = self.value.as_table()?;
        let entry = |(key, value): (&'d Spanned<std::borrow::Cow<'d, str>>, &'d Spanned<DeValue<'d>>)| {
            let name: &'d str = key.get_ref();
            let path = format!("{}.{name}", self.path);
            (name, Item { document: self.document, path, span: value.span(), value: value.get_ref() })
        };
        Some(table.iter().map(entry).collect())
    }

    /// Whether the value is a list at all, as opposed to one that [`Item::list`] has found at fault.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// The value under a key of this table, without a fault if there is none.
    pub(crate) fn child(&self, key: &str) -> Option<Item<'d>> {
        let value = self.value.as_table()?.get(key)?;
        Some(Item {
            document: self.document,
            path: format!("{}.{key}", self.path),
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// The string, without a fault if it is none.
    pub(crate) fn as_text(&self) -> Option<&'d str> {
        self.value.as_str()
    }

    /// The items of a list, without a fault if it is none.
    pub(crate) fn items(&self) -> Vec<Item<'d>> {
        if self.is_list() { self.list() } else { Vec::new() }
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Vec<Item<'d>> {
        let DeValue::Array(array) = self.value else {
            self.fault(format!("a list is expected, as in [ … ], not {}", kind(self.value)));
            return Vec::new();
        };
        array
            .iter()
            .enumerate()
            .map(|(i, value)| Item {
                document: self.document,
                path: format!("{}[{i}]", self.path),
                span: value.span(),
                value: value.get_ref(),
            })
            .collect()
    }

    fn section(&self, keys: &[&'static str]) -> Section<'d> {
        if let DeValue::Table(table) = self.value {
            return Section::new(self.document, self.path.clone(), Some(self.span.clone()), Some(table), keys);
        }
        self.fault(format!("a table is expected, as in [{}], not {}", self.path, kind(self.value)));
        let mut absent = Section::new(self.document, self.path.clone(), None, None, keys);
        absent.misspelt = keys.to_vec();
        absent
    }
}

/// Reads every item; `None` if any of them is at fault, so that cross checks see whole lists only.
pub(crate) fn all<T>(items: &[Item<'_>], read: impl Fn(&Item<'_>) -> Option<T>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = items.iter().map(read).collect();
    read.into_iter().collect()
}

/// The value of a key that may be missing; `None` only if it is there and at fault.
pub(crate) fn optional<T>(item: Option<Item<'_>>, default: T, read: impl FnOnce(&Item<'_>) -> Option<T>) -> Option<T> {
    item.map_or(Some(default), |item| read(&item))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The known key that `name` was probably meant to be: at most a third of its letters differ.
fn nearest(name: &str, keys: &[&'static str]) -> Option<&'static str> {
    let folded = name.to_lowercase().replace('-', "_");
    keys.iter()
        .map(|key| (strsim::damerau_levenshtein(&folded, key), *key))
        .filter(|(distance, key)| *distance <= key.len().div_ceil(3))
        .min()
        .map(|(_, key)| key)
}
