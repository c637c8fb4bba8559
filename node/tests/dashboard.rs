//! The dashboard in a real browser, of real nodes: those of `nigh demo`, and one that is alone and wants a token.
//! `dashboard/dashboard.mjs` is what looks at it.
//!
//! `NIGH_BLESS=1 cargo test -p nigh --test dashboard -- --ignored` renews the pictures in `deploy/docs/pictures/`. Without a browser
//! (`node/tests/dashboard/install` gets one) the test is skipped, unless `CI=true`.
#![allow(clippy::unwrap_used, reason = "a test that cannot start what it looks at has failed")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "for whoever wonders what was tested")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nigh::admin::{Role, make_token};

/// Pictures that the documentation shows.
const SHOWN: [&str; 4] = ["dashboard.png", "dashboard-dark.png", "dashboard-phone.png", "dashboard-why.png"];
const BROWSERS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// Ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The demo's nodes end with it; a lone node has nothing to lose.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn nigh() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nigh"));
    command.stdin(Stdio::null());
    command
}

/// What the browser needs, or what is missing.
fn browser(scripts: &Path) -> Result<PathBuf, &'static str> {
    if !scripts.join("node_modules/playwright-core").exists() {
        return Err("playwright-core is not installed");
    }
    if !Command::new("node").arg("--version").output().is_ok_and(|said| said.status.success()) {
        return Err("there is no Node.js");
    }
    BROWSERS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or("there is no Chromium")
}

/// A demo whose story is told: where its dashboard is, that of the node it offers to kill, and that node's pid.
struct Demo {
    _running: Running,
    mesh: String,
    victim: String,
    pid: String,
}

fn demo() -> Demo {
    let mut child = nigh().arg("demo").stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let (mut told, mut mesh, mut pid) = (String::new(), None, None);
    let mut lines = out.lines();
    while mesh.is_none() || pid.is_none() {
        let line = lines.next().unwrap_or_else(|| panic!("the demo ended early:\n{told}")).unwrap();
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(url), _, _) if url.starts_with("http://") => mesh = Some(url.to_owned()),
            (Some("kill"), Some("-9"), Some(victim)) => pid = Some(victim.to_owned()),
            _ => {}
        }
        told += &format!("{line}\n");
    }
    // It goes on telling who gets what, and must not wait for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    let mesh = mesh.unwrap();
    let victim = mesh.replace(".2.1:", ".1.1:");
    Demo { _running: running, mesh, victim, pid: pid.unwrap() }
}

/// A node that nobody has admitted, which lets nobody read without a token.
fn lone(folder: &Path) -> (Running, String, String) {
    let key = folder.join("operator.key");
    let made = nigh().args(["init", "--json", "--key"]).arg(&key).output().unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mesh, dns, admin) = (free(), free(), free());
    let (token, line) = make_token("wall", Role::Read).unwrap();
    let tokens = folder.join("tokens");
    fs::write(&tokens, format!("{line}\n")).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let config = folder.join("nigh.toml");
    let text = format!(
        "[node]\nname = \"lone\"\npop = \"Nowhere\"\nstate_dir = \"{state}\"\n[mesh]\nid = {id}\nlisten = [\"{mesh}\"]\n\
         [dns]\nlisten = [\"{dns}\"]\n[admin]\nsocket = \"{socket}\"\nlisten = \"{admin}\"\ntokens = \"{tokens}\"\n",
        state = folder.join("state").display(),
        id = made["mesh_id"],
        socket = folder.join("nigh.sock").display(),
        tokens = tokens.display(),
    );
    fs::write(&config, text).unwrap();
    let log = fs::File::create(folder.join("log")).unwrap();
    let running = nigh().args(["run", "--config"]).arg(&config).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    (Running(running), format!("http://{admin}/"), token.to_string())
}

#[test]
#[ignore = "a minute or two in a browser: cargo test -p nigh --test dashboard -- --ignored"]
fn a_person_sees_the_mesh() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard");
    let browser = match browser(&scripts) {
        Ok(browser) => browser,
        Err(missing) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            panic!("{missing}: run node/tests/dashboard/install")
        }
        Err(missing) => {
            eprintln!("skipped: {missing}; node/tests/dashboard/install gets what is needed");
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    fs::create_dir_all(&pictures).unwrap();
    let (_lone, lone_url, token) = lone(folder.path());
    let demo = demo();
    let looked = Command::new("node")
        .arg(scripts.join("dashboard.mjs"))
        .args([&browser, &pictures])
        .args([&demo.mesh, &demo.victim, &demo.pid, &lone_url, &token])
        // Told as it goes: a browser takes its time.
        .status()
        .unwrap();
    assert!(looked.success(), "what is wrong is said above; pictures of it: {}", pictures.display());
    if std::env::var_os("NIGH_BLESS").is_some() {
        let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs/pictures");
        fs::create_dir_all(&shown).unwrap();
        for name in SHOWN {
            fs::copy(pictures.join(name), shown.join(name)).unwrap();
        }
    }
}
