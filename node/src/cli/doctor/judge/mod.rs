//! What facts mean: one pure function for each part of a node's life, and what an operator should do.

pub(super) mod certificates;
pub(super) mod clock;
pub(super) mod delegation;
pub(super) mod host;
pub(super) mod mesh;
pub(super) mod path;
pub(super) mod ports;
pub(super) mod resolvers;
#[cfg(test)]
mod tests;

/// Items that are named before "and so many more".
const MOST_NAMED: usize = 8;

/// "a, b and 3 more".
fn named<T: ToString>(items: &[T]) -> String {
    let shown: Vec<String> = items.iter().take(MOST_NAMED).map(ToString::to_string).collect();
    match items.len().saturating_sub(MOST_NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
