//! The text form of a WAN, for people: `chaos wan SPEC` reads a file of these lines and then more of them on stdin.
//!
//! ```text
//! host fra nigh-fra 10.49.0.2/8 fd00::2/8   a host, its existing network namespace, its addresses (in the file only)
//! default 20ms                         every pair
//! both fra nyc 46ms jitter 2ms         both directions
//! pair nyc fra 50ms loss 0.5%          one direction
//! cut fra nyc | heal fra nyc           both directions
//! stats | quit
//! ```

use super::core::Link;
use super::switch::Port;
use anyhow::{Context, Result, bail};
use std::net::IpAddr;
use std::time::Duration;

/// Longest delay that a line may ask for: more is a typing error, and a packet would sit in the queue for it.
const DELAY_MAX: Duration = Duration::from_secs(10);

/// One line.
#[derive(Clone, Debug)]
pub enum Line {
    /// Connects a host.
    Host(Port),
    /// Sets every link.
    Default(Link),
    /// Sets one direction.
    Pair(String, String, Link),
    /// Sets both directions.
    Both(String, String, Link),
    /// Lets nothing pass between two hosts.
    Cut(String, String),
    /// Ends a cut.
    Heal(String, String),
    /// Asks for the counts.
    Stats,
    /// Ends the WAN.
    Quit,
}

/// Reads a line; `None` for an empty one or a comment (`#`).
pub fn parse(line: &str) -> Result<Option<Line>> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let owned = |word: &str| word.to_owned();
    Ok(Some(match words.as_slice() {
        [] => return Ok(None),
        ["host", name, namespace, networks @ ..] => Line::Host(port(name, namespace, networks)?),
        ["default", link @ ..] => Line::Default(parse_link(link)?),
        ["pair", from, to, link @ ..] => Line::Pair(owned(from), owned(to), parse_link(link)?),
        ["both", a, b, link @ ..] => Line::Both(owned(a), owned(b), parse_link(link)?),
        ["cut", a, b] => Line::Cut(owned(a), owned(b)),
        ["heal", a, b] => Line::Heal(owned(a), owned(b)),
        ["stats"] => Line::Stats,
        ["quit"] => Line::Quit,
        _ => bail!(
            "cannot read `{}`: lines are host NAME NAMESPACE ADDRESS/LEN..., default LINK, pair FROM TO LINK, \
             both A B LINK, cut A B, heal A B, stats, quit; a LINK is DELAY [jitter TIME] [loss N%] [reorder N%]",
            line.trim()
        ),
    }))
}

fn port(name: &str, namespace: &str, networks: &[&str]) -> Result<Port> {
    if networks.is_empty() {
        bail!("a host needs an address, written ADDRESS/LEN");
    }
    let addresses = networks.iter().map(|network| parse_network(network)).collect::<Result<_>>()?;
    Ok(Port { name: name.to_owned(), namespace: namespace.to_owned(), addresses })
}

fn parse_network(network: &str) -> Result<(IpAddr, u8)> {
    let (address, prefix_len) = network.split_once('/').context("an address is written ADDRESS/LEN")?;
    let address: IpAddr = address.parse().with_context(|| format!("`{address}` is no IP address"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix_len = prefix_len
        .parse()
        .ok()
        .filter(|length| *length <= longest)
        .with_context(|| format!("`{prefix_len}` is no prefix length (0 to {longest})"))?;
    Ok((address, prefix_len))
}

fn parse_link(words: &[&str]) -> Result<Link> {
    let (delay, mut options) = words.split_first().context("a link needs a delay, as in 20ms")?;
    let mut link = Link::delayed(parse_time(delay)?);
    while let [key, value, rest @ ..] = options {
        match *key {
            "jitter" => link.jitter = parse_time(value)?,
            "loss" => link.loss_ppm = parse_part(value, key)?,
            "reorder" => link.reorder_ppm = parse_part(value, key)?,
            _ => bail!("`{key}` is unknown; after the delay come `jitter TIME`, `loss N%` and `reorder N%`"),
        }
        options = rest;
    }
    if let [alone] = options {
        bail!("`{alone}` has no value");
    }
    Ok(link)
}

fn parse_time(word: &str) -> Result<Duration> {
    let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match word.get(digits.len()..) {
        Some("us") => 1e-6,
        Some("ms") => 1e-3,
        Some("s") => 1.0,
        _ => bail!("`{word}` is no time: write 300us, 20ms or 1.5s"),
    };
    digits
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .filter(|time| *time <= DELAY_MAX)
        .with_context(|| format!("`{word}` is no time between 0 and {} s", DELAY_MAX.as_secs()))
}

fn parse_part(word: &str, what: &str) -> Result<u32> {
    word.strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|percent| (0.0..=100.0).contains(percent))
        // At most 1,000,000: checked on the line above.
        .map(|percent| (percent * 10_000.0).round() as u32)
        .with_context(|| format!("`{word}` is no {what} between 0% and 100%"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Line, Link, parse};
    use std::time::Duration;

    #[test]
    fn a_line_sets_what_it_says() {
        let Some(Line::Pair(from, to, link)) =
            parse("pair fra nyc 46.5ms jitter 300us loss 0.5% reorder 3% # slow").unwrap()
        else {
            panic!("not a pair");
        };
        assert_eq!((from.as_str(), to.as_str()), ("fra", "nyc"));
        let expected = Link {
            delay: Duration::from_micros(46_500),
            jitter: Duration::from_micros(300),
            loss_ppm: 5_000,
            reorder_ppm: 30_000,
            cut: false,
        };
        assert_eq!(link, expected);
        let Some(Line::Host(port)) = parse("host fra space 10.49.0.2/8 fd00::2/64").unwrap() else {
            panic!("not a host")
        };
        assert_eq!(port.addresses, [("10.49.0.2".parse().unwrap(), 8), ("fd00::2".parse().unwrap(), 64)]);
        assert!(parse("  # nothing").unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_word() {
        for (line, word) in [
            ("pair a b", "needs a delay"),
            ("pair a b 20", "`20`"),
            ("pair a b -1ms", "`-1ms`"),
            ("pair a b NaNs", "`NaNs`"),
            ("pair a b 11s", "`11s`"),
            ("both a b 1ms loss 101%", "`101%`"),
            ("both a b 1ms reorder 101%", "no reorder between"),
            ("both a b 1ms loss", "`loss`"),
            ("both a b 1ms lost 1%", "`lost`"),
            ("host a b 10.0.0.1", "ADDRESS/LEN"),
            ("host a b", "needs an address"),
            ("host a b 10.0.0.1/33", "`33`"),
            ("host a b fd00::1/129", "`129`"),
            ("cut a", "cut A B"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
