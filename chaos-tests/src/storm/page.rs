//! A run, or several, as one HTML page: no script, no style sheet and no picture from elsewhere.
//!
//! For each run: what was planned, lookups over time by outcome with the faults behind them, when deaths were known, the
//! round trip that each ISP got beside the best there was, what the nodes cost, and the checks.

use super::outcome::Outcome;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 160.0;
/// Room for the axis.
const LEFT: f64 = 40.0;
/// Runs on one page: a page of a night is still a page.
const RUNS_MAX: usize = 200;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --soft: #8884; --good: #3a7d44; --slow: #c9a227;
  --excused: #d97b29; --wrong: #c0392b; --fault: #4a6fa522; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181c; --fault: #7fa3d633; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top; border-bottom: 1px solid var(--soft); }
td.n, th.n { text-align: right; }
svg { width: 100%; height: auto; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
.failed { color: var(--wrong); font-weight: 600; }
details { margin: .5rem 0; }
";

/// The page.
pub fn html(outcomes: &[Outcome]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>nigh: storms</title><style>{STYLE}</style></head>\n<body>\n<h1>Storms</h1>\n"
    );
    page.push_str(&summary(outcomes));
    for outcome in outcomes.iter().take(RUNS_MAX) {
        page.push_str(&run(outcome));
    }
    page.push_str("</body></html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn passed(outcome: &Outcome) -> bool {
    !outcome.checks.is_empty() && outcome.checks.iter().all(|(_, passed, _)| *passed)
}

fn word(passed: bool) -> &'static str {
    if passed { "passed" } else { "<span class=\"failed\">FAILED</span>" }
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "<table><tr><th>storm</th><th class=\"n\">seed</th><th>outcome</th><th class=\"n\">lookups</th>\
         <th class=\"n\">slow</th><th class=\"n\">excused</th><th class=\"n\">wrong</th>\
         <th class=\"n\">slowest death known</th><th class=\"n\">agreed after</th></tr>\n",
    );
    let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} s"));
    for outcome in outcomes {
        let total = outcome.total();
        let name = escaped(&outcome.plan.scenario);
        text.push_str(&format!(
            "<tr><td><a href=\"#{name}-{seed}\">{name}</a></td><td class=\"n\">{seed}</td><td>{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            word(passed(outcome)),
            total.good + total.excused + total.wrong,
            total.slow,
            total.excused,
            total.wrong,
            seconds(outcome.slowest_death()),
            seconds(outcome.recovered_after),
            seed = outcome.plan.seed,
        ));
    }
    text.push_str("</table>\n");
    text
}

fn run(outcome: &Outcome) -> String {
    let name = escaped(&outcome.plan.scenario);
    let mut text = format!("<h2 id=\"{name}-{seed}\">{name}, seed {seed}</h2>\n", seed = outcome.plan.seed);
    text.push_str(&format!(
        "<details><summary>The plan</summary><pre>{}</pre></details>\n",
        escaped(&outcome.plan.text())
    ));
    text.push_str("<h3>Lookups a second</h3>\n");
    text.push_str(&lookups(outcome));
    if !outcome.rtt_got_and_possible.is_empty() {
        text.push_str("<h3>Round trip in the quiet phase: got, and the best there was</h3>\n");
        text.push_str(&round_trips(outcome));
    }
    text.push_str("<h3>Nodes</h3>\n<table><tr><th>node</th><th class=\"n\">CPU s</th><th class=\"n\">MB</th></tr>\n");
    for node in &outcome.nodes {
        text.push_str(&format!(
            "<tr><td>{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{}</td></tr>\n",
            escaped(&node.node),
            node.cpu_s,
            node.resident_kib >> 10
        ));
    }
    text.push_str("</table>\n<h3>Checks</h3>\n<table>\n");
    for (key, passed, detail) in &outcome.checks {
        let (key, detail) = (escaped(key), escaped(detail));
        text.push_str(&format!("<tr><td>{key}</td><td>{}</td><td>{detail}</td></tr>\n", word(*passed)));
    }
    text.push_str("</table>\n");
    text
}

/// Stacked bars by second, faults as bands behind them.
fn lookups(outcome: &Outcome) -> String {
    let end = outcome.seconds.keys().next_back().copied().unwrap_or_default() as f64 + 1.0;
    let most =
        outcome.seconds.values().map(|second| second.good + second.excused + second.wrong).max().unwrap_or(1).max(1);
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT);
    let height = |count: u32| f64::from(count) / f64::from(most) * HEIGHT;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"lookups by second and outcome\">\n",
        HEIGHT + 60.0
    );
    for (number, spell) in outcome.spells.iter().enumerate() {
        let (from, until) = (spell.from.as_secs_f64(), spell.until.as_secs_f64().min(end));
        let label = escaped(&spell.fault.to_string());
        svg.push_str(&format!(
"<rect x=\"{:.1}\" y=\"0\" width=\"{:.1}\" height=\"{HEIGHT}\" fill=\"var(--fault)\"><title>{label}</title></rect>\
             <text x=\"{:.1}\" y=\"{:.1}\">{label}</text>\n",
            x(from),
            (x(until) - x(from)).max(1.0),
            x(from) + 2.0,
            HEIGHT + 26.0 + f64::from(u32::try_from(number % 3).unwrap_or_default()) * 12.0,
        ));
    }
    for (second, counts) in &outcome.seconds {
        let mut floor = HEIGHT;
        let parts = [
            (counts.good - counts.slow.min(counts.good), "good"),
            (counts.slow, "slow"),
            (counts.excused, "excused"),
            (counts.wrong, "wrong"),
        ];
        for (count, kind) in parts.into_iter().filter(|(count, _)| *count > 0) {
            floor -= height(count);
            svg.push_str(&format!(
                "<rect x=\"{:.1}\" y=\"{floor:.1}\" width=\"{:.2}\" height=\"{:.1}\" fill=\"var(--{kind})\">\
                 <title>{second} s: {count} {kind}</title></rect>\n",
                x(*second as f64),
                (x(1.0) - x(0.0)).max(0.5),
                height(count),
            ));
        }
    }
    svg.push_str(&format!(
"<text x=\"0\" y=\"10\">{most}</text><text x=\"0\" y=\"{HEIGHT}\">0</text><text x=\"{LEFT}\" y=\"{:.1}\">0 s</text>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{end:.0} s</text></svg>\n",
        HEIGHT + 12.0,
        WIDTH,
        HEIGHT + 12.0,
    ));
    svg
}

fn round_trips(outcome: &Outcome) -> String {
    let most = outcome.rtt_got_and_possible.values().map(|(got, _)| *got).fold(1.0, f64::max);
    let bar = |ms: f64| ms / most * (WIDTH - 160.0);
    let rows = outcome.rtt_got_and_possible.len() as f64;
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"round trips\">\n", rows * 22.0 + 4.0);
    for (row, (isp, (got, best))) in outcome.rtt_got_and_possible.iter().enumerate() {
        let y = row as f64 * 22.0;
        svg.push_str(&format!(
"<text x=\"0\" y=\"{:.1}\">{}</text><rect x=\"60\" y=\"{y:.1}\" width=\"{:.1}\" height=\"8\" fill=\"var(--slow)\"/>\
             <rect x=\"60\" y=\"{:.1}\" width=\"{:.1}\" height=\"8\" fill=\"var(--good)\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{got:.0} ms of {best:.0}</text>\n",
            y + 12.0,
            escaped(isp),
            bar(*got),
            y + 9.0,
            bar(*best),
            66.0 + bar(*got),
            y + 12.0,
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::html;
    use crate::storm::history::Spell;
    use crate::storm::oracle::Judged;
    use crate::storm::outcome::{Death, Outcome, Use};
    use crate::storm::plan::{Plan, Profile};
    use std::time::Duration;

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new(Plan::draw(&Profile::named("kill").unwrap(), 3, 6, 4).unwrap());
        let fault = outcome.plan.faults[0].fault.clone();
        outcome.spells.push(Spell { fault, from: Duration::from_secs(2), until: Duration::from_millis(4500) });
        for second in 0..9 {
            outcome.count(Duration::from_secs(second), Duration::from_millis(second * 300), &Judged::Good);
        }
        outcome.count(Duration::from_secs(5), Duration::ZERO, &Judged::Wrong("<script>".into()));
        outcome.deaths.push(Death { node: 1, at: 2.0, known_after: Some(1.4) });
        outcome.rtt_got_and_possible.insert("isp01".into(), (20.0, 18.0));
        outcome.nodes.push(Use { node: "n01".into(), cpu_s: 1.5, resident_kib: 20_480 });
        outcome.checks.push(("answers".into(), false, "1 of them: <script>".into()));
        outcome
    }

    #[test]
    fn the_page_tells_what_was_and_runs_nothing() {
        let page = html(&[outcome()]);
        for wanted in ["kill, seed 3", "FAILED", "1.4 s", "var(--wrong)", "20 ms of 18", "&lt;script&gt;"] {
            assert!(page.contains(wanted), "{wanted}");
        }
        for refused in ["<script", "http://", "https://", "<link", "<img"] {
            assert!(!page.contains(refused), "{refused}");
        }
    }

    #[test]
    fn an_outcome_survives_its_file() {
        let outcome = outcome();
        let text = serde_json::to_string(&outcome).unwrap();
        let read: Outcome = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.plan, outcome.plan);
    }
}
