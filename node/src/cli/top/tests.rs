#![allow(clippy::unwrap_used)]
//! The board under made-up samples, and the screen it makes, as text.

use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::board::{Board, MOST_EVENTS, MOST_POINTS, Tone, View, Wish};
use super::draw::{Paint, draw};
use super::sample::{Chosen, Sample};
use super::{usable, wish};

/// `fra`, and what it sees: so many queries, `nyc` as it is, a server of one service as it is.
fn sample(queries: u64, nyc: &str, server: &str) -> Sample {
    let status = json!({
        "node": { "name": "fra", "id": "f", "pop": "Frankfurt", "version": "0.1.0", "uptime_s": 100 + queries, "draining": false },
        "mesh": { "id": "m", "members": 2, "alive": 2, "links": 1, "pages": 9, "state_hash": "00" },
        "dns": { "listen": ["192.0.2.1:53"], "queries": queries, "referrals": queries / 2, "cut_answers": 3 },
        "catalogue": { "zones": 1, "services": 1, "servers": 1 },
        "snapshot": { "serial": 4 },
        "warnings": [],
    });
    let peer = |name: &str, verdict: &str| {
        json!({
            "name": name, "id": name, "pop": "", "verdict": verdict, "linked": name == "nyc" && verdict == "alive",
            "rtt_ms": 81.25, "incarnation": 1, "mesh_addresses": [], "dns_addresses": ["192.0.2.2"], "cuts": [name],
            "version": "0.1.0", "self": name == "fra",
        })
    };
    let row = json!({
        "node": "fra", "service": "www.lb.lab", "server": "eu-1", "address": "192.0.2.80", "state": server, "rtt_ms": 4.3,
        "loss": 0.0, "age_s": 1.0, "why": "",
    });
    let service = json!({
        "name": "www.lb.lab", "mode": "refer", "ttl": 20, "answers": 1, "spread_ms": 0.0,
        "probe": { "kind": "http", "port": 80, "interval_ms": 1000.0, "timeout_ms": 900.0, "fall": 3, "rise": 2 },
        "servers": [{ "id": "eu-1", "address": "192.0.2.80", "weight": 1 }],
    });
    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }
    Sample {
        status: read(status),
        peers: read(json!([peer("fra", "alive"), peer("nyc", nyc)])),
        rows: read(json!([row])),
        services: read(json!([service])),
        chosen: BTreeMap::from([(
            "www.lb.lab".to_owned(),
            Chosen { servers: vec!["eu-1".into()], why: "nearest".into() },
        )]),
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A board that has seen these, a second apart.
fn board(looks: Vec<Result<Sample, String>>) -> Board {
    let mut board = Board::default();
    for (at, look) in (0u32..).zip(looks) {
        board.handle_look(at * SECOND, look);
    }
    board
}

fn screen(board: &Board, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, board, Paint { colours: true }, 9 * SECOND)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<String>>().join("\n")
}

#[test]
fn the_overview_shows_all_that_matters_in_the_smallest_usual_terminal() {
    let shown = screen(&board(vec![Ok(sample(0, "alive", "up")), Ok(sample(500, "dead", "up"))]), 80, 24);
    for words in [
        "fra (Frankfurt)  nigh 0.1.0  up 10m 0s  2 of 2 alive, 1 linked",
        " 1 overview  2 members  3 services  4 measurements  5 events",
        "queries/s: 500, at most 500",
        "referrals           250      250",
        "members (2)",
        "www.lb.lab",
        "nyc is dead (was alive)",
        "no link any more to nyc",
        "q quit",
    ] {
        assert!(shown.contains(words), "{words:?} is not in\n{shown}");
    }
}

#[test]
fn every_view_is_drawn_in_every_size() {
    let mut board = board(vec![Ok(sample(0, "alive", "up")), Ok(sample(5, "draining", "down"))]);
    for view in View::ALL {
        board.handle(Wish::Show(view));
        for (width, height) in [(1, 1), (39, 24), (40, 10), (80, 24), (120, 9), (300, 100)] {
            let shown = screen(&board, width, height);
            let big_enough = width >= 40 && height >= 10;
            assert_eq!(shown.contains(view.title()), big_enough, "{view:?} {width}x{height}\n{shown}");
        }
    }
    board.handle(Wish::Help);
    assert!(screen(&board, 80, 24).contains("the next view, the one before"));
    assert!(board.handle(Wish::Quit), "it closes the help first");
    assert!(!board.handle(Wish::Quit));
}

#[test]
fn rates_are_of_the_time_between_looks_and_a_restart_makes_none() {
    let mut board = Board::default();
    board.handle_look(SECOND, Ok(sample(1000, "alive", "up")));
    board.handle_look(3 * SECOND, Ok(sample(1500, "alive", "up")));
    assert_eq!((board.rates["queries"], board.rates["referrals"]), (250.0, 125.0));
    board.handle_look(4 * SECOND, Ok(sample(7, "alive", "up")));
    assert_eq!(board.rates["queries"], 0.0);
    assert_eq!(board.events[0].what, "the node was started anew");
    board.handle_look(4 * SECOND, Ok(sample(8, "alive", "up")));
    assert_eq!(board.queries, [250, 0], "two looks at one moment make no rate");
}

#[test]
fn what_changes_is_told_newest_first_and_bounded() {
    let told = board(vec![
        Ok(sample(1, "alive", "up")),
        Ok(sample(2, "alive", "down")),
        Err("no answer".into()),
        Err("no answer".into()),
        Ok(sample(3, "dead", "up")),
    ]);
    let told: Vec<(Tone, &str)> = told.events.iter().map(|event| (event.tone, event.what.as_str())).collect();
    let expected = [
        (Tone::Good, "eu-1 of www.lb.lab is up (was down)"),
        (Tone::Plain, "no link any more to nyc"),
        (Tone::Bad, "nyc is dead (was alive)"),
        (Tone::Good, "the node answers again"),
        (Tone::Bad, "the node does not answer any more"),
        (Tone::Bad, "eu-1 of www.lb.lab is down (was up)"),
    ];
    assert_eq!(told, expected);
    let restless = (0..2000).map(|turn| Ok(sample(turn, if turn % 2 == 0 { "alive" } else { "dead" }, "up"))).collect();
    let restless = board(restless);
    assert_eq!((restless.events.len(), restless.queries.len()), (MOST_EVENTS, MOST_POINTS));
}

#[test]
fn a_lost_node_and_a_pause_are_seen_and_the_last_picture_stays() {
    let mut board = board(vec![Ok(sample(1, "alive", "up")), Err("no node listens on nigh.sock".into())]);
    let shown = screen(&board, 100, 24);
    assert!(shown.contains("NO ANSWER for 9s") && shown.contains("no node listens on nigh.sock"), "{shown}");
    assert!(shown.contains("www.lb.lab"), "{shown}");
    board.handle(Wish::Pause);
    assert!(!board.handle_look(5 * SECOND, Ok(sample(9, "dead", "up"))), "paused is paused");
    assert!(screen(&board, 100, 24).contains("PAUSED"));
}

#[test]
fn scrolling_stops_at_both_ends() {
    let mut board = board(vec![Ok(sample(1, "alive", "up"))]);
    board.handle(Wish::Show(View::Members));
    board.handle(Wish::Down(10));
    assert_eq!(board.scroll, 1, "two lines, the second of which stays");
    board.handle(Wish::Up(10));
    assert_eq!(board.scroll, 0);
    board.handle(Wish::Down(1));
    board.handle(Wish::Next);
    assert_eq!((board.view, board.scroll), (View::Services, 0));
    board.handle(Wish::Previous);
    board.handle(Wish::Previous);
    board.handle(Wish::Previous);
    assert_eq!(board.view, View::Events);
}

#[test]
fn keys_mean_what_the_help_says() {
    let key = |code| wish(KeyEvent::new(code, KeyModifiers::NONE));
    assert_eq!(key(KeyCode::Char('q')), Some(Wish::Quit));
    assert_eq!(key(KeyCode::Char('3')), Some(Wish::Show(View::Services)));
    assert_eq!(key(KeyCode::Char('c')), None);
    assert_eq!(wish(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Wish::Quit));
    assert_eq!(key(KeyCode::Char('?')), Some(Wish::Help));
    assert_eq!(key(KeyCode::PageDown), Some(Wish::Down(10)));
}

#[test]
fn where_nothing_can_be_drawn_another_command_is_named() {
    assert!(usable(true, "xterm-256color").is_ok());
    let told = |is_terminal, kind: &str| usable(is_terminal, kind).unwrap_err().to_string();
    assert!(told(false, "xterm").contains("this is none; `nigh status`"));
    assert!(told(true, "dumb").contains("\"dumb\""));
    assert!(told(true, "").contains("TERM is not set"));
}
