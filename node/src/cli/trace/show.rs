//! A walk as a page for people.
//!
//! ```text
//! 2  DNS-A  lab  10.0.1.53 ns.lab  UDP 364 octets    103.9 ms
//!      refers to the servers of lb.lab (for 3600 s):
//!        ns-fra.lb.lab 10.49.0.2 fd00::10:49:0:2
//! ```

use super::report::{By, Ending, Step, Trace};
use super::roles;

/// The page.
pub(super) fn page(trace: &Trace) -> String {
    let whose = trace.resolver.map(|resolver| format!(", as the resolver {resolver} finds it")).unwrap_or_default();
    let mut lines = vec![format!("{} {}{whose}", trace.name, trace.rtype), String::new()];
    let rows: Vec<[String; 4]> = trace.steps.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3)];
    let fine_beside = |step: &Step| step.beside && step.faults.is_empty();
    for (number, (step, row)) in trace.steps.iter().zip(&rows).enumerate().filter(|(_, (step, _))| !fine_beside(step)) {
        let [role, zone, server, by] = row;
        let [w0, w1, w2, w3] = widths;
        let took = format!("{:.1} ms", step.took_ms);
        let number = if step.beside { "+".to_owned() } else { (number + 1).to_string() };
        lines.push(format!("{number:>2}  {role:w0$}  {zone:w1$}  {server:w2$}  {by:w3$}  {took:>10}"));
        if step.beside {
            lines.push("      beside the way: another resolver may come to it".to_owned());
        }
        if let Some(side) = &step.side_way {
            lines.push(format!("      on the way aside, for the address of {side}"));
        }
        lines.extend(nigh_dns::folded(&step.means).iter().map(|line| format!("      {line}")));
        lines.extend(step.servers.iter().map(|server| format!("        {server}")));
        lines.extend(step.notes.iter().map(|note| format!("      {note}")));
        lines.extend(step.faults.iter().map(|fault| format!("    ! {fault}")));
    }
    match trace.steps.iter().filter(|step| fine_beside(step)).count() {
        0 => {}
        1 => lines.push(" +  the other server beside the way serves its zone as well".to_owned()),
        fine => lines.push(format!(" +  {fine} other servers beside the way serve their zones as well")),
    }
    lines.push(String::new());
    lines.push(ending(trace));
    lines.extend(trace.records.iter().map(|record| format!("  {record}")));
    lines.extend(trace.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn row(step: &Step) -> [String; 4] {
    let name = step.server_name.as_deref().filter(|name| *name != ".");
    let node = step.node.as_ref().map(|node| format!(" (node {node})"));
    let port = if step.server.port() == 53 { step.server.ip().to_string() } else { step.server.to_string() };
    let server = format!("{port} {}{}", name.unwrap_or_default(), node.unwrap_or_default());
    let by = match step.by {
        By::Explain => step.by.as_str().to_owned(),
        by => format!("{}{}", by.as_str(), step.octets.map(|octets| format!(" {octets} octets")).unwrap_or_default()),
    };
    [step.role.as_str().to_owned(), roles::shown(step), server.replace("  ", " ").trim().to_owned(), by]
}

fn ending(trace: &Trace) -> String {
    let questions = trace.steps.iter().filter(|step| step.by != By::Explain && !step.beside).count();
    let asked = if questions == 1 { "1 question".to_owned() } else { format!("{questions} questions") };
    let cost = format!("{asked}, {:.1} ms", trace.took_ms);
    let faults = match trace.faults {
        0 => String::new(),
        1 => "; 1 fault on the way (!)".to_owned(),
        more => format!("; {more} faults on the way (!)"),
    };
    match trace.ending {
        Ending::Answer => format!("answer after {cost}{faults}:"),
        Ending::NoData => format!("no records of type {} after {cost}{faults}", trace.rtype),
        Ending::NxDomain => format!("no such name after {cost}{faults}"),
        Ending::Failed => format!("failed after {cost}{faults}: {}. A resolver says SERVFAIL.", trace.why),
    }
}
