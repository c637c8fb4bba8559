//! The ways between hosts: what faults do to them.

use super::fault::Fault;
use super::geography::Geography;
use crate::wan::{Link, Wan};
use anyhow::Result;
use std::time::Duration;

/// Changes the paths that a fault is about, or changes them back.
pub(super) fn change(wan: &Wan, geography: &Geography, fault: &Fault, on: bool) -> Result<()> {
    let (hit, rest): (Vec<_>, Vec<_>) =
        geography.pops.iter().enumerate().partition(|(number, _)| fault.nodes().contains(number));
    let change = |link: &mut Link| match fault {
        Fault::Loss { .. } => link.loss_ppm = if on { fault.loss_ppm() } else { 0 },
        Fault::Reorder { .. } => link.reorder_ppm = if on { fault.reorder_ppm() } else { 0 },
        Fault::Delay { .. } => {
            let more = fault.delay();
            link.jitter = if on { more / 5 } else { Duration::ZERO };
            link.delay = if on { link.delay + more } else { link.delay.saturating_sub(more) };
        }
        _ => link.cut = on,
    };
    if matches!(fault, Fault::Loss { .. } | Fault::Delay { .. } | Fault::Reorder { .. }) {
        return all_ways(wan, geography, fault, change);
    }
    if let Fault::Apart { .. } = fault {
        for ((_, a), (_, b)) in hit.iter().flat_map(|a| hit.iter().map(move |b| (a, b))) {
            if a.node != b.node {
                wan.change(&a.node, &b.node, change)?;
            }
        }
        return Ok(());
    }
    for (_, a) in &hit {
        for (_, b) in &rest {
            wan.change(&a.node, &b.node, change)?;
            wan.change(&a.node, &b.isp, change)?;
            if matches!(fault, Fault::Partition { .. }) {
                wan.change(&b.node, &a.node, change)?;
                wan.change(&b.isp, &a.node, change)?;
                wan.change(&b.node, &a.isp, change)?;
                wan.change(&a.isp, &b.node, change)?;
            }
        }
    }
    Ok(())
}

/// Goes from one step of a delay to another.
pub(super) fn step(
    wan: &Wan,
    geography: &Geography,
    fault: &Fault,
    from: Option<usize>,
    to: Option<usize>,
) -> Result<()> {
    let (less, more) = (fault.step(from), fault.step(to));
    all_ways(wan, geography, fault, |link| link.delay = (link.delay + more).saturating_sub(less))
}

/// Changes all ways to and from the nodes that a fault is about.
fn all_ways(wan: &Wan, geography: &Geography, fault: &Fault, change: impl Fn(&mut Link)) -> Result<()> {
    for pop in fault.nodes().iter().filter_map(|node| geography.pops.get(*node)) {
        for other in wan.hosts().filter(|host| *host != pop.node) {
            wan.change(&pop.node, other, &change)?;
            wan.change(other, &pop.node, &change)?;
        }
    }
    Ok(())
}
