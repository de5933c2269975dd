//! What commands print. Whoever reads it may leave early (`| head -3`), which is nobody's fault and no reason to break.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Writes to standard output, as far as somebody reads it.
///
/// # Errors
/// What the output itself refuses, such as a full disk; never that its reader left.
pub fn print(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    unless_left(out.write_all(text.to_string().as_bytes()).and_then(|()| out.flush()))
}

/// As [`print`], and ends the line.
///
/// # Errors
/// As `print`.
pub fn print_line(text: impl fmt::Display) -> io::Result<()> {
    print(format_args!("{text}\n"))
}

/// Writes a line to standard error. Where that is not possible there is nobody left to tell.
pub fn complain(text: impl fmt::Display) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

fn unless_left(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// Waits until whoever reads standard output has left; for ever where that cannot be seen, as with a file.
/// Needs a tokio runtime.
#[cfg(feature = "up")]
pub async fn reader_left() {
    use std::os::fd::AsFd;
    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    // Nothing is written by it, so that it matters neither whether it is a pipe nor that writing may block.
    let watched =
        io::stdout().as_fd().try_clone_to_owned().and_then(|descriptor| Sender::from_file_unchecked(descriptor.into()));
    if let Ok(out) = watched {
        while let Ok(news) = out.ready(Interest::ERROR).await {
            if news.is_error() {
                return;
            }
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        assert!(unless_left(Err(ErrorKind::BrokenPipe.into())).is_ok());
        assert!(unless_left(Err(ErrorKind::StorageFull.into())).is_err());
    }
}
