//! The other servers: where they are, and a configuration for each that makes it as fast as it can be on one core with
//! the same names: one thread or process that answers, no logging of queries, no rate limit, no recursion.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{SERVICES, ZONE, service};

/// A server to measure against.
pub struct Rival {
    pub name: &'static str,
    /// Where it comes from in Debian.
    pub package: &'static str,
    pub program: &'static str,
    version: &'static str,
    /// Writes configuration into a folder, for a port. Returns the program's arguments.
    configure: fn(&Path, u16) -> Vec<String>,
}

/// All that we know.
pub const RIVALS: [Rival; 5] = [
    Rival { name: "gdnsd", package: "gdnsd", program: "gdnsd", version: "-V", configure: gdnsd },
    Rival { name: "NSD", package: "nsd", program: "nsd", version: "-v", configure: nsd },
    Rival { name: "Knot DNS", package: "knot", program: "knotd", version: "-V", configure: knot },
    Rival {
        name: "PowerDNS",
        package: "pdns-backend-bind",
        program: "pdns_server",
        version: "--version",
        configure: powerdns,
    },
    Rival { name: "BIND", package: "bind9", program: "named", version: "-v", configure: bind },
];

impl Rival {
    /// The program, if it is installed.
    pub fn program(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Servers lie where not everybody looks.
        let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        let found = places.map(|place| place.join(self.program)).find(|program| program.exists())?;
        let backend =
            Path::new("/usr/lib").join(format!("{}-linux-gnu/pdns/libbindbackend.so", std::env::consts::ARCH));
        (self.name != "PowerDNS" || backend.exists()).then_some(found)
    }

    /// Which one it is, such as `4.6.1`.
    pub fn version(&self, program: &Path) -> String {
        let said = Command::new(program).arg(self.version).output().unwrap();
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let mut words = said.split([' ', '\n', ',', '-']).map(|word| word.trim_end_matches('.'));
        let version = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'));
        version.unwrap_or("?").to_owned()
    }

    /// Writes configuration into a folder. Returns the program's arguments.
    pub fn configure(&self, folder: &Path, port: u16) -> Vec<String> {
        fs::write(folder.join("zone"), zone()).unwrap();
        (self.configure)(folder, port)
    }
}

/// Each name with an address, which is what nigh says of its best server.
fn zone() -> String {
    let mut zone = format!(
        "$ORIGIN {ZONE}.\n$TTL 20\n@ SOA ns1 hostmaster 1 3600 600 86400 20\n@ NS ns1\n@ NS ns2\n\
         ns1 A 192.0.2.1\nns2 A 192.0.2.2\n"
    );
    for at in 0..SERVICES {
        writeln!(zone, "{} A 198.18.{}.{}", service(at), at / 250, at % 250).unwrap();
    }
    zone
}

fn write(file: &Path, text: &str) -> String {
    fs::write(file, text).unwrap();
    file.display().to_string()
}

fn gdnsd(folder: &Path, port: u16) -> Vec<String> {
    let here = folder.display();
    for name in ["zones", "run", "state"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::rename(folder.join("zone"), folder.join("zones").join(ZONE)).unwrap();
    let options = format!(
        "options => {{ listen => 127.0.0.1:{port}, udp_threads => 1, tcp_threads => 1, \
         udp_rcvbuf => 1048576, \
         run_dir => {here}/run, state_dir => {here}/state }}\n"
    );
    write(&folder.join("config"), &options);
    ["-c", &here.to_string(), "-S", "start"].map(str::to_owned).into()
}

fn nsd(folder: &Path, port: u16) -> Vec<String> {
    let here = folder.display();
    let text = format!(
        "server:\n server-count: 1\n ip-address: 127.0.0.1@{port}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{here}\"\n \
         database: \"\"\n pidfile: \"{here}/pid\"\n xfrdfile: \"{here}/xfrd\"\n xfrdir: \"{here}\"\n \
         zonelistfile: \"{here}/zones\"\n hide-version: yes\n rrl-ratelimit: 0\n\
         remote-control:\n control-enable: no\nzone:\n name: {ZONE}\n zonefile: zone\n"
    );
    ["-d", "-c", &write(&folder.join("nsd.conf"), &text)].map(str::to_owned).into()
}

fn knot(folder: &Path, port: u16) -> Vec<String> {
    let here = folder.display();
    let text = format!(
        "server:\n  rundir: {here}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\ndatabase:\n  storage: {here}\nlog:\n  - target: stderr\n    any: error\n\
         zone:\n  - domain: {ZONE}\n    storage: {here}\n    file: zone\n    journal-content: none\n    \
         zonefile-sync: -1\n"
    );
    ["-c", &write(&folder.join("knot.conf"), &text)].map(str::to_owned).into()
}

fn powerdns(folder: &Path, port: u16) -> Vec<String> {
    let here = folder.display();
    write(&folder.join("named.conf"), &format!("zone \"{ZONE}\" {{ type master; file \"{here}/zone\"; }};\n"));
    let text = format!(
        "launch=bind\nbind-config={here}/named.conf\nlocal-address=127.0.0.1\nlocal-port={port}\nsocket-dir={here}\n\
         daemon=no\nguardian=no\nwrite-pid=no\ndisable-syslog=yes\nloglevel=3\nreceiver-threads=1\n\
         distributor-threads=1\ncache-ttl=60\nquery-cache-ttl=60\nsecurity-poll-suffix=\nwebserver=no\n\
         log-dns-queries=no\nversion-string=anonymous\nreuseport=no\n"
    );
    write(&folder.join("pdns.conf"), &text);
    vec![format!("--config-dir={here}")]
}

fn bind(folder: &Path, port: u16) -> Vec<String> {
    let here = folder.display();
    let text = format!(
        "options {{ directory \"{here}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
         recursion no; minimal-responses yes; querylog no; dnssec-validation no; pid-file none; \
         session-keyfile none; notify no; allow-transfer {{ none; }}; }};\ncontrols {{ }};\n\
         logging {{ category default {{ default_stderr; }}; category lame-servers {{ null; }}; }};\n\
         zone \"{ZONE}\" {{ type primary; file \"zone\"; }};\n"
    );
    ["-f", "-n", "1", "-U", "1", "-c", &write(&folder.join("named.conf"), &text)].map(str::to_owned).into()
}
