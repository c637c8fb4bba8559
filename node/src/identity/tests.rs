#![allow(clippy::unwrap_used)]

use super::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refusal(path: &Path, kind: Kind) -> String {
    let text = load(path, kind).unwrap_err().to_string();
    text.replace(&format!("{}", path.display()), "KEY")
}

#[test]
fn the_first_start_makes_a_key_and_the_next_ones_keep_it() {
    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().join("var/nigh");
    let made = node_key(&state_dir).unwrap();
    let file = state_dir.join(NODE_KEY_FILE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&state_dir), mode(&file)), (0o700, 0o600));
    assert_eq!(node_key(&state_dir).unwrap(), made);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("nigh-node-key-1:") && text.ends_with('\n') && text.len() == 69, "{text:?}");
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(&state_dir).unwrap().count(), 1);
}

#[test]
fn a_key_that_others_may_use_is_refused_with_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.key");
    create(&path, Kind::Operator).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        set_mode(&path, mode);
        let expected = format!("KEY: mode 0{mode:o} lets others use this key; if nobody has, run: chmod 600 KEY");
        assert_eq!(refusal(&path, Kind::Operator), expected);
    }
    for mode in [0o600, 0o400] {
        set_mode(&path, mode);
        load(&path, Kind::Operator).unwrap();
    }
}

#[test]
fn no_key_is_overwritten_and_no_half_key_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.key");
    let key = create(&path, Kind::Operator).unwrap();
    assert!(matches!(create(&path, Kind::Operator), Err(KeyError::Exists(_))));
    assert_eq!(load(&path, Kind::Operator).unwrap(), key);
    // Not through a link to nowhere either.
    let link = folder.path().join("link.key");
    std::os::unix::fs::symlink("/nonexistent", &link).unwrap();
    assert!(matches!(create(&link, Kind::Operator), Err(KeyError::Exists(_))));
    assert!(create(&folder.path().join("no/such/folder.key"), Kind::Operator).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn damaged_and_mistaken_files_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    let key = create(&path, Kind::Node).unwrap();
    assert_eq!(
        refusal(&path, Kind::Operator),
        "KEY: holds a node's key, where an operator's key is expected; name the right file"
    );
    let good = fs::read(&path).unwrap();
    let damaged = "KEY: damaged, no node key in it; restore it from a backup, or move it away: the node then makes a new key \
                   and joins as a new node";
    let cases: [&[u8]; 7] = [
        b"",
        &good[..40],
        &good[..67],
        &[&good[..68], b"aa\n"].concat(),
        &[b"\xff", &good[..]].concat(),
        b"nigh-node-key-2:",
        &[b'a'; 1000],
    ];
    for bytes in cases {
        fs::write(&path, bytes).unwrap();
        assert_eq!(refusal(&path, Kind::Node), damaged, "{}", String::from_utf8_lossy(bytes));
    }
    // An editor may have lost the newline.
    fs::write(&path, good.trim_ascii_end()).unwrap();
    assert_eq!(load(&path, Kind::Node).unwrap(), key);

    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(refusal(&path, Kind::Node).starts_with("KEY: not a regular file; "));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refusal(&path, Kind::Node).starts_with("KEY: not a regular file; "));
    assert_eq!(refusal(&folder.path().join("none"), Kind::Node), "KEY: cannot open the key");
    let missing = refusal(&folder.path().join("none"), Kind::Operator);
    assert!(missing.starts_with("KEY: no such file; ") && missing.ends_with(": nigh init --key KEY"), "{missing}");
}

#[test]
fn a_key_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can give a file away.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.key");
    create(&path, Kind::Node).unwrap();
    std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    assert_eq!(refusal(&path, Kind::Node), "KEY: belongs to user 12345, but nigh runs as user 0; run: chown 0 KEY");
}

#[test]
fn a_key_that_root_makes_in_the_folder_of_another_is_that_ones() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(12345), Some(12346)).unwrap();
    let made = node_id(folder.path()).unwrap();
    let found = fs::metadata(folder.path().join(NODE_KEY_FILE)).unwrap();
    assert_eq!((found.uid(), found.gid()), (12345, 12346));
    assert_eq!(node_id(folder.path()).unwrap(), made, "and root may read it for that one");
}

#[test]
fn a_credential_is_the_key_and_another_one_beside_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (credential, path) = (folder.path().join("credential"), folder.path().join(NODE_KEY_FILE));
    let key = create(&credential, Kind::Node).unwrap();
    // As systemd leaves it: root's, and for the group an ACL's mask.
    set_mode(&credential, 0o440);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(credential_key(&credential, &path).unwrap(), key);
    }
    assert!(!path.exists(), "no key is made beside it");
    set_mode(&credential, 0o444);
    assert!(matches!(credential_key(&credential, &path), Err(KeyError::Loose { .. })));
    set_mode(&credential, 0o400);
    fs::copy(&credential, &path).unwrap();
    assert_eq!(credential_key(&credential, &path).unwrap(), key, "what was copied and not yet removed");
    fs::remove_file(&path).unwrap();
    create(&path, Kind::Node).unwrap();
    let refused = credential_key(&credential, &path).unwrap_err();
    assert!(refused.to_string().contains("two keys, and a node is one of them"), "{refused}");
}

#[test]
fn of_two_that_start_at_once_both_have_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let start = std::sync::Barrier::new(8);
    let made: Vec<SigningKey> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    node_key(folder.path()).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.iter().all(|key| *key == made[0]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
