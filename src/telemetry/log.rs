//! Setting up the log of the process.

use std::fmt;
use std::panic::PanicHookInfo;

use jiff::Timestamp;
use serde::Serialize;
use tracing::{Event, Subscriber, error, info};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::line::{Format, LINE_BYTES_MAX, RECORD_TARGET, ascii_controls_only, count, line};
use crate::writer::LineWriter;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operator's filter cannot be read.
    #[error("log filter {filter:?}: {reason}")]
    Filter { filter: String, reason: String },
    /// A program sets up its log once.
    #[error("the log is set up already")]
    AlreadySet,
    #[error("the log's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The log of this process. Waits, when dropped, up to a second until everything is written.
pub struct Logging {
    writer: LineWriter,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Sends all events that `filter` lets through to standard error, one line each, and a panic as one line too.
///
/// `filter` is a level (`info`) or a list like `info,postern_edge=debug`.
///
/// # Errors
/// A filter that cannot be read (the operator's fault); a log set up before (ours).
pub fn init(filter: &str, format: Format) -> Result<Logging, LogError> {
    let (filter, handle) = reload::Layer::new(parse_filter(filter)?);
    let writer = LineWriter::spawn(std::io::stderr())?;
    let lines = Lines { format, writer: writer.clone() };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;

    let panic_writer = writer.clone();
    std::panic::set_hook(Box::new(move |panic| {
        log_panic(panic);
        panic_writer.flush();
    }));
    Ok(Logging { writer, filter: handle })
}

/// Judges a filter without setting anything up.
///
/// # Errors
/// A filter that cannot be read.
fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    let reason = |error: tracing_subscriber::filter::ParseError| LogError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    };
    EnvFilter::builder().with_regex(false).parse(filter).map_err(reason)
}

impl Logging {
    /// Puts another filter in force, for all threads.
    ///
    /// # Errors
    /// A filter that cannot be read; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse_filter(filter)?;
        let reason = |error: reload::Error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() };
        self.filter.reload(parsed).map_err(reason)
    }

    /// Waits up to a second until everything is written.
    pub fn flush(&self) {
        self.writer.flush();
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes `record` as one line of JSON: in text format after the target [`RECORD_TARGET`], in JSON format as the object
/// `record`. At most [`LINE_BYTES_MAX`] bytes; a longer one is an ERROR line instead.
pub fn record(record: &impl Serialize) {
    match record_json(record) {
        Some(json) => info!(target: RECORD_TARGET, record = %json),
        None => error!("a record could not be written: it is no JSON object, or longer than {LINE_BYTES_MAX} bytes"),
    }
}

/// `record` as JSON that fits one line.
fn record_json(record: &impl Serialize) -> Option<String> {
    let json = ascii_controls_only(&serde_json::to_string(record).ok()?);
    (json.starts_with('{') && json.len() <= LINE_BYTES_MAX).then_some(json)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(|location| format!("{}:{}", location.file(), location.line()));
    let thread = std::thread::current();
    error!(
        at = location.as_deref().unwrap_or("unknown"),
        thread = thread.name().unwrap_or("unnamed"),
        reason = panic.payload_as_str().unwrap_or("no text"),
        "panicked"
    );
}

/// The layer that turns events into lines.
struct Lines {
    format: Format,
    writer: LineWriter,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({:?})", self.format)
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        count(event.metadata().level());
        self.writer.write(line(self.format, Timestamp::now(), event));
    }
}
