//! The cases, one file each: what is asked, what must come back, and what must be seen on the wire.

pub mod aggressive;
pub mod alias;
pub mod apex;
pub mod beside;
pub mod cold;
pub mod dead;
pub mod dead_both;
pub mod drain;
pub mod ecs;
pub mod egress;
pub mod experiment;
pub mod ipv6;
pub mod left;
pub mod minimised;
pub mod negative;
pub mod random_case;
pub mod refresh;
pub mod second;
pub mod tcp;
pub mod truncated;

use super::lanes::Lane;
use super::world::World;
use crate::bed::resolver::Manner;
use crate::bed::wire::Said;
use crate::report::Report;
use anyhow::Result;

/// A case.
pub struct Case {
    /// A word for it.
    pub key: &'static str,
    /// The sentence that it proves for each resolver.
    pub claim: &'static str,
    /// Quick enough for every change.
    pub fast: bool,
    /// The resolvers speak IPv6 only (else IPv4 only).
    pub by_ipv6: bool,
    /// How the resolvers are configured.
    pub manner: fn(&World) -> Manner,
    /// What happens. What goes wrong in one lane is that lane's fault; an error is everybody's.
    pub play: fn(&mut World, &mut [Lane], &Report) -> Result<()>,
    /// What the wire must show for one resolver.
    pub wire: fn(&mut Lane, &[Said]) -> Result<()>,
}

impl Case {
    /// A quick case with resolvers at their defaults and nothing special on the wire.
    const PLAIN: Self = Self {
        key: "",
        claim: "",
        fast: true,
        by_ipv6: false,
        manner: |_| Manner::default(),
        play: |_, _, _| Ok(()),
        wire: |_, _| Ok(()),
    };
}

/// All cases, in the order in which they are played: those that change the mesh for good come last.
pub static CASES: [Case; 20] = [
    cold::CASE,
    refresh::CASE,
    second::CASE,
    dead::CASE,
    dead_both::CASE,
    drain::CASE,
    egress::CASE,
    ecs::CASE,
    ipv6::CASE,
    tcp::CASE,
    truncated::CASE,
    apex::CASE,
    alias::CASE,
    beside::CASE,
    minimised::CASE,
    random_case::CASE,
    negative::CASE,
    aggressive::CASE,
    experiment::CASE,
    left::CASE,
];
