//! The one place where the demo prints: stamps, headings, aligned tables, and a table that is redrawn in place.
//!
//! On a terminal headings are bold and results coloured (`NO_COLOR` is respected); anywhere else it is plain text, line
//! by line. What cannot be written (a closed pipe) is dropped: the demo still ends in order and stops its nodes.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Text of somebody else is broken into lines of this length.
const QUOTE_WIDTH: usize = 110;

/// Which edge the cells of a column keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// The terminal or whatever stdout is.
#[derive(Debug)]
pub struct Screen {
    began: Instant,
    terminal: bool,
    color: bool,
    /// Lines of the table that the next redraw replaces.
    drawn: usize,
    closed: bool,
}

impl Screen {
    /// Times are counted from `began`.
    pub fn new(began: Instant) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none();
        Self { began, terminal, color, drawn: 0, closed: false }
    }

    /// Whether someone looks at a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether nobody can read any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Since the demo began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn put(&mut self, text: &str) {
        self.drawn = 0;
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        self.closed |= written.is_err();
    }

    /// A line as it is.
    pub fn line(&mut self, text: &str) {
        self.put(text);
    }

    /// A heading, with room above it.
    pub fn heading(&mut self, text: &str) {
        let text = self.paint("1", text);
        self.put(&format!("\n{text}\n"));
    }

    /// Something that happened now.
    pub fn event(&mut self, text: &str) {
        let stamp = self.paint("2", &stamp(self.elapsed()));
        self.put(&format!("{stamp}  {text}"));
    }

    /// A checked claim.
    pub fn claim(&mut self, holds: bool, text: &str) {
        let mark = if holds { self.paint("32", "ok ") } else { self.paint("31;1", "NOT") };
        let stamp = self.paint("2", &stamp(self.elapsed()));
        self.put(&format!("{stamp}  {mark} {text}"));
    }

    /// A table, set in a little.
    pub fn table(&mut self, columns: &[(&str, Align)], rows: &[Vec<String>]) {
        let lines = layout(columns, rows);
        let mut lines = lines.iter().map(|line| format!("  {line}"));
        if let Some(header) = lines.next() {
            let header = self.paint("2", &header);
            self.put(&header);
        }
        for line in lines {
            self.put(&line);
        }
        self.put("");
    }

    /// Text of somebody else, set in.
    pub fn quote(&mut self, text: &str) {
        for line in text.trim_end().lines().flat_map(wrap) {
            self.put(format!("    {line}").trim_end());
        }
        self.put("");
    }

    /// A table that takes the place of the one drawn before. Lines are cut at the terminal's edge rather than wrapped,
    /// or the cursor would not find back.
    pub fn redraw(&mut self, columns: &[(&str, Align)], rows: &[Vec<String>], below: &str) {
        let mut lines = layout(columns, rows);
        lines.extend(below.lines().map(str::to_owned));
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        text.push_str("\x1b[?7l\r\x1b[J");
        for line in &lines {
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str("\x1b[?7h");
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.closed |= written.is_err();
        self.drawn = lines.len();
    }
}

/// `[  1.23 s]`
fn stamp(time: Duration) -> String {
    format!("[{:6.2} s]", time.as_secs_f64())
}

/// Header, rule and rows with their columns under each other. Cells are ASCII.
fn layout(columns: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.chain([columns[column].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, width), (_, align)) in cells.zip(&widths).zip(columns) {
            let cell = match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            };
            text.push_str(&cell);
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text
    };
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut lines =
        vec![line(&mut columns.iter().map(|(title, _)| *title)), line(&mut rules.iter().map(String::as_str))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// A long line in several, each set in as the first.
fn wrap(line: &str) -> Vec<String> {
    let indent = &line[..line.len() - line.trim_start().len()];
    let mut lines = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let full =
            lines.last().is_some_and(|last| last.chars().count() + word.trim_end().chars().count() > QUOTE_WIDTH);
        if full {
            lines.push(indent.to_owned());
        }
        if let Some(last) = lines.last_mut() {
            last.push_str(word);
        }
    }
    lines
}

/// Milliseconds as people read them; below 10 with one digit behind the point.
pub fn millis(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 9.95 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// Seconds with two digits.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_no_line_ends_in_blanks() {
        let rows = [
            vec!["Main".to_owned(), "26 ms".to_owned(), "x".to_owned()],
            vec!["Sumida".to_owned(), "9 ms".to_owned(), String::new()],
        ];
        let lines = layout(&[("ISP", Align::Left), ("RTT", Align::Right), ("", Align::Left)], &rows);
        assert_eq!(lines, ["ISP       RTT", "------  -----  -", "Main    26 ms  x", "Sumida   9 ms"]);
    }

    #[test]
    fn long_lines_are_broken_between_words_and_keep_their_indent() {
        let line = format!("  {}", "word ".repeat(30));
        let lines = wrap(&line);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.starts_with("  w") && line.trim_end().len() <= QUOTE_WIDTH), "{lines:?}");
        assert_eq!(wrap("   \u{25b6}  127.77.5.0/24  tyo"), ["   \u{25b6}  127.77.5.0/24  tyo"]);
    }

    #[test]
    fn times_are_as_exact_as_people_need() {
        assert_eq!(millis(Duration::from_micros(1_240)), "1.2 ms");
        assert_eq!(millis(Duration::from_micros(9_970)), "10 ms");
        assert_eq!(millis(Duration::from_micros(233_600)), "234 ms");
        assert_eq!(stamp(Duration::from_millis(1_234)), "[  1.23 s]");
        assert_eq!(seconds(Duration::from_millis(456)), "0.46 s");
    }
}
