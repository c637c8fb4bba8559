//! Who may knock, and how often: limits by the address that a call comes from.
//!
//! A key costs nothing, so limits by key do not hold back whoever makes a new one for each call; an address, or a prefix
//! of IPv6 addresses, is harder to come by. From one origin (an IPv4 address, an IPv6 /64) no more than
//! [`MAX_STRANGERS`] may stand at the door, a quarter of the places that there are, and a handshake is
//! finished no more often than [`RATE`]. Members are not strangers, and a rack of them behind one address stays below
//! the rate after a restart of all.
//!
//! Only a finished handshake is charged: the first packet of a QUIC handshake may come from anybody in anybody's name, and
//! must not use up what is another's. This machine itself (loopback) is let off: who calls from here is here already.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
};

use crate::{budget::Budget, time::Moment};

/// Peers of one origin that have not shown yet that they are members.
pub(super) const MAX_STRANGERS: usize = 8;
/// Handshakes of one origin in a second, each half a millisecond of work, ...
const RATE: u64 = 32;
/// ... and at once: eight nodes with their sixteen links behind one address.
const BURST: u64 = 128;
/// Origins that are remembered, for the seconds until their budget is full again; beyond that many the limits of the
/// whole node must do.
const MAX_ORIGINS: usize = 4096;

/// Where a call comes from, as far as its sender cannot choose freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    V4([u8; 4]),
    /// The first 64 bits.
    V6([u8; 8]),
}

impl Origin {
    /// None for loopback, and for what is no address.
    pub(super) fn of(address: &Multiaddr) -> Option<Self> {
        let ip = match address.iter().next()? {
            Protocol::Ip4(ip) => IpAddr::from(ip),
            Protocol::Ip6(ip) => IpAddr::from(ip).to_canonical(),
            _ => return None,
        };
        match ip {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => Some(Self::V4(ip.octets())),
            IpAddr::V6(ip) => ip.octets().first_chunk().copied().map(Self::V6),
        }
    }
}

/// The budget of each origin that called lately.
#[derive(Default)]
struct Callers(BTreeMap<Origin, Budget>);

impl Callers {
    /// Whether a call may begin.
    fn may_call(&mut self, now: Moment, from: Origin) -> bool {
        let Some(budget) = self.0.get_mut(&from) else { return true };
        budget.refill(now, RATE, BURST);
        budget.has(1)
    }

    /// A handshake was finished; whether it may stay.
    fn called(&mut self, now: Moment, from: Origin) -> bool {
        if self.0.len() >= MAX_ORIGINS && !self.0.contains_key(&from) {
            self.0.retain(|_, budget| !budget.refill(now, RATE, BURST));
            if self.0.len() >= MAX_ORIGINS {
                return true;
            }
        }
        self.0.entry(from).or_insert_with(|| Budget::new(now, BURST)).take(now, 1, RATE, BURST)
    }
}

/// Refuses calls of origins that call too often.
pub(super) struct Behaviour {
    start: Instant,
    callers: Callers,
}

impl Behaviour {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), callers: Callers::default() }
    }

    fn now(&self) -> Moment {
        self.start.elapsed().into()
    }
}

/// Too many calls from where this one came.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from {0:?}")]
struct TooOften(Origin);

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let now = self.now();
        match Origin::of(remote).filter(|from| !self.callers.may_call(now, *from)) {
            Some(from) => Err(ConnectionDenied::new(TooOften(from))),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let now = self.now();
        match Origin::of(remote).filter(|from| !self.callers.called(now, *from)) {
            Some(from) => Err(ConnectionDenied::new(TooOften(from))),
            None => Ok(dummy::ConnectionHandler),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn origin(address: &str) -> Option<Origin> {
        Origin::of(&address.parse().unwrap())
    }

    #[test]
    fn an_origin_is_an_ipv4_address_or_a_64_of_ipv6_and_this_machine_is_none() {
        let v4 = origin("/ip4/192.0.2.7/udp/4242/quic-v1");
        assert_eq!(v4, Some(Origin::V4([192, 0, 2, 7])));
        assert_eq!(v4, origin("/ip6/::ffff:192.0.2.7/tcp/1"), "the same host on a socket of both families");
        assert_ne!(v4, origin("/ip4/192.0.2.8/tcp/1"));
        assert_eq!(origin("/ip6/2001:db8::1/tcp/1"), origin("/ip6/2001:db8::ffff:1/udp/5/quic-v1"));
        assert_ne!(origin("/ip6/2001:db8::1/tcp/1"), origin("/ip6/2001:db8:0:1::1/tcp/1"));
        for here in ["/ip4/127.0.0.5/tcp/1", "/ip6/::1/tcp/1", "/dns4/example.net/tcp/1"] {
            assert_eq!(origin(here), None);
        }
    }

    #[test]
    fn an_origin_that_calls_too_often_is_refused_and_no_other() {
        let (one, other) = (Origin::V4([192, 0, 2, 1]), Origin::V4([192, 0, 2, 2]));
        let mut callers = Callers::default();
        let taken = (0..1000).filter(|_| callers.called(Moment::ZERO, one)).count();
        assert_eq!(taken as u64, BURST);
        assert!(!callers.may_call(Moment::ZERO, one) && callers.may_call(Moment::ZERO, other));
        assert!((0..1000).all(|_| callers.may_call(Moment::ZERO, other)), "what only began costs nothing");
        let second = Moment(1_000_000);
        assert!(callers.may_call(second, one));
        assert_eq!((0..1000).filter(|_| callers.called(second, one)).count() as u64, RATE);
    }

    #[test]
    fn a_crowd_of_origins_is_forgotten_when_it_is_quiet() {
        let mut callers = Callers::default();
        let origin = |n: u32| Origin::V4(n.to_be_bytes());
        for n in 0..2 * MAX_ORIGINS as u32 {
            assert!(callers.called(Moment::ZERO, origin(n)));
        }
        assert_eq!(callers.0.len(), MAX_ORIGINS);
        assert!(callers.called(Moment(10_000_000), origin(u32::MAX)));
        assert_eq!(callers.0.len(), 1);
    }
}
