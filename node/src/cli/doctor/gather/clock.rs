//! The time elsewhere: an NTP server's (RFC 4330), and what keeps this host's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::run::unix;

/// Until an NTP server counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);
/// From 1900 to 1970, in seconds.
const ERA: f64 = 2_208_988_800.0;
/// Octets of a message.
const LENGTH: usize = 48;

/// An NTP server's time less ours, in seconds.
pub(crate) async fn ntp(server: &str) -> Result<f64, String> {
    let named = if server.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        format!("[{server}]:123")
    } else if server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        server.to_owned()
    } else {
        format!("{server}:123")
    };
    let found = lookup_host(&named).await.map_err(|error| error.to_string())?.next();
    let address = found.ok_or("it has no address")?;
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(|error| error.to_string())?;
    socket.connect(address).await.map_err(|error| error.to_string())?;
    let mut question = [0; LENGTH];
    question[0] = 0x23; // version 4, client
    let nonce: [u8; 8] = rand::random();
    question[40..].copy_from_slice(&nonce);
    let sent = unix().as_secs_f64();
    socket.send(&question).await.map_err(|error| error.to_string())?;
    let mut reply = [0; 128];
    let received = timeout(PATIENCE, socket.recv(&mut reply)).await.map_err(|_| "no reply".to_owned())?;
    let length = received.map_err(|error| error.to_string())?;
    offset(reply.get(..length).unwrap_or_default(), &nonce, sent, unix().as_secs_f64())
}

/// RFC 4330 section 5: ((T2 - T1) + (T3 - T4)) / 2.
fn offset(reply: &[u8], nonce: &[u8; 8], sent: f64, received: f64) -> Result<f64, String> {
    let reply: &[u8; LENGTH] = reply.first_chunk().ok_or("it sends something else")?;
    if reply[0] & 7 != 4 || reply[24..32] != *nonce {
        return Err("it sends something else".to_owned());
    }
    if reply[0] >> 6 == 3 || reply[1] == 0 {
        return Err("it does not know the time itself".to_owned());
    }
    let time = |at: usize| {
        let word = |at: usize| reply[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        f64::from(word(at)) - ERA + f64::from(word(at + 4)) / 2f64.powi(32)
    };
    Ok(((time(32) - sent) + (time(40) - received)) / 2.0)
}

/// What keeps this host's clock, as far as it leaves traces.
pub(crate) fn keeper() -> Option<String> {
    let traces = [
        ("/run/systemd/timesync/synchronized", "systemd-timesyncd"),
        ("/run/chrony/chronyd.pid", "chronyd"),
        ("/run/chronyd.pid", "chronyd"),
        ("/run/ntpd.pid", "ntpd"),
        ("/run/ntpsec/ntpd.pid", "ntpd"),
    ];
    traces.iter().find(|(path, _)| Path::new(path).exists()).map(|(_, keeper)| (*keeper).to_owned())
}

/// A node's clock less ours, from the second in its cookie. Both count modulo 2^32.
pub(crate) fn node(told: u32, now: Duration) -> i64 {
    // The difference of two times that are near each other, whatever the era.
    i64::from(told.wrapping_sub(now.as_secs() as u32) as i32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_ntp_reply_is_read_and_a_strangers_is_not() {
        let mut reply = [0; LENGTH];
        reply[0] = 0x24;
        reply[1] = 2;
        reply[24..32].copy_from_slice(&[9; 8]);
        // 1970 and 10 s, in both stamps.
        let time = 2_208_988_810u32.to_be_bytes();
        reply[32..36].copy_from_slice(&time);
        reply[40..44].copy_from_slice(&time);
        assert_eq!(offset(&reply, &[9; 8], 4.0, 6.0), Ok(5.0));
        assert!(offset(&reply, &[8; 8], 4.0, 6.0).is_err(), "the nonce is another");
        reply[1] = 0;
        assert!(offset(&reply, &[9; 8], 4.0, 6.0).unwrap_err().contains("does not know"));
        assert!(offset(&reply[..40], &[9; 8], 4.0, 6.0).is_err());
    }

    #[test]
    fn clocks_are_compared_over_the_end_of_an_era() {
        assert_eq!(node(105, Duration::from_secs(100)), 5);
        assert_eq!(node(95, Duration::from_secs(100)), -5);
        assert_eq!(node(2, Duration::from_secs(u64::from(u32::MAX))), 3);
    }
}
