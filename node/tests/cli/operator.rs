//! `nigh operator`, and what appointed keys may: against a node that takes what it is given.

use std::path::Path;

use nigh::catalogue::hlc;
use nigh::certificate;
use nigh::identity::{self, Kind};
use nigh_gossip::{Appointment, Certificate, NodeId, Page, Rights, Table, admission, operator::MAX_APPOINTED};
use serde_json::Value;

use super::fake::Fake;
use super::{CATALOGUE, nigh, nigh_beside, node};

fn public(folder: &Path, file: &str) -> String {
    identity::public(&identity::load(&folder.join(file), Kind::Operator).unwrap()).to_string()
}

#[tokio::test]
async fn a_key_is_appointed_listed_and_dismissed_by_the_root_alone() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(identity::create(&folder.path().join("root.key"), Kind::Operator).unwrap());
    let (_, _stop) = fake.serve(folder.path());
    let operator = async |args: &[&str]| nigh_beside(folder.path(), &[&["operator"], args].concat()).await;

    let appoint = ["appoint", "--key", "root.key", "--name", "anna", "--operator-key", "anna.key"];
    let (code, out, err) = operator(&[&appoint[..], &["--rights", "catalogue"]].concat()).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let anna = public(folder.path(), "anna.key");
    assert!(out.starts_with(&format!("appointed anna ({anna}) for catalogue\nits key was made")), "{out}");
    assert!(out.contains("\ntaken by fra, which tells all others\nwritten to anna.key.appointment as well"), "{out}");
    let (_, out, _) = operator(&["list"]).await;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATE", "RIGHTS", "SINCE", "CATALOGUE", "ADMISSIONS", "ID"]);
    assert_eq!(rows[1][..4], ["root", "root", "catalogue,admissions", "-"]);
    assert_eq!((rows[2][..3].to_vec(), rows[2][6]), (vec!["anna", "appointed", "catalogue"], anna.as_str()));

    // It applies, admits nobody, and appoints nobody.
    let (code, out, err) = nigh_beside(folder.path(), &["apply", CATALOGUE, "--key", "anna.key"]).await;
    assert!(code == 0 && out.contains("7 of 7 records taken by fra"), "{out}{err}");
    let (code, _, err) = nigh_beside(folder.path(), &["admit", &node(1), "--name", "fra", "--key", "anna.key"]).await;
    assert_eq!(code, 1);
    assert!(err.starts_with("nigh: anna.key is the key of anna, which was appointed for catalogue alone; "), "{err}");
    let (code, _, err) = operator(&["appoint", "--key", "anna.key", "--name", "berta", "--operator", &node(2)]).await;
    assert!(code == 1 && err.contains(", but only the root key of the mesh appoints and dismisses, "), "{err}");

    // What it signed would go with it.
    let (code, _, err) = operator(&["dismiss", "anna", "--key", "root.key"]).await;
    assert_eq!(code, 2);
    let expected =
        "nigh: 7 catalogue records and 0 admission records are signed by anna alone, and would go everywhere: ";
    assert!(err.starts_with(expected) && err.contains("nigh operator rotate --key root.key --from "), "{err}");
    let fewer = [&appoint[..], &["--rights", "admissions"]].concat();
    let (code, _, err) = operator(&fewer).await;
    assert!(code == 2 && err.starts_with("nigh: anna signed 7 of what it may sign no more, "), "{err}");
    let (code, out, _) = operator(&["dismiss", "anna", "--key", "root.key", "--force"]).await;
    assert!(code == 0 && out.ends_with("\nwith it went 7 catalogue records and 0 admission records\n"), "{out}");
    let (code, _, err) = nigh_beside(folder.path(), &["apply", CATALOGUE, "--key", "anna.key"]).await;
    assert!(code == 1 && err.starts_with("nigh: anna.key is the key of anna, which was dismissed on 20"), "{err}");

    for (wrong, why) in [
        (&["dismiss", "anna", "--key", "root.key"][..], "no key is appointed as \"anna\""),
        (&["dismiss", "root", "--key", "root.key"], "the root cannot be dismissed"),
        (&["appoint", "--key", "root.key", "--name", "b b", "--operator", &node(2)], "a name of up to 63 letters"),
        (&["appoint", "--key", "root.key", "--name", "root", "--operator", &node(2)], "and not \"root\""),
        (&["appoint", "--key", "root.key", "--name", "me", "--operator-key", "root.key"], "the root's own key"),
        (&["rotate", "--key", "root.key", "--from", "carl", "--to", "new.key"], "no key is appointed as \"carl\""),
        (&["rotate", "--key", "root.key", "--from", &anna, "--to", "new.key"], "anna is dismissed, and nothing"),
    ] {
        let (code, _, err) = operator(wrong).await;
        assert!(code == 2 && err.contains(why), "{wrong:?}: {err}");
    }
    assert!(!folder.path().join("new.key").exists(), "nothing is made for a mistake");
    operator(&["appoint", "--key", "root.key", "--name", "berta", "--operator", &node(2)]).await;
    let (code, _, err) = operator(&["appoint", "--key", "root.key", "--name", "berta", "--operator", &node(3)]).await;
    assert!(code == 2 && err.contains("berta is the name of key "), "{err}");
}

#[tokio::test]
async fn the_roots_daily_work_goes_to_a_new_key_and_the_root_stays_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(identity::create(&folder.path().join("root.key"), Kind::Operator).unwrap());
    let (_, _stop) = fake.serve(folder.path());
    nigh_beside(folder.path(), &["apply", CATALOGUE, "--key", "root.key"]).await;
    let admit = async |n: u8, key: &str| {
        let name = format!("n{n}");
        nigh_beside(folder.path(), &["admit", &node(n), "--name", &name, "--key", key]).await
    };
    for n in [1, 2] {
        assert_eq!(admit(n, "root.key").await.0, 0);
    }
    nigh_beside(folder.path(), &["revoke", "n2", "--key", "root.key", "--yes"]).await;

    let rotate = ["operator", "rotate", "--key", "root.key", "--from", "root.key", "--to", "daily.key"];
    let held = fake.pages.lock().unwrap().clone();
    let (code, out, err) = nigh_beside(folder.path(), &[&rotate[..], &["--dry-run"]].concat()).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let expected = "dry run: daily would be appointed for catalogue and admissions\n\
                    it would sign anew 7 catalogue records and 3 admission records\n\
                    the root stays the root, and could be put away then\n";
    assert_eq!(out, expected);
    assert!(*fake.pages.lock().unwrap() == held && !folder.path().join("daily.key").exists());

    let (code, out, err) = nigh_beside(folder.path(), &rotate).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("\n10 records signed anew, and taken by fra\nFrom now on use daily.key for `nigh apply`"),
        "{out}"
    );
    assert!(out.ends_with("nothing needs it until daily.key is to be replaced.\n"), "{out}");
    let daily: NodeId = public(folder.path(), "daily.key").parse().unwrap();
    let pages = fake.pages.lock().unwrap().clone();
    let others: Vec<&Page> = pages.iter().filter(|page| page.key().table != Table::OPERATOR).collect();
    assert_eq!((others.len(), pages.len()), (10, 11));
    assert!(others.iter().all(|page| page.signer() == daily));
    for page in &others {
        let before = held.iter().find(|before| before.key() == page.key()).unwrap();
        assert!(before.body() == page.body() && before.stamp() < page.stamp(), "{page:?}");
    }
    // Again, and nothing is left to do.
    let (code, out, _) = nigh_beside(folder.path(), &[&rotate[..], &["--json"]].concat()).await;
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["signed_anew"], &json["dismissed"]), (0, &0.into(), &false.into()));
    assert_eq!(admit(3, "daily.key").await.0, 0);
    let (_, out, _) = nigh_beside(folder.path(), &["apply", CATALOGUE, "--key", "daily.key"]).await;
    assert!(out.starts_with("nothing to change"), "{out}");
}

/// What the thief, or a clock that was wrong, dated ahead cannot be taken over, and is told.
#[tokio::test]
async fn a_key_that_left_something_behind_is_dismissed_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(identity::create(&folder.path().join("root.key"), Kind::Operator).unwrap());
    let (_, _stop) = fake.serve(folder.path());
    let appoint = ["operator", "appoint", "--key", "root.key", "--name", "anna", "--operator-key", "anna.key"];
    nigh_beside(folder.path(), &appoint).await;
    let anna = identity::load(&folder.path().join("anna.key"), Kind::Operator).unwrap();
    let ahead = hlc::unix_millis() + 86_400_000;
    let id: NodeId = node(1).parse().unwrap();
    fake.pages.lock().unwrap().push(admission::revoke(&anna, id, ahead, 0));
    let certificate =
        Certificate { node: node(2).parse().unwrap(), name: "n2".into(), serial: 1, prefixes: vec![], not_after: 9 };
    fake.pages.lock().unwrap().push(certificate.sign(&anna, 5, 0));
    let rotate = ["operator", "rotate", "--key", "root.key", "--from", "anna", "--to", "new.key"];
    let (code, _, err) = nigh_beside(folder.path(), &rotate).await;
    assert_eq!(code, 1);
    assert!(err.starts_with("nigh: 1 pages of anna cannot be signed anew: "), "{err}");
    let signers = || fake.pages.lock().unwrap().iter().filter_map(Page::certificate).count();
    assert_eq!(signers(), 1);
    let lines = || async {
        let (_, out, _) = nigh_beside(folder.path(), &["operator", "list", "--json"]).await;
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let state = |lines: &Value, id: &str| {
        lines.as_array().unwrap().iter().find(|line| line["id"] == id).unwrap()["state"].as_str().unwrap().to_owned()
    };
    let (old, new) = (public(folder.path(), "anna.key"), public(folder.path(), "new.key"));
    let both = lines().await;
    assert_eq!((state(&both, &old), state(&both, &new)), ("appointed".into(), "appointed".into()));
    let (code, out, err) = nigh_beside(folder.path(), &[&rotate[..3], &rotate[3..], &["--force"]].concat()).await;
    // Two keys are called anna now.
    assert!(code == 2 && err.contains("several keys are appointed as anna; say which: "), "{out}{err}");
    let by_id = ["operator", "rotate", "--key", "root.key", "--from", "anna.key", "--to", "new.key", "--force"];
    let (code, out, err) = nigh_beside(folder.path(), &by_id).await;
    assert!(
        code == 0 && out.ends_with("The old key writes nothing any more: delete it, and its copies.\n"),
        "{out}{err}"
    );
    assert_eq!(state(&lines().await, &old), "dismissed");
    let (code, out, err) = nigh_beside(folder.path(), &by_id).await;
    assert_eq!((code, out.as_str()), (0, "anna is replaced already; nothing was done\n"), "{err}");
}

/// The next key would count for nothing while both are appointed.
#[tokio::test]
async fn no_key_is_rotated_while_as_many_as_may_are_appointed() {
    let folder = tempfile::tempdir().unwrap();
    let root = identity::create(&folder.path().join("root.key"), Kind::Operator).unwrap();
    let appoint = |n: u8| {
        let appointment = Appointment {
            operator: node(n).parse().unwrap(),
            name: format!("k{n}"),
            appointed: true,
            rights: Rights::ALL,
        };
        appointment.sign(&root, u64::from(n), 0)
    };
    let pages: Vec<Page> = (1..=u8::try_from(MAX_APPOINTED).unwrap()).map(appoint).collect();
    let fake = Fake::new(root);
    fake.pages.lock().unwrap().extend(pages.clone());
    let (_, _stop) = fake.serve(folder.path());
    let rotate = ["operator", "rotate", "--key", "root.key", "--from", "k1", "--to", "new.key"];
    let (code, _, err) = nigh_beside(folder.path(), &rotate).await;
    assert!(code == 2 && err.contains("64 keys are appointed, and no more count; dismiss one first"), "{err}");
    assert!(*fake.pages.lock().unwrap() == pages && !folder.path().join("new.key").exists());
}

#[tokio::test]
async fn an_appointed_key_issues_certificates_with_and_without_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let root = identity::create(&folder.path().join("root.key"), Kind::Operator).unwrap();
    let mesh = identity::public(&root);
    let fake = Fake::new(root);
    let (_, _stop) = fake.serve(folder.path());
    let appoint = ["operator", "appoint", "--key", "root.key", "--name", "anna", "--operator-key", "anna.key"];
    nigh_beside(folder.path(), &appoint).await;
    let anna: NodeId = public(folder.path(), "anna.key").parse().unwrap();
    let admit = |out: &'static str, more: &[&str]| {
        let args = ["admit", &node(1), "--name", "fra", "--key", "anna.key", "--out", out];
        nigh(folder.path(), &[&args[..], more].concat())
    };
    let (code, _, err) = admit("alone", &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    let handed = certificate::read(&folder.path().join("alone")).unwrap();
    assert_eq!((handed.certificate.signer(), handed.mesh()), (anna, mesh));
    assert_eq!(handed.appointment.unwrap().appointment().unwrap().name, "anna");
    // Renewed, though the root had issued it.
    let by_root = ["admit", &node(1), "--name", "fra", "--key", "root.key", "--out", "roots"];
    assert_eq!(nigh(folder.path(), &by_root).0, 0);
    let (code, out, err) = admit("roots", &[]);
    assert!(code == 0 && out.starts_with("renewed "), "{out}{err}");
    // Where the key came from another machine, the node tells who appointed it.
    std::fs::remove_file(folder.path().join("anna.key.appointment")).unwrap();
    let args = ["admit", &node(1), "--name", "fra", "--key", "anna.key", "--out", "asked", "--socket", "nigh.sock"];
    let (code, _, err) = nigh_beside(folder.path(), &args).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(certificate::read(&folder.path().join("asked")).unwrap().mesh(), mesh);
    std::fs::write(folder.path().join("anna.key.appointment"), "nigh-appointment-1:AAAA\n").unwrap();
    let (code, _, err) = admit("alone", &[]);
    assert!(code == 1 && err.contains("anna.key.appointment: not the appointment of the key in anna.key; "), "{err}");
}
