//! What an endpoint counts, for its role to export.

use crate::source::Transport;

/// Sums since birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests_in: u64,
    pub responses_in: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Those of them that came over TLS.
    pub(crate) malformed_over_tls: u64,
    /// And those that came by UDP.
    pub(crate) malformed_over_udp: u64,
    /// Responses that belong to no request of ours.
    pub stray_responses: u64,
    /// Requests that came again and were absorbed.
    pub repeated_requests: u64,
    /// Requests refused with 503 because too many were open.
    pub refused_requests: u64,
    /// Connections refused by a cap.
    pub refused_connections: u64,
    /// Connections closed because they were slow, silent or not speaking SIP.
    pub closed_connections: u64,
    /// Responses that could not be sent any more.
    pub unsent_responses: u64,
    /// Requests sent again over UDP.
    pub retransmissions: u64,
}

impl Counters {
    /// Messages of [`malformed`](Self::malformed) that came over this transport.
    pub fn malformed_over(&self, transport: Transport) -> u64 {
        match transport {
            Transport::Tls => self.malformed_over_tls,
            Transport::Udp => self.malformed_over_udp,
            Transport::Tcp => self.malformed - self.malformed_over_tls - self.malformed_over_udp,
        }
    }
}
