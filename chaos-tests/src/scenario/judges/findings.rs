//! What judges complain of, and what of that is accepted.
//!
//! **Invariant:** a finding passes only by a line of the list that names its judge, its code and its place, and a line
//! that no finding needs is a fault itself (but in a quick run, which asks only half of the questions).

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt;

/// A complaint of a judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind, in a word of the judge.
    pub code: String,
    /// About what: a name, a server.
    pub place: String,
    /// In the judge's own words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.code, self.place, self.detail)
    }
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whose findings.
    pub judge: String,
    /// Which.
    pub code: String,
    /// What their place must contain; `*` for any.
    pub place: String,
    /// Why it stays.
    pub reason: String,
}

impl Accepted {
    fn excuses(&self, judge: &str, finding: &Finding) -> bool {
        self.judge == judge
            && self.code == finding.code
            && (self.place == "*" || finding.place.contains(self.place.as_str()))
    }
}

/// Reads the list: lines `JUDGE CODE PLACE`, each followed by its reason on indented lines; `#` begins a comment.
pub fn accepted(text: &str) -> Result<Vec<Accepted>> {
    let mut list: Vec<Accepted> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            let last = list.last_mut().with_context(|| format!("a reason before the first line: {line}"))?;
            if !last.reason.is_empty() {
                last.reason.push(' ');
            }
            last.reason.push_str(line.trim());
            continue;
        }
        let [judge, code, place] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            bail!("not `JUDGE CODE PLACE`: {line}");
        };
        list.push(Accepted {
            judge: judge.to_owned(),
            code: code.to_owned(),
            place: place.to_owned(),
            reason: String::new(),
        });
    }
    match list.iter().find(|line| line.reason.is_empty()) {
        Some(bare) => bail!("no reason stands below {} {} {}", bare.judge, bare.code, bare.place),
        None => Ok(list),
    }
}

/// A sentence on what was found, and what is wrong with it.
pub fn weigh(list: &[Accepted], judge: &str, found: &[Finding], quick: bool) -> (String, Vec<String>) {
    let excused = |finding: &&Finding| list.iter().any(|line| line.excuses(judge, finding));
    let mut faults: Vec<String> = found.iter().filter(|f| !excused(f)).map(Finding::to_string).collect();
    for line in list.iter().filter(|line| line.judge == judge && !quick) {
        if !found.iter().any(|finding| line.excuses(judge, finding)) {
            faults.push(format!("{} at {} is accepted and was not found: take it off the list", line.code, line.place));
        }
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in found.iter().filter(excused) {
        *counts.entry(&finding.code).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(code, count)| format!("{code} ({count})")).collect();
    let sentence = match counts.len() {
        0 => "no complaints".to_owned(),
        _ => format!("complaints that are accepted: {}", counts.join(", ")),
    };
    (sentence, faults)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Finding, accepted, weigh};

    const LIST: &str = "# a comment\ndig odd.mode fra\n    because\n    so\n\nkdig other *\n    why not\n";

    fn finding(code: &str, place: &str) -> Finding {
        Finding { code: code.to_owned(), place: place.to_owned(), detail: "it says".to_owned() }
    }

    #[test]
    fn a_line_has_a_reason_or_the_list_is_refused() {
        let list = accepted(LIST).unwrap();
        assert_eq!((list.len(), list[0].reason.as_str()), (2, "because so"));
        for odd in ["  reason\n", "dig code *\n", "dig code\n  why\n", "dig code place more\n  why\n"] {
            assert!(accepted(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn what_is_accepted_passes_and_everything_else_is_a_fault() {
        let list = accepted(LIST).unwrap();
        assert_eq!(weigh(&list, "dig", &[finding("odd.mode", "@fra www")], false).1, Vec::<String>::new());
        for (judge, code, place) in [("dig", "odd.mode", "@nyc"), ("dig", "other", "@fra"), ("delv", "other", "x")] {
            let (_, faults) = weigh(&list, judge, &[finding(code, place)], true);
            assert_eq!(faults, [format!("{code} at {place}: it says")]);
        }
    }

    #[test]
    fn what_is_accepted_and_not_found_is_a_fault_but_in_a_quick_run() {
        let list = accepted(LIST).unwrap();
        let (sentence, faults) = weigh(&list, "kdig", &[], false);
        assert_eq!(sentence, "no complaints");
        assert!(faults.len() == 1 && faults[0].contains("take it off"), "{faults:?}");
        assert!(weigh(&list, "kdig", &[], true).1.is_empty());
        assert!(weigh(&list, "kdig", &[finding("other", "x")], false).0.ends_with("other (1)"));
    }
}
