//! Every call that the compiler cannot check, in one small file.
//!
//! The rest of the crate sees safe functions: they take owned or borrowed files (never bare numbers that may be
//! closed by then), return `io::Error` and keep no state except the flag that a signal sets.
//!
//! Rejected: doing the whole of TUN set-up here (addresses and flags over ioctl, as the prototype did): `ip` does
//! that in one batch, and what stays is one ioctl.
#![allow(unsafe_code, reason = "namespaces, TUN devices and parent-death signals have no safe interface in std")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest name of a network interface, without the closing zero (`IFNAMSIZ` - 1).
const INTERFACE_NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// Moves the calling thread, and it alone, into the network namespace that `namespace` is open on.
///
/// Sockets made afterwards by this thread belong to that namespace for good, whichever thread uses them.
pub fn enter_network_namespace(namespace: &File) -> io::Result<()> {
    // SAFETY: setns reads no memory of ours; the descriptor is open for as long as `namespace` is borrowed.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    check(result)
}

/// Opens a TUN device of this name in the network namespace of the calling thread, not blocking.
///
/// The device carries bare IP packets (no header of its own) and disappears with the file.
pub fn open_tun(name: &str) -> io::Result<File> {
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX || name.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "interface names have 1 to 15 bytes"));
    }
    let tun = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: ifreq is plain C data (a byte array and a union of plain types), for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // Both flags are far below i16::MAX; the field is that narrow in the kernel's own header.
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which outlives the call; the descriptor is open.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(result).map(|()| tun)
}

/// Waits until one of `files` can be read (or has ended), at most `timeout` (`None`: for ever).
///
/// Returns which of them; empty after a timeout or a signal. Nanosecond timeouts, which `poll` does not have,
/// are what keeps an emulated delay within 0.1 ms.
pub fn wait_readable(files: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<usize>> {
    let mut polled: Vec<libc::pollfd> =
        files.iter().map(|file| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 }).collect();
    let count = libc::nfds_t::try_from(polled.len()).map_err(io::Error::other)?;
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `polled` has `count` elements, `timeout` is null or points to a timespec that lives until the end of
    // this function, and a null signal mask means "leave the mask alone". The descriptors are borrowed, so open.
    let result = unsafe { libc::ppoll(polled.as_mut_ptr(), count, timeout, std::ptr::null()) };
    if let Err(error) = check(result) {
        return if error.kind() == io::ErrorKind::Interrupted { Ok(Vec::new()) } else { Err(error) };
    }
    Ok(polled.iter().enumerate().filter(|(_, file)| file.revents != 0).map(|(index, _)| index).collect())
}

/// Lets the calling thread's timers fire when they are due instead of up to 50 us later, to save power.
pub fn sharpen_timers() -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes one number and reads no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
    check(result)
}

/// Makes `command` start in `namespace` (when given) and die together with the thread that spawns it.
///
/// The kernel ties the child to the *thread*, so processes that shall last are spawned by a thread that lasts.
/// A program that changes its user loses the tie: the bed runs its daemons without doing so.
pub fn tie_to_parent(command: &mut Command, namespace: Option<File>) {
    let parent = std::process::id();
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed: prctl,
    // getppid and setns are system calls, and nothing here allocates, locks or unwinds (errors made of a number
    // do not allocate). `namespace` is owned by the closure, so its descriptor is open.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0))?;
            // The parent may have died before the line above took effect.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            match &namespace {
                Some(namespace) => enter_network_namespace(namespace),
                None => Ok(()),
            }
        });
    }
}

/// What a child can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end (SIGTERM).
    End,
    /// To stand still (SIGSTOP).
    Halt,
    /// To go on (SIGCONT).
    Resume,
}

/// Tells a child of ours something.
///
/// A child that has ended but was not waited for still owns its pid, so this can never reach a stranger.
pub fn tell(child: &std::process::Child, signal: Signal) -> io::Result<()> {
    tell_pid(child.id(), signal)
}

/// The same by the pid of a child of ours that nobody waits for in the meantime.
pub fn tell_pid(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let signal = match signal {
        Signal::End => libc::SIGTERM,
        Signal::Halt => libc::SIGSTOP,
        Signal::Resume => libc::SIGCONT,
    };
    // SAFETY: kill reads no memory.
    check(unsafe { libc::kill(pid, signal) })
}

/// Lets every other thread on its core go before the calling one (nice 19).
pub fn give_way() -> io::Result<()> {
    // SAFETY: setpriority reads no memory. On Linux priorities are the threads' own, and 0 is the calling one.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) })
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid reads no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Set by the first SIGINT, SIGTERM or SIGHUP.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_signal(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the first Ctrl-C (or SIGTERM, SIGHUP) only sets a flag, so that the bed is taken down in order.
///
/// The second one ends the process as usual; what it leaves is cleared by the next run.
pub fn catch_signals() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: sigaction is plain C data, for which all zeroes is a value (empty mask, default handler).
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: `action` outlives the call; the handler only stores to an atomic, which is async-signal-safe.
        check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })?;
    }
    Ok(())
}

/// Whether a signal has asked us to stop.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{open_tun, tie_to_parent, wait_readable};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn waiting_tells_which_file_is_readable_and_ends_at_the_timeout() {
        let (quiet, _quiet_end) = UnixStream::pair().unwrap();
        let (loud, mut loud_end) = UnixStream::pair().unwrap();
        let files = [quiet.as_fd(), loud.as_fd()];
        assert!(wait_readable(&files, Some(Duration::from_micros(10))).unwrap().is_empty());
        loud_end.write_all(b"x").unwrap();
        assert_eq!(wait_readable(&files, None).unwrap(), [1]);
    }

    #[test]
    fn an_interface_name_that_does_not_fit_is_an_error_before_the_kernel_sees_it() {
        for name in ["", "a-name-of-sixteen", "nul\0"] {
            assert_eq!(open_tun(name).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let mut child = std::thread::scope(|scope| {
            let short_lived = scope.spawn(|| {
                let mut command = Command::new("sleep");
                command.arg("600");
                tie_to_parent(&mut command, None);
                command.spawn().unwrap()
            });
            short_lived.join().unwrap()
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(!status.success());
                return;
            }
            if std::time::Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the child outlived its thread by 10 s");
            }
            std::thread::yield_now();
        }
    }
}
