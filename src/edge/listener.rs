//! One shard's member of a UDP or DTLS listener, with what waits to go out by it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_config::CertifiedKeyMaterial;
use postern_net::dtls::{DtlsCounters, DtlsLimits, DtlsOutput, DtlsPath, DtlsSessions};
use postern_net::tls::TlsError;
use postern_net::{Outgoing, SendBatch, UdpSocket};
use postern_turn::io::{Client, Transport};

use crate::limits;
use crate::listeners::Kind;
use crate::meters::Meters;
use crate::shared::{Alternates, ListenerSocket};

const DTLS_LIMITS: DtlsLimits = DtlsLimits {
    handshake: Duration::from_secs(10),
    sessions_max: 4096,
    half_open_max: 512,
    half_open_per_source_max: 16,
    // Longer than any client leaves its permissions unrefreshed.
    idle: Duration::from_secs(900),
};

pub(crate) struct Listener {
    socket: UdpSocket,
    outgoing: SendBatch,
    /// What new clients are served. Clients from before a reload that changed it stay as they came.
    kind: Kind,
    pub(crate) dtls: Option<DtlsSessions>,
    pub(crate) alternates: Option<Alternates>,
    retired: bool,
    kernel_drops_seen: u64,
    dtls_seen: DtlsCounters,
}

impl Listener {
    /// # Errors
    /// As [`dtls_sessions`], for a DTLS listener.
    pub(crate) fn new(parts: ListenerSocket, certificate: Option<&CertifiedKeyMaterial>) -> Result<Self, TlsError> {
        let mut listener = Self {
            socket: parts.socket,
            outgoing: SendBatch::new(limits::SEND_BATCH),
            kind: Kind::Udp,
            dtls: None,
            alternates: None,
            retired: false,
            kernel_drops_seen: 0,
            dtls_seen: DtlsCounters::default(),
        };
        listener.set_kind(parts.kind, certificate)?;
        Ok(listener)
    }

    /// Serves new clients otherwise from here on.
    ///
    /// # Errors
    /// As [`dtls_sessions`]; nothing is changed then.
    pub(crate) fn set_kind(&mut self, kind: Kind, certificate: Option<&CertifiedKeyMaterial>) -> Result<(), TlsError> {
        if let (Kind::Dtls, None, Some(material)) = (kind, &self.dtls, certificate) {
            self.dtls = Some(dtls_sessions(material)?);
        }
        self.kind = kind;
        Ok(())
    }

    /// For the handshakes of a DTLS listener from here on.
    ///
    /// # Errors
    /// As [`new`](Self::new); the old certificate stays.
    pub(crate) fn set_certificate(&mut self, material: &CertifiedKeyMaterial) -> Result<(), TlsError> {
        let (leaf, key) = leaf_and_key(material);
        self.dtls.as_mut().map_or(Ok(()), |sessions| sessions.set_certificate(leaf, key))
    }

    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// How a datagram that begins like this is meant (RFC 7983 section 7).
    pub(crate) fn transport_of(&self, datagram: &[u8]) -> Transport {
        let is_record = self.dtls.is_some() && datagram.first().is_some_and(|first| (20..=63).contains(first));
        if is_record { Transport::Dtls } else { Transport::Udp }
    }

    /// Whether new clients may come by this transport; others are served if they have an allocation.
    pub(crate) fn takes(&self, transport: Transport) -> bool {
        !self.retired && (self.kind == Kind::Dtls) == (transport == Transport::Dtls)
    }

    /// While retired, only clients with an allocation are served.
    pub(crate) fn set_retired(&mut self, retired: bool) {
        self.retired = retired;
    }

    /// Collects a datagram; it leaves with the others at the end of the turn, or at once when the batch is full.
    pub(crate) fn push(&mut self, datagram: &Outgoing<'_>, meters: &mut Meters) {
        if !self.outgoing.push(datagram) {
            self.flush(meters);
            // An empty batch has room for any datagram.
            let _ = self.outgoing.push(datagram);
        }
    }

    /// Encrypts towards a DTLS client, or collects as it is.
    pub(crate) fn push_to_client(
        &mut self,
        client: &Client,
        datagram: &Outgoing<'_>,
        instant: Instant,
        meters: &mut Meters,
    ) {
        if client.transport != Transport::Dtls {
            return self.push(datagram, meters);
        }
        let Some(mut dtls) = self.dtls.take() else { return };
        let path = DtlsPath { remote: datagram.to, local: client.local.ip() };
        dtls.send(instant, path, datagram.payload, &mut |output| {
            if let DtlsOutput::Send { datagram: record, .. } = output {
                self.push(&Outgoing { payload: record, ..*datagram }, meters);
            }
        });
        self.dtls = Some(dtls);
    }

    /// Collects a DTLS record for the client of this path.
    pub(crate) fn push_record(&mut self, path: DtlsPath, record: &[u8], meters: &mut Meters) {
        let DtlsPath { remote, local } = path;
        let outgoing = Outgoing { payload: record, to: remote, from_ip: Some(local), tos: 0, dont_fragment: false };
        self.push(&outgoing, meters);
    }

    /// The client at the other end of a DTLS session.
    pub(crate) fn dtls_client(&self, index: u16, path: DtlsPath) -> Client {
        let local = SocketAddr::new(path.local, self.local_addr().port());
        Client { transport: Transport::Dtls, listener: index, stream: 0, local, remote: path.remote }
    }

    pub(crate) fn flush(&mut self, meters: &mut Meters) {
        if !self.outgoing.is_empty() {
            meters.sent_to_clients(self.outgoing.flush(&self.socket));
        }
        if let Some(sessions) = &self.dtls {
            let counters = sessions.counters();
            meters.dtls_failed(counters.failed - self.dtls_seen.failed, counters.refused - self.dtls_seen.refused);
            self.dtls_seen = counters;
        }
        let drops = self.socket.kernel_drops();
        meters.kernel_drops_listener(drops - self.kernel_drops_seen);
        self.kernel_drops_seen = drops;
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.dtls.as_ref().and_then(DtlsSessions::next_timeout)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }
}

/// An empty table of sessions.
///
/// # Errors
/// A certificate that DTLS cannot use (only ECDSA ones serve).
pub(crate) fn dtls_sessions(material: &CertifiedKeyMaterial) -> Result<DtlsSessions, TlsError> {
    let (leaf, key) = leaf_and_key(material);
    DtlsSessions::new(leaf, key, DTLS_LIMITS)
}

/// DER of the leaf certificate and of its key.
fn leaf_and_key(material: &CertifiedKeyMaterial) -> (Vec<u8>, Vec<u8>) {
    let leaf = material.chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
    (leaf, material.key.secret_der().to_vec())
}
