//! A phone: calls, speaks, presses keys, listens, hangs up. Signalling by the user agent, media by the worker's threads,
//! which know nothing of who answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use postern_ice::candidate::{Component, Kind};
use postern_ice::io::{EdgeServer, LocalSocket, PairInfo, Role, Settings};
use postern_ice::sdp::Description;
use postern_media::digit::Digit;
use postern_media::dtls::DtlsIdentity;
use postern_media::event::Event as StreamEvent;
use postern_media::session::{Options, Session};
use postern_sip::offer_answer::OfferAnswer;
use postern_sip::offer_answer_capabilities::{Capabilities, Codec, Local, LocalIce, OfferKeying};
use postern_sip::offer_answer_media::Media as Agreed;
use postern_sip::sdp::SessionDescription;
use postern_sip::sdp_ice::IceCandidate;
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::{CallHandle, EndCause, Invite};
use postern_sip::user_agent_options::UserAgentOptions;
use postern_sip::{CallEvent, NameAddr, Uri, UserAgent};
use postern_transport::{Transport, TransportOptions};
use postern_worker::agreement;
use postern_worker::media::{Command, Media, MediaCall, MediaEvent, Opening, Recording};
use postern_worker::ports::PortPool;
use tokio::sync::mpsc;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Nothing takes longer on a machine that is not ill.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a phone behaves.
pub struct Manner {
    pub codec: Codec,
    pub keying: OfferKeying,
    pub direction: Direction,
    /// Where its media comes from.
    pub host: IpAddr,
    /// Where it says that its media is, if that is not so.
    pub claims: Option<IpAddr>,
    pub ice: Ice,
    /// What it makes of the agreement; without one it neither sends nor takes media.
    pub bend: fn(Session) -> Option<Session>,
}

/// How a phone does ICE.
pub enum Ice {
    Not,
    /// It tells candidates, and answers nothing.
    Deaf,
    /// By its own address.
    Host,
    /// By relays of its own alone.
    Relayed(Vec<EdgeServer>),
}

impl Manner {
    pub fn new(codec: Codec, keying: OfferKeying) -> Self {
        Self { codec, keying, direction: Direction::SendRecv, host: HOST, claims: None, ice: Ice::Not, bend: Some }
    }
}

pub struct Phone {
    transport: Transport,
    agent: UserAgent,
    pub call: CallHandle,
    media: MediaCall,
    events: mpsc::Receiver<MediaEvent>,
    pieces: mpsc::Receiver<Vec<i16>>,
    /// All that was heard since the answer, at 8 kHz.
    pub heard: Vec<i16>,
    pub ended: Option<EndCause>,
    /// The way of RTP, once ICE has chosen it: the last pair, and how often it changed.
    pub pair: Option<PairInfo>,
    pub pairs: usize,
    /// Offers of the worker's that were answered.
    pub answered_offers: usize,
    negotiation: OfferAnswer,
    local: Local,
    identity: Arc<DtlsIdentity>,
    bend: fn(Session) -> Option<Session>,
    has_agent: bool,
    servers: Vec<EdgeServer>,
    owed: Option<SessionDescription>,
    _threads: Media,
}

fn identity() -> Arc<DtlsIdentity> {
    let made = rcgen::generate_simple_self_signed(["phone".to_owned()]).unwrap();
    Arc::new(DtlsIdentity::new(made.cert.der().to_vec(), &made.signing_key.serialize_der()).unwrap())
}

impl Phone {
    /// Calls `uri` as `from`, with one codec and one way to key the media, and waits for the answer.
    pub async fn call(from: &str, uri: &str, codec: Codec, keying: OfferKeying) -> Result<Self, EndCause> {
        Self::dial(from, uri, Manner::new(codec, keying)).await
    }

    /// As [`call`](Self::call), in this manner.
    pub async fn dial(from: &str, uri: &str, manner: Manner) -> Result<Self, EndCause> {
        let identity = identity();
        let capabilities = Capabilities {
            offer: manner.keying,
            ..agreement::capabilities(&[manner.codec], postern_dialplan::Security::Unsecured, false, &identity)
        };
        let mut negotiation = OfferAnswer::new(capabilities, seed());
        let pair = PortPool::new(42_000, 43_999, Duration::ZERO).lease(manner.host).unwrap();
        let [mut rtp, mut rtcp] = [pair.rtp.local_addr(), pair.rtcp.local_addr()];
        let threads = Media::start(1).unwrap();
        let sockets = vec![(Component::RTP, pair.rtp), (Component::RTCP, pair.rtcp)];
        let local = |component, address| LocalSocket { component, address };
        let servers = if let Ice::Relayed(servers) = &manner.ice { servers.clone() } else { Vec::new() };
        let has_agent = matches!(manner.ice, Ice::Host | Ice::Relayed(_));
        let settings = has_agent.then(|| Settings {
            role: Role::Controlling,
            mux: false,
            sockets: vec![local(Component::RTP, rtp), local(Component::RTCP, rtcp)],
            stun_servers: Vec::new(),
            edges: servers.clone(),
            relay_only: !servers.is_empty(),
        });
        let opening = Opening { sockets, leases: vec![pair.lease], ice: settings, seed: seed() };
        let (media, mut events) = threads.open(opening).unwrap();
        let ice = match &manner.ice {
            Ice::Not => None,
            Ice::Deaf => Some(deaf([rtp, rtcp])),
            Ice::Host | Ice::Relayed(_) => {
                let described = gathered(&mut events).await;
                let wanted = if servers.is_empty() { Kind::Host } else { Kind::Relayed };
                assert!(described.candidates.iter().all(|candidate| candidate.kind == wanted));
                (rtp, rtcp) =
                    (described.default_of(Component::RTP).unwrap(), described.default_of(Component::RTCP).unwrap());
                Some(agreement::local_ice(&described))
            }
        };
        if let Some(claims) = manner.claims {
            rtp.set_ip(claims);
            rtcp.set_ip(claims);
        }
        let local = Local { rtp, rtcp, ice, direction: manner.direction };
        let offer = negotiation.offer(&local);
        let mut agent =
            UserAgent::new(UserAgentOptions { addresses: vec![HOST], ..UserAgentOptions::default() }, seed());
        let invite = Invite {
            credentials: None,
            uri: Uri::parse(uri).unwrap(),
            target: None,
            from: NameAddr::parse(from).unwrap(),
            to: None,
            offer: Some(offer),
            headers: Vec::new(),
            ring_time: PATIENCE,
            follow_redirects: true,
        };
        let call = agent.invite(invite, Instant::now()).unwrap();
        let (_, pieces) = mpsc::channel(1);
        let transport = Transport::bind(TransportOptions::default()).unwrap();
        let heard = Vec::new();
        let mut phone = Self {
            transport,
            agent,
            call,
            media,
            events,
            pieces,
            heard,
            ended: None,
            pair: None,
            pairs: 0,
            answered_offers: 0,
            negotiation,
            local,
            identity,
            bend: manner.bend,
            has_agent,
            servers,
            owed: None,
            _threads: threads,
        };
        let answer = phone.answer().await?;
        let agreed = phone.negotiation.on_answer(&answer).unwrap();
        phone.agree(&agreed);
        let (sink, pieces) = mpsc::channel(4096);
        phone.pieces = pieces;
        let silence = Duration::from_secs(3600);
        phone.media.ask(Command::Record(Recording { sink, samples_max: u64::MAX, silence })).unwrap();
        Ok(phone)
    }

    /// Answers a call that came to this agent, with plain media at `host`.
    pub async fn answering(
        transport: Transport,
        mut agent: UserAgent,
        call: CallHandle,
        offer: &SessionDescription,
        host: IpAddr,
    ) -> Self {
        let identity = identity();
        let capabilities =
            agreement::capabilities(&[Codec::Pcmu], postern_dialplan::Security::Unsecured, false, &identity);
        let mut negotiation = OfferAnswer::new(capabilities, seed());
        let pair = PortPool::new(42_000, 43_999, Duration::ZERO).lease(host).unwrap();
        let local = Local {
            rtp: pair.rtp.local_addr(),
            rtcp: pair.rtcp.local_addr(),
            ice: None,
            direction: Direction::SendRecv,
        };
        let threads = Media::start(1).unwrap();
        let sockets = vec![(Component::RTP, pair.rtp), (Component::RTCP, pair.rtcp)];
        let (media, events) =
            threads.open(Opening { sockets, leases: vec![pair.lease], ice: None, seed: seed() }).unwrap();
        let (agreed, text) = negotiation.answer(offer, &local).unwrap();
        agent.answer(call, &text, Instant::now()).unwrap();
        let (sink, pieces) = mpsc::channel(4096);
        let mut phone = Self {
            transport,
            agent,
            call,
            media,
            events,
            pieces,
            heard: Vec::new(),
            ended: None,
            pair: None,
            pairs: 0,
            answered_offers: 0,
            negotiation,
            local,
            identity,
            bend: Some,
            has_agent: false,
            servers: Vec::new(),
            owed: None,
            _threads: threads,
        };
        phone.agree(&agreed);
        let silence = Duration::from_secs(3600);
        phone.media.ask(Command::Record(Recording { sink, samples_max: u64::MAX, silence })).unwrap();
        phone.established().await;
        phone
    }

    /// Waits until the caller has acknowledged the answer.
    async fn established(&mut self) {
        let begun = Instant::now();
        loop {
            while let Some(event) = self.agent.poll_event() {
                if matches!(event, CallEvent::Established { .. }) {
                    return;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "the answer is acknowledged");
            let _ = tokio::time::timeout(Duration::from_millis(100), self.transport.drive(&mut self.agent)).await;
        }
    }

    fn agree(&self, agreed: &Agreed) {
        if let (Some(ice), true) = (&agreed.ice, self.has_agent) {
            self.media.ask(Command::Remote(Box::new(agreement::remote_ice(ice, agreed)))).unwrap();
        }
        let session = agreement::session(agreed, &self.identity, None, None).unwrap();
        let Some(session) = (self.bend)(session) else { return };
        let origin = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let options = Options { pcm_rate: Some(8_000), ..Options::new(seed(), origin, "phone") };
        self.media.ask(Command::Agree(Box::new(options), Box::new(session))).unwrap();
    }

    /// ICE has gathered again: the worker's offer can be answered.
    fn on_gathered(&mut self, described: &Description) {
        let Some(offer) = self.owed.take() else { return };
        let rtp = described.default_of(Component::RTP).unwrap();
        self.local = Local {
            rtp,
            // Where RTCP shares RTP's flow, its own relay is given back.
            rtcp: described.default_of(Component::RTCP).unwrap_or(rtp),
            ice: Some(agreement::local_ice(described)),
            direction: self.local.direction,
        };
        let (agreed, text) = self.negotiation.answer(&offer, &self.local).unwrap();
        self.agree(&agreed);
        self.agent.answer_offer(self.call, &text, Instant::now()).unwrap();
        self.answered_offers += 1;
    }

    async fn answer(&mut self) -> Result<postern_sip::sdp::SessionDescription, EndCause> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "the call is answered or refused");
            let _ = tokio::time::timeout(PATIENCE, self.transport.drive(&mut self.agent)).await;
            while let Some(event) = self.agent.poll_event() {
                match event {
                    CallEvent::Answer { answer, .. } => return Ok(answer),
                    CallEvent::Ended { cause, .. } => return Err(cause),
                    _ => {}
                }
            }
        }
    }

    /// Goes on for a while: listens, answers what signalling asks. Returns when `until` finds what it waits for.
    pub async fn listen(&mut self, what: &str, mut until: impl FnMut(&Heard<'_>) -> bool) {
        let begun = Instant::now();
        let mut finished = Vec::new();
        while !until(&Heard { pcm: &self.heard, finished: &finished, ended: self.ended.as_ref() }) {
            assert!(begun.elapsed() < PATIENCE, "{what}, but not within {PATIENCE:?}");
            tokio::select! {
                () = self.transport.drive(&mut self.agent) => self.take_events(),
                Some(piece) = self.pieces.recv() => self.heard.extend(piece),
                Some(event) = self.events.recv() => match event {
                    MediaEvent::PlaybackFinished(playback) => finished.push(playback),
                    MediaEvent::Gathered(described) => self.on_gathered(&described),
                    MediaEvent::PairSelected(Component::RTP, pair) => {
                        self.pair = Some(*pair);
                        self.pairs += 1;
                    }
                    MediaEvent::Stream(StreamEvent::DtlsFailed(why)) => panic!("DTLS: {why:?}"),
                    _ => {}
                },
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                CallEvent::Bye { call, .. } => self.agent.confirm_bye(call, Instant::now()).unwrap(),
                CallEvent::Ended { cause, .. } => self.ended = Some(cause),
                CallEvent::Offer { offer, .. } => {
                    self.media.ask(Command::RestartIce(self.servers.clone())).unwrap();
                    self.owed = Some(offer);
                }
                _ => {}
            }
        }
    }

    /// Says this, and waits until it was said.
    pub async fn say(&mut self, pcm: &[i16]) {
        self.media.ask(Command::Play { playback: 1, pieces: vec![pcm.into()], more: false }).unwrap();
        self.listen("all is said", |heard| heard.finished.contains(&1)).await;
    }

    /// Presses keys, one after the other.
    pub async fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            let digit = Digit::from_char(key).unwrap();
            self.media.ask(Command::SendDigit(digit, Duration::from_millis(100))).unwrap();
            self.wait(Duration::from_millis(250)).await;
        }
    }

    pub async fn wait(&mut self, time: Duration) {
        let begun = Instant::now();
        self.listen("time passes", |_| begun.elapsed() >= time).await;
    }

    /// Waits for the tone after which a caller speaks, and its end.
    pub async fn wait_for_tone(&mut self) {
        self.listen("the tone comes and ends", |heard| heard.tone_has_ended()).await;
    }

    /// Hangs up and waits for the answer to the BYE.
    pub async fn hang_up(mut self) {
        self.agent.hang_up(self.call, None, Instant::now()).unwrap();
        // The BYE leaves by driving; its answer is what says that the message is safe.
        let begun = Instant::now();
        while self.agent.calls() > 0 && begun.elapsed() < Duration::from_secs(5) {
            let _ = tokio::time::timeout(Duration::from_millis(100), self.transport.drive(&mut self.agent)).await;
        }
        assert_eq!(self.agent.calls(), 0, "the BYE is answered");
    }
}

/// What a listener knows.
pub struct Heard<'a> {
    pub pcm: &'a [i16],
    pub finished: &'a [u32],
    pub ended: Option<&'a EndCause>,
}

impl Heard<'_> {
    /// Whether 425 Hz sounded for at least 300 ms, and 100 ms without followed.
    fn tone_has_ended(&self) -> bool {
        let windows: Vec<bool> = self.pcm.chunks_exact(160).map(is_tone).collect();
        windows
            .windows(20)
            .any(|windows| windows[..15].iter().all(|tone| *tone) && windows[15..].iter().all(|tone| !tone))
            || windows.windows(32).any(|windows| {
                windows[..15].iter().filter(|tone| **tone).count() >= 14 && windows[27..].iter().all(|tone| !tone)
            })
    }
}

/// Goertzel's: most of the power of 20 ms lies at 425 Hz.
fn is_tone(pcm: &[i16]) -> bool {
    let turn = std::f64::consts::TAU * 425.0 / 8000.0;
    let (mut one, mut two, mut power) = (0.0, 0.0, 0.0);
    for sample in pcm {
        let sample = f64::from(*sample);
        let next = sample + 2.0 * turn.cos() * one - two;
        (two, one) = (one, next);
        power += sample * sample;
    }
    let at = one * one + two * two - 2.0 * turn.cos() * one * two;
    power > 1e6 && at / (power * pcm.len() as f64 / 2.0) > 0.7
}

/// The description of an agent that is not there.
fn deaf(places: [SocketAddr; 2]) -> LocalIce {
    let candidate = |component: usize, at: SocketAddr| {
        let text = format!("1 {component} UDP {} {} {} typ host", 2_130_706_432 - component, at.ip(), at.port());
        IceCandidate::parse(&text).unwrap()
    };
    LocalIce {
        user_fragment: "deaf".into(),
        password: "nobody-listens-behind-this".into(),
        candidates: places.into_iter().enumerate().map(|(place, at)| candidate(place + 1, at)).collect(),
        remote_candidates: Vec::new(),
    }
}

async fn gathered(events: &mut mpsc::Receiver<MediaEvent>) -> Description {
    let gathered = async {
        loop {
            if let MediaEvent::Gathered(described) = events.recv().await.unwrap() {
                return *described;
            }
        }
    };
    tokio::time::timeout(PATIENCE, gathered).await.unwrap()
}

pub fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    seed
}
