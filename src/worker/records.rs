//! One record per call: a JSON line and a CSV line, to files or to the log, joined with the edge's own by
//! [`CallRecord::shared_id`].

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use postern_config::CallRecordsConfig;
use postern_media::mos;
use postern_media::report::{NoAudio, Report};
use postern_telemetry::WorkerCells;
use postern_telemetry::call_labels::{CallEnd, MailboxResult, OfferResult, RecordFile};
use postern_telemetry::labels::Label;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::media::Closed;
use crate::service_limits::{RECORD_TEXT_MAX, RECORDS_QUEUE};

/// What there is to say of a call once it is over. It never holds keys that were pressed, keys of media, or bodies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallRecord {
    /// When the INVITE came.
    pub started: Timestamp,
    /// Call-ID of SIP.
    pub call_id: String,
    /// Call-ID of the call that this one came of.
    pub parent_call_id: Option<String>,
    /// By which the edge's records name this call.
    pub shared_id: Option<String>,
    /// Our host, and the slot of the worker.
    pub server: String,
    pub slot: Option<&'static str>,
    pub dial_plan: String,
    pub gateway: String,
    pub called: String,
    pub caller: String,
    /// User of the Request-URI, as it came.
    pub dialled: String,
    /// The call type: what it came to in the mailbox.
    pub kind: Option<MailboxResult>,
    pub offer_result: Option<OfferResult>,
    /// Final status of the INVITE.
    pub status: Option<u16>,
    pub drop_cause: Option<CallEnd>,
    /// Why it came to the mailbox: direct, busy, no answer, forwarded.
    pub reason: Option<&'static str>,
    pub mailbox: Option<String>,
    pub message: Option<String>,
    /// From the INVITE to its final answer.
    pub setup: Duration,
    /// From the answer to the end; 0 without one.
    pub duration: Duration,
    pub codec: Option<&'static str>,
    /// How media was protected: `rtp`, `sdes`, `dtls`.
    pub keying: Option<&'static str>,
    pub quality: Quality,
    /// Kinds of the candidates that RTP went by: ours, the peer's.
    pub ice_pair: Option<(&'static str, &'static str)>,
    pub ice_pairs_tried: u64,
    /// The edge whose relay was ours, as the configuration names it.
    pub edge: Option<String>,
    pub no_audio_received: Option<NoAudio>,
    pub no_audio_sent: Option<NoAudio>,
}

/// What media measured. Scores are those of [`postern_media::mos`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    pub nmos: Option<f32>,
    /// What the score lost, altogether and for jitter and loss.
    pub degradation: Option<f32>,
    pub degradation_jitter: Option<f32>,
    pub degradation_loss: Option<f32>,
    pub jitter: Option<Duration>,
    pub jitter_max: Option<Duration>,
    /// Of what the peer sent.
    pub loss_percent: Option<f32>,
    /// Of what we sent, by the peer's word.
    pub remote_loss_percent: Option<f32>,
    pub round_trip: Option<Duration>,
    pub packets_received: u64,
    pub packets_sent: u64,
    /// Packets that were not used, by reason: `wrong_source 3, late 1`.
    pub drops: String,
}

impl CallRecord {
    /// Takes what a call's media tells at its end. Reasons that are there already, since the edge's failure explains
    /// them, stay.
    pub fn set_media(&mut self, closed: &Closed) {
        if let Some(report) = &closed.report {
            self.set_report(report);
        }
        if closed.ignored > 0 {
            let drops = &mut self.quality.drops;
            let before = if drops.is_empty() { "" } else { "; " };
            drops.push_str(&format!("{before}ignored {}", closed.ignored));
        }
        if let Some(story) = &closed.story {
            self.ice_pairs_tried = story.pairs.iter().filter(|pair| pair.checks_sent > 0).count() as u64;
            let selected = story.pairs.iter().filter(|pair| pair.selected).min_by_key(|pair| pair.component);
            self.ice_pair = selected.map(|pair| (pair.local.kind.name(), pair.remote.kind.name()));
        }
    }

    fn set_report(&mut self, report: &Report) {
        self.codec = report.codec.map(|codec| codec.name());
        self.keying = Some(report.keying).filter(|keying| !keying.is_empty());
        self.quality = Quality::of(report);
        self.no_audio_received =
            self.no_audio_received.filter(|_| report.frames_loud == 0).or(report.no_audio_received);
        self.no_audio_sent = self.no_audio_sent.filter(|_| report.no_audio_sent.is_some()).or(report.no_audio_sent);
    }

    /// Every column in its order, which files keep.
    fn columns(&self) -> [(&'static str, Value<'_>); 42] {
        let quality = &self.quality;
        let text = |text: &Option<String>| text.clone().map_or(Value::None, |text| Value::Text(text.into()));
        let word = |word: Option<&'static str>| word.map_or(Value::None, |word| Value::Text(word.into()));
        let number = |number: Option<f32>| number.map_or(Value::None, |number| Value::Number(f64::from(number)));
        let millis =
            |time: Option<Duration>| time.map_or(Value::None, |time| Value::Number(time.as_secs_f64() * 1000.0));
        [
            ("started", Value::Text(self.started.to_string().into())),
            ("call_id", Value::Text((&*self.call_id).into())),
            ("parent_call_id", text(&self.parent_call_id)),
            ("shared_call_id", text(&self.shared_id)),
            ("server", Value::Text((&*self.server).into())),
            ("slot", word(self.slot)),
            ("dial_plan", Value::Text((&*self.dial_plan).into())),
            ("gateway", Value::Text((&*self.gateway).into())),
            ("called", Value::Text((&*self.called).into())),
            ("caller", Value::Text((&*self.caller).into())),
            ("dialled", Value::Text((&*self.dialled).into())),
            ("kind", word(self.kind.map(value_of))),
            ("offer_result", word(self.offer_result.map(value_of))),
            ("status", self.status.map_or(Value::None, |status| Value::Whole(status.into()))),
            ("drop_cause", word(self.drop_cause.map(value_of))),
            ("reason", word(self.reason)),
            ("mailbox", text(&self.mailbox)),
            ("message", text(&self.message)),
            ("duration_secs", Value::Number(self.duration.as_secs_f64())),
            ("codec", word(self.codec)),
            ("keying", word(self.keying)),
            ("nmos", number(quality.nmos)),
            ("degradation", number(quality.degradation)),
            ("degradation_jitter", number(quality.degradation_jitter)),
            ("degradation_loss", number(quality.degradation_loss)),
            ("jitter_ms", millis(quality.jitter)),
            ("jitter_max_ms", millis(quality.jitter_max)),
            ("loss_percent", number(quality.loss_percent)),
            ("remote_loss_percent", number(quality.remote_loss_percent)),
            ("round_trip_ms", millis(quality.round_trip)),
            ("packets_received", Value::Whole(quality.packets_received)),
            ("packets_sent", Value::Whole(quality.packets_sent)),
            ("packets_not_used", Value::Text((&*quality.drops).into())),
            ("ice_local", word(self.ice_pair.map(|(local, _)| local))),
            ("ice_remote", word(self.ice_pair.map(|(_, remote)| remote))),
            ("ice_pairs_tried", Value::Whole(self.ice_pairs_tried)),
            ("edge", text(&self.edge)),
            ("no_audio_received", word(self.no_audio_received.map(NoAudio::name))),
            ("no_audio_sent", word(self.no_audio_sent.map(NoAudio::name))),
            ("ended", Value::Text(self.ended().to_string().into())),
            ("setup_ms", Value::Number(self.setup.as_secs_f64() * 1000.0)),
            ("record", Value::Whole(RECORD_VERSION)),
        ]
    }

    fn ended(&self) -> Timestamp {
        self.started.checked_add(self.setup + self.duration).unwrap_or(self.started)
    }

    /// The record as a line of CSV, without its end.
    pub fn to_csv(&self) -> String {
        self.columns().iter().map(|(_, value)| value.to_csv()).collect::<Vec<_>>().join(",")
    }

    /// The names of the columns.
    pub fn csv_header() -> String {
        Self::default().columns().map(|(name, _)| name).join(",")
    }
}

/// Columns are added at the end alone; what else changes them changes this.
const RECORD_VERSION: u64 = 1;

fn value_of<L: Label>(label: L) -> &'static str {
    L::VALUES.get(label.index()).copied().unwrap_or_default()
}

impl Quality {
    fn of(report: &Report) -> Self {
        let round_trip = report.round_trip.unwrap_or_default();
        let frames = report.frames_audio + report.frames_concealed;
        let loss = if frames > 0 { report.frames_concealed as f32 / frames as f32 } else { 0.0 };
        let lost_to = |better: f32| report.mos.map(|score| (better - score).max(0.0));
        let expected = report.packets_received + report.packets_lost;
        Self {
            nmos: report.mos,
            degradation: lost_to(mos::mos(Duration::ZERO, Duration::ZERO, 0.0)),
            degradation_jitter: lost_to(mos::mos(round_trip, Duration::ZERO, loss)),
            degradation_loss: lost_to(mos::mos(round_trip, report.jitter, 0.0)),
            jitter: (report.packets_received > 0).then_some(report.jitter),
            jitter_max: (report.packets_received > 0).then_some(report.jitter_max),
            loss_percent: (expected > 0).then(|| 100.0 * report.packets_lost as f32 / expected as f32),
            remote_loss_percent: report.remote_loss.map(|loss| 100.0 * loss),
            round_trip: report.round_trip,
            packets_received: report.packets_received,
            packets_sent: report.packets_sent,
            drops: report
                .drops
                .iter()
                .map(|(reason, count)| format!("{} {count}", reason.name()))
                .collect::<Vec<_>>()
                .join("; "),
        }
    }
}

/// One column's value.
enum Value<'a> {
    None,
    Text(std::borrow::Cow<'a, str>),
    Whole(u64),
    Number(f64),
}

/// Without control characters, and not longer than a column may be.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(RECORD_TEXT_MAX).collect()
}

/// Three digits after the point are more than anything here is measured to.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

impl Value<'_> {
    /// RFC 4180, and nothing that a spreadsheet takes for a formula.
    fn to_csv(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => rounded(*number).to_string(),
            Self::Text(text) => {
                let text = clean(text);
                // Blanks before it do not make it less of a formula.
                let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '|', '%']);
                let text = if is_formula { format!("'{text}") } else { text };
                if text.contains([',', '"', ';', '\'']) || text.starts_with(' ') || text.ends_with(' ') {
                    format!("\"{}\"", text.replace('"', "\"\""))
                } else {
                    text
                }
            }
        }
    }
}

impl Serialize for CallRecord {
    /// An object of the columns that have a value.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", "call_ended")?;
        for (name, value) in self.columns() {
            match value {
                Value::None => {}
                Value::Text(text) if text.is_empty() => {}
                Value::Text(text) => map.serialize_entry(name, &clean(&text))?,
                Value::Whole(number) => map.serialize_entry(name, &number)?,
                Value::Number(number) => map.serialize_entry(name, &rounded(number))?,
            }
        }
        map.end()
    }
}

enum Job {
    /// A line with its end.
    Line(RecordFile, String),
    Reopen,
    Flush(SyncSender<()>),
}

/// Where records go. Whoever has one hands it over; a thread of its own writes it.
pub struct RecordSink {
    jobs: Option<SyncSender<Job>>,
    json: bool,
    csv: bool,
    cells: Arc<WorkerCells>,
}

impl RecordSink {
    /// Opens the files that are configured, made when they are not there.
    ///
    /// # Errors
    /// A file cannot be opened (its path is in the error), or no thread started.
    pub fn start(config: &CallRecordsConfig, cells: Arc<WorkerCells>) -> io::Result<Self> {
        let mut outputs = Vec::new();
        for (kind, path) in [(RecordFile::Json, &config.json), (RecordFile::Csv, &config.csv)] {
            if let Some(path) = path {
                let file = open(kind, path).map_err(|error| named(path, &error))?;
                outputs.push(Output { kind, path: path.clone(), file });
            }
        }
        let jobs = if outputs.is_empty() {
            None
        } else {
            let (sender, jobs) = sync_channel(RECORDS_QUEUE);
            let cells = Arc::clone(&cells);
            std::thread::Builder::new().name("records".into()).spawn(move || write_all(&jobs, outputs, &cells))?;
            Some(sender)
        };
        Ok(Self { jobs, json: config.json.is_some(), csv: config.csv.is_some(), cells })
    }

    /// Hands a record over. Never waits: a full queue sends it to the log.
    pub fn write(&self, record: &CallRecord) {
        for (direction, reason) in [("received", record.no_audio_received), ("sent", record.no_audio_sent)] {
            let Some(reason) = reason else { continue };
            let (call_id, pairs, why) = (&record.call_id, record.ice_pairs_tried, reason.name());
            if matches!(reason, NoAudio::Silence | NoAudio::Hold) {
                // Nothing failed: somebody pressed keys, listened or waited.
                tracing::info!(%call_id, direction, reason = why, ice_pairs_tried = pairs, "a call without audio");
            } else {
                tracing::warn!(%call_id, direction, reason = why, ice_pairs_tried = pairs, "a call without audio");
            }
        }
        let mut is_kept = false;
        if self.json
            && let Ok(line) = serde_json::to_string(record)
        {
            is_kept = self.hand_over(Job::Line(RecordFile::Json, line + "\n"), RecordFile::Json);
        }
        if self.csv {
            self.hand_over(Job::Line(RecordFile::Csv, record.to_csv() + "\r\n"), RecordFile::Csv);
        }
        if !is_kept {
            postern_telemetry::record(record);
        }
    }

    fn hand_over(&self, job: Job, file: RecordFile) -> bool {
        let Some(jobs) = &self.jobs else { return false };
        match jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.cells.records_lost.add(file, 1);
                false
            }
        }
    }

    /// Opens the files of those names anew, so that they can be rotated by renaming them and reloading.
    pub fn reopen(&self) {
        if let Some(jobs) = &self.jobs {
            // A full queue means that the next reload has to do it.
            let _ = jobs.try_send(Job::Reopen);
        }
    }

    /// Waits until everything handed over is written, at most a second. Blocks.
    pub fn close(&self) {
        let Some(jobs) = &self.jobs else { return };
        let (written, done) = sync_channel(1);
        if jobs.try_send(Job::Flush(written)).is_ok() {
            // A disk that takes longer is not waited for.
            let _ = done.recv_timeout(Duration::from_secs(1));
        }
    }
}

struct Output {
    kind: RecordFile,
    path: PathBuf,
    file: File,
}

fn write_all(jobs: &Receiver<Job>, mut outputs: Vec<Output>, cells: &WorkerCells) {
    for job in jobs {
        match job {
            Job::Line(kind, line) => {
                for output in outputs.iter_mut().filter(|output| output.kind == kind) {
                    // One write, so that the lines of both slots' workers do not mix.
                    if let Err(error) = output.file.write_all(line.as_bytes()) {
                        cells.records_lost.add(kind, 1);
                        tracing::error!(path = %output.path.display(), %error, line = %line.trim_end(), "a call record could not be written");
                    }
                }
            }
            Job::Reopen => outputs.iter_mut().for_each(|output| match open(output.kind, &output.path) {
                Ok(file) => output.file = file,
                Err(error) => {
                    tracing::error!(path = %output.path.display(), %error, "the record file stays the old one");
                }
            }),
            // Whoever asked may have given up.
            Job::Flush(written) => drop(written.send(())),
        }
    }
}

/// For the service and its group only: records name people. A new CSV file begins with its header.
fn open(kind: RecordFile, path: &Path) -> io::Result<File> {
    let mut file = File::options().create(true).append(true).mode(0o640).open(path)?;
    if kind == RecordFile::Csv && file.metadata()?.len() == 0 {
        file.write_all((CallRecord::csv_header() + "\r\n").as_bytes())?;
    }
    Ok(file)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use postern_media::codec::Codec;
    use postern_media::report::{DropReason, Drops};

    use super::*;

    fn record() -> CallRecord {
        CallRecord {
            started: "2026-03-01T12:00:00Z".parse().unwrap(),
            call_id: "a84b4c76e66710".into(),
            shared_id: Some("00000000deadbeef".into()),
            server: "worker.example.test".into(),
            caller: "+4930123456".into(),
            called: "1001".into(),
            offer_result: Some(OfferResult::Answered),
            drop_cause: Some(CallEnd::CallerHungUp),
            duration: Duration::from_millis(12_340),
            ..CallRecord::default()
        }
    }

    fn report() -> Report {
        let mut drops = Drops::default();
        drops.count(DropReason::Late);
        drops.count(DropReason::Late);
        drops.count(DropReason::WrongSource);
        Report {
            codec: Some(Codec::G722),
            keying: "sdes",
            packets_received: 90,
            packets_lost: 10,
            packets_sent: 100,
            drops,
            jitter: Duration::from_millis(4),
            round_trip: Some(Duration::from_millis(30)),
            frames_audio: 90,
            frames_concealed: 10,
            frames_loud: 50,
            mos: Some(mos::mos(Duration::from_millis(30), Duration::from_millis(4), 0.1)),
            ..Report::default()
        }
    }

    fn column(line: &str, name: &str) -> String {
        let place = CallRecord::csv_header().split(',').position(|column| column == name).unwrap();
        line.split(',').nth(place).unwrap().to_owned()
    }

    #[test]
    fn json_holds_what_is_known_and_leaves_out_the_rest() {
        let mut record = record();
        record.set_media(&Closed { report: Some(report()), story: None, ignored: 3 });
        let json: serde_json::Value = serde_json::to_value(&record).unwrap();
        assert_eq!(json["event"], "call_ended");
        assert_eq!(json["started"], "2026-03-01T12:00:00Z");
        assert_eq!(json["ended"], "2026-03-01T12:00:12.34Z");
        assert_eq!(json["shared_call_id"], "00000000deadbeef");
        assert_eq!((&json["codec"], &json["keying"]), (&"G722".into(), &"sdes".into()));
        assert_eq!((&json["loss_percent"], &json["jitter_ms"]), (&10.0.into(), &4.0.into()));
        assert_eq!(json["packets_not_used"], "wrong_source 1; late 2; ignored 3");
        assert_eq!((&json["offer_result"], &json["drop_cause"]), (&"answered".into(), &"caller_hung_up".into()));
        assert!(json.get("mailbox").is_none() && json.get("no_audio_received").is_none());
        let part = |name: &str| json[name].as_f64().unwrap();
        assert!(part("degradation") > part("degradation_loss"));
        assert!(part("degradation_loss") > part("degradation_jitter"));
        assert!((part("nmos") + part("degradation") - 4.4).abs() < 0.1, "{json}");
    }

    #[test]
    fn csv_has_a_value_or_nothing_for_each_column() {
        let line = record().to_csv();
        assert_eq!(line.matches(',').count(), CallRecord::csv_header().matches(',').count());
        assert_eq!(column(&line, "duration_secs"), "12.34");
        assert_eq!(column(&line, "called"), "1001");
        assert_eq!(column(&line, "nmos"), "");
    }

    #[test]
    fn nothing_that_a_caller_claims_becomes_a_formula_or_a_line() {
        let csv = |text: &str| Value::Text(text.into()).to_csv();
        assert_eq!(csv("=1+1"), "\"'=1+1\"");
        assert_eq!(csv("+4930123456"), "\"'+4930123456\"");
        assert_eq!(csv("\t=cmd|' /C calc'!A0"), "\"' =cmd|' /C calc'!A0\"");
        assert_eq!(csv("@SUM(A1)"), "\"'@SUM(A1)\"");
        assert_eq!(csv("a,\"b\"\r\nc"), "\"a,\"\"b\"\"  c\"");
        assert_eq!(csv("sip:alice@example.test"), "sip:alice@example.test");
        assert_eq!(csv(&"x".repeat(1000)).len(), RECORD_TEXT_MAX);
    }

    #[test]
    fn the_edges_failure_explains_silence_unless_audio_came_after_all() {
        let mut failed = record();
        failed.no_audio_received = Some(NoAudio::EdgePorts);
        let mut nothing = Report { no_audio_received: Some(NoAudio::Ice), ..Report::default() };
        failed.set_report(&nothing);
        assert_eq!(failed.no_audio_received, Some(NoAudio::EdgePorts));
        nothing.frames_loud = 1;
        nothing.no_audio_received = None;
        failed.set_report(&nothing);
        assert_eq!(failed.no_audio_received, None);
    }

    /// Keeps what is logged at WARN, as text.
    #[derive(Clone, Default)]
    struct Warnings(Arc<std::sync::Mutex<Vec<String>>>);

    struct Fields(String);

    impl tracing::field::Visit for Fields {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            self.0.push_str(&format!("{}={value:?} ", field.name()));
        }
    }

    impl tracing::Subscriber for Warnings {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() == tracing::Level::WARN
        }

        fn event(&self, event: &tracing::Event<'_>) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[test]
    fn each_direction_without_audio_is_one_warning_with_its_reason() {
        let config = CallRecordsConfig { json: Some("/dev/null".into()), csv: None };
        let sink = RecordSink::start(&config, Arc::default()).unwrap();
        let silent = CallRecord { no_audio_received: Some(NoAudio::Ice), ice_pairs_tried: 7, ..record() };
        let warnings = Warnings::default();
        tracing::subscriber::with_default(warnings.clone(), || {
            sink.write(&record());
            sink.write(&silent);
        });
        let lines = warnings.0.lock().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["call_id=a84b4c76e66710", "direction=\"received\"", "reason=\"ice\"", "ice_pairs_tried=7"] {
            assert!(lines[0].contains(part), "{part} in {}", lines[0]);
        }
    }

    #[test]
    fn files_begin_with_a_header_once_and_are_reopened_after_a_rename() {
        let directory = std::env::temp_dir().join(format!("postern-call-records-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (json, csv) = (directory.join("calls.json"), directory.join("calls.csv"));
        let config = CallRecordsConfig { json: Some(json.clone()), csv: Some(csv.clone()) };
        let cells = Arc::new(WorkerCells::default());
        for _ in 0..2 {
            let sink = RecordSink::start(&config, Arc::clone(&cells)).unwrap();
            sink.write(&record());
            sink.close();
        }
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&json), lines(&csv)), (2, 3));

        let sink = RecordSink::start(&config, Arc::clone(&cells)).unwrap();
        std::fs::rename(&csv, directory.join("calls.csv.1")).unwrap();
        sink.reopen();
        sink.write(&record());
        sink.close();
        assert_eq!((lines(&json), lines(&csv)), (3, 2));
        let first = std::fs::read_to_string(&json).unwrap().lines().next().unwrap().to_owned();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&first).unwrap()["call_id"], "a84b4c76e66710");
        std::fs::remove_dir_all(&directory).unwrap();

        let missing = CallRecordsConfig { json: Some(directory.join("no/such.json")), csv: None };
        let error = RecordSink::start(&missing, cells).err().unwrap().to_string();
        assert!(error.contains("no/such.json"), "{error}");
    }

    #[test]
    fn a_record_that_the_disk_does_not_take_is_counted() {
        let config = CallRecordsConfig { json: Some("/dev/full".into()), csv: None };
        let cells = Arc::new(WorkerCells::default());
        let sink = RecordSink::start(&config, Arc::clone(&cells)).unwrap();
        sink.write(&record());
        sink.close();
        assert_eq!(cells.records_lost.value(RecordFile::Json), 1);
    }
}
