//! Small disks that can be filled: tmpfs at a folder of a run, unmounted with the run.

use super::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Mounting and unmounting memory takes no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the folder and puts a disk of so many MiB there.
pub fn mount(at: &Path, mib: u32) -> Result<()> {
    fs::create_dir_all(at).with_context(|| format!("creating {}", at.display()))?;
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "none"]).arg(at);
    let said = process::run(command, PATIENCE)?;
    if !said.status.success() {
        bail!("mount at {}: {}", at.display(), said.errors.trim());
    }
    Ok(())
}

/// Unmounts all that is mounted below a folder. Nobody to tell when that fails: the folder stays then.
pub fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for at in below(&mounts, folder) {
        let mut command = Command::new("umount");
        command.arg("--lazy").arg(at);
        drop(process::run(command, PATIENCE));
    }
}

/// The mount points below a folder, in the words of /proc/self/mounts.
fn below<'m>(mounts: &'m str, folder: &Path) -> Vec<&'m str> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    points.filter(|point| Path::new(point).starts_with(folder) && Path::new(point) != folder).collect()
}

#[cfg(test)]
mod tests {
    use super::below;
    use std::path::Path;

    #[test]
    fn only_what_is_below_the_folder_is_unmounted() {
        let mounts =
            "none /tmp/run/n01/state tmpfs rw 0 0\nnone /tmp/run tmpfs rw 0 0\nnone /tmp/runs/x tmpfs rw 0 0\n";
        assert_eq!(below(mounts, Path::new("/tmp/run")), ["/tmp/run/n01/state"]);
    }
}
