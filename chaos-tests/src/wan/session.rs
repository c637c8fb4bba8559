//! `chaos wan`: a WAN driven by lines of text.

use super::core::Link;
use super::lines::{self, Line};
use super::switch::Wan;
use crate::{report, sys};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::BufRead;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// How late Ctrl-C may be seen, if it comes between a look at its flag and the waiting.
const LOOK_EVERY: Option<Duration> = Some(Duration::from_millis(200));

/// Starts the WAN that the file describes and obeys stdin until `quit`, or until Ctrl-C when stdin has ended.
pub fn run(spec: &Path, seed: u64) -> Result<()> {
    let text = fs::read_to_string(spec).with_context(|| format!("reading {}", spec.display()))?;
    let mut ports = Vec::new();
    let mut links = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match lines::parse(line).with_context(|| format!("{} line {}", spec.display(), number + 1))? {
            Some(Line::Host(port)) => ports.push(port),
            Some(other) => links.push(other),
            None => {}
        }
    }
    sys::catch_signals().context("catching Ctrl-C")?;
    let wan = Wan::start(&ports, seed)?;
    for line in links {
        obey(&wan, line)?;
    }
    report::line(&format!("{} hosts connected", ports.len()));
    let stdin = std::io::stdin();
    // Buffered by ourselves: `Stdin`'s own buffer would hide lines from `wait_readable`.
    let mut input =
        std::io::BufReader::new(fs::File::from(stdin.as_fd().try_clone_to_owned().context("opening stdin")?));
    loop {
        while input.buffer().is_empty() && !sys::interrupted() {
            if !sys::wait_readable(&[stdin.as_fd()], LOOK_EVERY)?.is_empty() {
                break;
            }
        }
        if sys::interrupted() {
            return Ok(());
        }
        let mut line = String::new();
        if input.read_line(&mut line).context("reading stdin")? == 0 {
            report::line("no more input: going on until Ctrl-C");
            while !sys::interrupted() {
                sys::wait_readable(&[], LOOK_EVERY)?;
            }
            return Ok(());
        }
        wan.healthy()?;
        match lines::parse(&line).and_then(|line| line.map_or(Ok(true), |line| obey(&wan, line))) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => report::line(&format!("error: {error:#}")),
        }
    }
}

/// Does what a line says; false for `quit`.
fn obey(wan: &Wan, line: Line) -> Result<bool> {
    match line {
        Line::Host(_) => bail!("hosts are named in the file only"),
        Line::Default(link) => {
            let hosts: Vec<&str> = wan.hosts().collect();
            for from in &hosts {
                for to in &hosts {
                    wan.set(from, to, link)?;
                }
            }
        }
        Line::Pair(from, to, link) => wan.set(&from, &to, link)?,
        Line::Both(a, b, link) => wan.set_both(&a, &b, link)?,
        Line::Cut(a, b) => set_cut(wan, &a, &b, true)?,
        Line::Heal(a, b) => set_cut(wan, &a, &b, false)?,
        Line::Stats => report::line(&format!("{:?}", wan.stats())),
        Line::Quit => return Ok(false),
    }
    Ok(true)
}

fn set_cut(wan: &Wan, a: &str, b: &str, cut: bool) -> Result<()> {
    let change = |link: &mut Link| link.cut = cut;
    wan.change(a, b, change)?;
    wan.change(b, a, change)
}
