//! The scenarios in `scenarios/*.txt`: a world, questions, and the exact replies.
//!
//! A file is read from top to bottom. Lines of the world (`zone`, `node`, `standing`, `claim`, `service`, `server`,
//! `row`, `linger`, `me`) change it; a line that begins with `>` asks, and the lines after it that begin with `|` are
//! the whole reply, word for word. What may be asked:
//!
//! ```text
//! > query NAME TYPE from ADDRESS [at NODE] [class CLASS] [edns SIZE] [version N] [do] [ecs PREFIX] [nsid]
//!         [option CODE HEX] [opcode N] [flags FLAG,FLAG] [tcp] [rd] [port N]
//! > packet [tcp] OCTETS
//! > explain NAME TYPE from ADDRESS [at NODE]
//! > problems
//! ```
//!
//! Octets are hexadecimal, with `name:www.example.com` for a name in wire form; whoever writes them down decides what is
//! in them. Options that hickory does not read are shown as hexadecimal too.
//!
//! Every question goes through the real message codec. To write the replies anew after a change that is meant, and
//! then read the difference: `NIGH_BLESS=1 cargo test -p nigh-dns --test scenarios`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it reads files, and panics are its verdict"
)]

mod world_text;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption, NSIDPayload};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use nigh_dns::{Arrival, Counters, Exposition, Handler, Label, Snapshot, Transport, explain};
use world_text::WorldText;

#[test]
fn every_reply_is_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5, "the scenarios are gone");
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let replayed = replay(&text, &file);
        if replayed == text {
            continue;
        }
        if std::env::var_os("NIGH_BLESS").is_some() {
            fs::write(&file, replayed).unwrap();
        } else {
            wrong.push(format!("{}\n{}", file.display(), difference(&text, &replayed)));
        }
    }
    assert!(wrong.is_empty(), "replies differ (- as written, + as given):\n{}", wrong.join("\n"));
}

/// The file as it would be if every reply were the one that is given now.
fn replay(text: &str, file: &Path) -> String {
    let mut world = WorldText::default();
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('|') {
            continue;
        }
        out.push(line.to_owned());
        let failed = |what: String| -> ! { panic!("{}:{}: {what}", file.display(), number + 1) };
        if let Some(command) = line.strip_prefix('>') {
            let reply = run(&world, command).unwrap_or_else(|what| failed(what));
            out.extend(reply.lines().map(|line| format!("| {line}").trim_end().to_owned()));
        } else if let Err(what) = world.line(line) {
            failed(what);
        }
    }
    out.join("\n") + "\n"
}

fn run(world: &WorldText, command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    match words.next() {
        Some("query") => Asked::parse(words)?.query(world),
        Some("packet") => packet(world, words),
        Some("explain") => Asked::parse(words)?.explain(world),
        Some("problems") => Ok(world
            .snapshot(None)
            .1
            .iter()
            .map(|problem| format!("{problem}\n"))
            .chain(["end\n".to_owned()])
            .collect()),
        other => Err(format!("cannot run {other:?}")),
    }
}

const TCP: Transport = Transport::Tcp { idle: Duration::from_secs(10) };

/// The moment of every question.
const NOW: Duration = Duration::from_secs(1_700_000_000);

fn handler(world: &WorldText, at: Option<&Label>) -> Handler {
    Handler::new(Arc::new(ArcSwap::from_pointee(world.snapshot(at).0)), Arc::new(Counters::new())).with_cookies([7; 16])
}

fn counted(handler: &Handler) -> Result<String, String> {
    let counts = serde_json::to_value(handler.counters().read()).map_err(text)?;
    // Which questions are sampled depends on how many came before.
    let told = |name: &str| name != "queries" && !name.starts_with("sampled");
    let counted = counts.as_object().into_iter().flatten().filter(|(name, count)| told(name) && **count != 0);
    let counted: Vec<_> = counted.map(|(name, _)| name.as_str()).collect();
    Ok(format!("counted {}\n", counted.join(", ")))
}

/// Octets as they are written down, and how they come.
fn octets_of<'w>(words: impl Iterator<Item = &'w str>) -> Result<(Vec<u8>, Transport), String> {
    let mut packet = Vec::new();
    let mut transport = Transport::Udp;
    for word in words {
        match (word, word.strip_prefix("name:")) {
            ("tcp", _) => transport = TCP,
            (_, Some(name)) => {
                let name = Name::from_ascii(format!("{name}.")).map_err(text)?;
                packet.extend(name.to_bytes().map_err(text)?);
            }
            _ => packet.extend(octets(word)?),
        }
    }
    Ok((packet, transport))
}

/// Sends octets as they are written down.
fn packet<'w>(world: &WorldText, words: impl Iterator<Item = &'w str>) -> Result<String, String> {
    let (packet, transport) = octets_of(words)?;
    let handler = handler(world, None);
    let arrival = Arrival { source: "192.0.2.53:53".parse().map_err(text)?, transport, at: NOW };
    let Some(reply) = handler.respond(&packet, arrival) else {
        return Ok(format!("silence\n{}", counted(&handler)?));
    };
    if reply.get(..2) != packet.get(..2) {
        return Err("not the reply to this packet".to_owned());
    }
    let message = Message::from_vec(&reply).map_err(text)?;
    let questions: String = message.queries.iter().map(|query| format!("question {query}\n")).collect();
    let signed = message.signature.map(|record| format!("signature {} {:?}\n", record.name, record.data));
    let signed = signed.unwrap_or_default();
    let mut reply = reply;
    reply[..2].copy_from_slice(&4711_u16.to_be_bytes());
    Ok(format!("{}{questions}{signed}{}", written(&reply)?, counted(&handler)?))
}

fn octets(word: &str) -> Result<Vec<u8>, String> {
    let octet = |at| u8::from_str_radix(word.get(at..at + 2).ok_or("half an octet")?, 16).map_err(text);
    (0..word.len()).step_by(2).map(octet).collect()
}

/// A question of a scenario.
struct Asked {
    name: Name,
    qtype: RecordType,
    class: DNSClass,
    from: SocketAddr,
    at: Option<Label>,
    edns: Option<Edns>,
    transport: Transport,
    opcode: u8,
    /// The second half of the header's flags, and the unused ones of the first.
    flags: [u8; 2],
}

impl Asked {
    fn parse<'w>(mut words: impl Iterator<Item = &'w str>) -> Result<Self, String> {
        let mut word = || words.next().ok_or_else(|| "a word is missing".to_owned());
        let mut asked = Self {
            name: Name::from_ascii(format!("{}.", word()?.trim_end_matches('.'))).map_err(text)?,
            qtype: type_of(word()?)?,
            class: DNSClass::IN,
            from: "192.0.2.53:53".parse().map_err(text)?,
            at: None,
            edns: None,
            transport: Transport::Udp,
            opcode: 0,
            flags: [0; 2],
        };
        while let Ok(option) = word() {
            match option {
                "from" => asked.from.set_ip(word()?.parse().map_err(text)?),
                "at" => asked.at = Some(word()?.parse().map_err(text)?),
                "class" => asked.class = DNSClass::from_str(word()?).map_err(text)?,
                "edns" => drop(asked.edns().set_max_payload(word()?.parse().map_err(text)?)),
                "version" => drop(asked.edns().set_version(word()?.parse().map_err(text)?)),
                "do" => drop(asked.edns().set_dnssec_ok(true)),
                "ecs" => {
                    let subnet: ipnet::IpNet = word()?.parse().map_err(text)?;
                    let subnet = ClientSubnet::new(subnet.addr(), subnet.prefix_len(), 0);
                    asked.edns().options_mut().insert(EdnsOption::Subnet(subnet));
                }
                "nsid" => {
                    let empty = NSIDPayload::new(Vec::new()).map_err(text)?;
                    asked.edns().options_mut().insert(EdnsOption::NSID(empty));
                }
                "option" => {
                    let code = word()?.parse::<u16>().map_err(text)?;
                    let data = if code == 11 { Vec::new() } else { octets(word()?)? };
                    asked.edns().options_mut().insert(EdnsOption::Unknown(code, data));
                }
                "opcode" => asked.opcode = word()?.parse().map_err(text)?,
                "flags" => {
                    for flag in word()?.split(',') {
                        let (octet, bit) = match flag {
                            "aa" => (0, 0x04),
                            "tc" => (0, 0x02),
                            "ra" => (1, 0x80),
                            "z" => (1, 0x40),
                            "ad" => (1, 0x20),
                            "cd" => (1, 0x10),
                            other => return Err(format!("no flag {other:?}")),
                        };
                        asked.flags[octet] |= bit;
                    }
                }
                "tcp" => asked.transport = TCP,
                "rd" => asked.flags[0] |= 0x01,
                "port" => asked.from.set_port(word()?.parse().map_err(text)?),
                other => return Err(format!("cannot ask with {other:?}")),
            }
        }
        Ok(asked)
    }

    fn edns(&mut self) -> &mut Edns {
        self.edns.get_or_insert_with(|| {
            let mut edns = Edns::new();
            edns.set_max_payload(1232);
            edns
        })
    }

    fn packet(&self) -> Result<Vec<u8>, String> {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
        let mut query = Query::query(self.name.clone(), self.qtype);
        query.set_query_class(self.class);
        message.add_query(query);
        message.edns = self.edns.clone();
        let mut packet = message.to_vec().map_err(text)?;
        packet[2] |= self.opcode << 3 | self.flags[0];
        packet[3] |= self.flags[1];
        Ok(packet)
    }

    fn query(&self, world: &WorldText) -> Result<String, String> {
        let packet = self.packet()?;
        let handler = handler(world, self.at.as_ref());
        let arrival = Arrival { source: self.from, transport: self.transport, at: NOW };
        let reply = handler.respond(&packet, arrival).ok_or("no reply")?;
        // The question comes back byte for byte.
        let question = 12..12 + self.name.len() + 4 + usize::from(!self.name.is_root());
        if reply.get(question.clone()) != packet.get(question) {
            return Err("the question came back changed".to_owned());
        }
        Ok(format!("{}{}", written(&reply)?, counted(&handler)?))
    }

    fn explain(&self, world: &WorldText) -> Result<String, String> {
        let (snapshot, _) = world.snapshot(None);
        let at = self.at.clone().unwrap_or_else(|| snapshot.me().clone());
        let explanation = explain(&snapshot, &at, &self.name, self.qtype, self.from.ip(), Duration::from_secs(100));
        Ok(explanation.to_string())
    }
}

/// A message as lines.
fn written(packet: &[u8]) -> Result<String, String> {
    let message = Message::from_vec(packet).map_err(text)?;
    if message.metadata.id != 4711 || message.metadata.message_type != MessageType::Response {
        return Err("not the reply to this question".to_owned());
    }
    let flags = [
        (message.metadata.authoritative, " aa"),
        (message.metadata.truncation, " tc"),
        (message.metadata.recursion_desired, " rd"),
        (message.metadata.recursion_available, " ra"),
        (message.metadata.authentic_data, " ad"),
        (message.metadata.checking_disabled, " cd"),
        (packet[3] & 0x40 != 0, " z"),
    ];
    let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    let code = match u16::from(message.metadata.response_code) {
        16 => "BADVERS".to_owned(),
        23 => "BADCOOKIE".to_owned(),
        _ => format!("{:?}", message.metadata.response_code),
    };
    let mut out = format!("{code}{flags}\n");
    for (section, records) in
        [("answer", &message.answers), ("authority", &message.authorities), ("additional", &message.additionals)]
    {
        for record in records {
            out += &format!("{section} {}\n", line(record));
        }
    }
    if let Some(edns) = &message.edns {
        let dnssec = if edns.flags().dnssec_ok { " do" } else { "" };
        out += &format!("opt version {} size {}{dnssec}", edns.version(), edns.max_payload());
        if let Some(EdnsOption::Subnet(subnet)) = edns.option(EdnsCode::Subnet) {
            out += &format!(" ecs {}/{} scope {}", subnet.addr(), subnet.source_prefix(), subnet.scope_prefix());
        }
        if let Some(EdnsOption::NSID(id)) = edns.option(EdnsCode::NSID) {
            out += &format!(" nsid {}", String::from_utf8_lossy(id.as_ref()));
        }
        for (code, option) in edns.options().as_ref() {
            if let EdnsOption::Unknown(15, data) = option {
                // RFC 8914: a number, and words.
                let (info, words) = data.split_first_chunk().ok_or("no extended error")?;
                out += &format!(" error {} {}", u16::from_be_bytes(*info), String::from_utf8_lossy(words));
            } else if let EdnsOption::Unknown(_, data) = option {
                let data: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
                out += &format!(" option {} {data}", u16::from(*code));
            }
        }
        let unknown = edns.flags().z;
        out += if unknown == 0 { "\n" } else { " flags\n" };
    }
    Ok(out)
}

fn line(record: &Record) -> String {
    let data = match &record.data {
        RData::TXT(txt) if txt.txt_data.len() > 1 => {
            txt.txt_data.iter().map(|string| String::from_utf8_lossy(string)).collect::<Vec<_>>().join(" ")
        }
        data => data.to_string(),
    };
    format!("{} {} {} {data}", record.name.to_ascii(), record.ttl, record.record_type())
}

fn type_of(word: &str) -> Result<RecordType, String> {
    match word.strip_prefix("TYPE") {
        Some(number) => number.parse::<u16>().map(RecordType::from).map_err(text),
        None => RecordType::from_str(word).map_err(text),
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// The lines that differ, with the question that they belong to.
fn difference(written: &str, given: &str) -> String {
    let block = |text: &str| -> Vec<(String, Vec<String>)> {
        let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines() {
            match (line.starts_with('|'), blocks.last_mut()) {
                (true, Some((_, lines))) => lines.push(line.to_owned()),
                _ => blocks.push((line.to_owned(), Vec::new())),
            }
        }
        blocks
    };
    let mut out = Vec::new();
    for ((asked, old), (_, new)) in block(written).into_iter().zip(block(given)).filter(|(old, new)| old.1 != new.1) {
        out.push(asked);
        out.extend(old.iter().map(|line| format!("-{line}")));
        out.extend(new.iter().map(|line| format!("+{line}")));
    }
    out.join("\n")
}

#[test]
fn an_unknown_word_is_an_error() {
    let mut world = WorldText::default();
    assert!(world.line("nodes fra").is_err());
    let (snapshot, _): (Snapshot, _) = WorldText::default().snapshot(Some(&"fra".parse().unwrap()));
    assert_eq!(snapshot.me().as_str(), "fra");
}

/// Of those who come to a cut: did the mesh mean them to? One in 16 is looked at.
#[test]
fn the_share_of_referrals_that_reached_the_intended_node_is_counted() {
    let mut world = WorldText::default();
    let lines = "me fra\nzone lb.example.com fra\nnode fra alive 198.51.100.7 fra\nnode tyo alive 198.51.100.11 tyo\n\
                 claim 203.0.113.0/24 fra 10\nclaim 192.0.2.0/24 tyo 10\nservice www.lb.example.com\nserver a 192.0.2.1\n\
                 row fra www.lb.example.com a up 1";
    lines.lines().for_each(|line| world.line(line).unwrap());
    let handler = handler(&world, None);
    let packet = Asked::parse("www.fra.lb.example.com A".split_whitespace()).unwrap().packet().unwrap();
    for (from, times) in [("203.0.113.53:53", 320), ("192.0.2.53:53", 160), ("8.8.8.8:53", 16)] {
        let arrival = Arrival::udp(from.parse().unwrap(), NOW);
        (0..times).for_each(|_| drop(handler.respond(&packet, arrival).unwrap()));
    }
    let counts = handler.counters().read();
    assert_eq!((counts.sampled_as_intended, counts.sampled_as_not_intended), (20, 11));
    let mut text = Exposition::new();
    handler.counters().expose(&mut text);
    let text = text.finish();
    assert!(text.contains("nigh_dns_sampled_referrals_total{intended=\"yes\"} 20\n"), "{text}");
}

/// What an attacker gets for what it sends: for every question of the scenarios, asked in the way that brings most.
#[test]
fn no_reply_is_much_longer_than_its_question() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut worst = (0.0, String::new());
    for file in fs::read_dir(folder).unwrap() {
        let mut world = WorldText::default();
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines().filter(|line| !line.starts_with('|')) {
            let Some(command) = line.strip_prefix('>') else {
                world.line(line).unwrap();
                continue;
            };
            let Some(asked) = command.trim_start().strip_prefix("query ") else { continue };
            let mut asked = Asked::parse(asked.split_whitespace()).unwrap();
            for edns in [None, Some(4096)] {
                asked.edns = None;
                edns.map(|size| asked.edns().set_max_payload(size));
                let packet = asked.packet().unwrap();
                let reply = handler(&world, asked.at.as_ref()).respond(&packet, Arrival::udp(asked.from, NOW)).unwrap();
                assert!(reply.len() <= 1232, "{line}: {} octets", reply.len());
                let ratio = reply.len() as f64 / packet.len() as f64;
                if ratio > worst.0 {
                    worst = (ratio, format!("{line} ({} octets for {})", reply.len(), packet.len()));
                }
            }
        }
    }
    assert!(worst.0 < MOST_GAIN, "{:.1}: {}", worst.0, worst.1);
}

/// How many times as long as its question a reply is at most. The worst world of the scenarios has four name servers of
/// six addresses each beside every CNAME, and gains 13.4; two of two gain about 4. What bounds all of it is 1,232 octets
/// and the rate limit.
const MOST_GAIN: f64 = 16.0;

/// The packets of the scenarios, each once, as seeds of the fuzzers.
#[test]
#[ignore = "writes files: after new scenarios"]
fn write_the_seeds_of_the_fuzzers() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = std::collections::BTreeSet::new();
    for file in fs::read_dir(crate_folder.join("tests/scenarios")).unwrap() {
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let words = line.split_whitespace().skip(2);
            if line.starts_with("> query ") {
                seeds.insert(Asked::parse(words).unwrap().packet().unwrap());
            } else if line.starts_with("> packet ") {
                seeds.insert(octets_of(words).unwrap().0);
            }
        }
    }
    let corpus = crate_folder.join("fuzz/corpus");
    fs::create_dir_all(&corpus).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number:03}")), seed).unwrap();
    }
}
