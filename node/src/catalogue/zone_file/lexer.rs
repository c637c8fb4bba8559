//! The text of a zone file as entries: words with the line they begin in, without comments and parentheses.
//!
//! Escapes are left as they are: whether `\.` is a dot inside of a label or a letter of a string only the reader of
//! that word knows.

use super::Mistake;

/// What stands on one line, or on several within parentheses.
pub(super) struct Entry {
    pub(super) line: usize,
    /// It begins with a blank: its owner is that of the entry before.
    pub(super) blank: bool,
    pub(super) words: Vec<Word>,
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// As it is written, without the quotes around it.
    pub(super) raw: String,
    pub(super) quoted: bool,
}

/// Every entry, or the mistake that stands in its place.
pub(super) fn entries(text: &str) -> Vec<Result<Entry, Mistake>> {
    let mut lexer = Lexer { entries: Vec::new(), line: 1, entry: None, depth: 0, mistake: None };
    let mut word: Option<Word> = None;
    let mut chars = text.chars().peekable();
    let mut fresh = true;
    while let Some(c) = chars.next() {
        let at_start = std::mem::take(&mut fresh);
        match c {
            '\n' => {
                lexer.push(word.take());
                lexer.line += 1;
                fresh = lexer.depth == 0;
                if fresh {
                    lexer.end();
                }
            }
            ';' => {
                lexer.push(word.take());
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            '(' => {
                lexer.push(word.take());
                lexer.begin(false);
                lexer.depth += 1;
            }
            ')' if lexer.depth == 0 => lexer.fail("a parenthesis closes that was not opened"),
            ')' => {
                lexer.push(word.take());
                lexer.depth -= 1;
            }
            c if c.is_whitespace() => {
                lexer.push(word.take());
                if at_start {
                    lexer.begin(true);
                }
            }
            '"' => {
                // A quote within a word belongs to it, as in alpn="h2,h3" (RFC 9460 section 2.1).
                let inner = word.is_some();
                lexer.begin(false);
                let mut quoted = String::new();
                let mut closed = false;
                while let Some(c) = chars.next_if(|c| *c != '\n') {
                    match c {
                        '"' => {
                            closed = true;
                            break;
                        }
                        '\\' => {
                            quoted.push(c);
                            quoted.extend(chars.next_if(|c| *c != '\n'));
                        }
                        c => quoted.push(c),
                    }
                }
                if !closed {
                    lexer.fail("a quoted string does not end on its line");
                }
                match &mut word {
                    Some(word) if inner => word.raw.push_str(&quoted),
                    _ => lexer.push(Some(Word { raw: quoted, quoted: true })),
                }
            }
            c => {
                lexer.begin(false);
                let word = word.get_or_insert_with(|| Word { raw: String::new(), quoted: false });
                word.raw.push(c);
                if c == '\\' {
                    word.raw.extend(chars.next_if(|c| *c != '\n'));
                }
            }
        }
    }
    lexer.push(word);
    if lexer.depth > 0 {
        lexer.fail("a parenthesis is not closed before the file ends");
    }
    lexer.end();
    lexer.entries
}

struct Lexer {
    entries: Vec<Result<Entry, Mistake>>,
    line: usize,
    entry: Option<Entry>,
    depth: usize,
    mistake: Option<Mistake>,
}

impl Lexer {
    /// Begins an entry, unless one has begun.
    fn begin(&mut self, blank: bool) {
        let line = self.line;
        self.entry.get_or_insert_with(|| Entry { line, blank, words: Vec::new() });
    }

    fn push(&mut self, word: Option<Word>) {
        if let (Some(entry), Some(word)) = (&mut self.entry, word) {
            entry.words.push(word);
        }
    }

    /// Notes the first mistake of an entry.
    fn fail(&mut self, problem: &str) {
        let line = self.line;
        self.mistake.get_or_insert_with(|| Mistake { line, problem: problem.to_owned() });
    }

    fn end(&mut self) {
        let entry = self.entry.take();
        match (self.mistake.take(), entry) {
            (Some(mistake), _) => self.entries.push(Err(mistake)),
            (None, Some(entry)) if !entry.words.is_empty() => self.entries.push(Ok(entry)),
            (None, _) => {}
        }
    }
}
