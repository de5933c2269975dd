//! Setting up the log of the process.

use std::fmt;
use std::panic::PanicHookInfo;

use jiff::Timestamp;
use serde::Serialize;
use tracing::{Event, Subscriber, error, info};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::{self, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry, reload};

use crate::line::{AUDIT_TARGET, Format, LINE_BYTES_MAX, RECORD_TARGET, ascii_controls_only, count, line};
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
    filter: reload::Handle<Targets, Registry>,
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

/// Records and audit lines pass at INFO unless the filter names them: a quiet log must not lose who was let in.
fn parse_filter(filter: &str) -> Result<Targets, LogError> {
    let reason = |error: filter::ParseError| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() };
    let parsed: Targets = filter.parse().map_err(reason)?;
    let named = |target: &str| filter.split(',').any(|directive| directive.trim().starts_with(target));
    let unnamed = [RECORD_TARGET, AUDIT_TARGET].into_iter().filter(|target| !named(target));
    Ok(unnamed.fold(parsed, |targets, target| targets.with_target(target, LevelFilter::INFO)))
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::{debug, warn};

    use super::*;
    use crate::{Clean, VALUE_BYTES_MAX};

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

    /// What is logged while `work` runs.
    fn logged(format: Format, filter: &str, work: impl FnOnce()) -> String {
        let out = Shared::default();
        let writer = LineWriter::spawn(out.clone()).expect("a thread");
        let lines = Lines { format, writer: writer.clone() };
        let filter = parse_filter(filter).expect("a filter");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter).with(lines), work);
        writer.flush();
        String::from_utf8(out.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }

    #[test]
    fn a_quiet_log_still_holds_records_and_audit_lines() {
        let text = logged(Format::Text, "error", || {
            warn!("ordinary");
            info!(target: AUDIT_TARGET, "issued");
            record(&json!({"event": "ended"}));
        });
        assert!(text.contains("issued") && text.contains("ended") && !text.contains("ordinary"), "{text}");
    }

    #[test]
    fn an_operator_may_silence_audit_lines_by_name() {
        assert_eq!(logged(Format::Text, "info,audit=off", || info!(target: AUDIT_TARGET, "issued")), "");
    }

    fn hostile() -> Vec<String> {
        let mut hostile: Vec<String> = [
            "\r\n2026 ERROR forged",
            "\x1b[2J\x1b]0;title\x07",
            "nul\0nul",
            "%n%s%x",
            "\u{85}\u{2028}\u{202e}",
            "\\",
            "\"",
            "\\\"",
        ]
        .map(str::to_owned)
        .to_vec();
        hostile.push("A".repeat(4096));
        hostile.push("\n".repeat(4096));
        hostile.push("\u{1f4a3}".repeat(4096));
        hostile
    }

    fn is_clean(line: &str) -> bool {
        !line.chars().any(crate::clean::is_dangerous)
    }

    #[test]
    fn hostile_values_make_one_clean_line_of_text_each() {
        for value in hostile() {
            let text = logged(Format::Text, "trace", || {
                warn!(identity = value, shown = %value, debugged = ?value, "refused {}", Clean(&value));
            });
            let line = text.strip_suffix('\n').expect("a line");
            assert!(is_clean(line), "{line:?}");
            assert!(line.len() < 4 * VALUE_BYTES_MAX + 256, "{} bytes", line.len());
            assert!(line.contains(" WARN postern_telemetry::log::tests: refused "), "{line}");
        }
    }

    #[test]
    fn a_value_cannot_pretend_to_be_another_field() {
        for value in ["alice\" level=ERROR x=\"", "alice\\", "a b", "", "a=b"] {
            let text = logged(Format::Text, "info", || info!(identity = value, last = 1, "issued"));
            let (_, fields) = text.split_once("issued identity=\"").expect("a quoted value");
            let mut escaped = false;
            let end = fields.find(|character| {
                let ends = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                ends
            });
            assert_eq!(&fields[end.expect("a closing quote")..], "\" last=1\n", "{text}");
        }
    }

    #[test]
    fn hostile_values_make_one_object_of_json_each_and_survive_in_it() {
        for value in hostile() {
            let text = logged(Format::Json, "trace", || debug!(identity = %value, port = 3478, up = true, "refused"));
            let line = text.strip_suffix('\n').expect("a line");
            assert!(is_clean(line), "{line:?}");
            let object: Value = serde_json::from_str(line).expect("JSON");
            let identity = object["identity"].as_str().expect("a string");
            let kept = identity.strip_suffix("...").unwrap_or(identity);
            assert!(value.starts_with(kept) && kept.len() >= value.len().min(VALUE_BYTES_MAX - 4), "{identity:?}");
            assert_eq!((&object["level"], &object["port"]), (&json!("DEBUG"), &json!(3478)));
            assert_eq!((&object["message"], &object["up"]), (&json!("refused"), &json!(true)));
        }
    }

    #[test]
    fn a_field_named_like_ours_replaces_none_of_ours() {
        let text = logged(Format::Json, "info", || info!(level = "none", target = "none", "true"));
        let object: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&object["level"], &object["message"]), (&json!("INFO"), &json!("true")));
    }

    #[test]
    fn a_record_is_an_object_in_both_formats() {
        let sent = json!({"identity": "a\"\r\n\u{2028}b", "bytes": 7});
        let text = logged(Format::Text, "info", || record(&sent));
        let (_, json) = text.split_once(&format!("{RECORD_TARGET}: ")).expect("a record");
        assert_eq!(serde_json::from_str::<Value>(json).expect("JSON"), sent);
        assert_eq!(text.lines().count(), 1);

        let line = logged(Format::Json, "info", || record(&sent));
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")["record"], sent);
        assert!(is_clean(line.trim_end_matches('\n')));
    }

    #[test]
    fn a_record_too_long_for_a_line_is_an_error_line() {
        let text = logged(Format::Text, "info", || record(&json!({"identity": "x".repeat(LINE_BYTES_MAX)})));
        assert!(text.contains("ERROR") && text.len() < 1024, "{text}");
        let text = logged(Format::Text, "info", || record(&"no object"));
        assert!(text.contains("ERROR"), "{text}");
    }

    #[test]
    fn the_filter_lets_through_what_it_names() {
        let text = logged(Format::Text, "warn,postern_telemetry=debug", || {
            debug!("ours");
            info!(target: "postern_edge", "below");
            warn!(target: "postern_edge", "above");
        });
        assert!(text.contains("ours") && text.contains("above") && !text.contains("below"), "{text}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_names_itself() {
        let error = parse_filter("info,postern_edge=loud").expect_err("no such level");
        assert!(error.to_string().contains("postern_edge=loud"), "{error}");
    }

    #[test]
    fn events_are_counted_by_level() {
        let warnings = || {
            let families = crate::line::families();
            let samples = families.iter().find(|family| family.name() == "postern_telemetry_log_events_total");
            let warn = samples.and_then(|family| family.get_metric().get(1).cloned()).expect("a sample per level");
            assert_eq!(warn.get_label()[0].value(), "warn");
            warn.get_counter().get_value()
        };
        let before = warnings();
        logged(Format::Text, "warn", || (0..3).for_each(|_| warn!("again")));
        assert!(warnings() >= before + 3.0);
    }
}
