//! A zone file (RFC 1035 section 5.1): the static records of a zone, as operators and their tools write them.
//!
//! ```text
//!   text ─ lexer ─▶ entries, each with its line ─▶ owner, TTL, class, type ─ rdata ─▶ records ─▶ RRsets
//! ```
//!
//! The data of each record is checked by hickory-proto, which reads it back from its bytes. Its text parser is not used:
//! in 0.26 it takes `\059` for an octal number in names and for a character far beyond Unicode's Latin in strings, ends
//! a quoted string in parentheses at a blank or a semicolon (as every long DKIM key is written), lowers names or refuses
//! them by the rules of IDNA, drops doubles and differing TTLs silently, reads any file that `$INCLUDE` names, and says
//! of no mistake in which line it is.
//!
//! `$INCLUDE` is refused: what `nigh apply` signs should be seen in the one file that was named. `$GENERATE` is BIND's.
//!
//! **Invariant:** every mistake of the file is reported with its line, all of them at once.

mod lexer;
mod rdata;

use std::collections::BTreeMap;

use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::txt::parse_ttl;

use super::{MAX_RRSET_RECORDS, MAX_STATIC_TTL, RrSet, name};
use lexer::{Entry, Word};

/// A mistake and its line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) problem: String,
}

/// The RRsets of a file, each with the line where it begins.
pub(super) type Sets = BTreeMap<(Name, u16), (usize, RrSet)>;

/// Reads the records of the zone `apex`.
pub(super) fn parse(text: &str, apex: &Name) -> Result<Sets, Vec<Mistake>> {
    let mut reading = Reading { apex, origin: apex.clone(), owner: None, ttl: None, sets: Sets::new() };
    let mut mistakes = Vec::new();
    for entry in lexer::entries(text) {
        let (line, read) = match entry {
            Ok(entry) => (entry.line, reading.entry(&entry)),
            Err(mistake) => (mistake.line, Err(mistake.problem)),
        };
        if let Err(problem) = read {
            mistakes.push(Mistake { line, problem });
        }
    }
    let in_order = |(line, set): (usize, RrSet)| (line, RrSet::new(set.ttl, set.data));
    let sets = reading.sets.into_iter().map(|(of, read)| (of, in_order(read)));
    if mistakes.is_empty() { Ok(sets.collect()) } else { Err(mistakes) }
}

struct Reading<'a> {
    apex: &'a Name,
    origin: Name,
    /// The last owner: an entry that begins with a blank is about it too.
    owner: Option<Name>,
    /// `$TTL`, or else the last TTL that was written.
    ttl: Option<Ttl>,
    sets: Sets,
}

#[derive(Clone, Copy)]
enum Ttl {
    /// RFC 2308 section 4: records after it "which do not explicitly include a TTL value, have their TTL set to the TTL
    /// given in the $TTL directive".
    Default(u32),
    /// RFC 1035 section 5.1: "Omitted class and TTL values are default to the last explicitly stated values."
    Last(u32),
}

impl Reading<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        let mut words = entry.words.as_slice();
        match words.first().filter(|word| !entry.blank && !word.quoted && word.raw.starts_with('$')) {
            Some(word) => return self.directive(&word.raw.to_ascii_uppercase(), &words[1..]),
            None if !entry.blank => {
                if let Some((owner, rest)) = words.split_first() {
                    // The next entries may be about this owner, whatever is wrong with the rest of this one.
                    self.owner = None;
                    self.owner = Some(self.owner(owner)?);
                    words = rest;
                }
            }
            None => {}
        }
        let owner = self.owner.clone().ok_or("whose record is this? No owner was named before it")?;
        let (ttl, rtype, data) = head(words)?;
        let ttl = match (ttl, self.ttl) {
            (Some(ttl), Some(Ttl::Default(_))) => ttl,
            (Some(ttl), _) => {
                self.ttl = Some(Ttl::Last(ttl));
                ttl
            }
            (None, Some(Ttl::Default(ttl) | Ttl::Last(ttl))) => ttl,
            (None, None) => return Err("no TTL: begin the file with $TTL 3600, or write it before the type".into()),
        };
        let word = name::mnemonic(rtype.into());
        let data = rdata::read(rtype, data, &self.origin).map_err(|problem| format!("{word}: {problem}"))?;
        let (first, set) =
            self.sets.entry((owner, rtype.into())).or_insert_with(|| (entry.line, RrSet { ttl, data: Vec::new() }));
        // RFC 2181 section 5.2: "the TTLs of all RRs in an RRSet must be the same".
        if set.ttl != ttl {
            return Err(format!(
                "{word}: the TTL is {ttl} here and {} in line {first}, for one name and type",
                set.ttl
            ));
        }
        // RFC 2181 section 5: "It is meaningless for two records to ever have label, class, type and data all equal".
        if set.data.contains(&data) {
            return Err(format!("{word}: this record stands in the file before"));
        }
        if set.data.len() == MAX_RRSET_RECORDS {
            return Err(format!("{word}: more than {MAX_RRSET_RECORDS} records of one name and type"));
        }
        set.data.push(data);
        Ok(())
    }

    fn directive(&mut self, word: &str, rest: &[Word]) -> Result<(), String> {
        match (word, rest) {
            ("$ORIGIN", [origin]) => {
                self.origin = rdata::name(&origin.raw, &self.origin)?;
                Ok(())
            }
            ("$TTL", [ttl]) => {
                self.ttl = Some(Ttl::Default(seconds(&ttl.raw)?));
                Ok(())
            }
            ("$ORIGIN" | "$TTL", _) => Err(format!("one word is expected after {word}")),
            ("$INCLUDE", _) => Err("$INCLUDE is not supported: put the records into this file".into()),
            ("$GENERATE", _) => Err("$GENERATE is not part of the format: write the records out".into()),
            _ => Err(format!("{word} is unknown; $ORIGIN and $TTL are allowed")),
        }
    }

    /// The owner of records, in lower case.
    fn owner(&self, word: &Word) -> Result<Name, String> {
        if word.quoted {
            return Err("a name is expected first, not a quoted string".into());
        }
        let owner = rdata::name(&word.raw, &self.origin)?.to_lowercase();
        if !self.apex.zone_of(&owner) {
            return Err(format!("{} is not in the zone {}", name::text(&owner), name::text(self.apex)));
        }
        // What the records' identities cannot spell cannot be replicated.
        name::owner(&name::text(&owner))
    }
}

/// TTL, type and the words of the data: `[TTL] [class] type data` or `[class] [TTL] type data`.
fn head(mut words: &[Word]) -> Result<(Option<u32>, RecordType, &[Word]), String> {
    let (mut ttl, mut class) = (None, false);
    loop {
        let Some((word, rest)) = words.split_first().filter(|(word, _)| !word.quoted) else {
            return Err("the type of the record is missing".into());
        };
        words = rest;
        match word.raw.to_ascii_uppercase().as_str() {
            "IN" if !class => class = true,
            "CH" | "HS" | "CS" => return Err(format!("class {}: only IN is answered here", word.raw)),
            _ if ttl.is_none() && word.raw.starts_with(|c: char| c.is_ascii_digit()) => ttl = Some(seconds(&word.raw)?),
            other => return Ok((ttl, name::record_type(other)?, words)),
        }
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    let read = parse_ttl(text).ok().filter(|ttl| *ttl <= MAX_STATIC_TTL);
    read.ok_or_else(|| format!("{text} is no TTL; 0 to {MAX_STATIC_TTL} seconds are allowed, such as 300 or 1h"))
}
