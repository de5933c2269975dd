//! Signals to other processes.

use std::io;

/// What a process may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: end in an orderly way.
    Terminate,
    /// SIGKILL: end at once.
    Kill,
}

/// Sends `signal` to the process `pid`. Process ids are used again: the caller must know that the process has not ended, or
/// that it is a child that was not waited for.
///
/// # Errors
/// ESRCH when there is no such process, EPERM when it is somebody else's; EINVAL for a number that is no process's.
pub fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 1).ok_or(io::ErrorKind::InvalidInput)?;
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    // SAFETY: two plain numbers; a positive one names a single process.
    if unsafe { libc::kill(pid, number) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_process_ends_by_the_signal_that_it_was_sent() {
        for (signal, number) in [(Signal::Terminate, libc::SIGTERM), (Signal::Kill, libc::SIGKILL)] {
            let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
            send(child.id(), signal).expect("our child");
            assert_eq!(child.wait().expect("our child").signal(), Some(number));
        }
    }

    #[test]
    fn groups_and_the_first_process_are_out_of_reach() {
        for pid in [0, 1, u32::MAX] {
            assert_eq!(send(pid, Signal::Kill).expect_err("refused").kind(), io::ErrorKind::InvalidInput);
        }
    }
}
