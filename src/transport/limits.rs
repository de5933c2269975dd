//! Every bound of this room, by name.

use std::time::Duration;

/// Bytes read from a connection at once.
pub const READ_BYTES: usize = 16 * 1024;
/// Bytes that wait to be written to one connection; a reader slower than that is closed.
pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// What each waiting message counts for besides its bytes.
pub const QUEUED_OVERHEAD_BYTES: usize = 64;
/// Bytes joined into one write.
pub const WRITE_BYTES: usize = 32 * 1024;
/// How long one write may take; a reader slower than that is closed.
pub const WRITE_TIME: Duration = Duration::from_secs(10);
/// How long written bytes may stay unacknowledged (TCP_USER_TIMEOUT).
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// TLS handshakes at once.
pub const HANDSHAKES_MAX: usize = 1024;
/// TLS handshakes of one source at once.
pub const HANDSHAKES_PER_SOURCE_MAX: usize = 32;
/// How long an outgoing connection may take, its handshake included; the core has a shorter limit of its own.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);
/// What connections, sockets and DNS have brought and the core has not taken; beyond it they wait.
pub const INPUTS_MAX: usize = 512;
/// Inputs that one turn takes before the role has its turn.
pub const INPUTS_PER_TURN: usize = 64;
/// How long no connection is accepted when descriptors have run out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest datagram.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// How long a DNS server may take for one answer, and how often it is asked.
pub const DNS_TIME: Duration = Duration::from_secs(2);
pub const DNS_ATTEMPTS: usize = 2;
/// Names whose answers are remembered for as long as DNS says.
pub const DNS_CACHE_MAX: u64 = 1024;
/// Names taken from one certificate.
pub const NAMES_MAX: usize = 64;
/// How long connections may take to write what waits when all is closed.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);
