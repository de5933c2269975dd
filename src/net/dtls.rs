//! DTLS 1.2 and 1.3 of a listener: one session per pair of addresses, no sockets, no clock.
//!
//! The DTLS engine sends the sender of a first message a cookie before any costly work, but keeps a session for it.
//! So an address that has not proven itself yet holds a place only until a newer one needs it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate};

use crate::dtls_records::begins_handshake;
use crate::dtls_session::{Drained, Phase, Session};
use crate::limits::DTLS_DATAGRAM_BYTES;
use crate::places::source_of;
use crate::tls::{TlsError, check_ecdsa_pair};

/// Bounds of one listener's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsLimits {
    /// Time from the first message to the end of the handshake.
    pub handshake: Duration,
    /// Sessions in all; beyond it a new client gets no answer.
    pub sessions_max: usize,
    /// Sessions before the end of their handshake. Beyond it the oldest unproven address makes room; if all are proven,
    /// a new client gets no answer.
    pub half_open_max: usize,
    /// The same per source (/32 or /64); beyond it there is no answer.
    pub half_open_per_source_max: usize,
    /// Time without application data either way after which a session is closed.
    pub idle: Duration,
}

/// Both ends of a session: a listener on a wildcard address is many addresses, and answers from the one that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DtlsPath {
    pub remote: SocketAddr,
    pub local: IpAddr,
}

/// What a call produced, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum DtlsOutput<'a> {
    /// To be sent by the listener.
    Send { path: DtlsPath, datagram: &'a [u8] },
    /// One application datagram of a client.
    Plaintext { path: DtlsPath, data: &'a mut [u8] },
    /// The handshake is done, so long after its first message; application data follows.
    Established { path: DtlsPath, took: Duration },
    /// An established session is gone.
    Closed { path: DtlsPath },
}

/// Where the output of a call goes.
pub type DtlsSink<'a> = dyn FnMut(DtlsOutput<'_>) + 'a;

/// Counts since birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DtlsCounters {
    pub established: u64,
    /// Handshakes that failed, timed out or were given up.
    pub failed: u64,
    /// First messages without an answer because of a limit.
    pub refused: u64,
}

/// The sessions of one listener on one shard.
pub struct DtlsSessions {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    limits: DtlsLimits,
    sessions: HashMap<DtlsPath, Session>,
    /// When each session wants to be looked at; one entry per session.
    timers: BTreeSet<(Instant, DtlsPath)>,
    half_open: HashMap<IpAddr, usize>,
    half_open_total: usize,
    /// Sessions whose address is not proven, oldest first.
    unproven: BTreeMap<u64, DtlsPath>,
    next_serial: u64,
    counters: DtlsCounters,
    buffer: Vec<u8>,
    plaintext: Vec<u8>,
}

impl DtlsSessions {
    /// Takes the leaf certificate and its private key (PKCS#8 or SEC1), both DER; ECDSA on P-256 or P-384. The chain's
    /// other certificates are not sent.
    ///
    /// # Errors
    /// [`TlsError`]: a key of another kind or of another certificate; the operator's fault.
    pub fn new(leaf_der: Vec<u8>, key_der: Vec<u8>, limits: DtlsLimits) -> Result<DtlsSessions, TlsError> {
        let provider = dimpl::crypto::aws_lc_rs::default_provider();
        let certificate = checked(leaf_der, key_der)?;
        let config = Config::builder()
            // Clients of TURN prove themselves by their token.
            .require_client_certificate(false)
            .use_server_cookie(true)
            .handshake_timeout(limits.handshake.max(Duration::from_millis(1)))
            .with_crypto_provider(provider)
            .build()
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        Ok(DtlsSessions {
            config: Arc::new(config),
            certificate,
            limits,
            sessions: HashMap::new(),
            timers: BTreeSet::new(),
            half_open: HashMap::new(),
            half_open_total: 0,
            unproven: BTreeMap::new(),
            next_serial: 0,
            counters: DtlsCounters::default(),
            buffer: vec![0; DTLS_DATAGRAM_BYTES],
            plaintext: Vec::with_capacity(DTLS_DATAGRAM_BYTES),
        })
    }

    /// Another certificate and key, for handshakes from now on; as in [`new`](Self::new).
    ///
    /// # Errors
    /// As `new`; the old pair stays.
    pub fn set_certificate(&mut self, leaf_der: Vec<u8>, key_der: Vec<u8>) -> Result<(), TlsError> {
        self.certificate = checked(leaf_der, key_der)?;
        Ok(())
    }

    /// Takes a datagram of a client. What is neither of a session nor a handshake's first message is dropped.
    pub fn handle_datagram(&mut self, now: Instant, path: DtlsPath, datagram: &mut [u8], out: &mut DtlsSink<'_>) {
        let known = self.sessions.contains_key(&path);
        if !known && (!begins_handshake(datagram) || !self.admit(now, path)) {
            return;
        }
        self.with_session(
            path,
            out,
            |session| {
                session.dtls.handle_timeout(now)?;
                session.dtls.handle_packet(datagram)
            },
            now,
        );
    }

    /// Encrypts one application datagram for a client; `false` when it has no established session.
    pub fn send(&mut self, now: Instant, path: DtlsPath, plaintext: &[u8], out: &mut DtlsSink<'_>) -> bool {
        if self.sessions.get(&path).is_none_or(|session| session.phase != Phase::Established) {
            return false;
        }
        self.with_session(
            path,
            out,
            |session| {
                session.last_used = now;
                session.dtls.send_application_data(plaintext).map(drop)
            },
            now,
        )
    }

    /// Ends a client's session, with close_notify.
    pub fn close(&mut self, now: Instant, path: DtlsPath, out: &mut DtlsSink<'_>) {
        self.with_session(path, out, |session| session.dtls.close(), now);
        self.remove(path, out);
    }

    /// Does what time asks for: retransmissions, limits of handshakes, idle sessions.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut DtlsSink<'_>) {
        while let Some(&(at, path)) = self.timers.first()
            && at <= now
        {
            let Some(session) = self.sessions.get(&path) else {
                return;
            };
            if now < session.deadline(&self.limits) {
                self.with_session(path, out, |session| session.dtls.handle_timeout(now), now);
            } else if session.phase == Phase::Established {
                self.close(now, path, out);
            } else {
                self.remove(path, out);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) next has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// How many sessions there are, half-open ones included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Counts since birth.
    pub fn counters(&self) -> DtlsCounters {
        self.counters
    }

    /// Makes room for a session and starts it, if the limits allow.
    fn admit(&mut self, now: Instant, path: DtlsPath) -> bool {
        let source = source_of(path.remote.ip());
        let of_source = self.half_open.get(&source).copied().unwrap_or(0);
        if of_source >= self.limits.half_open_per_source_max || self.sessions.len() >= self.limits.sessions_max {
            self.counters.refused += 1;
            return false;
        }
        if self.half_open_total >= self.limits.half_open_max {
            let Some((_, &oldest)) = self.unproven.first_key_value() else {
                self.counters.refused += 1;
                return false;
            };
            self.remove(oldest, &mut |_| ());
        }
        let dtls = Dtls::new_auto(Arc::clone(&self.config), self.certificate.clone(), now);
        let serial = self.next_serial;
        self.next_serial += 1;
        let session = Session::new(dtls, serial, now, &self.limits);
        self.timers.insert((session.wake, path));
        self.unproven.insert(serial, path);
        *self.half_open.entry(source).or_insert(0) += 1;
        self.half_open_total += 1;
        self.sessions.insert(path, session);
        true
    }

    /// Runs one mutation of a session, drains it and keeps the books; `false` when the session did not survive.
    fn with_session(
        &mut self,
        path: DtlsPath,
        out: &mut DtlsSink<'_>,
        mutation: impl FnOnce(&mut Session) -> Result<(), dimpl::Error>,
        now: Instant,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&path) else {
            return false;
        };
        let before = session.phase;
        let mutated = mutation(session);
        let Drained { closed, timeout } = session.drain(now, path, &mut self.buffer, &mut self.plaintext, out);
        if mutated.is_err() || closed {
            self.remove(path, out);
            return false;
        }
        let after = session.phase;
        // Not at once, even if the engine asks for a moment that is past.
        let wake = timeout.min(session.deadline(&self.limits)).max(now + Duration::from_millis(1));
        let due = session.wake <= now;
        if due || wake < session.wake {
            self.timers.remove(&(session.wake, path));
            session.wake = wake;
            self.timers.insert((wake, path));
        }
        let serial = session.serial;
        if before == Phase::Unproven && after != Phase::Unproven {
            self.unproven.remove(&serial);
        }
        if before != Phase::Established && after == Phase::Established {
            self.leave_half_open(path);
            self.counters.established += 1;
        }
        true
    }

    fn remove(&mut self, path: DtlsPath, out: &mut DtlsSink<'_>) {
        let Some(session) = self.sessions.remove(&path) else {
            return;
        };
        self.timers.remove(&(session.wake, path));
        self.unproven.remove(&session.serial);
        if session.phase == Phase::Established {
            out(DtlsOutput::Closed { path });
        } else {
            self.leave_half_open(path);
            self.counters.failed += 1;
        }
    }

    fn leave_half_open(&mut self, path: DtlsPath) {
        let source = source_of(path.remote.ip());
        self.half_open_total -= 1;
        if let Some(count) = self.half_open.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.half_open.remove(&source);
            }
        }
    }
}

/// The engine panics on a key that it cannot load, so none reaches it.
fn checked(certificate: Vec<u8>, private_key: Vec<u8>) -> Result<DtlsCertificate, TlsError> {
    check_ecdsa_pair(&certificate, &private_key)?;
    match dimpl::crypto::aws_lc_rs::default_provider().key_provider.load_private_key(&private_key) {
        Ok(_) => Ok(DtlsCertificate { certificate, private_key }),
        Err(error) => Err(TlsError::PrivateKey(error.to_string())),
    }
}
