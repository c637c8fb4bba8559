//! After the story: the demo goes on, one line per ISP, until Ctrl-C. Kill a node and look.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::resolver::Answer;
use super::screen::{Align, millis};
use super::stage::Stage;
use super::world::{CITIES, City, WWW};

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_secs(1);
/// A node that somebody killed is started again after this long, so that there is always something to play with.
const BACK_AFTER: Duration = Duration::from_secs(20);

/// What to try in another terminal.
pub fn invite(stage: &mut Stage) {
    let (Some(fra), Some(nyc)) = (City::by_node("fra"), City::by_node("nyc")) else { return };
    let socket = stage.fleet.socket(nyc).display().to_string();
    let (plan, pid) = (stage.plan, stage.fleet.pid(fra).unwrap_or_default());
    let program = std::env::args().next().unwrap_or_else(|| "nigh".to_owned());
    stage.screen.heading("The mesh goes on. Try in another terminal:");
    stage.screen.line(&format!(
        "  {dashboard}          in a browser: the dashboard\n\
         \x20 export NIGH_SOCKET={socket}\n\
         \x20 {program} status            (or peers, claims, latency, services; --json for programs)\n\
         \x20 {program} explain {WWW} --from {from}\n\
         \x20 dig -b {from} -p {port} @{at} {WWW}\n\
         \x20 kill -9 {pid}               (the node of {place}; it comes back after {back} s)\n",
        dashboard = plan.dashboard(nyc),
        from = plan.resolver(fra),
        port = plan.dns_port,
        at = plan.node(nyc),
        place = fra.place(),
        back = BACK_AFTER.as_secs(),
    ));
}

/// Goes on until it is dropped, or nobody can read any more.
pub async fn watch(stage: &mut Stage) -> anyhow::Result<()> {
    let mut back_at: [Option<Instant>; CITIES] = [None; CITIES];
    let mut next = Instant::now();
    loop {
        while let Some((city, _)) = stage.fleet.find_ended() {
            back_at[city.index()] = Some(Instant::now() + BACK_AFTER);
        }
        for city in City::all() {
            if back_at[city.index()].is_some_and(|at| at <= Instant::now()) {
                back_at[city.index()] = None;
                stage.fleet.start(city)?;
            }
        }
        let www = stage.www.clone();
        let answers = stage.ask_all(&www).await?;
        show(stage, &answers);
        if stage.screen.is_closed() {
            return Ok(());
        }
        next += ROUND;
        sleep_until(next).await;
        if next.elapsed() > ROUND {
            next = Instant::now(); // the machine slept: do not catch up
            sleep(ROUND).await;
        }
    }
}

fn show(stage: &mut Stage, answers: &[Answer]) {
    if !stage.screen.is_terminal() {
        let all: Vec<String> = City::all()
            .zip(answers)
            .map(|(city, answer)| format!("{} -> {}", city.isp(), stage.origin_name(answer)))
            .collect();
        stage.screen.event(&all.join(", "));
        return;
    }
    let rows: Vec<Vec<String>> = City::all()
        .zip(answers)
        .map(|(city, answer)| {
            let asked: Vec<String> = answer.hops.iter().map(|hop| stage.node_name(hop.server)).collect();
            let (asked, took) = match asked.as_slice() {
                [] => ("its cache".to_owned(), String::new()),
                some => (some.join(", "), millis(answer.took)),
            };
            let pid = stage.fleet.pid(city).map_or_else(|| "down".to_owned(), |pid| pid.to_string());
            let origin = stage.origin_name(answer);
            let rtt = answer
                .address()
                .and_then(|address| stage.plan.origin_at(address))
                .map(|origin| millis(city.to_origin(origin)));
            vec![city.isp().to_owned(), city.node().to_owned(), pid, asked, took, origin, rtt.unwrap_or_default()]
        })
        .collect();
    let columns = [
        ("ISP", Align::Left),
        ("its node", Align::Left),
        ("pid", Align::Right),
        ("asks", Align::Left),
        ("takes", Align::Right),
        ("gets", Align::Left),
        ("RTT there", Align::Right),
    ];
    stage.screen.redraw(&columns, &rows, "\nCtrl-C ends it all.");
}
