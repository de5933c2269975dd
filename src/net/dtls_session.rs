//! One client's DTLS session.

use std::time::Instant;

use dimpl::{Dtls, Output};

use crate::dtls::{DtlsLimits, DtlsOutput, DtlsPath, DtlsSink};
use crate::dtls_records::proves_address;

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The client has not shown that it receives what we send to its address.
    Unproven,
    Handshaking,
    Established,
}

pub(crate) struct Session {
    pub(crate) dtls: Dtls,
    pub(crate) phase: Phase,
    /// Order of birth.
    pub(crate) serial: u64,
    started: Instant,
    /// Last application data either way.
    pub(crate) last_used: Instant,
    /// Its entry in the timers.
    pub(crate) wake: Instant,
}

/// What a drain found besides the output.
pub(crate) struct Drained {
    pub(crate) closed: bool,
    /// When the engine wants to be called.
    pub(crate) timeout: Instant,
}

impl Session {
    pub(crate) fn new(dtls: Dtls, serial: u64, now: Instant, limits: &DtlsLimits) -> Session {
        let wake = now + limits.handshake;
        Session { dtls, phase: Phase::Unproven, serial, started: now, last_used: now, wake }
    }

    /// When the session ends unless something happens.
    pub(crate) fn deadline(&self, limits: &DtlsLimits) -> Instant {
        match self.phase {
            Phase::Established => self.last_used + limits.idle,
            Phase::Unproven | Phase::Handshaking => self.started + limits.handshake,
        }
    }

    /// Hands out all that the engine has to say.
    pub(crate) fn drain(
        &mut self,
        now: Instant,
        path: DtlsPath,
        buffer: &mut Vec<u8>,
        plaintext: &mut Vec<u8>,
        out: &mut DtlsSink<'_>,
    ) -> Drained {
        let mut closed = false;
        loop {
            match self.dtls.poll_output(buffer) {
                Output::Packet(datagram) => {
                    if self.phase == Phase::Unproven && proves_address(datagram) {
                        self.phase = Phase::Handshaking;
                    }
                    out(DtlsOutput::Send { path, datagram });
                }
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Connected => {
                    self.phase = Phase::Established;
                    self.last_used = now;
                    out(DtlsOutput::Established { path, took: now.saturating_duration_since(self.started) });
                }
                Output::ApplicationData(data) => {
                    self.last_used = now;
                    plaintext.clear();
                    plaintext.extend_from_slice(data);
                    out(DtlsOutput::Plaintext { path, data: plaintext });
                }
                Output::CloseNotify => closed = true,
                Output::Timeout(timeout) => return Drained { closed, timeout },
                // Certificates of clients are not asked for, and keys for SRTP are not used.
                _ => {}
            }
        }
    }
}
