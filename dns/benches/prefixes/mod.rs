//! The prefixes that the claims table is measured with, and who claims them.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use ipnet::{IpNet, IpSubnets, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use nigh_dns::Label;

/// A draw: the finaliser of splitmix64 (Steele et al., OOPSLA 2014) over a counter.
pub struct Draws(u64);

impl Draws {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Prefixes of lengths as in a global routing table: six of ten are a /24, some a single address.
pub fn generated_v4(count: usize) -> Vec<IpNet> {
    let mut draws = Draws::new(4);
    distinct(count, || {
        let length = match draws.below(100) {
            0..60 => 24,
            60..75 => 22 + draws.below(2) as u8,
            75..90 => 18 + draws.below(4) as u8,
            90..95 => 25 + draws.below(7) as u8,
            95..99 => 32,
            _ => 12 + draws.below(6) as u8,
        };
        // Unicast space: 1.0.0.0 to 223.255.255.255.
        let address = (1 << 24) + (draws.next() as u32) % (223 << 24);
        Ipv4Net::new(address.into(), length).unwrap().trunc().into()
    })
}

/// Resolvers one by one, each in a corner of its own: the sparsest that a table can be.
pub fn generated_hosts(count: usize) -> Vec<IpNet> {
    let mut draws = Draws::new(32);
    distinct(count, || Ipv4Net::from(Ipv4Addr::from((1 << 24) + (draws.next() as u32) % (223 << 24))).into())
}

/// IPv6 as it is handed out: /29 to /48 within 2001::/16, 24xx, 26xx, 28xx and 2axx.
pub fn generated_v6(count: usize) -> Vec<IpNet> {
    let mut draws = Draws::new(6);
    distinct(count, || {
        let first = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00][draws.below(5)] + draws.below(16) as u128;
        let length = [29, 32, 32, 36, 40, 44, 48, 48, 48, 48][draws.below(10)];
        let address = first << 112 | u128::from(draws.next()) << 48;
        Ipv6Net::new(address.into(), length).unwrap().trunc().into()
    })
}

fn distinct(count: usize, mut draw: impl FnMut() -> IpNet) -> Vec<IpNet> {
    let mut prefixes: Vec<IpNet> = Vec::new();
    while prefixes.len() < count {
        prefixes.extend((prefixes.len()..count).map(|_| draw()));
        prefixes.sort_unstable();
        prefixes.dedup();
    }
    prefixes
}

/// Real ones: lines of `first,last,…` with addresses, those of IPv4 as numbers or not. The largest are halved until there
/// are enough. A relative path begins at the checkout, wherever the bench runs.
pub fn read(path: &str, count: usize) -> Vec<IpNet> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let unpacked = Command::new("gzip").arg("-dc").arg(&path).stderr(Stdio::inherit()).output().unwrap();
        text = String::from_utf8(unpacked.stdout).unwrap();
    } else {
        std::fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    }
    let mut by_length: Vec<Vec<IpNet>> = vec![Vec::new(); 129];
    let mut held = 0;
    for line in text.lines().skip(1) {
        let mut fields = line.split(',').map(address);
        let prefixes = match (fields.next().flatten(), fields.next().flatten()) {
            (Some(IpAddr::V4(first)), Some(IpAddr::V4(last))) => IpSubnets::V4(Ipv4Subnets::new(first, last, 0)),
            (Some(IpAddr::V6(first)), Some(IpAddr::V6(last))) => IpSubnets::V6(Ipv6Subnets::new(first, last, 0)),
            _ => panic!("{}: no two addresses: {line}", path.display()),
        };
        for prefix in prefixes {
            by_length[usize::from(prefix.prefix_len())].push(prefix);
            held += 1;
        }
    }
    for length in 0..128 {
        while held < count {
            let Some(at) = by_length[length].iter().rposition(|prefix| prefix.prefix_len() < prefix.max_prefix_len())
            else {
                break;
            };
            let prefix = by_length[length].swap_remove(at);
            by_length[length + 1].extend(prefix.subnets(length as u8 + 1).unwrap());
            held += 1;
        }
    }
    assert!(held >= count, "{}: {held} prefixes, and all of one address", path.display());
    by_length.into_iter().flatten().take(count).collect()
}

fn address(field: &str) -> Option<IpAddr> {
    let number = field.parse().ok().map(|number: u32| Ipv4Addr::from(number).into());
    number.or_else(|| field.parse().ok())
}

/// The names of so many nodes.
pub fn labels(count: usize) -> Vec<Label> {
    (0..count).map(|at| format!("node-{at}").parse().unwrap()).collect()
}

/// An address within a prefix.
pub fn within(prefix: &IpNet, draws: &mut Draws) -> IpNet {
    match prefix {
        IpNet::V4(net) => {
            let hosts = u32::from(net.hostmask());
            Ipv4Net::from(Ipv4Addr::from(u32::from(net.network()) | draws.next() as u32 & hosts)).into()
        }
        IpNet::V6(net) => {
            let hosts = u128::from(net.hostmask());
            let draw = u128::from(draws.next()) << 64 | u128::from(draws.next());
            Ipv6Net::from(std::net::Ipv6Addr::from(u128::from(net.network()) | draw & hosts)).into()
        }
    }
}
