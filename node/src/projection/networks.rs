//! Tables of networks, as vendors sell them or give them away (MaxMind DB files): whose an address is.
//!
//! They help to guess who is near a client that nobody claims ([`nigh_dns::Networks`]). Any vendor's file will do, if its
//! records say one of what `OPERATOR` and `COUNTRY` name. The files are read whole into sorted ranges, off the threads
//! that answer, at the start and when they change; a table that does not read any more leaves what was read before.
//!
//! **Invariant:** a file is input: whatever it holds costs no more than `LARGEST` octets and `MOST_LEAVES` steps, and
//! at worst it is not used and a warning says why.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use maxminddb::{PathElement, Reader, WithinOptions};
use nigh_dns::{MOST_RANGES, NetworkTable, Ranges, country_value};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Tables that one node reads: operators and countries, and one more of each.
pub const MAX_TABLES: usize = 4;
/// The largest file: those with cities, which say more than is wanted, have a tenth of it.
const LARGEST: u64 = 1 << 30;
/// Leaves of a file's tree that are visited. The tree of a file at fault may lead to one leaf by any number of ways.
const MOST_LEAVES: usize = 4 * MOST_RANGES;
/// Files are looked at so often; vendors bring a new one once a day at most.
const LOOK: Duration = Duration::from_secs(60);

/// Where vendors keep the number of the autonomous system: MaxMind and DB-IP, IPinfo ("AS64500"), IP2Location.
const OPERATOR: [&[&str]; 3] = [&["autonomous_system_number"], &["asn"], &["as_number"]];
/// Where they keep the two letters of the country: MaxMind and DB-IP, who else there is, and IPinfo of old.
const COUNTRY: [&[&str]; 4] =
    [&["country", "iso_code"], &["country_code"], &["country"], &["registered_country", "iso_code"]];

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// All files together, the first that knows something of a network first.
    pub table: Arc<NetworkTable>,
    /// What is wrong with them.
    pub warnings: Vec<String>,
}

/// Reads the tables as long as it is held.
#[derive(Debug)]
pub struct Tables {
    loaded: watch::Receiver<Arc<Loaded>>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl Tables {
    /// Begins to read these files, and does so again whenever one of them changes.
    pub fn start(files: Vec<PathBuf>) -> Self {
        let (sender, loaded) = watch::channel(Arc::default());
        let task = (!files.is_empty()).then(|| AbortOnDropHandle::new(tokio::spawn(follow(files, sender))));
        Self { loaded, _task: task }
    }

    /// What was read last.
    pub fn loaded(&self) -> Arc<Loaded> {
        self.loaded.borrow().clone()
    }
}

/// What changes of a file when another takes its place.
type Mark = Option<(SystemTime, u64)>;

async fn follow(files: Vec<PathBuf>, loaded: watch::Sender<Arc<Loaded>>) {
    let mut held: BTreeMap<PathBuf, (Mark, File)> = BTreeMap::new();
    loop {
        let wanted = files.clone();
        let before = held.clone();
        // The reader of a foreign format, given to a thread of its own: should it ever panic, only the table is missing.
        match tokio::task::spawn_blocking(move || look(&wanted, before)).await {
            Ok(Some(new)) => {
                held = new;
                let all = files.iter().filter_map(|file| Some(&held.get(file)?.1));
                let joined = join(all);
                let (operators, countries) = (joined.table.operators.len(), joined.table.countries.len());
                tracing::info!(operators, countries, "the tables of networks: ranges");
                loaded.send_replace(Arc::new(joined));
            }
            Ok(None) => {}
            Err(error) => {
                let warning = format!("a table of networks could not be read, and is not tried again: {error}");
                loaded.send_modify(|loaded| Arc::make_mut(loaded).warnings.push(warning));
                return;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One file: what it says, and what is wrong with it.
#[derive(Clone, Debug, Default)]
struct File {
    said: Arc<Said>,
    warning: Option<String>,
}

/// Networks with their values, by operator and by country.
#[derive(Debug, Default)]
struct Said {
    operators: Vec<(IpNet, u32)>,
    countries: Vec<(IpNet, u32)>,
}

/// All files, if one of them has changed.
fn look(files: &[PathBuf], before: BTreeMap<PathBuf, (Mark, File)>) -> Option<BTreeMap<PathBuf, (Mark, File)>> {
    let mark = |file: &Path| -> Mark {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    let marks: Vec<Mark> = files.iter().map(|file| mark(file)).collect();
    let same = |(file, mark): (&PathBuf, &Mark)| before.get(file).is_some_and(|(held, _)| held == mark);
    if files.iter().zip(&marks).all(same) {
        return None;
    }
    let read = files.iter().zip(marks).map(|(file, mark)| {
        let held = before.get(file);
        let new = match held {
            Some((held, old)) if *held == mark => old.clone(),
            _ => match read(file) {
                Ok(said) => File { said: Arc::new(said), warning: None },
                Err(error) => {
                    let stays =
                        held.is_some_and(|(_, old)| !old.said.operators.is_empty() || !old.said.countries.is_empty());
                    let stays = if stays { "; what was read of it before stays" } else { "" };
                    let warning = Some(format!("networks.tables: {}: {error:#}{stays}", file.display()));
                    File { said: held.map(|(_, old)| old.said.clone()).unwrap_or_default(), warning }
                }
            },
        };
        (file.clone(), (mark, new))
    });
    Some(read.collect())
}

fn join<'f>(files: impl Iterator<Item = &'f File>) -> Loaded {
    let mut loaded = Loaded::default();
    let (mut operators, mut countries) = (Vec::new(), Vec::new());
    for file in files {
        loaded.warnings.extend(file.warning.clone());
        // Where two files speak of one network, Ranges takes the first that it is given.
        operators.extend(file.said.operators.iter().copied());
        countries.extend(file.said.countries.iter().copied());
    }
    let mut lay_out = |networks: Vec<(IpNet, u32)>| {
        Ranges::new(networks).unwrap_or_else(|error| {
            loaded.warnings.push(format!("networks.tables: {error}: none of them is used"));
            Ranges::default()
        })
    };
    let table = NetworkTable { operators: lay_out(operators), countries: lay_out(countries) };
    Loaded { table: Arc::new(table), ..loaded }
}

fn read(file: &Path) -> anyhow::Result<Said> {
    let opened = std::fs::File::open(file)?;
    let mut octets = Vec::new();
    opened.take(LARGEST + 1).read_to_end(&mut octets)?;
    anyhow::ensure!(octets.len() as u64 <= LARGEST, "larger than {LARGEST} octets");
    said(octets)
}

/// What a file says that is wanted here.
fn said(octets: Vec<u8>) -> anyhow::Result<Said> {
    let reader = Reader::from_source(octets).map_err(|error| anyhow::anyhow!("no MaxMind DB file: {error}"))?;
    let mut said = Said::default();
    // Most leaves lead to few records, so each is decoded once.
    let mut known: BTreeMap<usize, (Option<u32>, Option<u32>)> = BTreeMap::new();
    let mut leaves = 0;
    // Those without data are wanted to be counted: a tree at fault may be endless and bare.
    for found in reader.networks(WithinOptions::default().include_networks_without_data())? {
        leaves += 1;
        anyhow::ensure!(leaves <= MOST_LEAVES, "more than {MOST_LEAVES} networks");
        let found = found?;
        let Some(offset) = found.offset() else { continue };
        let (operator, country) = match known.get(&offset) {
            Some(known) => *known,
            None => {
                let values = (OPERATOR.iter().find_map(|path| number(&found, path)), country(&found));
                known.insert(offset, values);
                values
            }
        };
        let network = found.network()?;
        let Ok(network) = IpNet::new(network.ip(), network.prefix()) else { continue };
        said.operators.extend(operator.map(|value| (network, value)));
        said.countries.extend(country.map(|value| (network, value)));
    }
    let useful = !said.operators.is_empty() || !said.countries.is_empty();
    anyhow::ensure!(
        useful,
        "it says neither the operator (autonomous_system_number, asn) nor the country of any network"
    );
    Ok(said)
}

type Leaf<'r> = maxminddb::LookupResult<'r, Vec<u8>>;

fn path(keys: &[&'static str]) -> Vec<PathElement<'static>> {
    keys.iter().map(|key| PathElement::Key(key)).collect()
}

/// A number, or one in letters: "64500" or "AS64500".
fn number(leaf: &Leaf<'_>, keys: &[&'static str]) -> Option<u32> {
    let number = match leaf.decode_path::<u32>(&path(keys)) {
        Ok(Some(number)) => number,
        _ => leaf.decode_path::<&str>(&path(keys)).ok()??.trim_start_matches("AS").parse().ok()?,
    };
    Some(number).filter(|number| *number > 0)
}

fn country(leaf: &Leaf<'_>) -> Option<u32> {
    COUNTRY.iter().find_map(|keys| country_value(leaf.decode_path::<&str>(&path(keys)).ok()??))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const ASN: &[u8] = include_bytes!("../../tests/networks/GeoLite2-ASN-Test.mmdb");
    const COUNTRY: &[u8] = include_bytes!("../../tests/networks/GeoLite2-Country-Test.mmdb");

    fn folder(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/networks").join(file)
    }

    fn fresh(files: &[PathBuf]) -> Loaded {
        let held = look(files, BTreeMap::new()).unwrap();
        join(held.values().map(|(_, file)| file))
    }

    #[test]
    fn operators_and_countries_are_those_of_the_vendor() {
        let loaded = fresh(&[folder("GeoLite2-ASN-Test.mmdb"), folder("GeoLite2-Country-Test.mmdb")]);
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let operator = |text: &str| loaded.table.operators.of(text.parse().unwrap());
        assert_eq!(
            (operator("1.0.0.200"), operator("1.159.255.255"), operator("1.160.0.0")),
            (Some(15169), Some(1221), None)
        );
        assert_eq!(operator("12.81.97.1"), Some(7018));
        let country = |text: &str| loaded.table.country(text.parse().unwrap());
        assert_eq!((country("2.125.160.217").as_deref(), country("81.2.69.142").as_deref()), (Some("GB"), Some("GB")));
        assert_eq!(country("192.0.2.1"), None);
        // What a reader of the file itself says of every address at the edge of a range.
        let reader = Reader::from_source(ASN.to_vec()).unwrap();
        let mut compared = 0;
        for found in reader.networks(WithinOptions::default()).unwrap() {
            let network = found.unwrap().network().unwrap();
            for address in [network.network(), network.broadcast()] {
                let whose =
                    reader.lookup(address).unwrap().decode_path::<u32>(&path(&["autonomous_system_number"])).unwrap();
                assert_eq!(loaded.table.operators.of(address), whose, "{address}");
                compared += 1;
            }
        }
        assert!(compared > 500, "{compared}");
    }

    /// A file whose whole tree is one node, so each half of all addresses is one record: keys and values, all strings.
    fn file(first: &[(&str, &str)], second: &[(&str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&[0x40 | text.len() as u8], text.as_bytes()].concat();
        let map = |pairs: &[(&str, &str)]| {
            let pairs: Vec<u8> = pairs.iter().flat_map(|(key, value)| [text(key), text(value)].concat()).collect();
            [&[0xe0 | !pairs.is_empty() as u8][..], &pairs].concat()
        };
        let (first, second) = (map(first), map(second));
        let record = |at: usize| ((1 + 16 + at) as u32).to_be_bytes()[1..].to_vec();
        let number = |key: &str, kind: u8, value: u8| [text(key), vec![kind << 5 | 1, value]].concat();
        let mut file = [record(0), record(first.len()), vec![0; 16], first, second].concat();
        file.extend(b"\xab\xcd\xefMaxMind.com\xe9");
        file.extend(number("node_count", 6, 1));
        file.extend(number("record_size", 5, 24));
        file.extend(number("ip_version", 5, 4));
        file.extend(number("binary_format_major_version", 5, 2));
        file.extend(number("binary_format_minor_version", 5, 0));
        file.extend([text("build_epoch"), vec![1, 2, 1]].concat());
        file.extend([text("database_type"), text("x")].concat());
        file.extend([text("languages"), vec![0, 4]].concat());
        file.extend([text("description"), vec![0xe0]].concat());
        file
    }

    #[test]
    fn other_vendors_write_it_otherwise() {
        let read = said(file(&[("asn", "AS64500")], &[("country_code", "de")])).unwrap();
        assert_eq!(read.operators, [("0.0.0.0/1".parse().unwrap(), 64500)]);
        assert_eq!(read.countries, [("128.0.0.0/1".parse().unwrap(), country_value("DE").unwrap())]);
        let read = said(file(&[("country", "FR")], &[("asn", "64501")])).unwrap();
        assert_eq!((read.operators[0].1, read.countries[0].1), (64501, country_value("FR").unwrap()));
        let nothing = said(file(&[("asn", "none")], &[("country", "Germany")])).unwrap_err().to_string();
        assert!(nothing.contains("neither the operator"), "{nothing}");
    }

    #[test]
    fn a_file_at_fault_is_a_warning_and_what_was_read_before_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("asn.mmdb");
        std::fs::write(&path, ASN).unwrap();
        let files = [path.clone(), folder("GeoLite2-Country-Test.mmdb")];
        let held = look(&files, BTreeMap::new()).unwrap();
        assert!(look(&files, held.clone()).is_none(), "nothing has changed");
        std::fs::write(&path, &ASN[..ASN.len() / 2]).unwrap();
        let held = look(&files, held).unwrap();
        let loaded = join(files.iter().map(|file| &held[file].1));
        assert!(
            loaded.warnings[0].contains("asn.mmdb: ") && loaded.warnings[0].contains("before stays"),
            "{:?}",
            loaded.warnings
        );
        assert_eq!(loaded.table.operators.of("1.0.0.1".parse().unwrap()), Some(15169));
        std::fs::remove_file(&path).unwrap();
        let held = look(&files, held).unwrap();
        assert!(join(files.iter().map(|file| &held[file].1)).warnings[0].contains("No such file"));
    }

    #[test]
    fn files_made_to_harm_are_refused() {
        let folder = folder("");
        let bad = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let bad: Vec<_> = bad.filter(|path| path.extension().is_some_and(|it| it == "mmdb")).collect();
        let bad: Vec<_> = bad.into_iter().filter(|path| !path.to_string_lossy().contains("GeoLite2")).collect();
        assert!(bad.len() >= 5);
        for path in bad {
            assert!(read(&path).is_err(), "{}", path.display());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// At worst the thread that reads ends; here nothing was seen that ends it.
        #[test]
        fn octets_that_were_changed_do_no_harm(
            asn: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            end in 0.5..1.0,
        ) {
            let mut octets = if asn { ASN } else { COUNTRY }.to_vec();
            for (at, octet) in changes {
                *at.get_mut(&mut octets) = octet;
            }
            if end < 0.7 {
                octets.truncate((octets.len() as f64 * end) as usize);
            }
            let _ = said(octets);
        }
    }
}
