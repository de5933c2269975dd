//! One call's audio stream: the state machine that joins everything else in this room.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::digit::Digit;
use crate::event::{Destination, Event, Frame, FrameKind, Transmit};
use crate::level;
use crate::limits;
use crate::mux::{self, Kind};
use crate::outbox::Outbox;
use crate::pin::{Pin, Seen, Verdict};
use crate::protection::{DtlsOutcome, Protection};
use crate::receiver::Receiver;
use crate::report::{DropReason, Report};
use crate::rtcp::{self, Packet};
use crate::rtcp_session::RtcpSession;
use crate::rtp::Header;
use crate::sender::Sender;
use crate::session::{Component, Options, Session, SourceRule};
use crate::telephone_event::Change;
use crate::verdict;

/// One call's audio.
///
/// # Order of calls
///
/// After each `handle_*`, `play`, `send_digit` or `renegotiate`, drain `poll_transmit` and `poll_event`, then take
/// `poll_frame` once. Call `handle_timeout` when `next_timeout` is due, again and again until it lies in the future:
/// each call makes at most one frame.
pub struct Stream {
    options: Options,
    session: Session,
    pcm_rate: u32,
    random: ChaCha8Rng,
    pin: Pin,
    protection: Protection,
    receiver: Receiver,
    sender: Sender,
    rtcp: RtcpSession,
    outbox: Outbox,
    events: VecDeque<Event>,
    next_frame: Instant,
    frame: Option<FrameKind>,
    ice_selected: [bool; 2],
    /// Where DTLS and RTCP of each component were last taken from.
    heard_from: [Option<SocketAddr>; 2],
    heard: Instant,
    timeout_told: bool,
    opened: Vec<u8>,
    report: Report,
}

/// A session that cannot be set up: our own side or the signalling gave unusable keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    #[error("SRTP keys do not fit their profile")]
    Key,
    #[error("DTLS cannot start: {0}")]
    Dtls(String),
}

/// Why a digit cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigitError {
    #[error("the peer did not agree to telephone-event")]
    NotNegotiated,
    #[error("too many digits wait to be sent")]
    QueueFull,
}

impl Stream {
    /// A stream for what was agreed; its first frame is due 20 ms from `now`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the keys do not fit their profile.
    pub fn new(options: Options, session: Session, now: Instant) -> Result<Self, SetupError> {
        let wideband = options.pcm_rate.unwrap_or(session.codec.rate()) > 8_000;
        let pcm_rate = if wideband { limits::PCM_RATE_MAX } else { 8_000 };
        let mut random = ChaCha8Rng::from_seed(options.seed);
        let (ssrc, timestamp) = (random.next_u32(), random.next_u32());
        let sequence = random.next_u32() as u16;
        let mut stream = Self {
            pin: Pin::new(session.source),
            protection: Protection::new(session.keying.clone(), session.rtcp_mux, now)?,
            receiver: Receiver::new(&session, pcm_rate, options.silence_dbov, now),
            sender: Sender::new(ssrc, sequence, timestamp, pcm_rate, &session),
            rtcp: RtcpSession::new(options.cname.clone(), options.unix_origin, now, &mut random),
            outbox: Outbox::new(),
            events: VecDeque::with_capacity(limits::EVENTS_MAX),
            next_frame: now + limits::FRAME,
            frame: None,
            ice_selected: [false; 2],
            heard_from: [None; 2],
            heard: now,
            timeout_told: false,
            opened: Vec::with_capacity(limits::PACKET_BYTES_MAX),
            report: Report::default(),
            options,
            session,
            pcm_rate,
            random,
        };
        stream.start_dtls(now);
        Ok(stream)
    }

    /// Samples per second of `play` and of frames; constant for life.
    pub fn pcm_rate(&self) -> u32 {
        self.pcm_rate
    }

    /// What is in force.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// A later offer and answer. Unpins the source, keeps counters, queues and the clock; keys are replaced only where
    /// they differ, so that a repeated description interrupts nothing.
    ///
    /// # Errors
    ///
    /// [`SetupError`]; the former session stays in force.
    pub fn renegotiate(&mut self, session: Session, now: Instant) -> Result<(), SetupError> {
        self.protection.renegotiate(session.keying.clone(), session.rtcp_mux, now)?;
        if self.pin.renegotiate(session.source) {
            self.tell(Event::Unpinned);
        }
        self.heard_from = [None; 2];
        self.receiver.renegotiate(&session);
        self.sender.renegotiate(&session);
        if self.session.on_hold && !session.on_hold {
            self.receiver.restart();
        }
        self.session = session;
        self.heard = now;
        self.timeout_told = false;
        self.start_dtls(now);
        Ok(())
    }

    /// ICE has a pair for this component, or lost it. Nothing is sent by [`Destination::IcePair`] without one.
    pub fn set_ice_selected(&mut self, component: Component, selected: bool, now: Instant) {
        self.ice_selected[component as usize] = selected;
        self.start_dtls(now);
    }

    /// A datagram for one of our components. STUN belongs to the ICE agent and should not come here
    /// ([`mux::classify`]); with ICE, only what came from the remote side of a valid pair should. `now` is when it came,
    /// which may lie before the last [`handle_timeout`](Self::handle_timeout).
    pub fn handle_packet(&mut self, component: Component, source: SocketAddr, packet: &[u8], now: Instant) {
        let outcome = match mux::classify(packet) {
            _ if packet.len() > limits::PACKET_BYTES_MAX => Err(DropReason::Malformed),
            // No peer of ours sends audio to the port of RTCP.
            Kind::Rtp if component == Component::Rtcp => Err(DropReason::WrongSource),
            Kind::Rtp => self.handle_rtp(component, source, packet, now),
            Kind::Rtcp => self.handle_rtcp(component, source, packet, now),
            Kind::Dtls => self.handle_dtls(component, source, packet, now),
            _ => Err(DropReason::Malformed),
        };
        if let Err(reason) = outcome {
            self.report.drops.count(reason);
        }
    }

    fn handle_rtp(
        &mut self,
        component: Component,
        source: SocketAddr,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let header = Header::parse(packet).map_err(|_| DropReason::Malformed)?;
        // The opened packet is lent from the stream for as long as it is looked at.
        let mut opened = std::mem::take(&mut self.opened);
        let authentic = !self.protection.is_plain();
        let result = match authentic {
            true => self.protection.unprotect(component, false, packet, &mut opened),
            false => Ok(()),
        };
        let clear: &[u8] = if authentic { &opened } else { packet };
        let result = result.and_then(|()| self.believe(&header, source, clear, authentic, now));
        self.opened = opened;
        result
    }

    /// Judges a packet in clear by its source, and takes it.
    fn believe(
        &mut self,
        header: &Header,
        source: SocketAddr,
        packet: &[u8],
        authentic: bool,
        now: Instant,
    ) -> Result<(), DropReason> {
        let payload = header.payload(packet).map_err(|_| DropReason::Malformed)?;
        let seen = Seen {
            source,
            ssrc: header.ssrc,
            sequence: header.sequence,
            agreed: self.receiver.agrees(header.payload_type),
            authentic,
            packet,
        };
        match self.pin.judge(seen, now) {
            Verdict::WrongSource => return Err(DropReason::WrongSource),
            Verdict::PayloadType => return Err(DropReason::PayloadType),
            Verdict::Held => return Ok(()),
            Verdict::Take => {}
            Verdict::Pinned => self.pinned(source, header, now),
        }
        self.take(header, payload, now, now)
    }

    /// A source was found: what was held for it comes first.
    fn pinned(&mut self, source: SocketAddr, header: &Header, now: Instant) {
        let ssrc = header.ssrc;
        self.tell(Event::Pinned { source, ssrc });
        self.rtcp.new_source();
        let held = self.pin.take_held();
        let first = held.first().and_then(|(_, packet)| Header::parse(packet).ok()).unwrap_or(*header);
        let key = self.receiver.new_source(&first);
        self.tell_keys([key, None, None]);
        for (came, packet) in held {
            if let Ok(header) = Header::parse(&packet)
                && let Ok(payload) = header.payload(&packet)
                && let Err(reason) = self.take(&header, payload, came, now)
            {
                self.report.drops.count(reason);
            }
        }
    }

    fn take(&mut self, header: &Header, payload: &[u8], came: Instant, now: Instant) -> Result<(), DropReason> {
        self.sign_of_life(now);
        if self.session.on_hold || !self.session.direction.receives() {
            return Err(DropReason::NotReceiving);
        }
        let taken = self.receiver.take(header, payload, came, now, &mut self.report.drops);
        if taken.first_audio {
            self.tell(Event::FirstAudio);
        }
        self.tell_keys(taken.keys);
        Ok(())
    }

    fn tell_keys(&mut self, changes: [Option<Change>; 3]) {
        for change in changes.into_iter().flatten() {
            self.tell(match change {
                Change::Began(digit) => Event::DigitBegan { digit },
                Change::Ended { digit, duration } => Event::Digit { digit, duration },
            });
        }
    }

    fn handle_rtcp(
        &mut self,
        component: Component,
        source: SocketAddr,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let mut opened = std::mem::take(&mut self.opened);
        let result = match self.protection.is_plain() {
            true if self.is_rtcp_source(source.ip()) => self.read_rtcp(component, source, packet, now),
            true => Err(DropReason::WrongSource),
            false => self
                .protection
                .unprotect(component, true, packet, &mut opened)
                .and_then(|()| self.read_rtcp(component, source, &opened, now)),
        };
        self.opened = opened;
        result
    }

    /// Plain RTCP counts from the pinned source's address, before that from any allowed one.
    fn is_rtcp_source(&self, address: IpAddr) -> bool {
        match (self.session.source, self.pin.source()) {
            (SourceRule::Address { .. }, Some(pinned)) => pinned.address.ip() == address,
            _ => self.pin.allows(address),
        }
    }

    fn read_rtcp(
        &mut self,
        component: Component,
        source: SocketAddr,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let peer = self.pin.source().map(|pinned| pinned.ssrc);
        for part in rtcp::parse(packet).map_err(|_| DropReason::Malformed)? {
            match part {
                Packet::Report { ssrc, sender, blocks } if peer.is_none_or(|peer| peer == ssrc) => {
                    if let Some(info) = sender {
                        self.rtcp.handle_sender(info, now);
                    }
                    for block in blocks.filter(|block| block.ssrc == self.sender.ssrc()) {
                        self.rtcp.handle_block(block, &self.sender, now);
                    }
                }
                Packet::Bye { ssrcs } if peer.is_some_and(|peer| ssrcs.clone().any(|ssrc| ssrc == peer)) => {
                    self.tell(Event::RtcpBye);
                }
                _ => {}
            }
        }
        self.report.rtcp_received += 1;
        self.heard_from[component as usize] = Some(source);
        self.sign_of_life(now);
        Ok(())
    }

    fn handle_dtls(
        &mut self,
        component: Component,
        source: SocketAddr,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        if !self.protection.is_dtls() {
            return Err(DropReason::Dtls);
        }
        if !self.pin.allows(source.ip()) {
            return Err(DropReason::WrongSource);
        }
        self.heard_from[component as usize] = Some(source);
        let outcome = self.protection.handle_dtls(component, packet, now);
        self.tell_dtls(outcome, now);
        self.pump_dtls();
        Ok(())
    }

    fn tell_dtls(&mut self, outcome: Option<DtlsOutcome>, now: Instant) {
        match outcome {
            Some(Ok(_)) => {
                self.sign_of_life(now);
                self.tell(Event::DtlsConnected);
            }
            Some(Err(failure)) => self.tell(Event::DtlsFailed(failure)),
            None => {}
        }
    }

    fn start_dtls(&mut self, now: Instant) {
        for component in [Component::Rtp, Component::Rtcp] {
            if self.destination(component).is_some() {
                self.protection.start_dtls(component, now);
            }
        }
        self.pump_dtls();
    }

    /// Moves DTLS datagrams to the outbox, once there is a way to send them.
    fn pump_dtls(&mut self) {
        for component in [Component::Rtp, Component::Rtcp] {
            let Some(destination) = self.dtls_destination(component) else { continue };
            while let Some(datagram) = self.protection.poll_dtls(component) {
                match self.outbox.push(component, destination) {
                    Some(packet) => packet.extend_from_slice(&datagram),
                    None => self.report.drops.count(DropReason::Overflow),
                }
            }
        }
    }

    fn sign_of_life(&mut self, now: Instant) {
        self.heard = now;
        self.timeout_told = false;
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < limits::EVENTS_MAX {
            self.events.push_back(event);
        } else {
            self.report.drops.count(DropReason::Overflow);
        }
    }

    /// Where a component's packets go, if anywhere yet.
    fn destination(&self, component: Component) -> Option<Destination> {
        if self.session.source == SourceRule::Ice {
            return self.ice_selected[component as usize].then_some(Destination::IcePair);
        }
        let signalled = self.session.rtp_destination;
        let pinned = self.pin.source().map(|source| source.address);
        let address = match component {
            Component::Rtp => pinned.or(signalled),
            // A peer that is not where it said may be behind a NAT: then RTCP too goes where it comes from.
            Component::Rtcp if pinned.is_some() && pinned != signalled => {
                let heard = self.heard_from[1].filter(|heard| pinned.is_some_and(|pinned| pinned.ip() == heard.ip()));
                heard.or(pinned.map(next_port))
            }
            Component::Rtcp => self.session.rtcp_destination.or(signalled.map(next_port)),
        };
        address.filter(is_reachable).map(Destination::Address)
    }

    fn dtls_destination(&self, component: Component) -> Option<Destination> {
        match (self.session.source, self.heard_from[component as usize]) {
            (SourceRule::Address { .. }, Some(heard)) => Some(Destination::Address(heard)),
            _ => self.destination(component),
        }
    }

    /// The time [`next_timeout`](Self::next_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.protection.next_timeout().is_some_and(|due| now >= due) {
            let outcome = self.protection.handle_timeout(now);
            self.tell_dtls(outcome, now);
            self.pump_dtls();
        }
        if now < self.next_frame {
            return;
        }
        let behind = now.saturating_duration_since(self.next_frame);
        if behind > limits::FRAME * limits::FRAMES_BEHIND_MAX {
            self.next_frame = now;
            self.receiver.restart();
        }
        let at = self.next_frame;
        self.next_frame += limits::FRAME;
        self.watch(now);
        self.receive_frame(at);
        self.send_frame();
        self.send_report(now);
    }

    /// When `handle_timeout` is due. O(1).
    pub fn next_timeout(&self) -> Instant {
        match self.protection.next_timeout() {
            Some(due) => due.min(self.next_frame),
            None => self.next_frame,
        }
    }

    /// What happens by time alone.
    fn watch(&mut self, now: Instant) {
        if self.pin.handle_timeout(now) {
            self.tell(Event::Unpinned);
        }
        let key = self.receiver.handle_timeout(now);
        self.tell_keys([key, None, None]);
        if self.session.on_hold || !self.session.direction.receives() {
            self.heard = now;
        } else if !self.timeout_told && now.saturating_duration_since(self.heard) >= self.options.inactivity {
            self.timeout_told = true;
            self.tell(Event::Timeout);
        }
    }

    fn receive_frame(&mut self, at: Instant) {
        if self.session.on_hold {
            self.report.frames_on_hold += 1;
            self.frame = None;
            return;
        }
        let kind = self.receiver.make_frame(at);
        self.frame = Some(kind);
        let silent = self.receiver.last_frame(kind).silent;
        match self.receiver.silence.frame(silent) {
            Some(level::Change::Silence(duration)) => self.tell(Event::Silence { duration }),
            Some(level::Change::TalkResumed) => self.tell(Event::TalkResumed),
            None => {}
        }
    }

    fn send_frame(&mut self) {
        let sends = self.session.direction.sends() && !self.session.on_hold;
        let destination = self.destination(Component::Rtp).filter(|_| self.protection.is_ready(Component::Rtp));
        let (true, Some(destination)) = (sends, destination) else {
            return self.sender.skip_frame();
        };
        let (outbox, protection, drops) = (&mut self.outbox, &mut self.protection, &mut self.report.drops);
        let sent = self.sender.frame(|header, payload| {
            let Some(packet) = outbox.push(Component::Rtp, destination) else {
                return drops.count(DropReason::Overflow);
            };
            header.write(packet);
            payload(packet);
            if protection.protect(Component::Rtp, false, packet).is_err() {
                outbox.unpush();
                drops.count(DropReason::SrtpAuthentication);
            }
        });
        if sent.played && !self.receiver.silence.is_silent(self.sender.last_frame()) {
            self.report.frames_loud_sent += 1;
        }
        if sent.play_finished {
            self.tell(Event::PlayFinished);
        }
        if let Some(digit) = sent.digit {
            self.tell(Event::DigitSent { digit });
        }
    }

    fn send_report(&mut self, now: Instant) {
        if self.rtcp.is_due(now, &mut self.random) {
            self.send_rtcp(false, now);
        }
    }

    fn send_rtcp(&mut self, bye: bool, now: Instant) {
        let component = if self.session.rtcp_mux { Component::Rtp } else { Component::Rtcp };
        let Some(destination) = self.destination(component) else { return };
        if !self.protection.is_ready(component) {
            return;
        }
        let Some(packet) = self.outbox.push(component, destination) else {
            return self.report.drops.count(DropReason::Overflow);
        };
        self.rtcp.write(&self.sender, self.receiver.reception.as_mut(), bye, now, packet);
        if self.protection.protect(component, true, packet).is_err() {
            self.outbox.unpush();
        }
    }

    /// The frame that the last `handle_timeout` made, once.
    pub fn poll_frame(&mut self) -> Option<Frame<'_>> {
        let kind = self.frame.take()?;
        Some(self.receiver.last_frame(kind))
    }

    /// Whether somebody records: while one does, no audio is left out to shorten the delay. Off at first.
    pub fn set_recording(&mut self, is_recording: bool) {
        self.receiver.keep_all(is_recording);
    }

    /// The next frame of what has come and is not yet due, ahead of its time: for a recording that ends now. `None` when
    /// nothing is left.
    pub fn poll_rest(&mut self, now: Instant) -> Option<Frame<'_>> {
        let kind = self.receiver.make_rest(now)?;
        Some(self.receiver.last_frame(kind))
    }

    /// The next packet to send; its bytes are good until the next call.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.outbox.pop().map(|entry| Transmit {
            component: entry.component,
            destination: entry.destination,
            bytes: &entry.packet,
        })
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Queues samples to send, at [`pcm_rate`](Self::pcm_rate). Returns how many were taken: the queue holds
    /// [`PLAY_MS_MAX`](limits::PLAY_MS_MAX). It waits while nothing can be sent: on hold, before DTLS or ICE are done.
    pub fn play(&mut self, pcm: &[i16]) -> usize {
        self.sender.play(pcm)
    }

    /// Samples that wait to be sent.
    pub fn play_queued(&self) -> usize {
        self.sender.play_queued()
    }

    /// Forgets what waits to be sent.
    pub fn stop_playing(&mut self) {
        self.sender.stop_playing();
    }

    /// Queues a digit to send as telephone-event; its duration is clamped to 40 ms..=8 s.
    ///
    /// # Errors
    ///
    /// [`DigitError`]: none was agreed (use SIP INFO then), or too many wait.
    pub fn send_digit(&mut self, digit: Digit, duration: Duration) -> Result<(), DigitError> {
        if !self.sender.can_send_digits() {
            return Err(DigitError::NotNegotiated);
        }
        self.sender.send_digit(digit, duration).then_some(()).ok_or(DigitError::QueueFull)
    }

    /// Sends RTCP BYE: the call is over.
    pub fn say_bye(&mut self, now: Instant) {
        self.send_rtcp(true, now);
    }

    /// The counters as they are now.
    pub fn report(&self) -> Report {
        let mut report = self.report.clone();
        report.keying = self.protection.name();
        self.receiver.report(&mut report);
        report.codec = report.codec.or(Some(self.session.codec));
        report.packets_sent = self.sender.packets();
        report.bytes_sent = self.sender.bytes();
        report.round_trip = self.rtcp.round_trip();
        report.remote_loss = self.rtcp.remote_loss();
        let circumstances = verdict::Circumstances {
            on_hold: self.session.on_hold,
            direction: self.session.direction,
            awaits_dtls: self.protection.is_dtls() && !self.protection.is_ready(Component::Rtp),
            has_audio: self.receiver.has_audio(),
            has_destination: self.destination(Component::Rtp).is_some(),
            is_ice: self.session.source == SourceRule::Ice,
        };
        verdict::judge(&mut report, &circumstances);
        report
    }
}

fn next_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().saturating_add(1))
}

/// 0.0.0.0 and port 0 are ways to say that nothing should be sent.
fn is_reachable(address: &SocketAddr) -> bool {
    !address.ip().is_unspecified() && address.port() != 0
}
