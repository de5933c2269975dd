//! Processor time as the kernel counts it, to the nanosecond, whatever else the machine does.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Time that all living threads of a process have run.
///
/// # Errors
/// The process is gone, or the kernel keeps no such count.
pub fn time_of(pid: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(PathBuf::from(format!("/proc/{pid}/task")))? {
        match std::fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => nanos += first(&text)?,
            // A thread that ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Duration::from_nanos(nanos))
}

fn first(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other("the kernel counts no processor time per thread"))
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// The process is gone.
pub fn memory_of(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes << 10).ok_or_else(|| io::Error::other("no resident memory is told"))
}
