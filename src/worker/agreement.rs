//! From what signalling agreed on to what media and ICE are told, and back. The rooms do not know each other; this is
//! where their words meet.

use std::net::IpAddr;
use std::sync::Arc;

use postern_dialplan::Security as PlanSecurity;
use postern_ice::candidate::Component;
use postern_ice::sdp::Description;
use postern_ice::secret::Password;
use postern_media::codec::Codec;
use postern_media::dtls::{DtlsIdentity, DtlsKeying, DtlsRole};
use postern_media::fingerprint::FingerprintHash;
use postern_media::session::{Direction, Keying, PayloadNumbers, Session, SourceRule};
use postern_media::srtp_profile::{MasterKey, SdesKeying, SrtpProfile};
use postern_sip::offer_answer_capabilities::{Capabilities, Codec as SipCodec, LocalIce, OfferKeying, Security};
use postern_sip::offer_answer_media::{DtlsRole as SipDtlsRole, Keying as SipKeying, Media, PayloadType, RemoteIce};
use postern_sip::sdp_crypto::CryptoSuite;
use postern_sip::sdp_ice::IceCandidate;
use postern_sip::sdp_media::Direction as SipDirection;

/// Protection profiles of DTLS-SRTP, best first.
const DTLS_PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80, SrtpProfile::Aes128CmHmacSha1_32];

/// Suites of `a=crypto`, best first.
const SDES_SUITES: [CryptoSuite; 6] = [
    CryptoSuite::AeadAes256Gcm,
    CryptoSuite::AeadAes128Gcm,
    CryptoSuite::AesCm256HmacSha1_80,
    CryptoSuite::AesCm128HmacSha1_80,
    CryptoSuite::AesCm256HmacSha1_32,
    CryptoSuite::AesCm128HmacSha1_32,
];

/// What a call of a plan may agree to. Keys stand in SDP only where the plan takes them so.
pub fn capabilities(
    codecs: &[SipCodec],
    security: PlanSecurity,
    over_tls: bool,
    identity: &DtlsIdentity,
) -> Capabilities {
    let fingerprint = identity.fingerprint(FingerprintHash::Sha256).to_string();
    let digest = fingerprint.split_once(' ').map_or(Vec::new(), |(_, digits)| {
        digits.split(':').filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
    });
    let sdes = if security.takes_sdes(over_tls) { SDES_SUITES.to_vec() } else { Vec::new() };
    let offer = match security {
        PlanSecurity::Secured if sdes.is_empty() => OfferKeying::Dtls,
        PlanSecurity::Secured => OfferKeying::Sdes,
        _ => OfferKeying::Plain,
    };
    Capabilities {
        codecs: codecs.to_vec(),
        telephone_event: true,
        comfort_noise: true,
        security: if security.needs_srtp() { Security::SrtpRequired } else { Security::SrtpIfOffered },
        sdes,
        dtls: vec![postern_sip::sdp_security::Fingerprint {
            hash: postern_sip::sdp_security::FingerprintHash::Sha256,
            digest,
        }],
        offer,
        rtcp_mux: true,
        ptime_ms: 20,
    }
}

/// What was agreed on cannot be carried out: a key of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys that do not fit their suite")]
pub struct Unfit;

/// What a stream is told. `symmetric` is the address of the signalling, where the gateway's setting says so; `former`
/// is where media went before, for a peer that holds the call without an address.
pub fn session(
    media: &Media,
    identity: &Arc<DtlsIdentity>,
    symmetric: Option<IpAddr>,
    former: Option<&Session>,
) -> Result<Session, Unfit> {
    let codec = codec(media.codec);
    let rtp = media.remote_rtp.or(former.and_then(|former| former.rtp_destination));
    let source = match (&media.ice, rtp) {
        (Some(_), _) => SourceRule::Ice,
        (None, Some(rtp)) => SourceRule::Address { signalled: rtp.ip(), symmetric },
        // Nowhere yet: nothing comes from the unspecified address.
        (None, None) => SourceRule::Address { signalled: IpAddr::from([0, 0, 0, 0]), symmetric },
    };
    Ok(Session {
        codec,
        payload_type: media.payload_type.send,
        receive: vec![(media.payload_type.receive, codec)],
        telephone_event: media.telephone_event.map(numbers),
        comfort_noise: media.comfort_noise.map(numbers),
        ptime_ms: media.ptime_ms,
        direction: direction(media.direction),
        on_hold: media.is_on_hold(),
        rtcp_mux: media.rtcp_mux,
        rtp_destination: rtp,
        rtcp_destination: media.remote_rtcp,
        source,
        keying: keying(&media.keying, identity)?,
    })
}

fn numbers(payload_type: PayloadType) -> PayloadNumbers {
    PayloadNumbers { send: payload_type.send, receive: payload_type.receive }
}

/// The codec of that name in the media room.
pub fn codec(codec: SipCodec) -> Codec {
    match codec {
        SipCodec::Pcmu => Codec::Pcmu,
        SipCodec::Pcma => Codec::Pcma,
        SipCodec::G722 => Codec::G722,
    }
}

fn direction(direction: SipDirection) -> Direction {
    match (direction.sends(), direction.receives()) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

fn keying(keying: &SipKeying, identity: &Arc<DtlsIdentity>) -> Result<Keying, Unfit> {
    Ok(match keying {
        SipKeying::Plain => Keying::Plain,
        SipKeying::Sdes(keys) => {
            let profile = SrtpProfile::from_sdes_name(keys.suite.name()).ok_or(Unfit)?;
            let key = |bytes| MasterKey::from_concatenated(profile, bytes).map_err(|_| Unfit);
            Keying::Sdes(SdesKeying {
                profile,
                local: key(keys.local.as_bytes())?,
                remote: key(keys.remote.as_bytes())?,
            })
        }
        SipKeying::Dtls(parameters) => Keying::Dtls(DtlsKeying {
            role: match parameters.role {
                SipDtlsRole::Client => DtlsRole::Client,
                SipDtlsRole::Server => DtlsRole::Server,
            },
            identity: Arc::clone(identity),
            fingerprints: parameters.fingerprints.iter().filter_map(|print| print.to_string().parse().ok()).collect(),
            profiles: DTLS_PROFILES.to_vec(),
        }),
    })
}

/// The peer's ICE description for our agent.
pub fn remote_ice(ice: &RemoteIce, media: &Media) -> Description {
    let defaults = [(Component::RTP, media.remote_rtp), (Component::RTCP, media.remote_rtcp)];
    Description {
        ufrag: ice.user_fragment.clone(),
        password: Password::new(ice.password.0.clone()),
        lite: ice.lite,
        // TCP and names are of no use to us.
        candidates: ice.candidates.iter().filter_map(|candidate| candidate.to_string().parse().ok()).collect(),
        complete: !ice.options.iter().any(|option| option == "trickle"),
        defaults: defaults.into_iter().filter_map(|(of, address)| Some((of, address?))).collect(),
        remote_candidates: Vec::new(),
    }
}

/// Our agent's description for the session description.
pub fn local_ice(description: &Description) -> LocalIce {
    let candidates = description.candidates.iter();
    let chosen = description.remote_candidates.iter();
    LocalIce {
        user_fragment: description.ufrag.clone(),
        password: description.password.as_str().to_owned(),
        candidates: candidates.filter_map(|candidate| IceCandidate::parse(&candidate.to_string())).collect(),
        remote_candidates: chosen.map(|(component, address)| (component.number().into(), *address)).collect(),
    }
}
