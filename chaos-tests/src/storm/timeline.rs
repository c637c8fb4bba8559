//! A run as it goes: a column for each node and for each ISP, a line every few seconds and at each event.

use super::fault::Fault;
use super::oracle::Judged;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a client got last, and how often it failed since the last line.
#[derive(Clone, Debug, Default)]
struct Client {
    last: String,
    failed: usize,
}

/// The columns.
#[derive(Debug)]
pub struct Timeline {
    /// What stands in a node's column while it is not itself.
    nodes: Vec<BTreeMap<usize, char>>,
    clients: Vec<Client>,
}

impl Timeline {
    /// For so many points of presence.
    pub fn new(pops: usize) -> Self {
        Self { nodes: vec![BTreeMap::new(); pops], clients: vec![Client::default(); pops] }
    }

    /// The head of the table.
    pub fn head(&self) -> String {
        let nodes: String = (1..=self.nodes.len()).map(|number| format!(" n{number:02}")).collect();
        let isps: String = (1..=self.clients.len()).map(|number| format!(" isp{number:02}")).collect();
        format!(
            "{nodes} |{isps}\nnodes: . here, X killed, r restarted in turn, z stopped, / cut off, | hears the other version only, > not heard, ~ loss, delay or disorder, D disk, F flood, c clock, b blind, R revoked, @ resolver renumbered\n\
             ISPs: the origin that clients get; ! with failed lookups"
        )
    }

    /// A fault begins, or ends.
    pub fn mark(&mut self, number: usize, fault: &Fault, on: bool) {
        let mark = match fault {
            Fault::Kill { .. } => 'X',
            Fault::Restart { .. } => 'r',
            Fault::Stop { .. } => 'z',
            Fault::Partition { .. } => '/',
            Fault::Apart { .. } => '|',
            Fault::OneWay { .. } => '>',
            Fault::Loss { .. } | Fault::Delay { .. } | Fault::Steps { .. } | Fault::Reorder { .. } => '~',
            Fault::DiskWiped { .. } | Fault::DiskRolledBack { .. } | Fault::DiskCorrupt { .. } => 'D',
            Fault::Flood { .. } => 'F',
            Fault::Starve { .. } => 'z',
            Fault::DiskFull { .. } => 'D',
            Fault::Clock { .. } => 'c',
            Fault::Blind { .. } => 'b',
            Fault::Revoke { .. } => 'R',
            Fault::Roll { .. } => 'r',
            Fault::Renumber { .. } => '@',
            _ => return,
        };
        for node in fault.nodes() {
            let Some(marks) = self.nodes.get_mut(*node) else { continue };
            if on {
                marks.insert(number, mark);
            } else {
                marks.remove(&number);
            }
        }
    }

    /// A lookup ended; `what` is the origin's id, if there was one.
    pub fn lookup(&mut self, pop: usize, what: Option<&str>, judged: &Judged) {
        let Some(client) = self.clients.get_mut(pop) else { return };
        if let Some(what) = what {
            client.last = what.to_owned();
        }
        client.failed += usize::from(*judged != Judged::Good);
    }

    /// The line now.
    pub fn line(&mut self, at: Duration) -> String {
        let nodes: String =
            self.nodes.iter().map(|marks| format!("  {} ", marks.values().next().unwrap_or(&'.'))).collect();
        let isps: String = self
            .clients
            .iter_mut()
            .map(|client| {
                let mark = if std::mem::take(&mut client.failed) > 0 { '!' } else { ' ' };
                format!("  {:3}{mark}", if client.last.is_empty() { "-" } else { &client.last })
            })
            .collect();
        format!("{:5.0} s {nodes}|{}", at.as_secs_f64(), isps.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Judged, Timeline};
    use std::time::Duration;

    #[test]
    fn a_line_shows_who_is_hit_and_what_clients_get() {
        let mut timeline = Timeline::new(2);
        let kill = Fault::Kill { nodes: vec![1] };
        timeline.mark(0, &kill, true);
        timeline.lookup(0, Some("o02"), &Judged::Good);
        timeline.lookup(1, None, &Judged::Wrong("no answer".to_owned()));
        assert_eq!(timeline.line(Duration::from_secs(7)), "    7 s   .   X |  o02   -  !");
        timeline.mark(0, &kill, false);
        assert_eq!(timeline.line(Duration::from_secs(8)), "    8 s   .   . |  o02   -");
    }
}
