//! One connection at work: what it brings goes to the core, what the core sends waits here, bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postern_sip::ConnId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::input::Input;
use crate::limits::{QUEUE_BYTES_MAX, QUEUED_OVERHEAD_BYTES, READ_BYTES, WRITE_BYTES, WRITE_TIME};

/// TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The core's end of a connection. Dropping it lets the connection write what waits, then close.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) remote: SocketAddr,
    messages: mpsc::UnboundedSender<Vec<u8>>,
    queued: Arc<AtomicUsize>,
    task: Option<AbortHandle>,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: mpsc::UnboundedReceiver<Vec<u8>>,
    queued: Arc<AtomicUsize>,
}

/// A queue between them. It is bounded by [`Outbox::send`].
pub(crate) fn queue(remote: SocketAddr) -> (Outbox, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let queued = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox { remote, messages: sender, queued: Arc::clone(&queued), task: None };
    (outbox, Inbox { messages: receiver, queued })
}

impl Outbox {
    pub(crate) fn watch(&mut self, task: AbortHandle) {
        self.task = Some(task);
    }

    /// `false`: the reader is too slow, or gone.
    pub(crate) fn send(&self, bytes: Vec<u8>) -> bool {
        let cost = bytes.len() + QUEUED_OVERHEAD_BYTES;
        let held = self.queued.fetch_add(cost, Ordering::Relaxed);
        held + cost <= QUEUE_BYTES_MAX && self.messages.send(bytes).is_ok()
    }

    /// Closes at once, without what waits.
    pub(crate) fn abort(self) {
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

/// Reads and writes until either side ends it.
pub(crate) async fn serve(conn: ConnId, stream: Box<dyn Stream>, inbox: Inbox, feed: mpsc::Sender<Input>) {
    let (reader, writer) = tokio::io::split(stream);
    // Whichever ends first ends the connection; why makes no difference to the core.
    tokio::select! {
        _ = read(conn, reader, &feed) => {}
        _ = write(writer, inbox) => {}
    }
    // A core that is gone needs no news.
    let _ = feed.send(Input::Closed { conn }).await;
}

async fn read(conn: ConnId, mut reader: impl AsyncRead + Unpin, feed: &mpsc::Sender<Input>) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = reader.read(&mut buffer).await?;
        let input = Input::Bytes { conn, bytes: buffer[..read].to_vec() };
        if read == 0 || feed.send(input).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut inbox: Inbox) -> io::Result<()> {
    while let Some(mut bytes) = inbox.messages.recv().await {
        let mut cost = bytes.len() + QUEUED_OVERHEAD_BYTES;
        while bytes.len() < WRITE_BYTES
            && let Ok(more) = inbox.messages.try_recv()
        {
            cost += more.len() + QUEUED_OVERHEAD_BYTES;
            bytes.extend_from_slice(&more);
        }
        timeout(WRITE_TIME, async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        })
        .await??;
        inbox.queued.fetch_sub(cost, Ordering::Relaxed);
    }
    timeout(WRITE_TIME, writer.shutdown()).await?
}
