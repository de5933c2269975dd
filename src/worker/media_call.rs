//! One call on its media thread: sockets, stream and ICE agent, what is played and what is recorded.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use postern_ice::Agent;
use postern_ice::candidate::Component;
use postern_ice::io::{Action, Event as IceEvent, HEADROOM, Input, SocketId, TAILROOM, Way};
use postern_media::event::{Destination, Event as StreamEvent};
use postern_media::session;
use postern_media::{Stream, limits as media_limits, mux};
use postern_net::{Outgoing, RecvBatch, UdpSocket};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::limits;
use crate::media::{Closed, Command, MediaEvent, Opening};
use crate::playback::Playback;
use crate::ports::PortLease;
use crate::recording::{Recorded, Recorder};

/// When nothing else is due, a call looks whether anybody still wants it.
const LOOK_ROUND: Duration = Duration::from_secs(5);

pub(crate) struct CallMedia {
    // Closed before their leases are given back.
    sockets: Vec<(Component, UdpSocket)>,
    _leases: Vec<PortLease>,
    agent: Option<Agent>,
    stream: Option<Stream>,
    playback: Playback,
    recorder: Option<Recorder>,
    events: mpsc::Sender<MediaEvent>,
    /// A packet of RTP has left.
    has_sent: bool,
    /// Packets of no use before the stream, or by the agent's word.
    ignored: u64,
    /// Since when it gives back what it has; nothing is told any more.
    closing: Option<Instant>,
    deadline: Option<Instant>,
    /// Media on its way out through an edge: free bytes, packet, free bytes.
    outgoing: Vec<u8>,
}

impl CallMedia {
    pub(crate) fn new(opening: Opening, events: mpsc::Sender<MediaEvent>, now: Instant) -> Self {
        let agent = opening.ice.map(|settings| Agent::new(now, settings, opening.seed));
        let mut sockets = opening.sockets;
        sockets.truncate(limits::SOCKETS_PER_CALL);
        Self {
            sockets,
            _leases: opening.leases,
            agent,
            stream: None,
            playback: Playback::default(),
            recorder: None,
            events,
            has_sent: false,
            ignored: 0,
            closing: None,
            deadline: None,
            outgoing: vec![0; HEADROOM + media_limits::PACKET_BYTES_MAX + TAILROOM],
        }
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.sockets.iter().map(|(_, socket)| socket)
    }

    /// The deadline that was noted last.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Notes when [`on_timeout`](Self::on_timeout) is due.
    pub(crate) fn note_deadline(&mut self, now: Instant) -> Instant {
        let stream = self.stream.as_ref().filter(|_| self.closing.is_none()).map(Stream::next_timeout);
        let agent = self.agent.as_ref().and_then(Agent::next_timeout);
        let given_up = self.closing.map(|since| since + limits::RELEASE);
        let next = [stream, agent, given_up].into_iter().flatten().min().unwrap_or(now + LOOK_ROUND);
        *self.deadline.insert(next.min(now + LOOK_ROUND))
    }

    /// Whether everything is given back, or had its time.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let Some(since) = self.closing else { return false };
        self.agent.as_ref().is_none_or(Agent::is_closed) || now >= since + limits::RELEASE
    }

    pub(crate) fn on_readable(&mut self, socket: usize, batch: &mut RecvBatch, now: Instant) {
        self.receive(socket, limits::DATAGRAMS_PER_TURN, batch, now);
    }

    fn receive(&mut self, socket: usize, datagrams_max: usize, batch: &mut RecvBatch, now: Instant) {
        let Some((component, udp)) = self.sockets.get(socket) else { return };
        let component = *component;
        // An error is the send buffer's or the memory's: the next wait tells whether something can be read.
        let Ok(count) = udp.recv_up_to(batch, datagrams_max) else { return };
        // The clock once more: what came while this thread was held up came when the kernel says, not now.
        let read_at = Instant::now();
        for index in 0..count {
            let Some(received) = batch.get_mut(index) else { continue };
            let came = read_at.checked_sub(received.age.min(limits::DATAGRAM_AGE_MAX)).unwrap_or(read_at);
            let bytes = &received.buffer[received.range];
            self.on_datagram(SocketId(socket as u8), component, received.from, bytes, came, now);
        }
    }

    fn on_datagram(
        &mut self,
        socket: SocketId,
        component: Component,
        from: SocketAddr,
        bytes: &[u8],
        came: Instant,
        now: Instant,
    ) {
        let Some(agent) = &mut self.agent else {
            return self.on_media(component, from, bytes, came);
        };
        match agent.handle_datagram(now, socket, from, bytes) {
            Input::Media { component, from, payload } => self.on_media(component, from, &bytes[payload], came),
            Input::Consumed => {}
            // Until the answer says whether there is ICE at all, the peer may well send without.
            Input::Ignored(_) => self.ignored += 1,
        }
    }

    fn on_media(&mut self, component: Component, from: SocketAddr, bytes: &[u8], came: Instant) {
        match &mut self.stream {
            Some(stream) if mux::classify(bytes) != mux::Kind::Stun => {
                stream.handle_packet(to_media(component), from, bytes, came);
            }
            _ => self.ignored += 1,
        }
    }

    pub(crate) fn on_timeout(&mut self, batch: &mut RecvBatch, now: Instant) {
        if let Some(agent) = &mut self.agent
            && agent.next_timeout().is_some_and(|at| at <= now)
        {
            agent.handle_timeout(now);
        }
        if self.closing.is_some() {
            return;
        }
        if self.events.is_closed() {
            return self.close(now);
        }
        while let Some(due) = self.stream.as_ref().map(Stream::next_timeout).filter(|due| *due <= now) {
            if due + media_limits::FRAME <= now {
                // This thread was held up. What came meanwhile waits in the sockets, and is not to be taken for lost.
                for socket in 0..self.sockets.len() {
                    self.receive(socket, limits::DATAGRAMS_PER_LATE_FRAME, batch, now);
                }
            }
            self.on_frame(now);
            self.send_media(now);
        }
    }

    /// 20 ms have passed.
    fn on_frame(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else { return };
        self.playback.feed(stream);
        stream.handle_timeout(now);
        let Some(frame) = stream.poll_frame() else { return };
        let ended = self.recorder.as_mut().and_then(|recorder| recorder.take(&frame));
        if let Some(ended) = ended {
            self.end_recording(ended);
        }
    }

    pub(crate) fn on_command(&mut self, command: Command, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        match command {
            Command::Agree(options, session) => self.agree(*options, *session, now),
            Command::Remote(description) => {
                if let Some(agent) = &mut self.agent {
                    let change = agent.set_remote(now, &description);
                    self.tell(MediaEvent::RemoteChanged(change));
                }
            }
            Command::DropIce => {
                if let Some(agent) = &mut self.agent {
                    agent.close(now);
                }
                self.send_control(now);
                self.agent = None;
            }
            Command::RestartIce(edges) => {
                if let Some(agent) = &mut self.agent {
                    agent.restart(now, edges);
                }
            }
            Command::Credentials(edge, credentials) => {
                if let Some(agent) = &mut self.agent {
                    agent.set_edge_credentials(now, edge, &credentials);
                }
            }
            Command::Play { playback, pieces, more } => {
                if let Some(stream) = &mut self.stream {
                    stream.stop_playing();
                }
                self.playback.begin(playback, pieces, more);
            }
            Command::PlayOn { playback, piece, more } => self.playback.go_on(playback, piece, more),
            Command::StopPlaying => {
                self.playback = Playback::default();
                if let Some(stream) = &mut self.stream {
                    stream.stop_playing();
                }
            }
            Command::Record(recording) => {
                let rate = self.stream.as_ref().map_or(8_000, Stream::pcm_rate);
                self.recorder = Some(Recorder::new(recording, rate));
                self.set_recording(true);
            }
            Command::StopRecording => self.stop_recording(now),
            Command::SendDigit(digit, duration) => {
                if let Some(stream) = &mut self.stream {
                    // A peer without telephone-event gets none; whoever wants more asks the agreement first.
                    let _ = stream.send_digit(digit, duration);
                }
            }
            Command::Close => self.close(now),
        }
    }

    fn agree(&mut self, options: session::Options, session: session::Session, now: Instant) {
        let outcome = match &mut self.stream {
            Some(stream) => stream.renegotiate(session, now),
            None => Stream::new(options, session, now).map(|stream| self.stream = Some(stream)),
        };
        if let Err(error) = outcome {
            return self.tell(MediaEvent::SetupFailed(error.to_string()));
        }
        let selected: Vec<Component> = self.agent.as_ref().map_or_else(Vec::new, |agent| {
            [Component::RTP, Component::RTCP].into_iter().filter(|of| agent.selected(*of).is_some()).collect()
        });
        if let Some(stream) = &mut self.stream {
            for component in selected {
                stream.set_ice_selected(to_media(component), true, now);
            }
        }
    }

    fn close(&mut self, now: Instant) {
        self.closing = Some(now);
        self.stop_recording(now);
        if let Some(stream) = &mut self.stream {
            stream.say_bye(now);
        }
        self.send_media(now);
        let closed = Closed {
            report: self.stream.as_ref().map(Stream::report),
            story: self.agent.as_ref().map(Agent::story),
            ignored: self.ignored,
        };
        self.tell(MediaEvent::Closed(Box::new(closed)));
        if let Some(agent) = &mut self.agent {
            agent.close(now);
        }
    }

    /// Sends what waits, and tells what happened.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.send_control(now);
        if self.closing.is_some() {
            return;
        }
        self.send_media(now);
        while let Some(event) = self.stream.as_mut().and_then(Stream::poll_event) {
            match event {
                // The stream's queue runs empty between two pieces, too.
                StreamEvent::PlayFinished => {}
                event => self.tell(MediaEvent::Stream(event)),
            }
        }
        let queued = self.stream.as_ref().map_or(0, Stream::play_queued);
        let rate = self.stream.as_ref().map_or(8_000, Stream::pcm_rate);
        if let Some(event) = self.playback.poll_event(queued, rate) {
            self.tell(event);
        }
    }

    /// The agent's own messages and events.
    fn send_control(&mut self, now: Instant) {
        let Some(mut agent) = self.agent.take() else { return };
        while let Some(action) = agent.poll_action() {
            match action {
                Action::Transmit(transmit) => {
                    if let Way::Socket(socket) = transmit.way {
                        self.send_from(socket, transmit.to, &transmit.bytes);
                    }
                }
                // Edges are reached by UDP alone.
                Action::Connect { stream, .. } => agent.handle_closed(now, stream),
                Action::Close { .. } => {}
            }
        }
        while let Some(event) = agent.poll_event() {
            if self.closing.is_none() {
                self.on_ice(&agent, event, now);
            }
        }
        self.agent = Some(agent);
    }

    fn on_ice(&mut self, agent: &Agent, event: IceEvent, now: Instant) {
        match event {
            IceEvent::Gathered => self.tell(MediaEvent::Gathered(Box::new(agent.description()))),
            IceEvent::PairSelected { component, pair, .. } => {
                if let Some(stream) = &mut self.stream {
                    stream.set_ice_selected(to_media(component), true, now);
                }
                self.tell(MediaEvent::PairSelected(component, Box::new(pair)));
            }
            IceEvent::Completed => self.tell(MediaEvent::IceCompleted),
            IceEvent::Failed { keeps_former } => self.tell(MediaEvent::IceFailed { keeps_former }),
            IceEvent::ConsentLost { component, ever_answered } => {
                if let Some(stream) = &mut self.stream {
                    stream.set_ice_selected(to_media(component), false, now);
                }
                self.tell(MediaEvent::ConsentLost { ever_answered });
            }
            IceEvent::PairQuiet { .. } => self.tell(MediaEvent::PairQuiet),
            IceEvent::EdgeFailed { edge, why, in_use, .. } => {
                self.tell(MediaEvent::EdgeFailed { edge, why, in_use });
            }
            IceEvent::EdgeCredentialsRefused { edge, .. } => self.tell(MediaEvent::CredentialsRefused(edge)),
            IceEvent::RoleSwitched(_) => {}
        }
    }

    fn send_media(&mut self, _now: Instant) {
        let Some(mut stream) = self.stream.take() else { return };
        let mut sends_rtp = false;
        while let Some(transmit) = stream.poll_transmit() {
            sends_rtp |= !self.has_sent && mux::classify(transmit.bytes) == mux::Kind::Rtp;
            match transmit.destination {
                Destination::Address(to) => self.send_to(to_ice(transmit.component), to, transmit.bytes),
                Destination::IcePair => {
                    let payload = HEADROOM..HEADROOM + transmit.bytes.len();
                    self.outgoing[payload.clone()].copy_from_slice(transmit.bytes);
                    self.send_by_pair(to_ice(transmit.component), payload);
                }
            }
        }
        self.stream = Some(stream);
        if sends_rtp {
            self.has_sent = true;
            self.tell(MediaEvent::FirstSent);
        }
    }

    fn send_by_pair(&mut self, component: Component, payload: Range<usize>) {
        let Some(agent) = &mut self.agent else { return };
        let Some(out) = agent.send(component, &mut self.outgoing, payload) else { return };
        if let Way::Socket(socket) = out.way {
            self.send_from(socket, out.to, &self.outgoing[out.frame]);
        }
    }

    fn send_to(&self, component: Component, to: SocketAddr, bytes: &[u8]) {
        let socket = self
            .sockets
            .iter()
            .position(|(of, socket)| *of == component && socket.local_addr().is_ipv4() == to.is_ipv4());
        if let Some(socket) = socket {
            self.send_from(SocketId(socket as u8), to, bytes);
        }
    }

    fn send_from(&self, socket: SocketId, to: SocketAddr, payload: &[u8]) {
        let Some((_, udp)) = self.sockets.get(usize::from(socket.0)) else { return };
        let message = Outgoing { payload, to, from_ip: None, tos: limits::TRAFFIC_CLASS, dont_fragment: false };
        // What does not go out is lost like anything else on a network: the peer's reports tell.
        let _ = udp.send(&message);
    }

    /// Ends the recording with what has come so far, also with what would be played later only.
    fn stop_recording(&mut self, now: Instant) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let mut ended = None;
        for _ in 0..limits::REST_FRAMES_MAX {
            let Some(frame) = self.stream.as_mut().and_then(|stream| stream.poll_rest(now)) else { break };
            ended = recorder.take(&frame);
            if ended.is_some() {
                break;
            }
        }
        self.end_recording(ended.unwrap_or_else(|| recorder.stop()));
    }

    fn set_recording(&mut self, is_recording: bool) {
        if let Some(stream) = &mut self.stream {
            stream.set_recording(is_recording);
        }
    }

    fn end_recording(&mut self, ended: Recorded) {
        self.recorder = None;
        self.set_recording(false);
        let Recorded { why, samples, silence } = ended;
        self.tell(MediaEvent::RecordingEnded { why, samples, silence });
    }

    /// A control that does not read its events has lost the call.
    fn tell(&mut self, event: MediaEvent) {
        if let Err(TrySendError::Full(_)) = self.events.try_send(event)
            && self.closing.is_none()
        {
            self.closing = Some(Instant::now());
            if let Some(agent) = &mut self.agent {
                agent.close(Instant::now());
            }
        }
    }
}

fn to_media(component: Component) -> session::Component {
    if component == Component::RTCP { session::Component::Rtcp } else { session::Component::Rtp }
}

fn to_ice(component: session::Component) -> Component {
    match component {
        session::Component::Rtp => Component::RTP,
        session::Component::Rtcp => Component::RTCP,
    }
}
