//! Writes log lines on a thread of its own, so that a slow terminal or journal never holds up media.

use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::line::LINES_DROPPED;

/// Lines that wait at most; further ones are dropped and counted.
const LINES_QUEUED_MAX: usize = 4096;
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(1);
const FLUSH_RETRY: Duration = Duration::from_millis(5);

enum Order {
    Line(String),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// The way to the writing thread. Clones share it.
#[derive(Clone)]
pub(crate) struct LineWriter {
    orders: SyncSender<Order>,
}

impl LineWriter {
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn spawn(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (orders, queue) = sync_channel(LINES_QUEUED_MAX);
        thread::Builder::new().name("log".into()).spawn(move || write_lines(out, &queue))?;
        Ok(Self { orders })
    }

    /// Never waits: a line that does not fit the queue is lost and counted.
    pub(crate) fn write(&self, line: String) {
        if self.orders.try_send(Order::Line(line)).is_err() {
            LINES_DROPPED.fetch_add(1, Relaxed);
        }
    }

    /// Waits until all lines so far are written, a second at most.
    pub(crate) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_WAIT_MAX;
        let (done, written) = sync_channel(1);
        let mut order = Order::Flush(done);
        while let Err(TrySendError::Full(returned)) = self.orders.try_send(order) {
            if Instant::now() >= deadline {
                return;
            }
            order = returned;
            thread::sleep(FLUSH_RETRY);
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Ends when the last [`LineWriter`] is gone. A log that cannot be written must not end the process.
fn write_lines(mut out: impl Write, queue: &Receiver<Order>) {
    while let Ok(order) = queue.recv() {
        match order {
            Order::Line(line) => {
                if out.write_all(line.as_bytes()).is_err() {
                    LINES_DROPPED.fetch_add(1, Relaxed);
                }
            }
            Order::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn flush_returns_when_every_line_is_written() {
        let out = Shared::default();
        let writer = LineWriter::spawn(out.clone()).expect("a thread");
        for number in 0..100 {
            writer.write(format!("line {number}\n"));
        }
        writer.flush();
        let written = out.0.lock().expect("not poisoned").clone();
        assert_eq!(String::from_utf8_lossy(&written).lines().count(), 100);
    }

    #[test]
    fn a_log_that_nobody_reads_loses_lines_instead_of_holding_up_the_caller() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = channel();
        let writer = LineWriter::spawn(Stuck(stuck)).expect("a thread");
        let before = LINES_DROPPED.load(Relaxed);
        for _ in 0..LINES_QUEUED_MAX + 100 {
            writer.write("line\n".into());
        }
        assert!(LINES_DROPPED.load(Relaxed) - before >= 99);
        drop(release);
    }
}
