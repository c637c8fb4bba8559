//! A small run of the quality bench: nigh's own steering on a made-up geography beats every other way to choose.
#![allow(clippy::unwrap_used, reason = "a test that cannot run has failed")]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]
#![allow(dead_code, reason = "the example's files, of which the test needs a part")]

#[path = "../examples/quality/blend.rs"]
mod blend;
#[path = "../examples/quality/experiment.rs"]
mod experiment;
#[path = "../examples/quality/file.rs"]
mod file;
#[path = "../examples/quality/geography.rs"]
mod geography;
#[path = "../examples/quality/labels.rs"]
mod labels;
#[path = "../examples/quality/latencies.rs"]
mod latencies;
#[path = "../examples/quality/recordings.rs"]
mod recordings;
#[path = "../examples/quality/steering.rs"]
mod steering;
#[path = "../examples/quality/tally.rs"]
mod tally;
#[path = "../examples/quality/vivaldi.rs"]
mod vivaldi;

use experiment::{Plan, Way};
use latencies::Latencies;

#[test]
fn nigh_beats_the_map_coordinates_one_origin_and_chance_on_a_made_up_geography() {
    let sites = geography::made_up(160, 7).apart(2.0);
    let plan = Plan { pops: 50, origins: 12, seeds: 3, ..Plan::default() };
    let found = experiment::run(&sites, &plan).unwrap();
    let of = |wanted| found.ways.iter().find(|(way, _)| *way == wanted).map(|(_, figures)| *figures).unwrap();
    let nigh = of(Way::Nigh);
    assert!(nigh.exact > 0.6 && nigh.excess_ms < 9.0, "{nigh:?}");
    for (way, exact, excess) in
        [(Way::Geography, 0.10, 2.0), (Way::Vivaldi, 0.10, 2.0), (Way::Single, 0.3, 5.0), (Way::Random, 0.4, 8.0)]
    {
        let rival = of(way);
        assert!(nigh.exact > rival.exact + exact, "{way:?}: {rival:?} against {nigh:?}");
        assert!(nigh.excess_ms * excess < rival.excess_ms, "{way:?}: {rival:?} against {nigh:?}");
    }
    let sure = found.margins.last().unwrap();
    assert!(sure.exact > 0.8, "a margin of 2 and more: {sure:?}");
}

#[test]
fn matrices_are_read_in_every_form_and_nonsense_is_told() {
    let square = Latencies::parse("a,b,c\n0,10,20\n12,0,\n20,,0\n").unwrap();
    assert_eq!((square.len(), square.get(0, 1), square.get(0, 2)), (3, 11.0, 20.0));
    assert!(square.get(1, 2).is_nan());
    let pairs = Latencies::parse("i,j,s1,s2,s3\n0,1,5,7,100\n0,2,9,9,x\n1,2,3,,\n").unwrap();
    assert_eq!((pairs.get(0, 1), pairs.get(2, 0), pairs.get(2, 1)), (7.0, 9.0, 3.0));
    let directed = Latencies::parse("src,dst,avg_ms,min_ms\nx,y,10,1\ny,x,20,1\nx,z,4,1\n").unwrap();
    assert_eq!((directed.get(0, 1), directed.get(2, 0)), (15.0, 4.0));
    for (text, told) in [("", "three places"), ("1,2\n3\n4,5\n", "columns"), ("i,j,s1\n0\n", "line 2")] {
        let problem = Latencies::parse(text).unwrap_err();
        assert!(problem.contains(told), "{text:?}: {problem}");
    }
    assert!(square.placed("name,lat,lon\na,1,2\n").unwrap_err().contains("no place"));
}

#[test]
fn series_are_read_and_nonsense_is_told() {
    let text = "scenario,path,step_s,rtt_ms...\nx,p,120,10,2000,12\nx,q,120,20,21,22,23\n";
    let recording = recordings::Recording::parse(text, 20, 1, false).unwrap();
    assert_eq!(recording.cases[0].at(1), [None, Some(21.0)]);
    assert_eq!(recording.cases[0].rounds(), 3);
    assert!(recordings::Recording::parse("nothing of the kind", 20, 1, false).is_err());
    let marked = recordings::labelled("# RIPE Atlas\n7,1000,20.5\n,240,-1\n,240,30,1\n").unwrap();
    assert_eq!((marked[0].samples.len(), marked[0].changes.len()), (3, 1));
    assert!(recordings::labelled(",240,20\n").is_err());
}

/// Traces of RIPE Atlas with change points that people marked: `NIGH_ATLAS_TRACES=FILE cargo test --test quality`.
#[test]
fn changes_that_people_marked_are_followed() {
    let Ok(path) = std::env::var("NIGH_ATLAS_TRACES") else {
        eprintln!("skipped: NIGH_ATLAS_TRACES names no file of traces");
        return;
    };
    let matched = labels::run(&recordings::labelled(&file::read(&path).unwrap()).unwrap());
    assert!(matched.followed * 100 >= matched.marks * 90, "{matched:?}");
    assert!(matched.lag_samples < 10.0 && matched.unmarked_per_hour < 0.05, "{matched:?}");
}
