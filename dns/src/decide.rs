//! Who decides for a client, and which way the answer goes.
//!
//! The role stands in the name, never in the client's address: a resolver farm has many addresses and one cache, so a
//! node that guessed its role from the address would refer resolvers that already follow its referral, and those take
//! that very badly (lame for 15 minutes, or SERVFAIL). So:
//!
//! | asked for            | by a node that           | course                                                         |
//! |----------------------|--------------------------|----------------------------------------------------------------|
//! | `www.lb…`            | any                      | DNS-B: the best claimant's cut, or its addresses               |
//! | `www.fra.lb…`        | serves the cut, or did   | DNS-LB: addresses from `fra`'s rows                            |
//! | `www.fra.lb…`        | does not                 | parent: delegation                                             |
//! | `www.fra.lb…`        | finds nobody serving it  | addresses from `fra`'s rows: an answer is right in every role  |
//!
//! **Invariant:** a node that serves a cut never refers for it. When in doubt, answer.

use std::net::IpAddr;

use hickory_proto::rr::Name;
use ipnet::IpNet;

use crate::claims::{block_around, host};
use crate::records::REFERRAL_TTL;
use crate::snapshot::{CutRole, Place, Snapshot, Stand};
use crate::steer::{Eye, Family, Pick, Pool, Ranking, Shares, Whose};
use crate::wire_name::WireName;
use crate::zone::Cut;
use crate::{Best, Claim, Guess, Label, Mode, Service};

/// For whom an answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    source: IpNet,
    subnet: Option<IpNet>,
    draw: u32,
}

impl Client {
    /// A resolver, and the client subnet that it sent (RFC 7871), if any. A subnet of length 0 says "do not use where
    /// my client is", so it counts as none.
    pub fn new(source: IpAddr, subnet: Option<IpNet>) -> Self {
        let subnet = subnet.map(|net| net.trunc()).filter(|net| net.prefix_len() > 0);
        Self { source: host(source), subnet, draw: 0 }
    }

    /// The same, with a number that is another one for each query: by it servers are drawn for services that tie no client
    /// to any.
    #[must_use]
    pub fn drawing(mut self, draw: u32) -> Self {
        self.draw = draw;
        self
    }

    /// What the claims are asked for.
    pub fn net(&self) -> IpNet {
        self.subnet.unwrap_or(self.source)
    }
}

impl From<IpAddr> for Client {
    fn from(source: IpAddr) -> Self {
        Self::new(source, None)
    }
}

/// Which way an answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A CNAME into the cut; with the addresses, if the node itself serves that cut.
    Refer {
        /// Whose cut.
        cut: Label,
        /// As what the asked node serves it, if it does.
        serves: Option<CutRole>,
    },
    /// Addresses at once, as DNS-B.
    Answer(Direct),
    /// Addresses, as a server of the cut.
    Serve(CutRole),
    /// The NS records of the cut: its servers are to be asked.
    Delegate,
}

/// Why a DNS-B answers at once instead of referring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// Nobody claims the client, so the asked node's own rows decide.
    Unclaimed,
    /// Nobody claims the client, but somebody its neighbours, or others of its operator or country: that node's rows
    /// decide.
    Estimated,
    /// The service says so.
    Mode,
    /// The resolver sent its client's subnet: it is not itself near the claimant.
    Subnet,
    /// A CNAME may not stand at the apex of a zone.
    Apex,
    /// Other records stand at the name, so a CNAME may not (RFC 1034 section 3.6.2).
    Beside,
    /// The claimant has no cut in this zone, or the name would be too long in it.
    NoCut,
}

/// By what a DNS-B knows where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// A node claims it, and another one vouches for that.
    Proven,
    /// A node claims it by its configuration.
    Configured,
    /// Its resolver sent its subnet, which a node claims.
    Subnet,
    /// Nobody claims it, but what is near it in some way.
    Guess(Guess),
    /// By nothing.
    Nothing,
}

/// Which way an answer goes, and where to: what [`Way`] tells, without a copy of anything.
#[derive(Clone, Copy)]
pub(crate) enum Turn<'s> {
    Refer { cut: &'s Cut, serves: Option<CutRole> },
    Answer(Direct),
    Serve(CutRole),
    Delegate,
}

impl Turn<'_> {
    pub(crate) fn way(&self) -> Way {
        match *self {
            Self::Refer { cut, serves } => Way::Refer { cut: cut.label.clone(), serves },
            Self::Answer(direct) => Way::Answer(direct),
            Self::Serve(role) => Way::Serve(role),
            Self::Delegate => Way::Delegate,
        }
    }
}

/// Who decides for a client, and which way: all but the servers.
pub(crate) struct Course<'s> {
    pub(crate) pool: &'s Pool,
    /// The node that is near the client.
    near: &'s Label,
    /// The node that is asked.
    asked: &'s Label,
    pub(crate) claim: Option<Best>,
    /// By what the asked node knows where the client is, if it was asked as DNS-B.
    pub(crate) basis: Option<Basis>,
    pub(crate) turn: Turn<'s>,
    /// The prefix length for which the answer holds (RFC 7871).
    pub(crate) scope: u8,
    /// By what the clients are told apart when servers share them.
    whose: Whose,
}

/// What a node does with a question for a service's addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<'s> {
    /// The service.
    pub service: &'s Service,
    /// The node whose measurements decide.
    pub decider: Label,
    /// The claim that won, if the node was asked as DNS-B and somebody claims the client.
    pub claim: Option<Claim>,
    /// Which way the answer goes.
    pub way: Way,
    /// The servers in order, with reasons.
    pub ranking: Ranking<'s>,
}

/// Decides for a client as the node `as_node` would. Nothing: no service has that name, in the zone or in a cut.
pub fn decide<'s>(
    snapshot: &'s Snapshot,
    as_node: &'s Label,
    name: &Name,
    family: Family,
    client: IpAddr,
) -> Option<Decision<'s>> {
    let name = WireName::new(name);
    let place = snapshot.place(&name)?;
    let stand = snapshot.stand(&place, snapshot.find(&place, &name)?)?;
    let course = course(snapshot, as_node, &place, &name, stand, client.into());
    Some(Decision {
        service: stand.pool.service(),
        ranking: course.rank(family),
        decider: course.decider().clone(),
        claim: course.claim.and_then(|best| snapshot.claims().claim(best, host(client))),
        way: course.turn.way(),
    })
}

/// The node that is estimated to be nearest to a network that nobody claims, if any is, and by what.
pub fn estimate(snapshot: &Snapshot, network: IpNet) -> Option<(&Label, Guess)> {
    let around = snapshot.claims().around(network);
    snapshot.estimated(network, &around).map(|(node, guess)| (&node.label, guess))
}

/// Who gets the clients that a node decides for, or those of them in a prefix: what an operator asks before an edit.
/// Nothing: there is no service of that name.
pub fn shares(
    snapshot: &Snapshot,
    node: &Label,
    service: &Name,
    family: Family,
    within: Option<IpNet>,
) -> Option<Shares> {
    let name = WireName::new(service);
    let place = snapshot.place(&name)?;
    let pool = snapshot.stand(&place, snapshot.find(&place, &name)?)?.pool;
    let eye = pool.eye(node).unwrap_or_else(|| pool.blind(node));
    // In 0.0.0.0/0 lies no prefix, so no override by prefix holds there but one for all.
    let net = within.unwrap_or(IpNet::V4(ipnet::Ipv4Net::default()));
    Some(pool.pick(&eye, family, Whose { net, draw: 0 }).shares())
}

/// The course for a service at a place.
pub(crate) fn course<'s>(
    snapshot: &'s Snapshot,
    who: &'s Label,
    place: &Place<'s>,
    path: &WireName,
    stand: Stand<'s>,
    client: Client,
) -> Course<'s> {
    let Some(cut) = place.cut else {
        return as_dns_b(snapshot, who, place, path, stand, client);
    };
    Course {
        pool: stand.pool,
        near: &cut.label,
        asked: who,
        claim: None,
        basis: None,
        turn: snapshot.role(who, cut).map_or(Turn::Delegate, Turn::Serve),
        scope: 0,
        whose: Whose { net: client.source, draw: client.draw },
    }
}

fn as_dns_b<'s>(
    snapshot: &'s Snapshot,
    who: &'s Label,
    place: &Place<'s>,
    path: &WireName,
    stand: Stand<'s>,
    client: Client,
) -> Course<'s> {
    let pool = stand.pool;
    let claim = snapshot.best_claim(client.net());
    let near = claim.and_then(|claim| snapshot.claimant(claim.node)).map(|node| &node.label);
    let cut = claim
        .and_then(|claim| snapshot.cut_of_claimant(place.zone, claim.node))
        // Under a wildcard it is the asked name that stands in the cut, where it falls under the same wildcard again.
        .filter(|cut| !cut.nameservers.is_empty() && path.fits_below(place.own, &cut.apex));
    let around = if claim.is_none() { Some(snapshot.claims().around(client.net())) } else { None };
    let estimated = around.as_ref().and_then(|around| snapshot.estimated(client.net(), around));
    let basis = match claim {
        Some(_) if client.subnet.is_some() => Basis::Subnet,
        Some(claim) if claim.rank.proven() => Basis::Proven,
        Some(_) => Basis::Configured,
        None => estimated.map_or(Basis::Nothing, |(_, guess)| Basis::Guess(guess)),
    };
    let turn = match (claim, cut) {
        (None, _) if estimated.is_some() => Turn::Answer(Direct::Estimated),
        (None, _) => Turn::Answer(Direct::Unclaimed),
        (Some(_), _) if client.subnet.is_some() => Turn::Answer(Direct::Subnet),
        (Some(_), _) if pool.service().mode == Mode::Answer => Turn::Answer(Direct::Mode),
        (Some(_), _) if place.own == 0 => Turn::Answer(Direct::Apex),
        (Some(_), _) if stand.beside => Turn::Answer(Direct::Beside),
        (Some(_), None) => Turn::Answer(Direct::NoCut),
        (Some(_), Some(cut)) => Turn::Refer { cut, serves: snapshot.role(who, cut) },
    };
    let free = |subnet: IpNet| match &around {
        Some(around) => around.scope(subnet.prefix_len(), None).max(snapshot.estimated_block(subnet)),
        None => snapshot.claims().scope(subnet, claim.map(|claim| claim.length)),
    };
    let scope = client.subnet.map_or(0, |subnet| pool.scope(subnet, free(subnet)));
    Course {
        pool,
        near: near.or(estimated.map(|(node, _)| &node.label)).unwrap_or(who),
        asked: who,
        claim,
        basis: Some(basis),
        turn,
        scope,
        // All clients of a block get one answer, because a resolver will give all of them the one that it holds.
        whose: Whose {
            net: client.subnet.map_or(client.source, |subnet| block_around(subnet, scope)),
            draw: client.draw,
        },
    }
}

impl<'s> Course<'s> {
    /// Whose measurements decide: those of the node that is near the client. It may have none, because it has just come,
    /// or was revoked while resolvers still ask for its cut: then those of the node that is asked, which beat any guess.
    fn eye(&self) -> Eye<'s> {
        let near = self.pool.eye(self.near);
        near.or_else(|| self.pool.eye(self.asked)).unwrap_or_else(|| self.pool.blind(self.near))
    }

    /// The node whose measurements decide.
    pub(crate) fn decider(&self) -> &'s Label {
        self.eye().node
    }

    /// How long an answer may be kept: what the service and its servers say, but in a cut that nobody serves any more at least as long as
    /// a CNAME into it. The resolver has come here after asking all the dead, and would ask them again while its CNAME
    /// lives; unbound, which stretches its CNAME by the time that this takes, and waits for each of the dead twice as long
    /// as before, was seen not to come back for minutes.
    pub(crate) fn ttl(&self, pick: &Pick<'_>) -> u32 {
        let ttl = pick.ttl();
        if matches!(self.turn, Turn::Serve(CutRole::Orphan)) { ttl.max(REFERRAL_TTL) } else { ttl }
    }

    /// What the client gets, of one family.
    pub(crate) fn pick(&self, family: Family) -> Pick<'s> {
        self.pool.pick(&self.eye(), family, self.whose)
    }

    pub(crate) fn rank(&self, family: Family) -> Ranking<'s> {
        self.pick(family).rank()
    }
}
