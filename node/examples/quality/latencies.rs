//! Round trips between places, read from what the public sets look like.
//!
//! **Invariant:** symmetric, positive, in ms; a pair that was never measured is NaN, and so is the diagonal.

use std::collections::BTreeMap;

use crate::geography::Place;

/// More places than this would be gigabytes of pairs, and is surely another kind of file.
const MOST_PLACES: usize = 5_000;
/// Below the resolution of any of the sets; keeps ratios finite.
const LEAST_MS: f64 = 0.01;

/// Round trips in ms between places.
#[derive(Clone, Debug)]
pub struct Latencies {
    names: Vec<String>,
    rtt: Vec<f64>,
    places: Option<Vec<Place>>,
}

impl Latencies {
    /// From a function of two places.
    pub fn new(places: Vec<Place>, rtt: impl Fn(usize, usize) -> f64) -> Self {
        let names = (0..places.len()).map(|n| n.to_string()).collect();
        let mut this = Self::empty(names);
        for (a, b) in pairs(places.len()) {
            this.set(a, b, rtt(a, b));
        }
        this.places = Some(places);
        this
    }

    /// From a file in any of the forms that the command's usage names.
    pub fn parse(text: &str) -> Result<Self, String> {
        let first = text.lines().next().unwrap_or_default();
        if first.starts_with("i,j,") {
            Self::parse_pairs(text, |values| median(values.iter().filter_map(|value| positive(value))))
        } else if first.starts_with("src,dst,") {
            Self::parse_pairs(text, |values| values.first().and_then(|value| positive(value)))
        } else {
            Self::parse_square(text)
        }
    }

    fn empty(names: Vec<String>) -> Self {
        let rtt = vec![f64::NAN; names.len() * names.len()];
        Self { names, rtt, places: None }
    }

    fn parse_pairs(text: &str, value: impl Fn(&[&str]) -> Option<f64>) -> Result<Self, String> {
        // In the order in which they come, not that of their names: which of two near places is kept depends on it.
        let mut indices: BTreeMap<&str, usize> = BTreeMap::new();
        let mut names: Vec<String> = Vec::new();
        let mut index = |name| {
            *indices.entry(name).or_insert_with(|| {
                names.push(String::from(name));
                names.len() - 1
            })
        };
        let mut measured: Vec<(usize, usize, f64)> = Vec::new();
        for (at, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty()) {
            let fields: Vec<&str> = line.split(',').collect();
            let [a, b, values @ ..] = fields.as_slice() else {
                return Err(format!("line {}: two places and a time are wanted", at + 1));
            };
            let (a, b) = (index(a), index(b));
            if let Some(ms) = value(values).filter(|_| a != b) {
                measured.push((a, b, ms));
            }
        }
        check_count(names.len())?;
        let mut this = Self::empty(names);
        for (a, b, ms) in measured {
            let other = this.get(a, b);
            this.set(a, b, if other.is_nan() { ms } else { (other + ms) / 2.0 });
        }
        Ok(this)
    }

    fn parse_square(text: &str) -> Result<Self, String> {
        let mut lines: Vec<Vec<&str>> =
            text.lines().filter(|line| !line.is_empty()).map(|line| line.split(',').map(str::trim).collect()).collect();
        let is_name = |field: &&str| !field.is_empty() && field.parse::<f64>().is_err();
        let mut names = None;
        if lines.first().is_some_and(|first| first.iter().skip(1).any(is_name)) {
            names = Some(lines.remove(0));
        }
        if lines.first().and_then(|line| line.first()).is_some_and(is_name) {
            names = Some(lines.iter_mut().map(|line| line.remove(0)).collect());
        }
        check_count(lines.len())?;
        let names = match names {
            Some(names) if names.len() == lines.len() => names.into_iter().map(str::to_owned).collect(),
            _ => (0..lines.len()).map(|n| n.to_string()).collect(),
        };
        let mut this = Self::empty(names);
        for (a, line) in lines.iter().enumerate() {
            if line.len() != lines.len() {
                return Err(format!("row {}: {} columns, and there are {} rows", a + 1, line.len(), lines.len()));
            }
            for (b, field) in line.iter().enumerate().filter(|(b, _)| *b != a) {
                let Some(ms) = positive(field) else { continue };
                let other = if b < a { this.get(a, b) } else { f64::NAN };
                this.set(a, b, if other.is_nan() { ms } else { (other + ms) / 2.0 });
            }
        }
        Ok(this)
    }

    /// The same, with places from lines of name, latitude and longitude.
    pub fn placed(mut self, text: &str) -> Result<Self, String> {
        let mut known = BTreeMap::new();
        for line in text.lines().skip(1) {
            let mut fields = line.split(',');
            let (name, lat, lon) = (fields.next(), fields.next(), fields.next());
            if let (Some(name), Some(Ok(lat)), Some(Ok(lon))) = (name, lat.map(str::parse), lon.map(str::parse)) {
                known.insert(name, Place { lat, lon });
            }
        }
        let places: Option<Vec<Place>> = self.names.iter().map(|name| known.get(name.as_str()).copied()).collect();
        if places.is_none() {
            let missing = self.names.iter().find(|name| !known.contains_key(name.as_str()));
            return Err(format!("no place for {}", missing.map_or("", String::as_str)));
        }
        self.places = places;
        Ok(self)
    }

    /// The same without places that are nearer than this to one that is kept: nodes of one site would find each other
    /// and prove nothing.
    pub fn apart(&self, ms: f64) -> Self {
        let mut kept: Vec<usize> = Vec::new();
        for place in 0..self.len() {
            if !kept.iter().any(|other| self.get(place, *other) < ms) {
                kept.push(place);
            }
        }
        let mut this = Self::empty(kept.iter().map(|place| self.names[*place].clone()).collect());
        for (a, b) in pairs(kept.len()) {
            this.set(a, b, self.get(kept[a], kept[b]));
        }
        this.places = self.places.as_ref().map(|places| kept.iter().map(|place| places[*place]).collect());
        this
    }

    /// How many places.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The round trip between two places; NaN if it was not measured.
    pub fn get(&self, a: usize, b: usize) -> f64 {
        self.rtt[a * self.names.len() + b]
    }

    /// Where the places are, if that is known.
    pub fn places(&self) -> Option<&[Place]> {
        self.places.as_deref()
    }

    fn set(&mut self, a: usize, b: usize, ms: f64) {
        let ms = if ms.is_nan() { ms } else { ms.max(LEAST_MS) };
        let n = self.names.len();
        self.rtt[a * n + b] = ms;
        self.rtt[b * n + a] = ms;
    }
}

fn check_count(count: usize) -> Result<(), String> {
    match count {
        0..3 => Err("fewer than three places".to_owned()),
        3..=MOST_PLACES => Ok(()),
        _ => Err(format!("{count} places, at most {MOST_PLACES} are taken")),
    }
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(|a| (0..a).map(move |b| (a, b)))
}

fn positive(field: &str) -> Option<f64> {
    field.parse().ok().filter(|ms: &f64| ms.is_finite() && *ms > 0.0)
}

/// The middle one; of an even number the mean of the two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some((sorted[last / 2] + sorted[sorted.len() / 2]) / 2.0)
}
