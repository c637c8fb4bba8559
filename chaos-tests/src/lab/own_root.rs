//! Root without root: a user namespace in which whoever runs `chaos` is root, of networks and mounts of its own.
//!
//! What a bed wants of root is to make network namespaces, TUN devices and small disks, and to listen on port 53. The kernel
//! gives all of that to anybody within namespaces of his own, where an administrator has not forbidden it. Only one user
//! exists there, so no daemon of a bed may become another one: none does.
//!
//! **Invariant:** it is done before there is a second thread (the kernel demands it), and once.
//!
//! Rejected: `unshare(1)` and a second start, which is a process more between us and the terminal, for nothing; a PID
//! namespace, for the kernel ends our children with us anyway.

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs;
use std::sync::OnceLock;

/// Where iproute2 keeps its namespaces, and we our records: below it.
const RUN: &str = "/run";
/// Who we are in the new namespace's eyes; an error says why there is none.
static ENTERED: OnceLock<Result<(), String>> = OnceLock::new();

/// Becomes root in a user namespace, unless we are root already. Where that is not to be had all stays as it was, and
/// [`state`] says why.
pub fn enter() {
    if !geteuid().is_root() {
        // A second call changes nothing.
        let _ = ENTERED.set(attempt().map_err(|error| format!("{error:#}")));
    }
}

/// What came of [`enter`]; nothing: there was no need, or nobody has called it.
pub fn state() -> Option<&'static Result<(), String>> {
    ENTERED.get()
}

fn attempt() -> Result<()> {
    let threads = fs::read_dir("/proc/self/task").context("counting our threads")?.count();
    if threads != 1 {
        bail!("{threads} threads where only one may be");
    }
    let (user, group) = (geteuid(), getegid());
    // All three at once: the new network and the new mounts belong to the new user namespace.
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context(
        "this kernel gives no user namespace (kernel.unprivileged_userns_clone, user.max_user_namespaces, \
         kernel.apparmor_restrict_unprivileged_userns)",
    )?;
    let write = |file: &str, text: String| fs::write(file, text).with_context(|| format!("writing {file}"));
    // Without this a user who is not root may not map groups (user_namespaces(7)).
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))?;
    const NOTHING: Option<&str> = None;
    // What is mounted from here on is nobody else's, and what others mount still shows.
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING).context("making mounts our own")?;
    mount(Some("tmpfs"), RUN, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .with_context(|| format!("mounting a tmpfs at {RUN}"))
}

#[cfg(test)]
mod tests {
    use super::{attempt, enter, state};

    #[test]
    fn with_a_second_thread_nothing_is_tried() {
        // The test's own thread is the second one.
        let error = attempt().expect_err("tests run in threads").to_string();
        assert!(error.contains("threads where only one may be"), "{error}");
        enter();
        assert!(state().is_none_or(Result::is_err));
    }
}
