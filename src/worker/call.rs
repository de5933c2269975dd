//! The task of one call: joins signalling, media, the voice mail logic and the store. It waits for all of them at once and
//! never for one alone.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use postern_dialplan::{CallReason, Decision, Purpose, Security};
use postern_ice::candidate::Component;
use postern_ice::io::EdgeId;
use postern_mailbox::{
    Address, Began, Caller, EndOfRecording, Input, Kind, PlanName, Reason, RecordingId, RequestId, Start, Store,
    StoreAnswer, StoreError, StoreRequest,
};
use postern_media::event::Event as StreamEvent;
use postern_media::session::Session;
use postern_sip::offer_answer::OfferAnswer;
use postern_sip::sdp::SessionDescription;
use postern_sip::user_agent_io::{CallHandle, EndCause, TransferProgress};
use postern_slots::{Order, OrderState};
use postern_telemetry::call_labels::{CallKind, RestartResult};
use postern_turn::client::ClientCredentials;
use tokio::sync::mpsc;

use crate::call_end::CallEnd;
use crate::call_io::{FromCall, ToCall};
use crate::clips::ClipReader;
use crate::limits;
use crate::media::{Command, MediaCall, MediaEvent, RecordingEnd};
use crate::meters::request_label;
use crate::outgoing::conversation;
use crate::records::CallRecord;
use crate::shared::{PlanSettings, Shared};

/// What signalling knows of a call when it comes.
pub(crate) struct Arrival {
    pub(crate) handle: CallHandle,
    pub(crate) decision: Decision,
    pub(crate) plan: Arc<PlanSettings>,
    pub(crate) offer: Option<SessionDescription>,
    /// It came over TLS.
    pub(crate) over_tls: bool,
    /// Where plain RTP may come from besides what is signalled.
    pub(crate) symmetric: bool,
    /// Address of ours that signalling came to.
    pub(crate) local: std::net::IpAddr,
    pub(crate) call_id: String,
    pub(crate) arrived: Instant,
    /// What is to be said of it already.
    pub(crate) record: Box<CallRecord>,
    /// What it was placed for; `None`: it came.
    pub(crate) order: Option<Box<Order>>,
}

impl Arrival {
    /// Its name where tokens are kept: a Call-ID may come twice.
    pub(crate) fn seat(&self) -> String {
        self.handle.0.to_string()
    }
}

/// A recording under way.
struct Deposit {
    id: RecordingId,
    rate_hz: u32,
    /// The media's word that it ended.
    ended: Option<(RecordingEnd, u64, u64)>,
    /// The store's word on what was appended.
    stored: Option<Result<(), StoreError>>,
}

/// What the tasks beside a call tell it.
enum Beside {
    Stored(RequestId, StoreAnswer),
    Appended(RecordingId, Result<(), StoreError>),
    Piece(u32, Result<(ClipReader, crate::clips::Piece), crate::clips::ClipError>),
}

pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) arrival: Arrival,
    pub(crate) negotiation: OfferAnswer,
    pub(crate) media: MediaCall,
    pub(crate) events: mpsc::Receiver<MediaEvent>,
    pub(crate) commands: mpsc::Sender<(CallHandle, FromCall)>,
    /// Where signalling binds RTP and RTCP without ICE.
    pub(crate) sockets: [std::net::SocketAddr; 2],
    pub(crate) description: Option<postern_ice::sdp::Description>,
    pub(crate) session: Option<Session>,
    /// Samples per second of what is played and recorded: those of the first codec that was agreed on.
    pub(crate) rate_hz: Option<u32>,
    pub(crate) recovery: crate::recovery::Recovery,
    /// Renewed credentials for the edges, once relays were asked for; kept for as long as the call may want any.
    pub(crate) credentials: Option<mpsc::Receiver<(EdgeId, ClientCredentials)>>,
    pub(crate) end: CallEnd,
    /// The agreement of a delayed offer is still to come.
    pub(crate) waits_for_answer: bool,
    /// The peer wants our offer, or waits for our answer, once ICE has gathered again.
    pub(crate) owed: Option<crate::call_setup::Owed>,
    mailbox: Option<postern_mailbox::Call>,
    pub(crate) established: bool,
    /// ICE has a way for RTP, or there is none.
    way_known: bool,
    deposit: Option<Deposit>,
    /// The latest playback.
    playback: u32,
    /// The clips of the playback under way that are still to be read.
    reader: Option<(u32, ClipReader)>,
    requests: mpsc::UnboundedSender<(RequestId, StoreRequest)>,
    beside: mpsc::UnboundedReceiver<Beside>,
    tell_beside: mpsc::UnboundedSender<Beside>,
    bye_waits: bool,
    pub(crate) sip_over: bool,
    dtmf_by_rtp: bool,
    on_hold: bool,
}

impl Call {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        shared: Arc<Shared>,
        arrival: Arrival,
        negotiation: OfferAnswer,
        media: MediaCall,
        events: mpsc::Receiver<MediaEvent>,
        commands: mpsc::Sender<(CallHandle, FromCall)>,
        sockets: [std::net::SocketAddr; 2],
    ) -> Self {
        let (tell_beside, beside) = mpsc::unbounded_channel();
        let (requests, asked) = mpsc::unbounded_channel();
        tokio::spawn(ask_store(Arc::clone(&shared), asked, tell_beside.clone()));
        Self {
            shared,
            arrival,
            negotiation,
            media,
            events,
            commands,
            sockets,
            description: None,
            session: None,
            rate_hz: None,
            recovery: crate::recovery::Recovery::default(),
            credentials: None,
            end: CallEnd::default(),
            waits_for_answer: false,
            owed: None,
            mailbox: None,
            established: false,
            way_known: false,
            deposit: None,
            playback: 0,
            reader: None,
            requests,
            beside,
            tell_beside,
            bye_waits: false,
            sip_over: false,
            dtmf_by_rtp: false,
            on_hold: false,
        }
    }

    /// Runs an answered call to its end.
    pub(crate) async fn run(&mut self, inbox: &mut mpsc::Receiver<ToCall>) {
        while !self.is_over() {
            let deadline = [self.mailbox.as_ref().and_then(|call| call.deadline()), self.recovery.deadline()];
            let deadline = deadline.into_iter().flatten().min();
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.on_signalling(message).await,
                    None => self.on_signalling(ToCall::Ended(EndCause::Ours)).await,
                },
                event = self.events.recv() => match event {
                    Some(event) => self.on_media(event).await,
                    None => self.input(Input::MediaLost).await,
                },
                Some(told) = self.beside.recv() => self.on_beside(told).await,
                Some((edge, credentials)) = renewed(&mut self.credentials) => {
                    self.ask(Command::Credentials(edge, credentials));
                }
                () = until(deadline) => self.on_deadline().await,
            }
        }
        self.close().await;
    }

    /// The voice mail logic has said its last word, or it never began and signalling is over.
    fn is_over(&self) -> bool {
        self.end.outcome.is_some() || (self.mailbox.is_none() && self.sip_over)
    }

    async fn on_deadline(&mut self) {
        let now = Instant::now();
        if let Some(mailbox) = &mut self.mailbox {
            mailbox.handle_timeout(now);
        }
        if self.recovery.is_given_up(now) {
            let failed = self.end.restart_failed;
            let result = if failed { RestartResult::Failed } else { RestartResult::Unanswered };
            self.shared.meters.restarted(result);
            self.note("no other way for media was found in time");
            self.end.way_lost = true;
            self.input(Input::MediaLost).await;
        }
        self.act().await;
    }

    async fn on_signalling(&mut self, message: ToCall) {
        match message {
            ToCall::Established => {
                self.established = true;
                let kind = match &self.arrival.decision.purpose {
                    Purpose::CallAnswering { .. } => CallKind::Answering,
                    Purpose::SubscriberAccess { .. } => CallKind::SubscriberAccess,
                };
                self.end.began(&self.shared.meters, kind);
                self.begin();
            }
            ToCall::Answer(answer) => {
                self.on_answer(&answer).await;
                self.begin();
            }
            ToCall::Offer(offer) => self.on_offer(*offer).await,
            ToCall::OfferWanted => self.on_offer_wanted().await,
            ToCall::OfferWithdrawn => self.owed = None,
            ToCall::OfferRefused => self.on_offer_refused(),
            ToCall::OfferDue => self.reoffer().await,
            ToCall::Digit(digit) => {
                // A gateway that sends both would press each key twice.
                if !self.dtmf_by_rtp
                    && let Some(digit) = postern_mailbox::Digit::new(digit.0)
                {
                    return self.input(Input::Digit(digit)).await;
                }
            }
            ToCall::Transfer(TransferProgress::Succeeded) => return self.input(Input::Transferred).await,
            ToCall::Transfer(TransferProgress::Failed(_) | TransferProgress::Unknown) => {
                return self.input(Input::TransferFailed).await;
            }
            ToCall::Transfer(TransferProgress::Accepted | TransferProgress::Provisional(_)) => {}
            ToCall::Bye => {
                self.bye_waits = true;
                self.end.cause = Some(EndCause::Peer);
                return self.hang_up_input().await;
            }
            ToCall::Ended(cause) => {
                self.sip_over = true;
                self.end.cause.get_or_insert(cause);
                return self.hang_up_input().await;
            }
            ToCall::Leave | ToCall::HangUp => {
                self.end.leaving = matches!(message, ToCall::Leave);
                self.say(FromCall::HangUp).await;
                return self.hang_up_input().await;
            }
            // Before the answer alone, when nobody listens here.
            ToCall::Alerted | ToCall::Rerouted(_) | ToCall::Answered => {}
        }
        self.act().await;
    }

    async fn hang_up_input(&mut self) {
        self.input(Input::HungUp).await;
    }

    /// Lets the voice mail logic begin, once the call is acknowledged and media agreed on.
    pub(crate) fn begin(&mut self) {
        if self.session.is_none() || self.mailbox.is_some() || !self.established || self.waits_for_answer {
            return;
        }
        // Whatever is said before has no way to the caller, greeting and tone included.
        if self.description.is_some() && !self.way_known {
            return;
        }
        let decision = &self.arrival.decision;
        let address = |text: &str| text.parse::<Address>().ok();
        let kind = match &decision.purpose {
            Purpose::CallAnswering { mailbox } => match address(mailbox) {
                Some(mailbox) => Kind::Answering { mailbox, reason: reason(decision.reason) },
                None => Kind::SubscriberAccess,
            },
            Purpose::SubscriberAccess { .. } => {
                self.arrival.order.as_deref().and_then(conversation).unwrap_or(Kind::SubscriberAccess)
            }
        };
        let known = match &decision.purpose {
            Purpose::SubscriberAccess { mailbox: Some(mailbox) } => address(mailbox),
            _ => decision.caller.address.as_deref().and_then(address),
        };
        let start = Start {
            plan: PlanName(decision.plan.clone()),
            caller: Caller { address: decision.caller.shown.clone(), name: decision.caller.display_name.clone() },
            caller_address: known,
            kind,
            rate_hz: self.rate_hz(),
        };
        let options = Arc::clone(&self.arrival.plan.options);
        self.mailbox = Some(postern_mailbox::Call::new(options, start, Instant::now(), Timestamp::now()));
    }

    async fn on_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Stream(StreamEvent::DigitBegan { digit }) => {
                self.dtmf_by_rtp = true;
                if let Some(digit) = postern_mailbox::Digit::new(digit.as_char()) {
                    return self.input(Input::Digit(digit)).await;
                }
            }
            MediaEvent::Stream(event @ (StreamEvent::Timeout | StreamEvent::DtlsFailed(_))) => {
                self.note(match event {
                    StreamEvent::Timeout => "nothing of the peer's media comes",
                    _ => "the DTLS handshake failed",
                });
                if !self.recovery.is_under_way() {
                    return self.input(Input::MediaLost).await;
                }
            }
            MediaEvent::Stream(StreamEvent::FirstAudio) => self.note("the first audio came"),
            MediaEvent::FirstSent => {
                self.note("the first audio left");
                // A call of ours has rung first, for as long as its owner liked.
                if self.arrival.order.is_none() {
                    let took = self.arrival.arrived.elapsed();
                    self.shared.meters.first_audio(took, self.end.way);
                }
            }
            MediaEvent::Stream(_) => {}
            MediaEvent::PlaybackLow(playback) => self.read_on(playback),
            MediaEvent::PlaybackFinished(playback) => {
                return self.input(Input::PlaybackFinished(postern_mailbox::PlaybackId(playback))).await;
            }
            MediaEvent::RecordingEnded { why, samples, silence } => {
                if let Some(deposit) = &mut self.deposit {
                    deposit.ended = Some((why, samples, silence));
                }
                return self.end_deposit().await;
            }
            MediaEvent::SetupFailed(why) => {
                self.note(&format!("media cannot be set up: {why}"));
                return self.input(Input::MediaLost).await;
            }
            MediaEvent::Closed(closed) => self.end.closed = Some(closed),
            event => {
                if matches!(event, MediaEvent::PairSelected(Component::RTP, _) | MediaEvent::IceFailed { .. }) {
                    self.way_known = true;
                    self.begin();
                }
                self.on_ice(event).await;
            }
        }
        self.act().await;
    }

    async fn on_beside(&mut self, told: Beside) {
        match told {
            // Of a playback that was stopped meanwhile.
            Beside::Piece(playback, _) if playback != self.playback => {}
            Beside::Stored(id, answer) => return self.input(Input::Stored(id, answer)).await,
            Beside::Appended(id, result) => {
                let Some(deposit) = self.deposit.as_mut().filter(|deposit| deposit.id == id) else { return };
                deposit.stored = Some(result);
                if result.is_err() {
                    self.ask(Command::StopRecording);
                }
                return self.end_deposit().await;
            }
            Beside::Piece(playback, Ok((reader, piece))) => {
                self.ask(Command::PlayOn { playback, piece: piece.samples, more: piece.more });
                self.reader = Some((playback, reader));
            }
            Beside::Piece(playback, Err(_)) => {
                self.ask(Command::StopPlaying);
                return self.input(Input::PlaybackFailed(postern_mailbox::PlaybackId(playback))).await;
            }
        }
        self.act().await;
    }

    /// Reads the next piece of the playback under way, beside the call.
    fn read_on(&mut self, playback: u32) {
        let Some((_, mut reader)) = self.reader.take_if(|(number, _)| *number == playback) else { return };
        let (shared, tell) = (Arc::clone(&self.shared), self.tell_beside.clone());
        tokio::spawn(async move {
            let read = reader.next(&shared.prompts, &*shared.store, &shared.meters).await;
            // A call that is gone hears nothing.
            let _ = tell.send(Beside::Piece(playback, read.map(|piece| (reader, piece))));
        });
    }

    /// Tells the logic of a recording's end, once media and store have both said their last word on it.
    async fn end_deposit(&mut self) {
        let Some(Deposit { ended: Some(ended), stored: Some(_), .. }) = &self.deposit else {
            return self.act().await;
        };
        let (why, samples, silence) = *ended;
        let Some(deposit) = self.deposit.take() else { return };
        let spoken = if why == RecordingEnd::Silence { samples - silence } else { samples };
        let stored = deposit.stored.unwrap_or(Ok(()));
        let length = postern_mailbox::audio_length(samples, deposit.rate_hz);
        self.shared.meters.recording_ended(why, stored, length);
        let why = match (why, deposit.stored) {
            (_, Some(Err(error))) => EndOfRecording::StoreFailed(error),
            (RecordingEnd::Overrun, _) => EndOfRecording::StoreFailed(StoreError::Busy),
            (RecordingEnd::Stopped, _) => EndOfRecording::Stopped,
            (RecordingEnd::Silence, _) => EndOfRecording::Silence,
            (RecordingEnd::Limit, _) => EndOfRecording::Limit,
        };
        let audio = postern_mailbox::audio_length(spoken, deposit.rate_hz);
        self.input(Input::RecordingEnded { recording: deposit.id, why, audio }).await;
    }

    /// Holds the logic's timers while the peer holds the call.
    pub(crate) async fn on_hold(&mut self, held: bool) {
        if std::mem::replace(&mut self.on_hold, held) != held {
            self.note(if held { "the peer holds the call" } else { "the peer resumes the call" });
            self.input(if held { Input::Held } else { Input::Resumed }).await;
        }
    }

    pub(crate) async fn input(&mut self, input: Input) {
        if let Some(mailbox) = &mut self.mailbox {
            mailbox.handle(input, Instant::now());
        } else if matches!(input, Input::MediaLost) {
            self.say(FromCall::HangUp).await;
        }
        self.act().await;
    }

    /// Carries out what the logic wants.
    pub(crate) async fn act(&mut self) {
        while let Some(action) = self.mailbox.as_mut().and_then(postern_mailbox::Call::poll) {
            self.carry_out(action).await;
        }
    }

    async fn carry_out(&mut self, action: postern_mailbox::Action) {
        use postern_mailbox::Action;
        match action {
            Action::Play { playback, clips } => self.play(playback.0, clips),
            Action::StopPlayback(_) => {
                self.reader = None;
                self.ask(Command::StopPlaying);
            }
            Action::Record { recording, audio_max, silence } => self.record(recording, audio_max, silence),
            Action::StopRecording(_) => self.ask(Command::StopRecording),
            Action::Store(id, request) => {
                // The task that answers lives as long as this call.
                let _ = self.requests.send((id, request));
            }
            Action::Transfer { target } => self.say(FromCall::Refer(target)).await,
            Action::HangUp => self.say(FromCall::HangUp).await,
            Action::Event(event) => self.shared.meters.mailbox(event),
            Action::Ended(outcome) => self.end.outcome = Some(outcome),
        }
    }

    fn rate_hz(&self) -> u32 {
        self.rate_hz.unwrap_or(8_000)
    }

    fn play(&mut self, playback: u32, clips: Vec<postern_mailbox::Clip>) {
        self.playback = playback;
        let mut reader = ClipReader::new(clips, self.rate_hz());
        match reader.at_hand(&self.shared.prompts) {
            Ok(pieces) => {
                let more = reader.has_more();
                self.ask(Command::Play { playback, pieces, more });
                self.reader = more.then_some((playback, reader));
            }
            Err(error) => {
                let _ = self.tell_beside.send(Beside::Piece(playback, Err(error)));
            }
        }
    }

    fn record(&mut self, recording: RecordingId, audio_max: std::time::Duration, silence: std::time::Duration) {
        let (sink, pieces) = mpsc::channel(limits::RECORDED_PIECES_MAX);
        let rate_hz = self.rate_hz();
        let samples_max = (audio_max.as_millis() * u128::from(rate_hz) / 1000) as u64;
        tokio::spawn(append(Arc::clone(&self.shared.store), recording, pieces, self.tell_beside.clone()));
        self.deposit = Some(Deposit { id: recording, rate_hz, ended: None, stored: None });
        self.shared.meters.recording_began();
        self.ask(Command::Record(crate::media::Recording { sink, samples_max, silence }));
    }

    /// Asks the media thread for something; one that is too far behind has lost the call, which its events tell.
    pub(crate) fn ask(&self, command: Command) {
        let _ = self.media.ask(command);
    }

    pub(crate) async fn say(&self, command: FromCall) {
        // Signalling that is gone takes no commands; the process is ending then.
        let _ = self.commands.send((self.arrival.handle, command)).await;
    }

    /// Gives everything back and waits for the media's last word.
    pub(crate) async fn close(&mut self) {
        self.tell_progress(OrderState::Disconnected).await;
        if self.bye_waits {
            self.say(FromCall::ConfirmBye).await;
        } else if !self.sip_over {
            self.say(FromCall::HangUp).await;
        }
        self.ask(Command::Close);
        self.discard_late_recordings();
        let given_up = tokio::time::Instant::now() + limits::RELEASE;
        while self.end.closed.is_none()
            && let Ok(Some(event)) = tokio::time::timeout_at(given_up, self.events.recv()).await
        {
            if let MediaEvent::Closed(closed) = event {
                self.end.closed = Some(closed);
            }
        }
        if let Some(Deposit { rate_hz, ended, stored, .. }) = self.deposit.take() {
            let (why, samples, _) = ended.unwrap_or((RecordingEnd::Stopped, 0, 0));
            let length = postern_mailbox::audio_length(samples, rate_hz);
            self.shared.meters.recording_ended(why, stored.unwrap_or(Ok(())), length);
        }
        self.note_missed_call().await;
        self.tell_end();
        self.say(FromCall::Done).await;
    }

    /// Puts something into the call's story.
    pub(crate) fn note(&self, what: &str) {
        self.shared.stories.note(&self.arrival.call_id, what);
    }
}

impl Call {
    /// A recording that began after the logic's last word is nobody's. Those that begin from here on are discarded by
    /// whoever asked the store.
    fn discard_late_recordings(&mut self) {
        self.beside.close();
        while let Ok(told) = self.beside.try_recv() {
            if let Beside::Stored(_, StoreAnswer::BeganRecording(Began::Recording { recording, .. })) = told {
                let store = Arc::clone(&self.shared.store);
                tokio::spawn(async move { store.discard_recording(recording).await });
            }
        }
    }
}

fn reason(reason: CallReason) -> Reason {
    match reason {
        CallReason::Direct => Reason::Direct,
        CallReason::DivertForward => Reason::Forwarded,
        CallReason::DivertBusy => Reason::Busy,
        CallReason::DivertNoAnswer => Reason::NoAnswer,
    }
}

/// Whether plain RTP of a plan may come from elsewhere than signalled.
pub(crate) fn symmetric_of(arrival: &Arrival) -> Option<std::net::IpAddr> {
    (arrival.symmetric && arrival.plan.security != Security::Secured).then_some(arrival.decision.signalling)
}

/// Answers a call's questions in order, until the call is gone.
async fn ask_store(
    shared: Arc<Shared>,
    mut asked: mpsc::UnboundedReceiver<(RequestId, StoreRequest)>,
    tell: mpsc::UnboundedSender<Beside>,
) {
    while let Some((id, request)) = asked.recv().await {
        let (label, asked_at) = (request_label(&request), Instant::now());
        let answer = postern_mailbox::answer(&*shared.store, request).await;
        let failure = if let StoreAnswer::Failed(failure) = &answer { Some(*failure) } else { None };
        shared.meters.stored(label, asked_at.elapsed(), failure);
        let late = match &answer {
            StoreAnswer::BeganRecording(Began::Recording { recording, .. }) => Some(*recording),
            _ => None,
        };
        if tell.send(Beside::Stored(id, answer)).is_err()
            && let Some(recording) = late
        {
            // Nobody will ever use it.
            let _ = shared.store.discard_recording(recording).await;
        }
    }
}

/// Appends a recording's pieces as they come.
async fn append(
    store: Arc<dyn Store>,
    recording: RecordingId,
    mut pieces: mpsc::Receiver<Vec<i16>>,
    tell: mpsc::UnboundedSender<Beside>,
) {
    let mut result = Ok(());
    while let Some(piece) = pieces.recv().await {
        result = store.append_audio(recording, &piece).await;
        if result.is_err() {
            break;
        }
    }
    // A call that is gone has left the recording to recovery.
    let _ = tell.send(Beside::Appended(recording, result));
}

/// Credentials that were renewed; never, without a need of any.
async fn renewed(
    credentials: &mut Option<mpsc::Receiver<(EdgeId, ClientCredentials)>>,
) -> Option<(EdgeId, ClientCredentials)> {
    match credentials {
        Some(credentials) => credentials.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
