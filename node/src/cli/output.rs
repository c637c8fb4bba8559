//! The one place that writes to the terminal.

use std::io::{self, ErrorKind, Write};

/// Writes text and a newline to standard output.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a value as the API has it, indented.
pub(super) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(print(&serde_json::to_string_pretty(value)?)?)
}

/// Writes an error and its causes to standard error, on one line unless the error itself has several.
pub(super) fn complain(error: &anyhow::Error) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr().lock(), "nigh: {error:#}");
}

/// Whether the reader of our output went away, as in `nigh latency | head`: no mistake of anybody's.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}
