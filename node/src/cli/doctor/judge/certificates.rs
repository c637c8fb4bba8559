//! What ends by itself: the node's certificate, those of its fellows, and that of its API.

use std::path::{Path, PathBuf};

use super::named;
use crate::admin::report::{Admission, AdmissionStatus, MemberLine};
use crate::cli::doctor::finding::{Area, Finding};
use crate::membership::days;

/// An operator who looks once a week sees it twice.
const SOON: i64 = 14 * DAY;
/// No time to wait for next week.
const NOW: i64 = 3 * DAY;
const DAY: i64 = 86_400;

/// What ends when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The wall clock, since 1970.
    pub(crate) now: u64,
    /// The node's own admission, if it runs.
    pub(crate) own: Option<AdmissionStatus>,
    /// Everybody's.
    pub(crate) members: Vec<MemberLine>,
    /// The API's certificate: its file, and when it ends, since 1970; or why that is not known.
    pub(crate) api: Option<(PathBuf, Result<i64, String>)>,
}

/// Judges what ends.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.own.iter().flat_map(|own| own_admission(own, facts.now)).collect();
    findings.extend(facts.api.iter().map(|(path, ends)| of_api(path, ends.as_ref(), facts.now)));
    let others = facts.members.iter().filter(|member| !member.is_self && member.admission == Admission::Admitted);
    let soon: Vec<String> = others
        .filter(|member| member.ends_in_s.is_some_and(|left| left < SOON))
        .map(|member| {
            format!("{} (in {})", member.name, days(member.ends_in_s.unwrap_or_default().max(0).unsigned_abs()))
        })
        .collect();
    if !soon.is_empty() {
        findings.push(Finding::look(
            Area::Certificates,
            format!("the certificates of other nodes end soon: {}", named(&soon)),
            "renew them: nigh admit ID --name NODE --key operator.key (`nigh members` has the ids)",
        ));
    }
    findings
}

fn of_api(path: &Path, ends: Result<&i64, &String>, now: u64) -> Finding {
    let path = path.display();
    let renew = "renew it in its place: the node takes the new one up by itself";
    let ends = match ends {
        Ok(ends) => *ends,
        Err(why) => return Finding::look(Area::Certificates, format!("the API's certificate {path}: {why}"), renew),
    };
    let left = ends.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
    let what = format!("the API's certificate {path} ends in {}", days(left.max(0).unsigned_abs()));
    match left {
        ..0 => Finding::bad(Area::Certificates, format!("the API's certificate {path} has ended"), renew),
        0..SOON => Finding::look(Area::Certificates, what, renew),
        _ => Finding::ok(Area::Certificates, what),
    }
}

fn own_admission(own: &AdmissionStatus, now: u64) -> Option<Finding> {
    let renew = "have the operator renew it: nigh admit ID --name NODE --key operator.key (`nigh status` has the id)";
    Some(match own.state {
        _ if own.silenced => Finding::bad(
            Area::Certificates,
            "another process runs with this node's key, so this one fell silent",
            "find it (a copied state directory, a cloned machine), stop it, and start this node again",
        ),
        Admission::Waiting => Finding::bad(
            Area::Certificates,
            "no operator has admitted this node: it answers nothing yet",
            "`nigh status` shows the command that admits it",
        ),
        Admission::Ended => {
            Finding::bad(Area::Certificates, "the node's certificate has ended: it is out of the mesh", renew)
        }
        Admission::Revoked => Finding::bad(
            Area::Certificates,
            "the node was revoked: it is out of the mesh",
            "ask the operator why; `nigh admit` lets it in again",
        ),
        Admission::Admitted => {
            let ends = own.ends?;
            let left = i64::try_from(ends).unwrap_or(i64::MAX).saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
            let what = format!("the node's certificate ends in {}", days(left.max(0).unsigned_abs()));
            match left {
                ..NOW => Finding::bad(Area::Certificates, what, renew),
                NOW..SOON => Finding::look(Area::Certificates, what, renew),
                _ => Finding::ok(Area::Certificates, what),
            }
        }
    })
}
