//! Every claim the demo prints, with whether the code found it true. A claim that was printed and not checked does not
//! exist: printing goes through [`Checks::claim`].

use super::screen::Screen;

/// The claims made so far.
#[derive(Debug, Default)]
pub struct Checks {
    made: usize,
    failed: Vec<String>,
}

impl Checks {
    /// Prints a claim and remembers whether it holds: it does if there are no problems.
    pub fn claim(&mut self, screen: &mut Screen, text: &str, problems: Vec<String>) -> bool {
        let holds = self.note(text, &problems);
        screen.claim(holds, text);
        for problem in &problems {
            screen.line(&format!("                 {problem}"));
        }
        holds
    }

    fn note(&mut self, text: &str, problems: &[String]) -> bool {
        self.made += 1;
        if !problems.is_empty() {
            self.failed.push(text.to_owned());
        }
        problems.is_empty()
    }

    /// How many claims were made.
    pub fn made(&self) -> usize {
        self.made
    }

    /// Those that did not hold.
    pub fn failed(&self) -> &[String] {
        &self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_only_without_problems_and_every_claim_is_counted() {
        let mut checks = Checks::default();
        assert!(checks.note("true", &[]));
        assert!(!checks.note("false", &["because".to_owned()]));
        assert_eq!((checks.made(), checks.failed()), (2, &["false".to_owned()][..]));
    }
}
