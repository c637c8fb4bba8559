//! The story in acts. Each act prints what it sees and claims only what it checked.

mod answers;
mod death;
mod opening;
mod watching;

use std::time::Duration;

use super::screen::seconds;
use super::stage::Stage;

/// The figures that the story ends with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// From the start of the demo to the first answer at a client.
    pub first_answer: Duration,
    /// From the kill to the next good answer at the dead node's ISP.
    pub good_again: Duration,
    /// From the kill until every other node knew.
    pub known_dead: Duration,
    /// Lookups made while a node was dead or coming back.
    pub lookups: usize,
}

/// Tells it.
pub async fn tell(stage: &mut Stage, passed: &[u8]) -> anyhow::Result<Figures> {
    let mut figures = Figures { first_answer: opening::start(stage, passed).await?, ..Figures::default() };
    answers::who_gets_what(stage).await?;
    answers::why(stage).await?;
    answers::refresh(stage).await?;
    death::kill(stage, &mut figures).await?;
    death::come_back(stage, &mut figures).await?;
    Ok(figures)
}

/// The last lines.
pub fn sum_up(stage: &mut Stage, figures: &Figures) {
    stage.screen.heading("In figures");
    let rows = [
        ("start of the demo to the first answer", seconds(figures.first_answer)),
        ("kill of a node to the next good answer at its ISP", seconds(figures.good_again)),
        ("kill of a node until every other node knew", seconds(figures.known_dead)),
        ("lookups watched while it was dead or coming back", figures.lookups.to_string()),
    ];
    for (what, value) in rows {
        stage.screen.line(&format!("  {what:<60} {value:>8}"));
    }
    let (made, failed) = (stage.checks.made(), stage.checks.failed().len());
    stage.screen.line(&format!("\n{} of {made} claims checked{}", made - failed, if failed == 0 { "." } else { ":" }));
    for claim in stage.checks.failed().to_vec() {
        stage.screen.line(&format!("  does NOT hold: {claim}"));
    }
}
