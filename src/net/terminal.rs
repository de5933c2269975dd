//! What people type at a terminal and nobody else is to read.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A terminal that does not show what is typed, until it is dropped. The keys that send signals do not send them
/// meanwhile, so that no signal leaves the terminal silent.
pub struct Silenced {
    terminal: OwnedFd,
    before: libc::termios,
}

impl Silenced {
    /// Silences the terminal behind standard input.
    ///
    /// # Errors
    /// ENOTTY when there is none.
    pub fn stdin() -> io::Result<Self> {
        Self::of(io::stdin())
    }

    fn of(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the descriptor is open, and the structure has the size that the call fills.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so that it has filled the structure.
        let before = unsafe { before.assume_init() };
        let mut silent = before;
        silent.c_lflag &= !(libc::ECHO | libc::ISIG);
        set(&terminal, &silent)?;
        Ok(Self { terminal, before })
    }

    /// The terminal, to read from: unbuffered, so that nothing of what was typed stays anywhere else.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn reader(&self) -> io::Result<File> {
        Ok(self.terminal.try_clone()?.into())
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        // A terminal that has gone shows nothing any more.
        let _ = set(&self.terminal, &self.before);
    }
}

/// Applies to what is typed from now on.
fn set(terminal: &OwnedFd, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call reads the structure only.
    match unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, settings) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::FromRawFd;

    use super::*;

    /// Both ends of a terminal: whoever types, and the program.
    fn terminal() -> (File, OwnedFd) {
        let (mut typist, mut program) = (-1, -1);
        let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
        // SAFETY: both numbers are written by the call; null takes the defaults.
        assert_eq!(unsafe { libc::openpty(&mut typist, &mut program, name, settings, size) }, 0);
        // SAFETY: the call made both descriptors, and nobody else has them.
        unsafe { (File::from_raw_fd(typist), OwnedFd::from_raw_fd(program)) }
    }

    fn shown(typist: &mut File) -> String {
        let mut bytes = [0; 64];
        let read = typist.read(&mut bytes).expect("a terminal that shows something");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    #[test]
    fn what_is_typed_is_read_and_not_shown_until_the_end() {
        let (mut typist, program) = terminal();
        let silenced = Silenced::of(&program).expect("a terminal");
        typist.write_all(b"271828\n").expect("typing");
        let mut line = [0; 7];
        silenced.reader().and_then(|mut reader| reader.read_exact(&mut line)).expect("a line");
        assert_eq!(&line, b"271828\n");
        drop(silenced);
        typist.write_all(b"y\n").expect("typing");
        // The end of the first line may be shown, and of it nothing else.
        let text = shown(&mut typist);
        assert!(!text.contains('2') && text.trim_start().starts_with('y'), "{text:?}");
    }

    #[test]
    fn what_is_no_terminal_is_told_apart() {
        let file = File::open("/dev/null").expect("/dev/null");
        assert_eq!(Silenced::of(file).err().and_then(|error| error.raw_os_error()), Some(libc::ENOTTY));
    }
}
