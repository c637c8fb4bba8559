//! Static CNAME records, followed as far as the mesh's zones go, so that a resolver need not ask again for each.
//!
//! RFC 1034 section 4.3.2 step 3a: "copy the CNAME RR into the answer section of the response, change QNAME to the
//! canonical name in the CNAME RR, and go back to step 1". The CNAME of a referral is no such alias: it is a decision for
//! one client, made where the service is.
//!
//! **Invariant:** it ends, whatever the operators wrote: no name comes twice, and there is a longest chain.

use hickory_proto::rr::{Name, RData, Record};

use crate::answer::{Step, step};
use crate::snapshot::Snapshot;
use crate::{Kind, Label, Question, Reply};

/// Aliases followed in one reply. Resolvers themselves give up after 8 to 16, and each one costs us a walk.
const MOST_ALIASES: usize = 8;

/// A reply that begins with aliases.
pub(crate) fn concluded(walk: Walk) -> Reply {
    match walk.end {
        // RFC 6604 section 3: "When an xNAME chain is followed, all but the last query cycle necessarily had no error.
        // The RCODE in the ultimate DNS response MUST BE set based on the final query cycle leading to that response."
        // So with its SOA, if it has one (RFC 2308 section 2.1), or with the NS records of a delegation.
        Some(mut reply) if reply.kind != Kind::Refused => {
            // RFC 1035 section 4.1.1: AA "corresponds to the name which matches the query name, or the first owner name
            // in the answer section", and that is ours.
            reply.authoritative = true;
            reply.answers.splice(..0, walk.aliases);
            reply
        }
        // Out of our zones, in a circle, or too long: what we can say is that the name is another's alias.
        _ => Reply::positive(walk.aliases, Kind::Static),
    }
}

/// The way of a question through aliases.
pub(crate) struct Walk {
    /// The static CNAME records that it came through.
    pub(crate) aliases: Vec<Record>,
    /// What it came to; nothing: the aliases lead in a circle, or further than we go.
    pub(crate) end: Option<Reply>,
}

/// Follows a question to its end.
pub(crate) fn walk(snapshot: &Snapshot, who: &Label, question: &Question) -> Walk {
    match step(snapshot, who, question, &question.name) {
        Step::Reply(reply) => Walk { aliases: Vec::new(), end: Some(reply) },
        Step::Alias(first) => follow(snapshot, who, question, first),
    }
}

/// Goes on from the first alias.
pub(crate) fn follow(snapshot: &Snapshot, who: &Label, question: &Question, first: Record) -> Walk {
    let mut aliases = vec![first];
    loop {
        // Names compare without case, as they do here (RFC 4343).
        let seen = |name: &Name| aliases.iter().any(|alias| alias.name == *name);
        let next = aliases.last().and_then(target).filter(|name| aliases.len() < MOST_ALIASES && !seen(name));
        let Some(name) = next else {
            return Walk { aliases, end: None };
        };
        match step(snapshot, who, question, name) {
            Step::Reply(reply) => return Walk { aliases, end: Some(reply) },
            Step::Alias(alias) => aliases.push(alias),
        }
    }
}

/// What an alias stands for.
pub(crate) fn target(alias: &Record) -> Option<&Name> {
    match &alias.data {
        RData::CNAME(name) => Some(&name.0),
        _ => None,
    }
}
