//! Offer and answer (RFC 3264) of one call: from descriptions to agreed media, and from our side to text.
//!
//! The state of a call's negotiation lives beside its dialog. It remembers what later exchanges must keep: the m= lines and
//! their order, payload types, keys, the version in o=, DTLS and ICE roles.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::offer_answer_build::{audio_line, same_but_for_version, session};
use crate::offer_answer_capabilities::{Capabilities, Codec, Local, OfferKeying, Security};
use crate::offer_answer_media::{DtlsParameters, DtlsRole, Keying, Media, PayloadType, Refusal, RemoteIce, SdesKeys};
use crate::offer_answer_payloads::PayloadTypes;
use crate::offer_answer_select::{
    KeyingChoice, choose_formats, choose_line, is_ice_mismatch, peer_addresses, peer_direction, ptime_for,
};
use crate::sdp::SessionDescription;
use crate::sdp_crypto::{CryptoLine, CryptoSuite, MasterKey};
use crate::sdp_ice::{IceAttributes, IcePassword};
use crate::sdp_media::{Direction, MediaDescription, Protocol};
use crate::sdp_security::{Fingerprint, Setup};

/// One call's negotiation. [`answer`](Self::answer) takes an offer of the peer; [`offer`](Self::offer) makes ours, which
/// [`on_answer`](Self::on_answer) or [`on_offer_failed`](Self::on_offer_failed) ends. A refusal changes nothing.
pub struct OfferAnswer {
    capabilities: Capabilities,
    rng: ChaCha20Rng,
    session_id: u64,
    /// The highest that we wrote.
    version: u64,
    /// What we last put on the wire, offer or answer.
    last_local: Option<SessionDescription>,
    agreed: Option<Agreed>,
    /// Our offer under way, with the state before it.
    pending: Option<Pending>,
    /// Our last offer, whose answer may be followed by another one: of a fork, or after early media.
    answered: Option<Pending>,
    payload_types: PayloadTypes,
    /// Our SDES keys so far, one per suite, so that a re-offer does not reset a stream.
    sdes_keys: Vec<(CryptoSuite, MasterKey)>,
    ice_controlling: Option<bool>,
}

/// What the last complete exchange left.
#[derive(Clone)]
struct Agreed {
    /// Position of the voice among the m= lines.
    index: usize,
    remote: SessionDescription,
    media: Media,
}

struct Pending {
    offer: SessionDescription,
    index: usize,
    direction: Direction,
    local: Local,
    before: Option<SessionDescription>,
}

/// What an offer asks of our side before it can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Review {
    pub ice: IceReview,
    /// The family of the voice's address: answer from one of the same. Absent when it names none.
    pub wants_ipv6: Option<bool>,
    /// The same description as agreed before: a session refresh.
    pub unchanged: bool,
}

/// What an offer means for the ICE agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceReview {
    /// The peer does not speak ICE.
    Absent,
    /// First description with ICE.
    Begins,
    /// Same credentials: the agent goes on.
    Continues,
    /// New credentials: answer with new ones (RFC 8839 section 4.4.1.1.1).
    Restarts,
}

impl OfferAnswer {
    /// `seed` comes from the operating system (from the test in tests): keys and the session id are drawn from it.
    pub fn new(capabilities: Capabilities, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        // Some peers read it into 63 bits.
        let session_id = rng.next_u64() >> 2;
        Self {
            capabilities,
            rng,
            session_id,
            version: 0,
            last_local: None,
            agreed: None,
            pending: None,
            answered: None,
            payload_types: PayloadTypes::default(),
            sdes_keys: Vec::new(),
            ice_controlling: None,
        }
    }

    /// Looks at an offer without answering it, so that addresses, candidates and an agent can be made ready.
    pub fn review(&self, offer: &SessionDescription) -> Review {
        let line = choose_line(offer, &self.capabilities).ok();
        let line = line.map(|choice| choice.media).or(offer.media.iter().find(|media| media.is_audio()));
        let before = self.agreed.as_ref().and_then(|agreed| agreed.media.ice.as_ref());
        let ice = match (line.and_then(|line| offer.ice_credentials_of(line)), before) {
            (None, _) => IceReview::Absent,
            (Some(_), None) => IceReview::Begins,
            (Some((fragment, password)), Some(before)) if before.has_credentials(fragment, password) => {
                IceReview::Continues
            }
            (Some(_), Some(_)) => IceReview::Restarts,
        };
        let address = line.and_then(|line| offer.connection_of(line)).and_then(|address| address.ip());
        let wants_ipv6 = address.filter(|address| !address.is_unspecified()).map(|address| address.is_ipv6());
        let unchanged = self.agreed.as_ref().is_some_and(|agreed| agreed.remote == *offer);
        Review { ice, wants_ipv6, unchanged }
    }

    /// Answers the peer's offer: the agreed media and the answer's text.
    ///
    /// # Errors
    /// [`Refusal`], the peer's fault: answer 488. A re-offer refused leaves the call as it was.
    pub fn answer(&mut self, offer: &SessionDescription, local: &Local) -> Result<(Media, String), Refusal> {
        let choice = match choose_line(offer, &self.capabilities) {
            Ok(choice) => choice,
            Err(Refusal::NoAudio) => return self.answer_removal(offer, local).ok_or(Refusal::NoAudio),
            Err(refusal) => return Err(refusal),
        };
        let ice_offered = offer.ice_credentials_of(choice.media).is_some() && local.ice.is_some();
        let ice_mismatch = ice_offered && is_ice_mismatch(offer, choice.media);
        let with_ice = ice_offered && !ice_mismatch;
        let (remote_rtp, remote_rtcp) = peer_addresses(offer, choice.media, local, with_ice)?;

        let rtcp_mux = choice.media.rtcp_mux && self.capabilities.rtcp_mux;
        let direction = peer_direction(offer, choice.media).reversed().intersection(local.direction);
        let formats = choice.formats;
        let (keying, key_line) = self.answer_keying(offer, choice.media, choice.keying);
        let media = Media {
            codec: formats.codec,
            payload_type: PayloadType::both(formats.payload_type),
            telephone_event: formats.telephone_event.map(PayloadType::both),
            comfort_noise: formats.comfort_noise.map(PayloadType::both),
            direction,
            ptime_ms: ptime_for(choice.media, &self.capabilities),
            remote_rtp,
            remote_rtcp: if rtcp_mux { remote_rtp } else { remote_rtcp },
            rtcp_mux,
            keying,
            ice: if with_ice { self.remote_ice(offer, choice.media, false) } else { None },
            ice_mismatch,
        };
        self.payload_types.learn(choice.media, &media);

        let protocol = match (&choice.media.protocol, &media.keying) {
            // Lync takes the protected profile in the answer as consent.
            (Protocol::Avp, Keying::Sdes(_)) if choice.media.microsoft => Protocol::Savp,
            (protocol, _) => protocol.clone(),
        };
        let mut line =
            audio_line(protocol, local, direction, &self.payload_types, &[media.codec], &media_companions(&media));
        line.ptime_ms = Some(media.ptime_ms);
        line.rtcp_mux = rtcp_mux;
        line.crypto.extend(key_line);
        if let Keying::Dtls(parameters) = &media.keying {
            line.fingerprints = self.capabilities.dtls.clone();
            line.setup = Some(if parameters.role == DtlsRole::Client { Setup::Active } else { Setup::Passive });
        }
        line.ice = match &local.ice {
            Some(ice) if with_ice => ice.attributes(),
            _ => IceAttributes { mismatch: ice_mismatch, ..IceAttributes::default() },
        };
        let mut lines: Vec<_> = offer.media.iter().map(MediaDescription::refused).collect();
        lines[choice.index] = line;
        self.agreed = Some(Agreed { index: choice.index, remote: offer.clone(), media: media.clone() });
        self.answered = None;
        Ok((media, self.write(local, lines)))
    }

    /// Our offer: the first of a call whose INVITE came without, or went out; or a re-offer, which keeps the m= lines.
    pub fn offer(&mut self, local: &Local) -> String {
        let mut codecs = self.capabilities.codecs.clone();
        if let Some(agreed) = &self.agreed {
            codecs.sort_by_key(|codec| *codec != agreed.media.codec);
        }
        let protocol = self.offer_protocol();
        let companions = (self.capabilities.telephone_event, self.capabilities.comfort_noise);
        let mut line = audio_line(protocol.clone(), local, local.direction, &self.payload_types, &codecs, &companions);
        line.ptime_ms = Some(self.capabilities.ptime_ms);
        line.rtcp_mux = self.capabilities.rtcp_mux;
        if let Some(ice) = &local.ice {
            line.ice = ice.attributes();
        }
        match self.offer_keying() {
            OfferKeying::Plain => {}
            OfferKeying::Sdes | OfferKeying::SdesOptional => line.crypto = self.offer_crypto(),
            OfferKeying::Dtls => {
                line.fingerprints = self.capabilities.dtls.clone();
                line.setup = Some(Setup::ActPass);
            }
        }
        let (index, mut lines) = match &self.agreed {
            Some(agreed) => (agreed.index, agreed.remote.media.iter().map(MediaDescription::refused).collect()),
            None => (0, vec![line.clone()]),
        };
        lines[index] = line;
        let before = self.last_local.clone();
        let text = self.write(local, lines);
        if let Some(offer) = self.last_local.clone() {
            self.pending = Some(Pending { offer, index, direction: local.direction, local: local.clone(), before });
        }
        text
    }

    /// The peer's answer to our offer. Another one may follow and replaces it: what early media promised, or a fork.
    ///
    /// # Errors
    /// [`Refusal`], the peer's fault: the exchange failed, and a new call with it; a running call stays as it was.
    pub fn on_answer(&mut self, answer: &SessionDescription) -> Result<Media, Refusal> {
        let again = self.pending.is_none();
        let pending = self.pending.take().or(self.answered.take()).ok_or(Refusal::NothingOffered)?;
        let agreed = self.agree_to_answer(&pending, answer);
        match &agreed {
            Ok(media) => {
                self.agreed = Some(Agreed { index: pending.index, remote: answer.clone(), media: media.clone() });
                self.answered = Some(pending);
            }
            Err(_) if again => self.answered = Some(pending),
            Err(_) => self.last_local = pending.before,
        }
        agreed
    }

    /// Our offer was refused, or the request that carried it failed: back to what was agreed before.
    pub fn on_offer_failed(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.last_local = pending.before;
        }
    }

    /// An offer of ours waits for its answer: one of the peer's meanwhile is glare (491).
    pub fn is_offering(&self) -> bool {
        self.pending.is_some()
    }

    /// The outcome of the last complete exchange.
    pub fn media(&self) -> Option<&Media> {
        self.agreed.as_ref().map(|agreed| &agreed.media)
    }

    fn agree_to_answer(&mut self, pending: &Pending, answer: &SessionDescription) -> Result<Media, Refusal> {
        let ours = pending.offer.media.get(pending.index).ok_or(Refusal::AnswerUnfit)?;
        let theirs = answer.media.get(pending.index).ok_or(Refusal::AnswerUnfit)?;
        if !theirs.is_audio() {
            return Err(Refusal::AnswerUnfit);
        }
        if theirs.port == 0 {
            return Err(Refusal::NoAudio);
        }
        let formats = choose_formats(theirs, &self.capabilities)?;
        let keying = self.answered_keying(ours, answer, theirs)?;
        let ice_answered = answer.ice_credentials_of(theirs).is_some() && pending.local.ice.is_some();
        let ice_mismatch =
            theirs.ice.mismatch || answer.ice.mismatch || (ice_answered && is_ice_mismatch(answer, theirs));
        let with_ice = ice_answered && !ice_mismatch;
        let (remote_rtp, remote_rtcp) = peer_addresses(answer, theirs, &pending.local, with_ice)?;
        let rtcp_mux = theirs.rtcp_mux && ours.rtcp_mux;
        let types = &self.payload_types;
        let pair = |send, receive| PayloadType { send, receive };
        Ok(Media {
            codec: formats.codec,
            payload_type: pair(formats.payload_type, types.of_codec(formats.codec)),
            telephone_event: formats.telephone_event.map(|send| pair(send, types.telephone_event())),
            comfort_noise: formats.comfort_noise.map(|send| pair(send, types.comfort_noise())),
            direction: peer_direction(answer, theirs).reversed().intersection(pending.direction),
            ptime_ms: ptime_for(theirs, &self.capabilities),
            remote_rtp,
            remote_rtcp: if rtcp_mux { remote_rtp } else { remote_rtcp },
            rtcp_mux,
            keying,
            ice: if with_ice { self.remote_ice(answer, theirs, true) } else { None },
            ice_mismatch,
        })
    }

    /// What the answer to our line means for its protection.
    fn answered_keying(
        &self,
        ours: &MediaDescription,
        answer: &SessionDescription,
        theirs: &MediaDescription,
    ) -> Result<Keying, Refusal> {
        // RFC 4568 section 5.1.3: the answer repeats tag and suite of the line it takes.
        for line in &theirs.crypto {
            let same = |offered: &&CryptoLine| offered.tag == line.tag && offered.suite == line.suite;
            if let Some(offered) = ours.crypto.iter().find(same).filter(|_| line.mki.is_none()) {
                let (local, remote) = (offered.key.clone(), line.key.clone());
                return Ok(Keying::Sdes(SdesKeys { suite: line.suite, local, remote }));
            }
        }
        let fingerprints = answer.fingerprints_of(theirs);
        if !ours.fingerprints.is_empty() && !fingerprints.is_empty() {
            let role = match answer.setup_of(theirs) {
                Some(Setup::Active) => DtlsRole::Server,
                Some(Setup::Passive) => DtlsRole::Client,
                // Missing, or left open by a peer that should have chosen: RFC 4145 section 4 has passive as the
                // answerer's default when the offerer is active.
                Some(Setup::ActPass) | None => DtlsRole::Client,
                Some(Setup::HoldConn) => return Err(Refusal::NoKeying),
            };
            return Ok(Keying::Dtls(DtlsParameters { role, fingerprints: fingerprints.to_vec() }));
        }
        let plain = |protocol: &Protocol| matches!(protocol, Protocol::Avp | Protocol::Avpf);
        match self.capabilities.security {
            Security::SrtpRequired => Err(Refusal::SrtpRequired),
            _ if plain(&ours.protocol) && plain(&theirs.protocol) => Ok(Keying::Plain),
            _ => Err(Refusal::NoKeying),
        }
    }

    fn answer_keying(
        &mut self,
        offer: &SessionDescription,
        media: &MediaDescription,
        choice: KeyingChoice<'_>,
    ) -> (Keying, Option<CryptoLine>) {
        match choice {
            KeyingChoice::Plain => (Keying::Plain, None),
            KeyingChoice::Sdes(offered) => {
                let local = self.sdes_key(offered.suite);
                // Some of Lync's kin read no key without a lifetime, and some phones none with.
                let lifetime = media.microsoft.then(|| "2^31".into());
                let line =
                    CryptoLine { tag: offered.tag, suite: offered.suite, key: local.clone(), lifetime, mki: None };
                (Keying::Sdes(SdesKeys { suite: offered.suite, local, remote: offered.key.clone() }), Some(line))
            }
            KeyingChoice::Dtls => {
                let fingerprints = offer.fingerprints_of(media).to_vec();
                let role = match offer.setup_of(media) {
                    Some(Setup::Active) => DtlsRole::Server,
                    Some(Setup::Passive) => DtlsRole::Client,
                    _ => self.dtls_role_with(&fingerprints).unwrap_or(DtlsRole::Client),
                };
                (Keying::Dtls(DtlsParameters { role, fingerprints }), None)
            }
        }
    }

    /// Our role in the running association with the holder of this certificate: a re-offer keeps it (RFC 8842 section 5.5).
    fn dtls_role_with(&self, fingerprints: &[Fingerprint]) -> Option<DtlsRole> {
        match &self.agreed.as_ref()?.media.keying {
            Keying::Dtls(running) if running.fingerprints == fingerprints => Some(running.role),
            _ => None,
        }
    }

    fn sdes_key(&mut self, suite: CryptoSuite) -> MasterKey {
        if let Some((_, key)) = self.sdes_keys.iter().find(|(known, _)| *known == suite) {
            return key.clone();
        }
        let key = MasterKey::of_suite(suite, |bytes| self.rng.fill_bytes(bytes));
        self.sdes_keys.push((suite, key.clone()));
        key
    }

    /// A line per suite of ours, the running one first.
    fn offer_crypto(&mut self) -> Vec<CryptoLine> {
        let mut suites = self.capabilities.sdes.clone();
        if let Some(Keying::Sdes(keys)) = self.agreed.as_ref().map(|agreed| &agreed.media.keying) {
            suites.sort_by_key(|suite| *suite != keys.suite);
        }
        let lines = suites.into_iter().zip(1..).map(|(suite, tag)| CryptoLine {
            tag,
            suite,
            key: self.sdes_key(suite),
            lifetime: None,
            mki: None,
        });
        lines.collect()
    }

    /// A re-offer keeps the keying of the call.
    fn offer_keying(&self) -> OfferKeying {
        match self.agreed.as_ref().map(|agreed| (&agreed.media.keying, self.agreed_protocol())) {
            None => self.capabilities.offer,
            Some((Keying::Plain, _)) => OfferKeying::Plain,
            Some((Keying::Dtls(_), _)) => OfferKeying::Dtls,
            Some((Keying::Sdes(_), Some(Protocol::Avp | Protocol::Avpf))) => OfferKeying::SdesOptional,
            Some((Keying::Sdes(_), _)) => OfferKeying::Sdes,
        }
    }

    fn offer_protocol(&self) -> Protocol {
        self.agreed_protocol().cloned().unwrap_or(match self.capabilities.offer {
            OfferKeying::Plain | OfferKeying::SdesOptional => Protocol::Avp,
            OfferKeying::Sdes => Protocol::Savp,
            OfferKeying::Dtls => Protocol::DtlsSavp,
        })
    }

    /// The protocol that we last wrote for the voice.
    fn agreed_protocol(&self) -> Option<&Protocol> {
        let index = self.agreed.as_ref()?.index;
        self.last_local.as_ref()?.media.get(index).map(|line| &line.protocol)
    }

    fn remote_ice(
        &mut self,
        description: &SessionDescription,
        media: &MediaDescription,
        we_offered: bool,
    ) -> Option<RemoteIce> {
        let (user_fragment, password) = description.ice_credentials_of(media)?;
        let before = self.agreed.as_ref().and_then(|agreed| agreed.media.ice.as_ref());
        let restarted = before.is_some_and(|before| !before.has_credentials(user_fragment, password));
        let lite = description.ice.lite || media.ice.lite;
        // RFC 8445 section 6.1.1: the full agent controls a lite one, else who offered first; kept afterwards.
        let controlling = *self.ice_controlling.get_or_insert(lite || we_offered);
        let options = if media.ice.options.is_empty() { &description.ice.options } else { &media.ice.options };
        Some(RemoteIce {
            user_fragment: user_fragment.into(),
            password: IcePassword(password.into()),
            lite,
            options: options.clone(),
            candidates: media.ice.candidates.clone(),
            remote_candidates: media.ice.remote_candidates.clone(),
            restarted,
            controlling,
        })
    }

    /// Answers a re-offer that switches the voice off without putting anything in its place; `None` for any other.
    fn answer_removal(&mut self, offer: &SessionDescription, local: &Local) -> Option<(Media, String)> {
        let agreed = self.agreed.as_mut().filter(|_| offer.media.iter().all(|media| media.port == 0))?;
        agreed.media.direction = Direction::Inactive;
        agreed.remote = offer.clone();
        let media = agreed.media.clone();
        let lines = offer.media.iter().map(MediaDescription::refused).collect();
        Some((media, self.write(local, lines)))
    }

    /// Puts a description of ours together; its version grows when anything changed (RFC 3264 section 8).
    fn write(&mut self, local: &Local, lines: Vec<MediaDescription>) -> String {
        let mut description = session(self.session_id, self.version, local, lines);
        match &self.last_local {
            Some(last) if same_but_for_version(last, &description) => description.origin.version = last.origin.version,
            _ => {
                self.version += 1;
                description.origin.version = self.version;
            }
        }
        let text = description.encode();
        self.last_local = Some(description);
        text
    }
}

fn media_companions(media: &Media) -> (bool, bool) {
    (media.telephone_event.is_some(), media.comfort_noise.is_some())
}

impl RemoteIce {
    fn has_credentials(&self, user_fragment: &str, password: &str) -> bool {
        self.user_fragment == user_fragment && self.password.0 == password
    }
}

impl PayloadType {
    fn both(number: u8) -> Self {
        Self { send: number, receive: number }
    }
}

impl Codec {
    /// Every codec, best sound first.
    pub const ALL: [Self; 3] = [Self::G722, Self::Pcma, Self::Pcmu];
}
