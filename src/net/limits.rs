//! Every bound of this room, by name.

use std::time::Duration;

/// Free bytes in front of each received payload, so that a header is written in place.
pub const HEADROOM: usize = 64;
/// Free bytes behind each received payload, for padding.
pub const TAILROOM: usize = 8;
/// The longest UDP payload that a socket can deliver; buffers hold it whole, so nothing is ever cut.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Datagrams in one receive or send batch.
pub const BATCH_MAX: usize = 64;
/// Payload bytes that one send batch holds before it wants to be flushed.
pub const SEND_BATCH_BYTES: usize = 256 * 1024;
/// Control message bytes per datagram (packet info, traffic class, drop counter, arrival time).
pub const CONTROL_BYTES: usize = 128;

/// Media bytes queued towards one slow stream reader: one frame of the greatest size.
pub const MEDIA_QUEUE_BYTES_MAX: usize = 65_544;
/// Age at which queued media is worth less than what comes after it.
pub const MEDIA_QUEUE_AGE_MAX: Duration = Duration::from_millis(100);
/// Control bytes queued towards one stream reader; beyond it the stream is given up.
pub const CONTROL_QUEUE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the longest message on a stream: a STUN header and 64 KiB of attributes.
pub const STREAM_MESSAGE_BYTES_MAX: usize = 65_556;
/// Bytes that one read call takes from a stream.
pub const STREAM_READ_BYTES: usize = 16 * 1024;
/// Bytes that wait unsent in the kernel before a stream stops being writable (TCP_NOTSENT_LOWAT).
pub const NOT_SENT_LOWAT_BYTES: u32 = 16 * 1024;
/// How long written bytes may stay unacknowledged (TCP_USER_TIMEOUT).
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes buffered per direction between the two sides of an RFC 6062 data connection.
pub const PIPE_BYTES_MAX: usize = 64 * 1024;
/// Read and write calls per direction in one turn of a pipe, so that one transfer does not starve a shard.
pub const PIPE_STEPS_PER_TURN: usize = 16;

/// Bytes that a client may send before its first whole message must have ended.
pub const FIRST_MESSAGE_BYTES_MAX: usize = 4096;
/// Connections waiting in the kernel to be accepted.
pub const LISTEN_BACKLOG: i32 = 1024;
/// Pause after an accept that failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Refused DONT-FRAGMENT sends of one socket that wait to be told.
pub const OVERSIZE_PENDING_MAX: usize = 8;
/// Connections from peers waiting in the kernel at one relayed address.
pub const PEER_BACKLOG: i32 = 16;
/// Connections before their first whole message, from all sources together.
pub const HALF_OPEN_MAX: usize = 1024;
/// The same for one source (/32 or /64).
pub const HALF_OPEN_PER_SOURCE_MAX: usize = 32;
/// Time from accept to the end of the first whole message.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest DTLS datagram made or read: a record of 2^14 bytes with its overhead.
pub const DTLS_DATAGRAM_BYTES: usize = 17 * 1024;
/// Descriptors that half-open connections of all listeners may take together, where the limit is eight times as much or more.
pub const DESCRIPTORS_HALF_OPEN_MAX: u64 = 4096;
/// Descriptors that neither allocations nor half-open connections use: telemetry, reload, the token service, logs.
pub const DESCRIPTORS_RESERVED: u64 = 256;
