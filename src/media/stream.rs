//! One call's audio stream: the state machine that joins everything else in this room.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::digit::Digit;
use crate::event::{Event, Frame, FrameKind, Transmit};
use crate::limits;
use crate::report::{DropReason, Report};
use crate::session::{Component, Options, Session};

/// One call's audio.
///
/// # Order of calls
///
/// After each `handle_*`, `play`, `send_digit` or `renegotiate`, drain `poll_transmit` and `poll_event`, then take
/// `poll_frame` once. Call `handle_timeout` when `next_timeout` is due, again and again until it lies in the future:
/// each call makes at most one frame.
pub struct Stream {
    session: Session,
    pcm_rate: u32,
    next_frame: Instant,
    frame: Vec<i16>,
    frame_ready: bool,
    play_queue: VecDeque<i16>,
    events: VecDeque<Event>,
    report: Report,
}

impl Stream {
    /// A stream for what was agreed; its first frame is due 20 ms from `now`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the keys do not fit their profile.
    pub fn new(options: Options, session: Session, now: Instant) -> Result<Self, SetupError> {
        let pcm_rate = options.pcm_rate.unwrap_or(session.codec.rate());
        let samples = (pcm_rate / limits::FRAMES_PER_SEC) as usize;
        Ok(Self {
            session,
            pcm_rate,
            next_frame: now + limits::FRAME,
            frame: vec![0; samples],
            frame_ready: false,
            play_queue: VecDeque::with_capacity((pcm_rate / 1_000 * limits::PLAY_MS_MAX) as usize),
            events: VecDeque::with_capacity(limits::EVENTS_MAX),
            report: Report::default(),
        })
    }

    /// Samples per second of `play` and of frames; constant for life.
    pub fn pcm_rate(&self) -> u32 {
        self.pcm_rate
    }

    /// A later offer and answer. Unpins the source, keeps counters, queues and the clock; keys are replaced only where
    /// they differ, so that a repeated description interrupts nothing.
    ///
    /// # Errors
    ///
    /// [`SetupError`]; the former session stays in force.
    pub fn renegotiate(&mut self, session: Session, _now: Instant) -> Result<(), SetupError> {
        self.session = session;
        Ok(())
    }

    /// ICE has a pair for this component, or lost it. Nothing is sent by [`Destination::IcePair`] without one.
    ///
    /// [`Destination::IcePair`]: crate::event::Destination::IcePair
    pub fn set_ice_selected(&mut self, _component: Component, _selected: bool, _now: Instant) {}

    /// A datagram for one of our components. STUN belongs to the ICE agent and should not come here
    /// ([`mux::classify`](crate::mux)).
    pub fn handle_packet(&mut self, _component: Component, _source: SocketAddr, _packet: &[u8], _now: Instant) {
        self.report.drops.count(DropReason::Malformed);
    }

    /// The time [`next_timeout`](Self::next_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_frame {
            self.next_frame += limits::FRAME;
            self.frame.fill(0);
            self.frame_ready = !self.session.on_hold;
            let samples = self.frame.len().min(self.play_queue.len());
            self.play_queue.drain(..samples);
        }
    }

    /// When `handle_timeout` is due. O(1).
    pub fn next_timeout(&self) -> Instant {
        self.next_frame
    }

    /// The frame that the last `handle_timeout` made, once.
    pub fn poll_frame(&mut self) -> Option<Frame<'_>> {
        std::mem::take(&mut self.frame_ready).then_some(Frame {
            pcm: &self.frame,
            kind: FrameKind::Nothing,
            silent: true,
        })
    }

    /// The next packet to send; its bytes are good until the next call.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        None
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Queues samples to send, at [`pcm_rate`](Self::pcm_rate). Returns how many were taken: the queue holds
    /// [`PLAY_MS_MAX`](limits::PLAY_MS_MAX).
    pub fn play(&mut self, pcm: &[i16]) -> usize {
        let room = (self.pcm_rate / 1_000 * limits::PLAY_MS_MAX) as usize - self.play_queue.len();
        let taken = room.min(pcm.len());
        self.play_queue.extend(&pcm[..taken]);
        taken
    }

    /// Samples that wait to be sent.
    pub fn play_queued(&self) -> usize {
        self.play_queue.len()
    }

    /// Forgets what waits to be sent.
    pub fn stop_playing(&mut self) {
        self.play_queue.clear();
    }

    /// Queues a digit to send as telephone-event.
    ///
    /// # Errors
    ///
    /// [`DigitError`]: none was agreed (use SIP INFO then), or too many wait.
    pub fn send_digit(&mut self, _digit: Digit, _duration: Duration) -> Result<(), DigitError> {
        Err(DigitError::NotNegotiated)
    }

    /// Sends RTCP BYE: the call is over.
    pub fn say_bye(&mut self, _now: Instant) {}

    /// The counters as they are now.
    pub fn report(&self, _now: Instant) -> Report {
        self.report.clone()
    }
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
