//! Where on Earth a node stands, as its operator says: for maps, never for steering. That goes by what was measured.
//!
//! Thousandths of a degree, about a hundred metres: enough for a map of the world, and all of it travels in a profile.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Thousandths in a degree.
const PER_DEGREE: f64 = 1000.0;
/// The poles.
const MOST_LATITUDE: i32 = 90_000;
/// The date line.
const MOST_LONGITUDE: i32 = 180_000;

/// A place on Earth. Any two numbers may come from a wire: [`Self::is_on_earth`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// Thousandths of a degree, north of the equator.
    latitude: i32,
    /// Thousandths of a degree, east of Greenwich.
    longitude: i32,
}

impl Location {
    /// Degrees north of the equator.
    pub fn latitude(self) -> f64 {
        f64::from(self.latitude) / PER_DEGREE
    }

    /// Degrees east of Greenwich.
    pub fn longitude(self) -> f64 {
        f64::from(self.longitude) / PER_DEGREE
    }

    /// Whether there is such a place.
    pub fn is_on_earth(self) -> bool {
        self.latitude.unsigned_abs() <= MOST_LATITUDE.unsigned_abs()
            && self.longitude.unsigned_abs() <= MOST_LONGITUDE.unsigned_abs()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.latitude(), self.longitude())
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "\"LATITUDE, LONGITUDE\" in degrees is expected, south and west negative, such as \"50.11, 8.68\" or \"-23.55, -46.63\"";
        let (latitude, longitude) = text.split_once(',').ok_or(ALLOWED)?;
        let degrees = |text: &str, most: i32, what: &str| {
            let degrees: f64 = text.trim().parse().ok().filter(|d: &f64| d.is_finite()).ok_or(ALLOWED)?;
            if degrees.abs() * PER_DEGREE > f64::from(most) {
                return Err(format!("a {what} of {degrees} is not on Earth: from -{0} to {0} is allowed", most / 1000));
            }
            Ok((degrees * PER_DEGREE).round() as i32)
        };
        Ok(Self {
            latitude: degrees(latitude, MOST_LATITUDE, "latitude")?,
            longitude: degrees(longitude, MOST_LONGITUDE, "longitude")?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        for (text, latitude, longitude) in
            [("50.11, 8.68", 50.11, 8.68), (" -23.55,-46.63 ", -23.55, -46.63), ("90,-180", 90.0, -180.0)]
        {
            let location: Location = text.parse().unwrap();
            assert_eq!((location.latitude(), location.longitude()), (latitude, longitude));
            assert!(location.is_on_earth());
            assert_eq!(location.to_string().parse(), Ok(location));
        }
    }

    #[test]
    fn what_is_no_place_is_told() {
        for text in ["", "50.11", "50.11 8.68", "N50, E8", "nan, 0", "1, 2, 3"] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(error.contains("LATITUDE, LONGITUDE"), "{text}: {error}");
        }
        assert!("90.1, 0".parse::<Location>().unwrap_err().contains("latitude of 90.1"));
        assert!("0, -180.1".parse::<Location>().unwrap_err().contains("longitude of -180.1"));
        assert!(!Location { latitude: 0, longitude: i32::MIN }.is_on_earth());
    }
}
