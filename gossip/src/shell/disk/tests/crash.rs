//! Crashes at any point: a process that is killed, and a machine that loses what it did not sync.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redb::{StorageBackend, backends::FileBackend};

use super::*;

/// What each save of a run brings, as a function of its number; the page of slot 0 says which was the last.
fn changes(save: u64) -> (Vec<Page>, Vec<Key>) {
    let mut rng = ChaCha8Rng::seed_from_u64(save);
    let puts: std::collections::BTreeSet<u32> =
        (0..rng.random_range(0..40)).map(|_| rng.random_range(1..200)).collect();
    let deletes = (0..rng.random_range(0..20)).map(|_| rng.random_range(1..200)).filter(|slot| !puts.contains(slot));
    let deletes = deletes.map(key).collect();
    (puts.into_iter().chain([0]).map(|slot| page(slot, save)).collect(), deletes)
}

/// What is there after that many saves.
fn after(saves: u64) -> BTreeMap<Key, u64> {
    let mut state = BTreeMap::new();
    for save in 1..=saves {
        let (puts, deletes) = changes(save);
        state.retain(|key, _| !deletes.contains(key));
        state.extend(puts.iter().map(|page| (page.key(), save)));
    }
    state
}

/// Checks a directory after a crash in which `acknowledged` saves were done; gives how many are found.
fn check(dir: &Path, acknowledged: u64, what: &str) -> u64 {
    let found = versions(dir);
    assert!(!dir.join("replica.damaged").exists(), "{what}: put aside");
    let saves = found.get(&key(0)).copied().unwrap_or(0);
    assert!((acknowledged..=acknowledged + 1).contains(&saves), "{what}: {saves} of {acknowledged} saves");
    assert!(found == after(saves), "{what}: not the state after {saves} saves");
    saves
}

// ---- a process ----------------------------------------------------------------------------------------------------

const DIR: &str = "NIGH_TEST_SAVES_IN";
const SAVES: &str = "NIGH_TEST_SAVES_FROM";
const ROUNDS: u32 = 40;

/// Kills a copy of this test that saves in a loop, again and again, in the same directory.
#[test]
fn a_kill_at_any_point_loses_nothing_that_was_saved() {
    if let Some(dir) = std::env::var_os(DIR) {
        return save_until_killed(&PathBuf::from(dir), std::env::var(SAVES).unwrap().parse().unwrap());
    }
    let seed = std::env::var("NIGH_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let dir = scratch();
    let (mut saves, mut last_epoch, mut most) = (0, 0, 0);
    for round in 0..ROUNDS {
        let (mut child, lines) = start(dir.path(), saves);
        let (whole, then) = (rng.random_range(0..6), Duration::from_micros(rng.random_range(0..4_000)));
        let mut acknowledged = saves;
        for _ in 0..whole {
            acknowledged = lines.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        // Into the next save, that far.
        acknowledged = lines.recv_timeout(then).unwrap_or(acknowledged);
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.iter().last().unwrap_or(acknowledged);
        let epoch: u64 = fs::read_to_string(dir.path().join("epoch")).map_or(0, |text| text.trim().parse().unwrap());
        assert!(epoch >= last_epoch, "NIGH_SEED={seed}, round {round}: epoch {epoch} after {last_epoch}");
        saves = check(dir.path(), acknowledged, &format!("NIGH_SEED={seed}, round {round}"));
        most = saves.max(most);
        last_epoch = epoch + 1;
        // Now and then the next one begins from nothing.
        if rng.random_bool(0.2) {
            fs::remove_file(dir.path().join("replica")).unwrap();
            saves = 0;
        }
    }
    assert!(most > 0, "NIGH_SEED={seed}: no save was ever seen");
}

/// Its acknowledged saves come through the channel, the number it began with first.
fn start(dir: &Path, saves: u64) -> (Child, mpsc::Receiver<u64>) {
    let name = "shell::disk::tests::crash::a_kill_at_any_point_loses_nothing_that_was_saved";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DIR, dir)
        .env(SAVES, saves.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if let Some(save) = line.strip_prefix("saved ").and_then(|save| save.parse().ok()) {
                let _ = sender.send(save);
            }
        }
    });
    // It is about to open its store.
    assert_eq!(lines.recv_timeout(Duration::from_secs(20)), Ok(saves));
    (child, lines)
}

fn save_until_killed(dir: &Path, saves: u64) {
    let say = |save: u64| {
        // A line of its own, after what the harness has written.
        io::stdout().write_all(format!("\nsaved {save}\n").as_bytes()).unwrap();
        io::stdout().flush().unwrap();
    };
    say(saves);
    let (mut store, _) = open(dir);
    for save in saves + 1.. {
        let (puts, deletes) = changes(save);
        store.save(puts, deletes).unwrap();
        say(save);
    }
}

// ---- a machine ----------------------------------------------------------------------------------------------------

#[derive(Debug)]
enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
}

/// A disk that keeps what was synced, and of what was not, after a power cut, anything.
#[derive(Debug)]
struct Model {
    rng: ChaCha8Rng,
    synced: Vec<u8>,
    pending: Vec<Step>,
    acknowledged: u64,
    /// What a cut at each step could leave, with the saves acknowledged by then.
    left: Vec<(u64, Vec<u8>)>,
}

impl Model {
    fn step(&mut self, step: Step) {
        self.pending.push(step);
        for keep in [0.0, 0.5, 0.9] {
            let mut image = self.synced.clone();
            for step in &self.pending {
                if self.rng.random_bool(keep) {
                    // Half of them are torn between two sectors.
                    let whole = self.rng.random_bool(0.5);
                    let sectors = self.rng.random_range(0..16);
                    apply(&mut image, step, if whole { usize::MAX } else { sectors * 512 });
                }
            }
            self.left.push((self.acknowledged, image));
        }
    }

    fn sync(&mut self) {
        for step in std::mem::take(&mut self.pending) {
            apply(&mut self.synced, &step, usize::MAX);
        }
    }
}

fn apply(image: &mut Vec<u8>, step: &Step, most: usize) {
    match step {
        Step::Length(length) => image.resize(usize::try_from(*length).unwrap(), 0),
        Step::Write(at, bytes) => {
            let (at, bytes) = (usize::try_from(*at).unwrap(), &bytes[..bytes.len().min(most)]);
            image.resize(image.len().max(at + bytes.len()), 0);
            image[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

#[derive(Debug)]
struct Recorded {
    file: FileBackend,
    model: Arc<Mutex<Model>>,
}

impl StorageBackend for Recorded {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.model.lock().unwrap().step(Step::Length(len));
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.model.lock().unwrap().sync();
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.model.lock().unwrap().step(Step::Write(offset, data.to_vec()));
        self.file.write(offset, data)
    }
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_that_was_saved() {
    let seed = std::env::var("NIGH_SEED").map_or(1, |seed| seed.parse().unwrap());
    let dir = scratch();
    let (mut store, _) = open(dir.path());
    for save in 1..=5 {
        let (puts, deletes) = changes(save);
        store.save(puts, deletes).unwrap();
    }
    drop(store);
    let model = Arc::new(Mutex::new(Model {
        rng: ChaCha8Rng::seed_from_u64(seed),
        synced: fs::read(dir.path().join("replica")).unwrap(),
        pending: Vec::new(),
        acknowledged: 5,
        left: Vec::new(),
    }));
    let of = model.clone();
    let opener: Opener = Box::new(move |file: File| {
        database::open_backend(Recorded { file: FileBackend::new(file).unwrap(), model: of.clone() })
    });
    let (mut store, _) = Store::open_with(dir.path(), wall(), me(), opener).unwrap();
    for save in 6..=12 {
        let (puts, deletes) = changes(save);
        store.save(puts, deletes).unwrap();
        model.lock().unwrap().acknowledged = save;
    }
    drop(store);
    let left = std::mem::take(&mut model.lock().unwrap().left);
    assert!(left.len() > 100, "{} steps", left.len());
    for (at, (acknowledged, image)) in left.iter().enumerate() {
        let dir = scratch();
        fs::write(dir.path().join("replica"), image).unwrap();
        check(dir.path(), *acknowledged, &format!("NIGH_SEED={seed}, cut {at}"));
    }
}
