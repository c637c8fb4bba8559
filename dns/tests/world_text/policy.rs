//! The words of a world that are about how servers are chosen.

use std::time::Duration;

use nigh_dns::{AllDown, Choice, Cost, Duty, Label, Milli, Objective, Override, Pace, Pin, Policy, Sticky, Terms};

use super::{list, option, text};

/// The words behind a service.
pub fn policy(words: &[&str]) -> Result<Policy, String> {
    let weight = |key, default| Ok::<_, String>(milli(words, key)?.unwrap_or(default));
    let span = |key| Ok::<_, String>(Duration::from_millis(option(words, key)?.unwrap_or(0)));
    Ok(Policy {
        choice: if words.contains(&"choose=first") { Choice::First } else { Choice::Best },
        objective: Objective {
            latency: weight("latency=", Milli::ONE)?,
            loss: weight("loss=", Milli(0))?,
            load: weight("load=", Milli(0))?,
            cost: weight("cost=", Milli(0))?,
        },
        sticky: if words.contains(&"sticky=none") { Sticky::None } else { Sticky::Client },
        min_up: option(words, "min_up=")?.unwrap_or(1),
        all_down: match option::<String>(words, "all_down=")?.as_deref() {
            None => AllDown::LastGood,
            Some("all") => AllDown::All,
            Some("none") => AllDown::None,
            Some(addresses) => AllDown::Addresses(list(addresses)?),
        },
        ttl_min: option(words, "ttl_min=")?,
        pace: Pace { fall: span("fall=")?, rise: span("rise=")? },
        overrides: Vec::new(),
    })
}

/// The words behind a server, which is the next of its service.
pub fn terms(words: &[&str], place: usize) -> Result<Terms, String> {
    let of_node = |word: &&str| -> Option<Result<(Label, Milli), String>> {
        let (node, cost) = word.strip_prefix("cost@")?.split_once('=')?;
        Some(node.parse().map_err(text).and_then(|node| Ok((node, thousandths(cost)?))))
    };
    Ok(Terms {
        tier: option(words, "tier=")?.unwrap_or(0),
        place: u16::try_from(place).map_err(text)?,
        duty: match words {
            words if words.contains(&"drain") => Duty::Drain,
            words if words.contains(&"off") => Duty::Off,
            _ => Duty::Up,
        },
        canary: milli(words, "canary=")?.unwrap_or_default(),
        cost: Cost {
            default: milli(words, "cost=")?.unwrap_or_default(),
            nodes: words.iter().filter_map(of_node).collect::<Result<_, _>>()?,
        },
    })
}

/// The words of an override.
pub fn overriding(words: &[&str]) -> Result<Override, String> {
    let servers: Option<String> = option(words, "servers=")?;
    let to = match servers {
        Some(servers) => Pin::Servers(list(&servers)?),
        None => Pin::Tier(option(words, "tier=")?.ok_or("servers or a tier")?),
    };
    Ok(Override { prefix: option(words, "prefix=")?, node: option(words, "node=")?, to })
}

fn milli(words: &[&str], key: &str) -> Result<Option<Milli>, String> {
    option::<String>(words, key)?.map(|word| thousandths(&word)).transpose()
}

fn thousandths(word: &str) -> Result<Milli, String> {
    Ok(Milli((word.parse::<f64>().map_err(text)? * 1000.0).round() as u32))
}
