//! One JSON line per allocation at its start and at its end, to a file or to the log.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use postern_turn::io::{Client, Now, Transport};
use postern_turn::record::{EndReason, EndRecord, Flow, StartRecord};
use serde::Serialize;

use crate::quality::{Summary, WaySummary};

/// Records waiting for the disk; beyond it they go to the log, so that a full disk stops no shard.
const QUEUE_MAX: usize = 8192;

/// Where records go. A shard only hands a line over; a thread of its own writes it.
pub(crate) struct RecordSink {
    file: Option<SyncSender<Job>>,
    overflows: AtomicU64,
}

impl RecordSink {
    /// Records to the log.
    pub(crate) fn log() -> Self {
        Self { file: None, overflows: AtomicU64::new(0) }
    }

    /// Appends to the file at `path`, made when it is not there.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub(crate) fn file(path: &Path) -> std::io::Result<Self> {
        let mut file = open(path)?;
        let (sender, jobs) = sync_channel(QUEUE_MAX);
        let path = path.to_owned();
        std::thread::Builder::new().name("records".into()).spawn(move || {
            for job in jobs {
                match job {
                    Job::Line(line) => write(&mut file, &path, &line),
                    Job::Reopen => match open(&path) {
                        Ok(opened) => file = opened,
                        Err(error) => {
                            tracing::error!(path = %path.display(), %error, "the record file stays the old one")
                        }
                    },
                    // Whoever asked may have given up.
                    Job::Flush(written) => drop(written.send(())),
                }
            }
        })?;
        Ok(Self { file: Some(sender), overflows: AtomicU64::new(0) })
    }

    /// Opens the file of that name anew, so that it can be rotated by renaming it and reloading.
    pub(crate) fn reopen(&self) {
        if let Some(file) = &self.file {
            // A full queue means that the next reload has to do it.
            let _ = file.try_send(Job::Reopen);
        }
    }

    /// Waits until everything handed over is on its way to the disk, at most a second.
    pub(crate) fn close(&self) {
        let Some(file) = &self.file else { return };
        let (written, done) = sync_channel(1);
        if file.try_send(Job::Flush(written)).is_ok() {
            // A disk that takes longer than a second is not waited for.
            let _ = done.recv_timeout(std::time::Duration::from_secs(1));
        }
    }

    pub(crate) fn started(&self, record: &StartRecord) {
        self.write(&StartLine { event: "allocation_started", common: Common::of(record) });
    }

    pub(crate) fn ended(&self, record: &EndRecord, reason: EndReason, media: &[Summary]) {
        self.write(&EndLine {
            event: "allocation_ended",
            common: Common::of(&record.start),
            reason: reason_name(reason),
            duration_secs: record.ended.mono_nanos.saturating_sub(record.start.started.mono_nanos) as f64 / 1e9,
            peers: record.peers.iter().map(ToString::to_string).collect(),
            to_peer: FlowLine::of(&record.to_peer),
            to_client: FlowLine::of(&record.to_client),
            media: media.iter().map(MediaLine::of).collect(),
        });
    }

    fn write(&self, line: &impl Serialize) {
        let Some(file) = &self.file else { return postern_telemetry::record(line) };
        let Ok(mut bytes) = serde_json::to_vec(line) else { return };
        bytes.push(b'\n');
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = file.try_send(Job::Line(bytes)) {
            if self.overflows.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!("the record file is too slow: records go to the log meanwhile");
            }
            postern_telemetry::record(line);
        }
    }
}

/// For the service and its group only: records name people.
fn open(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).mode(0o640).open(path)
}

/// A record that the disk does not take is in the log all the same.
fn write(file: &mut File, path: &Path, line: &[u8]) {
    if let Err(error) = file.write_all(line) {
        let line = String::from_utf8_lossy(line);
        tracing::error!(path = %path.display(), %error, %line, "a record could not be written");
    }
}

enum Job {
    Line(Vec<u8>),
    Reopen,
    Flush(SyncSender<()>),
}

#[derive(Serialize)]
struct StartLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Serialize)]
struct EndLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    common: Common<'a>,
    reason: &'static str,
    duration_secs: f64,
    peers: Vec<String>,
    to_peer: FlowLine,
    to_client: FlowLine,
    media: Vec<MediaLine>,
}

#[derive(Serialize)]
struct Common<'a> {
    allocation: u64,
    at: String,
    identity: &'a str,
    key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<&'a str>,
    transport: &'static str,
    client: String,
    server: String,
    relays: Vec<String>,
    relay_transport: &'static str,
    lifetime_secs: u32,
}

impl<'a> Common<'a> {
    fn of(record: &'a StartRecord) -> Self {
        let Client { transport, local, remote, .. } = record.client;
        Self {
            allocation: record.serial,
            at: timestamp(record.started),
            identity: &record.identity,
            key_id: &record.key_id,
            call_id: record.call_id.as_deref(),
            transport: transport_name(transport),
            client: remote.to_string(),
            server: local.to_string(),
            relays: record.relays.iter().map(ToString::to_string).collect(),
            relay_transport: if record.tcp { "tcp" } else { "udp" },
            lifetime_secs: record.lifetime_secs,
        }
    }
}

#[derive(Serialize)]
struct FlowLine {
    packets: u64,
    bytes: u64,
    dropped_packets: u64,
}

impl FlowLine {
    fn of(flow: &Flow) -> Self {
        Self { packets: flow.packets, bytes: flow.bytes, dropped_packets: flow.dropped_packets }
    }
}

/// Both directions of one relay socket, as its RTP headers told.
#[derive(Serialize)]
struct MediaLine {
    to_peer: WayLine,
    to_client: WayLine,
}

impl MediaLine {
    fn of(summary: &Summary) -> Self {
        Self { to_peer: WayLine::of(&summary.to_peer), to_client: WayLine::of(&summary.to_client) }
    }
}

#[derive(Serialize)]
struct WayLine {
    rtp_streams: u32,
    rtp_packets: u64,
    rtp_lost_packets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_max_secs: Option<f64>,
    silences: u32,
}

impl WayLine {
    fn of(way: &WaySummary) -> Self {
        Self {
            rtp_streams: way.streams,
            rtp_packets: way.packets,
            rtp_lost_packets: way.lost_packets,
            loss_ratio: way.loss_ratio(),
            jitter_max_secs: way.jitter_seconds_max,
            silences: way.silences,
        }
    }
}

fn timestamp(now: Now) -> String {
    let seconds = i64::try_from(now.unix_secs).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| now.unix_secs.to_string(), |at| at.to_string())
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Dtls => "dtls",
    }
}

fn reason_name(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Released => "released",
        EndReason::LifetimeOver => "lifetime_over",
        EndReason::CredentialExpired => "credential_expired",
        EndReason::KeyRemoved => "key_removed",
        EndReason::ClientClosed => "client_closed",
        EndReason::Shutdown => "shutdown",
        EndReason::RelayLost => "relay_lost",
    }
}
