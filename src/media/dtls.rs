//! DTLS-SRTP (RFC 5763, 5764): keys for SRTP from a DTLS handshake whose certificate the signalling vouches for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, SignatureScheme};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as DtlsError;
use zeroize::Zeroizing;

use crate::event::DtlsFailure;
use crate::fingerprint::{Fingerprint, FingerprintHash};
use crate::limits;
use crate::srtp_profile::{MasterKey, SrtpProfile};

/// Which side we are (`a=setup`, RFC 5763 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We are active.
    Client,
    /// We are passive.
    Server,
}

/// Our certificate and its key, shared by all calls of a process.
pub struct DtlsIdentity {
    certificate: Certificate,
    der: Vec<u8>,
}

/// The certificate's key cannot be used for DTLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ECDSA P-256, Ed25519 or RSA key in PKCS#8: {0}")]
pub struct BadIdentity(String);

impl DtlsIdentity {
    /// From a certificate in DER and its private key in PKCS#8; self-signed ones are usual, made by the shell.
    ///
    /// # Errors
    ///
    /// [`BadIdentity`] when the key is of no kind we can sign with.
    pub fn new(certificate_der: Vec<u8>, pkcs8_der: &[u8]) -> Result<Self, BadIdentity> {
        let provider = AwsLcRsProvider::new();
        let mut error = None;
        for scheme in [SignatureScheme::EcdsaP256Sha256, SignatureScheme::RsaPkcs1Sha256, SignatureScheme::Ed25519] {
            match provider.crypto().import_signing_key(scheme, pkcs8_der) {
                Ok(key) => {
                    let chain = vec![certificate_der.clone().into()];
                    return Ok(Self { certificate: Certificate::from_signing_key(chain, key), der: certificate_der });
                }
                Err(cause) => error = Some(cause.to_string()),
            }
        }
        Err(BadIdentity(error.unwrap_or_default()))
    }

    /// For `a=fingerprint` of our description.
    pub fn fingerprint(&self, hash: FingerprintHash) -> Fingerprint {
        Fingerprint::of(hash, &self.der)
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

impl fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DtlsIdentity({})", self.fingerprint(FingerprintHash::Sha256))
    }
}

/// What a DTLS handshake needs from the signalling.
#[derive(Clone, Debug)]
pub struct DtlsKeying {
    pub role: DtlsRole,
    pub identity: Arc<DtlsIdentity>,
    /// The peer's certificate must have one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// Protection profiles to offer or take, best first. Those with 256-bit AES-CM are not defined for DTLS.
    pub profiles: Vec<SrtpProfile>,
}

/// Keys of both directions, ready for SRTP.
pub struct DtlsKeys {
    pub profile: SrtpProfile,
    pub local: MasterKey,
    pub remote: MasterKey,
}

/// One DTLS association: bytes and time go in, datagrams and in the end keys come out. The one thing it takes from
/// elsewhere is the randomness of its key exchange, which belongs to the cryptographic library.
pub struct Dtls {
    keying: DtlsKeying,
    config: Arc<HandshakeConfig>,
    mismatch: Arc<AtomicBool>,
    endpoint: Endpoint,
    state: State,
    deadline: Instant,
    /// Datagrams taken by this handshake.
    datagrams: u32,
    attempts: u32,
    /// An alert came in clear: not believed, but it tells a refusal from silence.
    alerted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A client that may not send yet, or a server that heard nothing.
    Idle,
    Handshaking,
    Done,
    Failed,
}

/// The crate keeps associations by address; ours is one whose address may change under it.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 1);

const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

impl Dtls {
    /// An association that waits for [`start`](Self::start) or for the peer.
    ///
    /// # Errors
    ///
    /// The library's words when it cannot work with what it was given: our fault.
    pub fn new(keying: DtlsKeying, now: Instant) -> Result<Self, String> {
        let mismatch = Arc::new(AtomicBool::new(false));
        let config = Arc::new(configure(&keying, mismatch.clone())?);
        Ok(Self {
            endpoint: endpoint(keying.role, &config),
            keying,
            config,
            mismatch,
            state: State::Idle,
            deadline: now + limits::DTLS_TIME_MAX,
            datagrams: 0,
            attempts: 1,
            alerted: false,
        })
    }

    /// The way to the peer is open: a client sends its first flight. Harmless when repeated.
    pub fn start(&mut self, now: Instant) {
        if self.keying.role == DtlsRole::Client && self.state == State::Idle {
            self.state = State::Handshaking;
            // What can fail here is our randomness; the deadline then ends it.
            let _ = self.endpoint.connect(now, PEER, self.config.clone(), None);
        }
    }

    /// Takes a datagram; tells once how the handshake ended.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) -> Option<Result<DtlsKeys, DtlsFailure>> {
        if self.state == State::Failed || self.keying.role == DtlsRole::Client && self.state == State::Idle {
            return None;
        }
        let done_before = self.state == State::Done;
        self.datagrams += 1;
        if self.datagrams > limits::DTLS_DATAGRAMS_MAX {
            return if done_before { None } else { self.try_again(now) };
        }
        let records = self.sift(datagram);
        if records.is_empty() {
            return None;
        }
        if !done_before {
            self.state = State::Handshaking;
        }
        let result = self.endpoint.read(now, PEER, None, records);
        if done_before {
            // What comes now is a repeated last flight, which the library answers, or data, which nobody agreed on.
            return None;
        }
        match result {
            Ok(events) if events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)) => {
                Some(self.finish())
            }
            Ok(events) if events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)) => self.try_again(now),
            Ok(_) => None,
            Err(_) if self.mismatch.load(Ordering::Relaxed) => {
                self.state = State::Failed;
                Some(Err(DtlsFailure::Fingerprint))
            }
            Err(error) if is_profile_error(&error) => {
                self.state = State::Failed;
                Some(Err(DtlsFailure::NoProfile))
            }
            Err(_) => self.try_again(now),
        }
    }

    /// The records that may be acted upon. In clear these are handshakes and the change to cipher alone: an alert that
    /// anybody can forge should not end what a peer has begun (RFC 6347 section 4.1.2.7).
    ///
    /// ```text
    /// | type | version (2) | epoch (2) | sequence (6) | length (2) | fragment
    /// ```
    fn sift(&mut self, datagram: &[u8]) -> BytesMut {
        const CHANGE_CIPHER_SPEC: u8 = 20;
        const ALERT: u8 = 21;
        const HANDSHAKE: u8 = 22;
        let mut records = BytesMut::with_capacity(datagram.len());
        let mut rest = datagram;
        while let Some(header) = rest.first_chunk::<13>() {
            let length = 13 + usize::from(u16::from_be_bytes([header[11], header[12]]));
            let Some((record, after)) = rest.split_at_checked(length) else { break };
            let in_clear = header[3..5] == [0, 0];
            self.alerted |= in_clear && header[0] == ALERT;
            if header[1] == 0xfe && (!in_clear || matches!(header[0], CHANGE_CIPHER_SPEC | HANDSHAKE)) {
                records.extend_from_slice(record);
            }
            rest = after;
        }
        records
    }

    /// A handshake went wrong: another may go right, unless too many did not.
    fn try_again(&mut self, now: Instant) -> Option<Result<DtlsKeys, DtlsFailure>> {
        if self.attempts == limits::DTLS_ATTEMPTS_MAX {
            self.state = State::Failed;
            return Some(Err(DtlsFailure::Handshake));
        }
        self.attempts += 1;
        self.datagrams = 0;
        // What the old one still had to say, an alert perhaps, is lost with it: the peer will ask again.
        self.endpoint = endpoint(self.keying.role, &self.config);
        self.state = State::Idle;
        self.start(now);
        None
    }

    fn finish(&mut self) -> Result<DtlsKeys, DtlsFailure> {
        let keys = self.keys();
        self.state = if keys.is_ok() { State::Done } else { State::Failed };
        keys
    }

    fn keys(&self) -> Result<DtlsKeys, DtlsFailure> {
        let state = self.endpoint.get_connection_state(PEER).ok_or(DtlsFailure::Handshake)?;
        let certificate = state.peer_certificates.first().ok_or(DtlsFailure::Fingerprint)?;
        // The library asked already; no key leaves without our own look.
        if !self.keying.fingerprints.iter().any(|fingerprint| fingerprint.matches(certificate)) {
            return Err(DtlsFailure::Fingerprint);
        }
        let profile = from_wire(state.srtp_protection_profile()).ok_or(DtlsFailure::NoProfile)?;
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        let material =
            state.export_keying_material(EXPORTER_LABEL, &[], 2 * (key + salt)).map_err(|_| DtlsFailure::Handshake)?;
        // RFC 5764 section 4.2: client key, server key, client salt, server salt.
        let bytes: &[u8] = material.as_ref();
        let part = |keys: &[u8], salts: &[u8]| {
            let mut joined = Zeroizing::new(keys.to_vec());
            joined.extend_from_slice(salts);
            MasterKey::from_concatenated(profile, &joined).map_err(|_| DtlsFailure::Handshake)
        };
        let client = part(&bytes[..key], &bytes[2 * key..2 * key + salt])?;
        let server = part(&bytes[key..2 * key], &bytes[2 * key + salt..])?;
        let (local, remote) = match self.keying.role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        Ok(DtlsKeys { profile, local, remote })
    }

    /// Repeats a flight that was not answered, and gives up in the end.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Result<DtlsKeys, DtlsFailure>> {
        if matches!(self.state, State::Done | State::Failed) {
            return None;
        }
        if now >= self.deadline {
            self.state = State::Failed;
            return Some(Err(if self.alerted { DtlsFailure::Handshake } else { DtlsFailure::Timeout }));
        }
        if self.endpoint.poll_timeout(&PEER).is_some_and(|due| now >= due)
            && self.endpoint.handle_timeout(PEER, now).is_err()
        {
            // The library tries a fixed number of times; the deadline is ours.
            self.endpoint = endpoint(self.keying.role, &self.config);
            self.state = State::Idle;
            self.start(now);
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` when the handshake has ended.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Done | State::Failed => None,
            _ => Some(self.endpoint.poll_timeout(&PEER).map_or(self.deadline, |due| due.min(self.deadline))),
        }
    }

    /// The next datagram for the peer.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }
}

fn endpoint(role: DtlsRole, config: &Arc<HandshakeConfig>) -> Endpoint {
    let server = (role == DtlsRole::Server).then(|| config.clone());
    Endpoint::new(PEER, TransportProtocol::UDP, server)
}

fn configure(keying: &DtlsKeying, mismatch: Arc<AtomicBool>) -> Result<HandshakeConfig, String> {
    let fingerprints = keying.fingerprints.clone();
    let verify = move |certificates: &[Vec<u8>], _: &[_]| {
        let known = certificates
            .first()
            .is_some_and(|certificate| fingerprints.iter().any(|fingerprint| fingerprint.matches(certificate)));
        if known {
            return Ok(());
        }
        mismatch.store(true, Ordering::Relaxed);
        Err(DtlsError::ErrInvalidCertificate)
    };
    ConfigBuilder::default()
        .with_crypto_provider(Arc::new(AwsLcRsProvider::new()))
        .with_certificates(vec![keying.identity.certificate().clone()])
        .with_srtp_protection_profiles(keying.profiles.iter().copied().filter_map(to_wire).collect())
        .with_extended_master_secret(ExtendedMasterSecretType::Request)
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        // No chain is judged: the signalling vouches for the certificate by its fingerprint (RFC 5763 section 5).
        .with_insecure_skip_verify(true)
        // RSA keys of 1024 bits are what phones of some age make; their fingerprint is worth what the signalling is.
        .with_insecure_verification(true)
        .with_verify_peer_certificate(Some(Arc::new(verify)))
        .with_flight_interval(limits::DTLS_FLIGHT_INTERVAL)
        .build(keying.role == DtlsRole::Client, Some(PEER))
        .map_err(|error| error.to_string())
}

fn is_profile_error(error: &DtlsError) -> bool {
    matches!(
        error,
        DtlsError::ErrServerNoMatchingSrtpProfile
            | DtlsError::ErrClientNoMatchingSrtpProfile
            | DtlsError::ErrRequestedButNoSrtpExtension
    )
}

fn to_wire(profile: SrtpProfile) -> Option<SrtpProtectionProfile> {
    match profile {
        SrtpProfile::Aes128CmHmacSha1_80 => Some(SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80),
        SrtpProfile::Aes128CmHmacSha1_32 => Some(SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32),
        SrtpProfile::AeadAes128Gcm => Some(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm),
        SrtpProfile::AeadAes256Gcm => Some(SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm),
        SrtpProfile::Aes256CmHmacSha1_80 | SrtpProfile::Aes256CmHmacSha1_32 => None,
    }
}

fn from_wire(profile: SrtpProtectionProfile) -> Option<SrtpProfile> {
    SrtpProfile::ALL.iter().copied().find(|ours| to_wire(*ours) == Some(profile))
}
