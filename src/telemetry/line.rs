//! One event, one line: what a log line looks like, whatever the values in it.

use std::fmt::{self, Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;
use prometheus::proto::{self, MetricFamily};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::catalogue::{Definition, Kind};
use crate::clean::{CUT_MARK, Escaped, Quoting, is_dangerous};
use crate::labels::{LabelSet, LogLevel};
use crate::metrics::family;

/// Longest value of one field, and longest message, in bytes of the line; what is longer is cut.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Longest line in bytes; fields that do not fit are left out.
pub const LINE_BYTES_MAX: usize = 32 * 1024;
/// Target of the JSON records of allocations; its field `record` is JSON already.
pub const RECORD_TARGET: &str = "postern::record";

/// Target of audit lines: who was given what, without the secret.
pub const AUDIT_TARGET: &str = "audit";

pub(crate) const CATALOGUE: &[Definition] = &[
    Definition {
        name: "postern_telemetry_log_events_total",
        help: "Log events by level, those that the filter let through.",
        kind: Kind::Counter,
        labels: LogLevel::LABELS,
    },
    Definition {
        name: "postern_telemetry_log_lines_dropped_total",
        help: "Log lines lost because whoever reads the log was too slow.",
        kind: Kind::Counter,
        labels: &[],
    },
];

static EVENTS: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
pub(crate) static LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn families() -> Vec<MetricFamily> {
    let sample = |count: &AtomicU64| {
        let mut counter = proto::Counter::default();
        counter.set_value(count.load(Relaxed) as f64);
        let mut sample = proto::Metric::default();
        sample.set_counter(counter);
        Some(sample)
    };
    vec![
        family(&CATALOGUE[0], |series| EVENTS.get(series).and_then(sample)),
        family(&CATALOGUE[1], |_| sample(&LINES_DROPPED)),
    ]
}

pub(crate) fn count(level: &Level) {
    let level = match *level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    };
    EVENTS[level.series()].fetch_add(1, Relaxed);
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time LEVEL target: message field=value field="other value"`
    Text,
    /// One JSON object per line, with `time`, `level`, `target`, `message` and the event's fields.
    Json,
}

/// The line for `event`, its end included.
pub(crate) fn line(format: Format, time: Timestamp, event: &Event<'_>) -> String {
    let mut values = Values { is_record: event.metadata().target() == RECORD_TARGET, ..Values::default() };
    event.record(&mut values);
    let level = event.metadata().level().as_str();
    let target = event.metadata().target();
    let mut line = match format {
        Format::Text => text_line(time, level, target, values),
        Format::Json => json_line(time, level, target, values),
    };
    line.push('\n');
    line
}

fn text_line(time: Timestamp, level: &str, target: &str, values: Values) -> String {
    let mut line = format!("{time:.3} {level:>5} {target}:");
    let plain = values.message.iter().map(|message| (None, message));
    let fields = values.fields.iter().map(|(name, value)| (Some(*name), value));
    for (name, value) in plain.chain(fields) {
        let piece = match (name, value) {
            (None, value) => format!(" {}", escaped(&as_text(value), Quoting::None)),
            (Some(name), Value::String(text)) if needs_quotes(text) => {
                format!(" {name}=\"{}\"", escaped(text, Quoting::Double))
            }
            (Some(name), value) => format!(" {name}={}", as_text(value)),
        };
        if line.len() + piece.len() < LINE_BYTES_MAX {
            line.push_str(&piece);
        }
    }
    if let Some(record) = values.record {
        line.push(' ');
        line.push_str(&record);
    }
    line
}

fn json_line(time: Timestamp, level: &str, target: &str, values: Values) -> String {
    let mut object = Map::new();
    object.insert("time".into(), format!("{time:.3}").into());
    object.insert("level".into(), level.into());
    object.insert("target".into(), target.into());
    if let Some(message) = values.message {
        object.insert("message".into(), message);
    }
    for (name, value) in values.fields {
        object.entry(name).or_insert(value);
    }
    let mut line = ascii_controls_only(&Value::Object(object).to_string());
    if let Some(record) = values.record {
        line.pop();
        let _ = write!(line, ",\"record\":{record}}}");
    }
    line
}

/// JSON escapes what lies below U+0020 itself; the rest of what is dangerous in a line is escaped here.
pub(crate) fn ascii_controls_only(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is_dangerous(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

fn escaped(text: &str, quoting: Quoting) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escape = Escaped::new(&mut out, VALUE_BYTES_MAX + CUT_MARK.len(), quoting);
    let _ = escape.write_str(text);
    let _ = escape.finish();
    out
}

fn needs_quotes(text: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@+,[]()%#".contains(&byte);
    text.is_empty() || !text.bytes().all(harmless)
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What an event says, collected from its fields.
#[derive(Default)]
struct Values {
    message: Option<Value>,
    fields: Vec<(&'static str, Value)>,
    record: Option<String>,
    is_record: bool,
}

impl Values {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = Some(value);
        } else {
            self.fields.push((field.name(), value));
        }
    }

    fn put_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        // Not escaped here, only bounded: each format has its own escapes.
        let mut bounded = Bounded::default();
        let _ = bounded.write_fmt(text);
        self.put(field, Value::String(bounded.finish()));
    }
}

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.is_record && field.name() == "record" {
            self.record = Some(format!("{value:?}"));
        } else {
            self.put_text(field, format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause.filter(|_| text.len() < VALUE_BYTES_MAX) {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.put_text(field, format_args!("{text}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

/// Keeps at most [`VALUE_BYTES_MAX`] bytes and says when there were more.
#[derive(Default)]
struct Bounded {
    kept: String,
    cut: bool,
}

impl Bounded {
    fn finish(mut self) -> String {
        if self.cut {
            self.kept.push_str(CUT_MARK);
        }
        self.kept
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.cut |= self.kept.len() + character.len_utf8() > VALUE_BYTES_MAX;
            if self.cut {
                break;
            }
            self.kept.push(character);
        }
        Ok(())
    }
}
