//! Delays between real places.
//!
//! Round-trip times in ms between cloud regions, from row to column: five of the 21 regions of the cloudping table in
//! github.com/relab/hotstuff, commit 3179c6e6 (MIT). Not symmetric, as measured.

use crate::wan::Link;
use anyhow::{Context, Result};
use std::time::Duration;

/// The regions, in the order of the table.
pub const REGIONS: [&str; 5] = ["eu-central-1", "us-east-1", "ap-northeast-1", "eu-west-2", "us-east-2"];

const ROUND_TRIP_MS: [[f64; 5]; 5] = [
    [3.05, 90.98, 232.23, 16.07, 101.26],
    [93.01, 5.06, 156.97, 79.25, 15.32],
    [232.69, 154.82, 3.69, 212.24, 143.13],
    [16.50, 77.52, 211.03, 3.00, 87.37],
    [104.17, 16.30, 145.64, 90.06, 6.12],
];

fn place(region: &str) -> Result<usize> {
    REGIONS.iter().position(|known| *known == region).with_context(|| format!("no delays known for {region}"))
}

/// The measured round-trip time from one region to another.
pub fn round_trip(from: &str, to: &str) -> Result<Duration> {
    let (from, to) = (place(from)?, place(to)?);
    let ms = ROUND_TRIP_MS.get(from).and_then(|row| row.get(to)).copied().unwrap_or_default();
    Ok(Duration::from_secs_f64(ms / 1000.0))
}

/// The link from one region to another: half of the round trip.
pub fn one_way(from: &str, to: &str) -> Result<Link> {
    Ok(Link::delayed(round_trip(from, to)? / 2))
}

/// Which of `candidates` is nearest to `region`.
pub fn nearest<'a>(region: &str, candidates: impl IntoIterator<Item = &'a str>) -> Result<&'a str> {
    let mut best: Option<(Duration, &str)> = None;
    for candidate in candidates {
        let distance = round_trip(region, candidate)?;
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name).with_context(|| format!("nothing to be near to {region}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{nearest, one_way, round_trip};
    use std::time::Duration;

    #[test]
    fn a_link_is_half_of_its_round_trip() {
        assert_eq!(round_trip("us-east-1", "eu-central-1").unwrap(), Duration::from_micros(93_010));
        assert_eq!(one_way("us-east-1", "eu-central-1").unwrap().delay, Duration::from_micros(46_505));
        assert!(round_trip("us-east-1", "atlantis").is_err());
    }

    #[test]
    fn the_nearest_is_by_the_table() {
        let origins = ["eu-central-1", "us-east-1", "ap-northeast-1"];
        assert_eq!(nearest("eu-west-2", origins).unwrap(), "eu-central-1");
        assert_eq!(nearest("eu-central-1", ["ap-northeast-1", "us-east-1"]).unwrap(), "us-east-1");
        assert!(nearest("eu-central-1", []).is_err());
    }
}
