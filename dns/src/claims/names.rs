//! Small numbers for the nodes that claim something.
//!
//! A claim names its node by number: two octets instead of a name, and what else is known of the node is looked up in an
//! array. A number stays with its node as long as it claims anything, whatever comes and goes meanwhile, because the
//! claims that carry it are not touched; then it is given to another.

use std::cmp::Ordering;

use crate::Label;

/// Nodes that may claim something at one time; a mesh is made for ten thousand.
pub(super) const MOST_NODES: usize = 1 << 16;

/// Who has which number.
#[derive(Clone, Default)]
pub(super) struct Names {
    /// By number.
    labels: Vec<Option<Label>>,
    /// The numbers in use, in the order of the names.
    sorted: Vec<u16>,
    free: Vec<u16>,
}

impl Names {
    /// How many numbers were ever given out: all are below it.
    pub(super) fn bound(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn label(&self, number: u16) -> Option<&Label> {
        self.labels.get(usize::from(number))?.as_ref()
    }

    pub(super) fn number(&self, label: &Label) -> Option<u16> {
        self.place(label).ok().map(|at| self.sorted[at])
    }

    /// The numbers in use with their names, in the order of the names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Label)> {
        self.sorted.iter().filter_map(|number| Some((*number, self.label(*number)?)))
    }

    /// The order of two nodes by name.
    pub(super) fn compare(&self, a: u16, b: u16) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        self.label(a).cmp(&self.label(b))
    }

    /// Gives a node a number, unless it has one. Nothing: there is none left.
    pub(super) fn add(&mut self, label: &Label) -> Option<u16> {
        let at = match self.place(label) {
            Ok(at) => return Some(self.sorted[at]),
            Err(at) => at,
        };
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.labels.len() >= MOST_NODES => return None,
            None => {
                self.labels.push(None);
                (self.labels.len() - 1) as u16
            }
        };
        self.labels[usize::from(number)] = Some(label.clone());
        self.sorted.insert(at, number);
        Some(number)
    }

    /// Takes the number of a node back.
    pub(super) fn remove(&mut self, number: u16) {
        let Some(Ok(at)) = self.label(number).map(|label| self.place(label)) else { return };
        self.sorted.remove(at);
        self.labels[usize::from(number)] = None;
        self.free.push(number);
    }

    fn place(&self, label: &Label) -> Result<usize, usize> {
        self.sorted.binary_search_by(|number| self.label(*number).cmp(&Some(label)))
    }
}
