//! The media of a phone: sockets, a relay of the edge, and what comes and goes by it. The threads are the worker's, which
//! know nothing of who calls whom.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use postern_ice::candidate::{Component, Kind};
use postern_ice::io::{LocalSocket, PairInfo, Role, Settings};
use postern_ice::sdp::Description;
use postern_media::digit::Digit;
use postern_media::dtls::DtlsIdentity;
use postern_media::event::Event as StreamEvent;
use postern_media::session::Options;
use postern_sip::offer_answer_media::Media as Agreed;
use postern_worker::agreement;
use postern_worker::edges::Edges;
use postern_worker::media::{Command, Media, MediaCall, MediaEvent, Opening, Recording};
use postern_worker::ports::PortPool;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::phone::seed;
use crate::phone_sound::{RATE_HZ, Sound};

/// Ports of phones: apart from the workers' and the edge's, and below those that Linux hands out by itself.
const PORTS: (u16, u16) = (22_000, 22_999);

/// How long a token and a relay may take.
const RELAY_TIME: Duration = Duration::from_secs(5);

/// How long a key sounds.
const DIGIT_TIME: Duration = Duration::from_millis(100);

/// Pieces of what is heard, 100 ms each, that wait to be taken.
const PIECES_MAX: usize = 1024;

/// Nobody speaks longer than that at once, in samples.
const HEARD_MAX: u64 = RATE_HZ as u64 * 300;

/// By which way RTP goes.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// Our end, at the edge.
    pub relay: SocketAddr,
    /// The other end, and of which kind it is.
    pub peer: SocketAddr,
    pub peer_kind: &'static str,
}

pub(crate) struct PhoneMedia {
    call: MediaCall,
    events: mpsc::Receiver<MediaEvent>,
    /// Absent until an answer was agreed on.
    pieces: Option<mpsc::Receiver<Vec<i16>>>,
    heard: Sound,
    description: Description,
    relays: Vec<SocketAddr>,
    selected: Option<Box<PairInfo>>,
    completed: bool,
    playback: u32,
    played: u32,
    /// What went wrong, in the order in which it did.
    faults: Vec<String>,
    /// When the first packet of audio was taken.
    audio_began: Option<Instant>,
    _threads: Media,
}

impl PhoneMedia {
    /// Opens sockets and takes relays for them, under a token of `name`; no other candidate is told.
    ///
    /// # Errors
    /// No token, no socket, no relay in time.
    pub(crate) async fn open(host: IpAddr, edges: &Edges, name: &str) -> Result<Self> {
        let servers = servers(edges, name).await?;
        let pool = PortPool::new(PORTS.0, PORTS.1, Duration::ZERO);
        let pair = pool.lease(host).map_err(|_| anyhow!("no free pair of ports in {}-{}", PORTS.0, PORTS.1))?;
        let local = |component, address| LocalSocket { component, address };
        let settings = Settings {
            // RFC 8445 section 6.1.1: the offerer controls.
            role: Role::Controlling,
            mux: false,
            sockets: vec![local(Component::RTP, pair.rtp.local_addr()), local(Component::RTCP, pair.rtcp.local_addr())],
            stun_servers: Vec::new(),
            edges: servers,
            relay_only: true,
        };
        let opening = Opening {
            sockets: vec![(Component::RTP, pair.rtp), (Component::RTCP, pair.rtcp)],
            leases: vec![pair.lease],
            ice: Some(settings),
            seed: seed()?,
        };
        let threads = Media::start(1).context("no thread for media")?;
        let (call, mut events) = threads.open(opening)?;
        let (description, faults) = gathered(&mut events).await?;
        let of = |component: Component| {
            let candidates = description.candidates.iter().filter(move |candidate| candidate.component == component);
            candidates.filter(|candidate| candidate.kind == Kind::Relayed).map(|candidate| candidate.address).next()
        };
        let relays: Vec<SocketAddr> = [Component::RTP, Component::RTCP].into_iter().filter_map(of).collect();
        if relays.len() < 2 {
            bail!("the edge gave no relay: {}", faults.join("; "));
        }
        Ok(Self {
            call,
            events,
            pieces: None,
            heard: Sound::default(),
            description,
            relays,
            selected: None,
            completed: false,
            playback: 0,
            played: 0,
            faults,
            audio_began: None,
            _threads: threads,
        })
    }

    /// Our candidates.
    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// The relays of RTP and RTCP.
    pub(crate) fn relays(&self) -> &[SocketAddr] {
        &self.relays
    }

    /// Where media would go without ICE: the relays too.
    pub(crate) fn default_addresses(&self) -> (SocketAddr, SocketAddr) {
        let of = |component, at: usize| self.description.default_of(component).unwrap_or(self.relays[at]);
        (of(Component::RTP, 0), of(Component::RTCP, 1))
    }

    /// Takes up what the answer says, and listens from now on.
    ///
    /// # Errors
    /// An answer without ICE, or with keys that do not fit.
    pub(crate) fn agree(&mut self, agreed: &Agreed, identity: &Arc<DtlsIdentity>) -> Result<()> {
        let ice = agreed.ice.as_ref().context("the answer has no ICE, so that no relay can be used")?;
        let session = agreement::session(agreed, identity, None, None)?;
        let origin = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let options = Options { pcm_rate: Some(RATE_HZ), ..Options::new(seed()?, origin, "phone") };
        self.call.ask(Command::Agree(Box::new(options), Box::new(session)))?;
        self.call.ask(Command::Remote(Box::new(agreement::remote_ice(ice, agreed))))?;
        let (sink, pieces) = mpsc::channel(PIECES_MAX);
        self.pieces = Some(pieces);
        // Silence does not end listening.
        let silence = Duration::from_secs(3600);
        self.call.ask(Command::Record(Recording { sink, samples_max: HEARD_MAX, silence }))?;
        Ok(())
    }

    /// The pair of RTP, once every component has one; `None` until then.
    ///
    /// # Errors
    /// A pair whose local end is no relay.
    pub(crate) fn connected(&self) -> Result<Option<Relayed>> {
        let Some(pair) = self.selected.as_ref().filter(|_| self.completed) else { return Ok(None) };
        let (local, remote) = (&pair.local, &pair.remote);
        if local.kind != Kind::Relayed || pair.edge.is_none() {
            bail!("media goes from {} ({}), which is no relay", local.address, local.kind.name());
        }
        Ok(Some(Relayed { relay: local.address, peer: remote.address, peer_kind: remote.kind.name() }))
    }

    /// What was tried, for whoever asks why there is no way.
    pub(crate) fn tried(&self) -> String {
        let ours = self.description.candidates.iter().map(|candidate| format!("  offered {candidate}"));
        ours.chain(self.faults.iter().map(|fault| format!("  {fault}"))).collect::<Vec<_>>().join("\n")
    }

    /// When the first packet of audio was taken.
    pub(crate) fn audio_began(&self) -> Option<Instant> {
        self.audio_began
    }

    pub(crate) fn heard(&self) -> &Sound {
        &self.heard
    }

    /// Begins to say this, 8 kHz. What it answers tells [`is_played`](Self::is_played) which.
    ///
    /// # Errors
    /// The thread does not keep up.
    pub(crate) fn play(&mut self, pcm: &[i16]) -> Result<u32> {
        self.playback += 1;
        self.call.ask(Command::Play { playback: self.playback, pieces: vec![pcm.into()], more: false })?;
        Ok(self.playback)
    }

    pub(crate) fn is_played(&self, playback: u32) -> bool {
        self.played >= playback
    }

    /// # Errors
    /// No key of a telephone, or the thread does not keep up.
    pub(crate) fn press(&self, key: char) -> Result<()> {
        let digit = Digit::from_char(key).context("no key of a telephone")?;
        Ok(self.call.ask(Command::SendDigit(digit, DIGIT_TIME))?)
    }

    /// Waits for the next thing to come and takes it in. Cancel-safe.
    ///
    /// # Errors
    /// Media cannot go on.
    pub(crate) async fn turn(&mut self) -> Result<()> {
        let piece = async {
            match &mut self.pieces {
                Some(pieces) => pieces.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            piece = piece => match piece {
                Some(piece) => self.heard.0.extend(piece),
                None => bail!("nothing more can be heard"),
            },
            event = self.events.recv() => self.on_event(event.context("the thread of the media has ended")?)?,
        }
        Ok(())
    }

    fn on_event(&mut self, event: MediaEvent) -> Result<()> {
        match event {
            MediaEvent::PairSelected(Component::RTP, pair) => self.selected = Some(pair),
            MediaEvent::IceCompleted => self.completed = true,
            MediaEvent::Stream(StreamEvent::FirstAudio) => {
                self.audio_began.get_or_insert_with(Instant::now);
            }
            MediaEvent::PlaybackFinished(playback) => self.played = playback,
            MediaEvent::IceFailed { .. } => bail!("no pair of candidates works\n{}", self.tried()),
            MediaEvent::EdgeFailed { why, .. } => self.faults.push(format!("the edge: {why}")),
            MediaEvent::SetupFailed(why) => bail!("what was agreed on cannot be set up: {why}"),
            MediaEvent::Stream(StreamEvent::Timeout) => bail!("no media came for too long"),
            _ => {}
        }
        Ok(())
    }
}

/// The relays of the edges, with a token for each.
async fn servers(edges: &Edges, name: &str) -> Result<Vec<postern_ice::io::EdgeServer>> {
    let asked = async {
        loop {
            let servers = edges.servers(name).await;
            if !servers.is_empty() {
                return servers;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let failure = || edges.failure().map_or_else(|| "no answer".to_owned(), |failure| failure.to_string());
    timeout(RELAY_TIME, asked).await.map_err(|_| anyhow!("no token from the token service: {}", failure()))
}

/// Our description, and what went wrong before it was complete.
async fn gathered(events: &mut mpsc::Receiver<MediaEvent>) -> Result<(Description, Vec<String>)> {
    let mut faults = Vec::new();
    let gathered = async {
        while let Some(event) = events.recv().await {
            match event {
                MediaEvent::Gathered(description) => return Some(*description),
                MediaEvent::EdgeFailed { why, .. } => faults.push(format!("the edge: {why}")),
                _ => {}
            }
        }
        None
    };
    let description = timeout(RELAY_TIME, gathered).await.context("no relay in time")?;
    Ok((description.context("the thread of the media has ended")?, faults))
}
