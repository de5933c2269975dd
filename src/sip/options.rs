//! What an endpoint is told at birth.

use std::net::SocketAddr;
use std::time::Duration;

use crate::host::Host;
use crate::limits;
use crate::source::Transport;

/// Timers of RFC 3261 table 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerValues {
    pub t1: Duration,
    pub t2: Duration,
    pub t4: Duration,
}

impl Default for TimerValues {
    fn default() -> TimerValues {
        TimerValues { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl TimerValues {
    /// 64 T1: how long a transaction waits for its other side.
    pub fn transaction(&self) -> Duration {
        self.t1 * 64
    }
}

/// Addresses that may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    #[default]
    Any,
    V4,
    V6,
}

/// What an endpoint is told at birth; all of it may be replaced by [`set_options`](crate::Endpoint::set_options).
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// Our name in Via; `None`: the address of the connection or socket that is used.
    pub host: Option<Host>,
    /// The ports we listen on, for Via; `None`: no listener of that transport.
    pub tcp_port: Option<u16>,
    pub tls_port: Option<u16>,
    /// Further ports that we listen on: a peer that came to one of them is told that one.
    pub further_ports: Vec<u16>,
    /// The UDP sockets that stand.
    pub udp: Vec<SocketAddr>,
    /// Transports for a target that names none and has no SRV records, most wanted first; UDP counts only with a socket.
    pub transports: Vec<Transport>,
    pub families: Families,
    pub timers: TimerValues,
    /// Whether a request that arrives twice by different ways gets 482 (RFC 3261 section 8.2.2.2): yes for user agents, no
    /// for proxies.
    pub refuse_merged: bool,
    pub message_bytes_max: usize,
    pub connections_max: usize,
    pub connections_per_source_max: usize,
    pub server_transactions_max: usize,
    pub server_transactions_per_source_max: usize,
    pub client_transactions_max: usize,
    pub idle_time: Duration,
}

impl Default for EndpointOptions {
    fn default() -> EndpointOptions {
        EndpointOptions {
            host: None,
            tcp_port: None,
            tls_port: None,
            further_ports: Vec::new(),
            udp: Vec::new(),
            transports: vec![Transport::Tcp, Transport::Udp],
            families: Families::Any,
            timers: TimerValues::default(),
            refuse_merged: true,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            connections_max: limits::CONNECTIONS_MAX,
            connections_per_source_max: limits::CONNECTIONS_PER_SOURCE_MAX,
            server_transactions_max: limits::SERVER_TRANSACTIONS_MAX,
            server_transactions_per_source_max: limits::SERVER_TRANSACTIONS_PER_SOURCE_MAX,
            client_transactions_max: limits::CLIENT_TRANSACTIONS_MAX,
            idle_time: limits::IDLE_TIME,
        }
    }
}
