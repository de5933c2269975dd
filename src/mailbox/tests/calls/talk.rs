//! A call as a table: what the caller does, and what comes of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_mailbox::*;

use crate::store::{FakeStore, wall};

/// One call, its caller and its store.
pub struct Talk {
    pub call: Call,
    pub store: Arc<FakeStore>,
    pub now: Instant,
    /// Answers that a slow store holds back.
    pub held_back: Option<VecDeque<(RequestId, StoreAnswer)>>,
    playing: Option<PlaybackId>,
    recording: Option<(RecordingId, Duration, Instant)>,
    pub outcome: Option<Outcome>,
    pub events: Vec<Event>,
}

pub fn answering() -> Start {
    Start {
        plan: PlanName("office".into()),
        caller: Caller { address: Some("sip:2002@example.test".into()), name: Some("Bob".into()) },
        caller_address: Some(Address::Extension("2002".into())),
        kind: Kind::Answering { mailbox: Address::Extension("1001".into()), reason: Reason::NoAnswer },
        rate_hz: 8000,
    }
}

pub fn access() -> Start {
    Start { kind: Kind::SubscriberAccess, ..answering() }
}

/// A call from Alice's own number to the pilot.
pub fn access_by_alice() -> Start {
    Start { caller_address: Some(Address::Extension("1001".into())), ..access() }
}

/// A call that we placed to Alice.
pub fn placed(errand: Errand) -> Start {
    let kind = Kind::Placed { mailbox: Address::Extension("1001".into()), errand };
    Start { kind, caller: Caller::default(), caller_address: None, ..answering() }
}

impl Talk {
    pub fn new(start: Start, options: Options, store: FakeStore) -> Self {
        let now = Instant::now();
        Self {
            call: Call::new(Arc::new(options), start, now, wall()),
            store: Arc::new(store),
            now,
            held_back: None,
            playing: None,
            recording: None,
            outcome: None,
            events: Vec::new(),
        }
    }

    /// Plays the table: each row is what the caller does and what is then heard and done, `*` at the end of a row
    /// standing for the rest.
    pub fn goes(&mut self, table: &[(&str, &str)]) -> &mut Self {
        for (row, (does, then)) in table.iter().enumerate() {
            self.does(does);
            let came = self.came();
            let matches = match then.strip_suffix('*') {
                Some(beginning) => came.starts_with(beginning),
                None => came == *then,
            };
            assert!(matches, "row {row}, caller {does:?}\n came: {came}\n want: {then}");
        }
        self
    }

    /// Hands over the answers that a slow store has held back so far.
    pub fn store_catches_up(&mut self) -> String {
        for (request, answer) in std::mem::take(self.held_back.as_mut().expect("a slow store")) {
            self.input(Input::Stored(request, answer));
        }
        self.came()
    }

    fn input(&mut self, input: Input) {
        self.call.handle(input, self.now);
    }

    fn does(&mut self, what: &str) {
        let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
        let secs = || Duration::from_secs_f64(rest.parse().expect("seconds"));
        match verb {
            "calls" => {}
            "listens" => {
                let playback = self.playing.take().expect("something is played");
                self.input(Input::PlaybackFinished(playback));
            }
            "cannot-hear" => {
                let playback = self.playing.take().expect("something is played");
                self.input(Input::PlaybackFailed(playback));
            }
            "presses" => rest.chars().for_each(|key| self.input(Input::Digit(Digit::new(key).expect("a key")))),
            "speaks" => self.now += secs(),
            // Speaks that long, then says nothing.
            "falls-silent" => self.end_recording(EndOfRecording::Silence, Some(secs())),
            "reaches-limit" => {
                let (_, audio_max, _) = self.recording.expect("a recording");
                self.now += audio_max;
                self.end_recording(EndOfRecording::Limit, Some(audio_max));
            }
            "fills-the-disk" => self.end_recording(EndOfRecording::StoreFailed(StoreError::DiskFull), Some(secs())),
            "waits" => {
                self.now = self.call.deadline().expect("something is waited for");
                self.call.handle_timeout(self.now);
            }
            "lets-pass" => {
                self.now += secs();
                self.call.handle_timeout(self.now);
            }
            "is-held" => self.input(Input::Held),
            "is-resumed" => self.input(Input::Resumed),
            "is-transferred" => self.input(Input::Transferred),
            "is-not-transferred" => self.input(Input::TransferFailed),
            "loses-media" => self.input(Input::MediaLost),
            "hangs-up" => self.input(Input::HungUp),
            "store-answers" => {
                for (request, answer) in self.held_back.take().expect("a slow store") {
                    self.input(Input::Stored(request, answer));
                }
            }
            _ => panic!("no caller does {what:?}"),
        }
    }

    fn end_recording(&mut self, why: EndOfRecording, audio: Option<Duration>) {
        let (recording, _, since) = self.recording.take().expect("a recording");
        let audio = audio.unwrap_or(self.now - since);
        if let Some(kept) = self.store.kept().recordings.get_mut(&recording) {
            kept.audio = audio;
        }
        self.input(Input::RecordingEnded { recording, why, audio });
    }

    /// Carries out all actions and tells of them, but not of what was interrupted at once.
    fn came(&mut self) -> String {
        let mut came = Vec::new();
        let mut begun = 0..0;
        while let Some(action) = self.call.poll() {
            assert!(self.outcome.is_none(), "nothing follows the end: {action:?}");
            match action {
                Action::Play { playback, clips } => {
                    assert!(self.playing.is_none(), "two playbacks at once");
                    assert!(self.recording.is_none(), "nothing is played into a recording");
                    self.playing = Some(playback);
                    let from = came.len();
                    came.extend(clips.iter().filter_map(clip));
                    begun = from..came.len();
                }
                Action::StopPlayback(playback) => {
                    assert_eq!(self.playing.take(), Some(playback));
                    came.drain(std::mem::take(&mut begun));
                }
                Action::Record { recording, audio_max, .. } => {
                    came.push(format!("[records at most {} s]", audio_max.as_secs()));
                    self.recording = Some((recording, audio_max, self.now));
                }
                Action::StopRecording(recording) => {
                    assert_eq!(self.recording.map(|(id, ..)| id), Some(recording));
                    self.end_recording(EndOfRecording::Stopped, None);
                }
                Action::Store(id, request) => {
                    came.extend(told(&request));
                    let answer = self.store.answer(request);
                    came.extend(answered(&answer));
                    match &mut self.held_back {
                        Some(held_back) => held_back.push_back((id, answer)),
                        None => self.input(Input::Stored(id, answer)),
                    }
                }
                Action::Transfer { target } => came.push(format!("[transfers to {target}]")),
                Action::HangUp => came.push("[hangs up]".into()),
                Action::Event(event) => self.events.push(event),
                Action::Ended(outcome) => {
                    assert!(self.playing.is_none() && self.recording.is_none(), "the end comes last");
                    came.push(format!("[ended: {} {:?}]", result(outcome.result), outcome.end));
                    self.outcome = Some(outcome);
                }
            }
        }
        came.join(" ")
    }
}

fn clip(clip: &Clip) -> Option<String> {
    match clip {
        Clip::Prompt(prompt) => Some(prompt.name.to_owned()),
        Clip::Tone => Some("<tone>".into()),
        Clip::Pause(_) => None,
        Clip::Audio(AudioId::Message(_)) => Some("<message>".into()),
        Clip::Audio(AudioId::Greeting(_)) => Some("<greeting>".into()),
        Clip::Audio(AudioId::Recording(_)) => Some("<recording>".into()),
    }
}

fn told(request: &StoreRequest) -> Option<String> {
    match request {
        StoreRequest::DiscardRecording(_) => Some("[discards]".into()),
        StoreRequest::SetMessageState { state, .. } => Some(format!("[{}]", state.name())),
        StoreRequest::UseGreeting { greeting, .. } => Some(format!("[uses {}]", greeting.name())),
        _ => None,
    }
}

fn answered(answer: &StoreAnswer) -> Option<String> {
    match answer {
        StoreAnswer::FinishedRecording(Finished::Message { length, .. }) => {
            Some(format!("[synced {} s]", length.as_secs_f64()))
        }
        StoreAnswer::FinishedRecording(Finished::Greeting(_)) => Some("[synced greeting]".into()),
        StoreAnswer::FinishedRecording(Finished::TooShort) => Some("[too short]".into()),
        StoreAnswer::Failed(error) => Some(format!("[failed: {error:?}]")),
        _ => None,
    }
}

fn result(result: CallResult) -> String {
    match result {
        CallResult::VoiceMessage { length, .. } => format!("message of {} s,", length.as_secs_f64()),
        other => format!("{other:?},"),
    }
}
