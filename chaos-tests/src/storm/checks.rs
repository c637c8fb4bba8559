//! The checks of a run: their keys, and what each says when it passes.

pub(super) const ANSWERS: &str = "answers";
pub(super) const NEAREST: &str = "nearest";
pub(super) const DEATHS: &str = "deaths";
pub(super) const CONVERGED: &str = "converged";
pub(super) const WIRE: &str = "wire";
pub(super) const BOUNDS: &str = "bounds";
pub(super) const EXITS: &str = "exits";
pub(super) const LOGS: &str = "logs";
pub(super) const MEMBERS: &str = "members";
pub(super) const CLAIMS: &str = "claims";
pub(super) const BACKUPS: &str = "backups";
pub(super) const FIGURES: &str = "figures";
pub(super) const HOSTILE: &str = "hostile";
pub(super) const TWO_VERSIONS: &str = "versions";

/// What a run proves.
pub fn claims() -> Vec<(&'static str, String)> {
    [
        (ANSWERS, "every lookup got an origin that was up, or failed after all servers of its cut fell silent"),
        (DEATHS, "every death was known to all that could hear of it in time"),
        (CONVERGED, "when all is healed, all nodes agree on everything"),
        (NEAREST, "and every ISP gets the nearest origin"),
        (WIRE, "no resolver saw a lame or lateral referral, or a code that is held against a server"),
        (BOUNDS, "memory and open files of every node are bounded"),
        (EXITS, "no node ended unasked"),
        (LOGS, "nothing panicked, no secret is in a log"),
        (MEMBERS, "nobody is a member whom the operator did not admit, or revoked, and no claim of theirs is kept"),
        (CLAIMS, "a node that reached no origin withdrew its claims"),
        (BACKUPS, "every cut of a living node had its backups: for one that died another came"),
        (FIGURES, "after kills and splits: new backups, answers and equal replicas within what is promised"),
        (HOSTILE, "a member that lies harms nobody outside its certificate, is named, and is gone once revoked"),
        (TWO_VERSIONS, "what only a later version knows passes through nodes of the earlier one"),
    ]
    .map(|(key, claim)| (key, claim.to_owned()))
    .to_vec()
}
