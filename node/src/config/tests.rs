#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SMALLEST: &str = include_str!("../../tests/config/good-smallest.toml");
const EVERYTHING: &str = include_str!("../../tests/config/good-everything.toml");

#[test]
fn what_is_not_stated_has_its_default() {
    let config = Config::parse(SMALLEST).unwrap();
    assert_eq!(config.node.name.as_str(), "fra");
    assert_eq!(config.node.pop, "");
    assert_eq!(config.node.location, None);
    assert_eq!(config.node.state_dir, Path::new("/var/lib/nigh"));
    assert_eq!(config.mesh.advertise, config.mesh.listen);
    assert!(config.mesh.bootstrap.is_empty());
    assert_eq!(config.dns.advertise, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(config.dns.rate_limit.map(u32::from), Some(DEFAULT_RATE_LIMIT));
    assert_eq!(config.dns.capacity, None);
    assert!(config.claims.is_empty());
    assert_eq!(config.resolvers, ResolversConfig::default());
    assert_eq!(config.measure, MeasureConfig::default());
    assert_eq!(config.admin.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!(config.admin, AdminConfig::default());
    assert_eq!(config.log, LogConfig { format: LogFormat::Human, level: "info".into() });
    assert_eq!(config.drain.answer_for, Duration::from_secs(5));
    assert_eq!(config.telemetry, None);
}

#[test]
fn what_is_stated_is_read() {
    let config = Config::parse(EVERYTHING).unwrap();
    let shown = |items: &[&dyn ToString]| items.iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ");
    let NodeConfig { name, pop, .. } = &config.node;
    assert_eq!((name.as_str(), pop.as_str()), ("fra-2", "Frankfurt (DE), Ünal"));
    assert_eq!(config.node.location, "50.11, 8.68".parse().ok());
    assert_eq!(shown(&[&config.mesh.listen[0], &config.mesh.listen[1]]), "0.0.0.0:4242 [::]:4242");
    assert_eq!(shown(&[&config.mesh.advertise[0], &config.mesh.advertise[1]]), "198.51.100.7:4242 [2001:db8::7]:14242");
    let bootstrap: Vec<String> = config.mesh.bootstrap.iter().map(ToString::to_string).collect();
    assert_eq!(bootstrap, ["198.51.100.9:4242", "nyc.example.net:4242", "[2001:db8::9]:4242", "node_1.internal.:4242"]);
    assert_eq!(config.mesh.bootstrap[1].address(), None);
    assert_eq!(config.mesh.bootstrap[2].address(), Some("[2001:db8::9]:4242".parse().unwrap()));
    assert_eq!(shown(&[&config.dns.listen[2], &config.dns.advertise[1]]), "127.0.0.9:5353 2001:db8::7");
    assert_eq!(config.dns.rate_limit, None);
    assert_eq!(config.dns.capacity.map(u32::from), Some(250_000));
    let claims: Vec<_> = config.claims.iter().map(|claim| (claim.prefix.to_string(), claim.preference)).collect();
    let expected = [("203.0.113.0/24", 0), ("2001:db8:53::/48", 10), ("203.0.113.128/25", 65535)];
    assert_eq!(claims, expected.map(|(prefix, preference)| (prefix.to_owned(), preference)));
    let resolvers = &config.resolvers;
    assert_eq!(shown(&[&resolvers.addresses[0], &resolvers.addresses[1]]), "10.0.0.53:53 [2001:db8::53]:5353");
    assert_eq!(resolvers.system.as_deref(), Some(Path::new("/etc/resolv.conf.isp")));
    assert_eq!((shown(&[&resolvers.public[0]]), resolvers.preference), ("192.0.2.0/24".into(), 5));
    assert_eq!(resolvers.interval, Duration::from_secs(120));
    let source = |target: &str| config.measure.source_for(target.parse().unwrap()).unwrap().to_string();
    assert_eq!((source("192.0.2.1"), source("2001:db8::1")), ("198.51.100.7".into(), "2001:db8::7".into()));
    assert_eq!(config.admin.socket, Path::new("/run/nigh/fra.sock"));
    assert_eq!(shown(&[&config.admin.listen[0], &config.admin.listen[1]]), "127.0.0.1:8053 [::1]:8053");
    assert_eq!(config.admin.anonymous, Anonymous::Read);
    assert_eq!(config.admin.tokens.as_deref(), Some(Path::new("/etc/nigh/tokens")));
    let tls = config.admin.tls.as_ref().unwrap();
    assert_eq!(
        (tls.certificate.as_path(), tls.key.as_path()),
        (Path::new("/etc/nigh/admin.pem"), Path::new("/etc/nigh/admin.key"))
    );
    assert_eq!(config.admin.names, ["nigh.example.com"]);
    assert_eq!(config.admin.audit.as_deref(), Some(Path::new("/var/log/nigh/audit.json")));
    assert_eq!(config.log, LogConfig { format: LogFormat::Json, level: "info,nigh_dns=debug".into() });
    assert_eq!(config.drain.answer_for, Duration::from_secs(90));
    let telemetry = config.telemetry.as_ref().unwrap();
    assert_eq!((telemetry.otlp.as_str(), telemetry.sample.get()), ("https://collector.example.com/otlp", 10));
    assert_eq!(telemetry.ca.as_deref(), Some(Path::new("/etc/nigh/collector-ca.pem")));
}

#[test]
fn a_file_of_another_kind_does_not_fill_the_screen() {
    let errors = Config::parse(&"?\n".repeat(100_000)).unwrap_err();
    assert_eq!(errors.iter().count(), 100);
    assert!(errors.count() >= 100_000);
    let text = errors.in_file("f");
    assert!(text.starts_with("f:1:") && text.lines().count() == 101 && text.ends_with(" more"), "{text}");
}

proptest! {
    /// Cutting, doubling and swapping pieces of a good file finds paths that no one would write down.
    #[test]
    fn a_mangled_file_is_read_or_reported(from in 0usize..900, length in 0usize..60, to in 0usize..900, junk in "[\\[\\]{}=\"', .a-z0-9\n-]{0,4}") {
        let chars: Vec<char> = EVERYTHING.chars().collect();
        let at = |i: usize| i.min(chars.len());
        let cut: String = chars[at(from)..at(from + length)].iter().collect();
        let mangled: String = [
            chars[..at(to)].iter().collect(),
            junk,
            cut,
            chars[at(to + length)..].iter().collect::<String>(),
        ]
        .concat();
        if let Err(errors) = Config::parse(&mangled) {
            prop_assert!(errors.count() > 0);
            for fault in errors.iter() {
                let (line, column) = fault.place.unwrap_or((1, 1));
                let lines: Vec<&str> = mangled.split('\n').collect();
                prop_assert!(line <= lines.len() && column <= lines[line - 1].chars().count() + 1, "{}", fault);
            }
        }
    }
}
