//! The line to the caller and to the store, as a conversation uses it: what is asked for goes out as actions, and only
//! what the conversation waits for comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use zeroize::{Zeroize, Zeroizing};

use crate::command::{Command, EntryCommand};
use crate::id::{MailboxId, RecordingId, RequestId};
use crate::io::{Action, Digit, EndOfRecording, Event, Input, PlaybackId, Start};
use crate::key_map::{Match, Menu};
use crate::language::{Language, language};
use crate::limits;
use crate::mailbox::Mailbox;
use crate::options::Options;
use crate::outcome::CallResult;
use crate::speech::Speech;
use crate::store_request::{StoreAnswer, StoreError, StoreRequest};

/// What a conversation is told.
#[derive(Debug)]
pub(crate) enum Turn {
    Digit(Digit),
    /// What was playing has ended.
    Played,
    PlayFailed,
    Recorded {
        why: EndOfRecording,
        /// None: nobody said how much in time.
        audio: Option<Duration>,
    },
    Answer(StoreAnswer),
    Transferred,
    TransferFailed,
    /// No key was pressed in time.
    NoKey,
}

/// The one thing that a conversation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    Playback { playback: PlaybackId, takes_keys: bool },
    Key,
    Pause,
    Store(RequestId),
    Recording(RecordingId),
    RecordingEnd(RecordingId),
    Transfer,
}

/// What a menu makes of a turn.
pub(crate) enum Choice<C> {
    /// Nothing is chosen yet.
    Wait,
    Command(C),
    WrongKey,
    NoKey,
}

/// What an entry makes of a turn.
pub(crate) enum Entry {
    Wait,
    /// The digits entered, at most one more than [`limits::ENTRY_DIGITS_MAX`].
    Entered(Zeroizing<String>),
    /// The clear key, and nothing was entered before it.
    Left,
    NoKey,
}

pub(crate) struct Line {
    pub(crate) options: Arc<Options>,
    pub(crate) start: Start,
    pub(crate) language: &'static dyn Language,
    /// The mailbox the call is about, for its record.
    pub(crate) mailbox: Option<MailboxId>,
    /// What the call came to so far.
    pub(crate) result: CallResult,
    born: Instant,
    born_wall: Timestamp,
    actions: VecDeque<Action>,
    playbacks: u32,
    requests: u32,
    waiting: Waiting,
    /// When we stop waiting.
    timer: Option<Instant>,
    held_since: Option<Instant>,
    /// Keys pressed while nobody asked for one.
    ahead: VecDeque<Digit>,
    /// Keys of a command, or digits of an entry, so far.
    pressed: Zeroizing<Vec<Digit>>,
    /// Wrong or missing inputs in a row.
    failures: u32,
}

impl Line {
    pub(crate) fn new(options: Arc<Options>, start: Start, result: CallResult, now: Instant, wall: Timestamp) -> Self {
        Self {
            language: language(&options.language),
            options,
            start,
            mailbox: None,
            result,
            born: now,
            born_wall: wall,
            actions: VecDeque::new(),
            playbacks: 0,
            requests: 0,
            waiting: Waiting::Nothing,
            timer: None,
            held_since: None,
            ahead: VecDeque::new(),
            // With room for the longest entry, so that no copy is left behind.
            pressed: Zeroizing::new(Vec::with_capacity(limits::ENTRY_DIGITS_MAX + 1)),
            failures: 0,
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn emit(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.emit(Action::Event(event));
    }

    /// The wall clock: the one given at birth, moved on by the monotonic one.
    pub(crate) fn wall(&self, now: Instant) -> Timestamp {
        self.born_wall.checked_add(now.saturating_duration_since(self.born)).unwrap_or(self.born_wall)
    }

    /// When the longest call ends.
    pub(crate) fn end(&self) -> Instant {
        self.born + self.options.call_max
    }

    /// When waiting ends; never during hold.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timer.filter(|_| self.held_since.is_none())
    }

    /// From here on we speak the mailbox's language.
    pub(crate) fn speak_for(&mut self, mailbox: &Mailbox) {
        self.language = language(&mailbox.language);
    }

    pub(crate) fn speech(&self) -> Speech {
        Speech::new(self.language)
    }

    /// Falls silent and waits for nothing. Keys pressed ahead remain.
    pub(crate) fn stop(&mut self) {
        if let Waiting::Playback { playback, .. } = self.waiting {
            self.emit(Action::StopPlayback(playback));
        }
        self.wait(Waiting::Nothing, None);
    }

    /// Plays; a key interrupts it. `recorded` is the longest that recorded audio in it can take.
    pub(crate) fn play(&mut self, speech: Speech, recorded: Duration, now: Instant) {
        self.playback(speech, recorded, true, now);
    }

    /// Plays to the end; keys wait until then.
    pub(crate) fn play_whole(&mut self, speech: Speech, now: Instant) {
        self.playback(speech, Duration::ZERO, false, now);
    }

    fn playback(&mut self, speech: Speech, recorded: Duration, takes_keys: bool, now: Instant) {
        self.stop();
        self.pressed.zeroize();
        let playback = PlaybackId(self.playbacks);
        self.playbacks += 1;
        self.emit(Action::Play { playback, clips: speech.into_clips() });
        let longest = limits::PROMPTS_MAX + recorded + limits::PLAYBACK_SLACK;
        self.wait(Waiting::Playback { playback, takes_keys }, Some(now + longest));
    }

    /// Records; the finish key comes as a [`Turn::Digit`].
    pub(crate) fn record(&mut self, recording: RecordingId, audio_max: Duration, now: Instant) {
        self.stop();
        self.ahead.clear();
        self.emit(Action::Record { recording, audio_max, silence: self.options.silence });
        // Silence that is not counted as audio can come on top.
        let longest = audio_max + self.options.silence + limits::RECORDING_END;
        self.wait(Waiting::Recording(recording), Some(now + longest));
    }

    pub(crate) fn stop_recording(&mut self, now: Instant) {
        if let Waiting::Recording(recording) = self.waiting {
            self.emit(Action::StopRecording(recording));
            self.wait(Waiting::RecordingEnd(recording), Some(now + limits::RECORDING_END));
        }
    }

    /// Ends a recording, whatever it has come to.
    pub(crate) fn end_recording(&mut self) {
        if let Waiting::Recording(recording) = self.waiting {
            self.emit(Action::StopRecording(recording));
            self.wait(Waiting::Nothing, None);
        }
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: StoreRequest, now: Instant) {
        self.stop();
        let request = self.tell(request);
        self.wait(Waiting::Store(request), Some(now + limits::STORE_ANSWER));
    }

    /// Asks for something whose answer changes nothing.
    pub(crate) fn tell(&mut self, request: StoreRequest) -> RequestId {
        let id = RequestId(self.requests);
        self.requests += 1;
        self.emit(Action::Store(id, request));
        id
    }

    pub(crate) fn discard(&mut self, recording: RecordingId) {
        self.tell(StoreRequest::DiscardRecording(recording));
    }

    pub(crate) fn transfer(&mut self, target: String, now: Instant) {
        self.stop();
        self.event(Event::OperatorAsked);
        self.emit(Action::Transfer { target });
        self.wait(Waiting::Transfer, Some(now + limits::TRANSFER));
    }

    /// Waits for a time; [`Turn::NoKey`] ends it.
    pub(crate) fn pause(&mut self, time: Duration, now: Instant) {
        self.wait(Waiting::Pause, Some(now + time));
    }

    fn wait_for_key(&mut self, time: Duration, now: Instant) {
        self.wait(Waiting::Key, Some(now + time));
    }

    fn wait(&mut self, waiting: Waiting, timer: Option<Instant>) {
        self.waiting = waiting;
        self.timer = timer;
    }

    pub(crate) fn hold(&mut self, now: Instant) {
        self.held_since.get_or_insert(now);
    }

    pub(crate) fn resume(&mut self, now: Instant) {
        if let Some(since) = self.held_since.take() {
            let rested = now.saturating_duration_since(since);
            self.timer = self.timer.map(|timer| timer + rested);
        }
    }

    /// The turn that an input is, if it is what we wait for.
    pub(crate) fn turn(&mut self, input: Input) -> Option<Turn> {
        let turn = match (input, self.waiting) {
            (Input::Digit(digit), Waiting::Recording(_)) => return Some(Turn::Digit(digit)),
            (Input::Digit(digit), _) => {
                if self.ahead.len() < limits::DIGITS_AHEAD_MAX {
                    self.ahead.push_back(digit);
                }
                return self.key_ahead();
            }
            (Input::PlaybackFinished(id), Waiting::Playback { playback, .. }) if id == playback => Turn::Played,
            (Input::PlaybackFailed(id), Waiting::Playback { playback, .. }) if id == playback => Turn::PlayFailed,
            (
                Input::RecordingEnded { recording, why, audio },
                Waiting::Recording(waited) | Waiting::RecordingEnd(waited),
            ) if recording == waited => Turn::Recorded { why, audio: Some(audio) },
            (Input::Stored(id, answer), Waiting::Store(request)) if id == request => Turn::Answer(answer),
            (Input::Transferred, Waiting::Transfer) => Turn::Transferred,
            (Input::TransferFailed, Waiting::Transfer) => Turn::TransferFailed,
            _ => return None,
        };
        self.wait(Waiting::Nothing, None);
        Some(turn)
    }

    /// The next key pressed ahead, once somebody asks for keys.
    pub(crate) fn key_ahead(&mut self) -> Option<Turn> {
        let asked = matches!(self.waiting, Waiting::Key | Waiting::Playback { takes_keys: true, .. });
        let digit = self.ahead.pop_front_if(|_| asked)?;
        Some(Turn::Digit(digit))
    }

    /// The turn that it is when what we wait for does not come.
    pub(crate) fn timed_out(&mut self, now: Instant) -> Option<Turn> {
        self.timer.filter(|&timer| timer <= now && self.held_since.is_none())?;
        let waited = self.waiting;
        let turn = match waited {
            Waiting::Nothing => None,
            Waiting::Playback { .. } => {
                self.stop();
                Some(Turn::Played)
            }
            Waiting::Key | Waiting::Pause => Some(Turn::NoKey),
            Waiting::Store(_) => Some(Turn::Answer(StoreAnswer::Failed(StoreError::Busy))),
            Waiting::Recording(_) => {
                self.stop_recording(now);
                return None;
            }
            Waiting::RecordingEnd(_) => Some(Turn::Recorded { why: EndOfRecording::Stopped, audio: None }),
            Waiting::Transfer => Some(Turn::TransferFailed),
        };
        self.wait(Waiting::Nothing, None);
        turn
    }

    /// What `turn` chooses from `menu`, whose choices are or were being spoken.
    pub(crate) fn choose<C: Command>(&mut self, menu: &Menu<C>, turn: &Turn, now: Instant) -> Choice<C> {
        match turn {
            Turn::Digit(digit) => {
                self.stop();
                self.pressed.push(*digit);
                match menu.find(&self.pressed) {
                    Match::Command(command) => self.chosen(Some(command)),
                    Match::CommandUnlessMore(_) | Match::More => {
                        self.wait_for_key(self.options.next_key, now);
                        Choice::Wait
                    }
                    Match::Nothing => self.chosen(None),
                }
            }
            Turn::NoKey if self.pressed.is_empty() => Choice::NoKey,
            Turn::NoKey => match menu.find(&self.pressed) {
                Match::Command(command) | Match::CommandUnlessMore(command) => self.chosen(Some(command)),
                Match::More | Match::Nothing => self.chosen(None),
            },
            _ => {
                self.wait_for_key(self.options.first_key, now);
                Choice::Wait
            }
        }
    }

    fn chosen<C>(&mut self, command: Option<C>) -> Choice<C> {
        self.pressed.zeroize();
        match command {
            Some(command) => {
                self.failures = 0;
                Choice::Command(command)
            }
            None => Choice::WrongKey,
        }
    }

    /// What `turn` adds to an entry.
    pub(crate) fn enter(&mut self, menu: &Menu<EntryCommand>, turn: &Turn, now: Instant) -> Entry {
        match turn {
            Turn::Digit(digit) => {
                self.stop();
                match menu.find(&[*digit]) {
                    Match::Command(EntryCommand::Finish) => return self.entered(),
                    Match::Command(EntryCommand::Clear) if self.pressed.is_empty() => return Entry::Left,
                    Match::Command(EntryCommand::Clear) => self.pressed.zeroize(),
                    // One more than the longest shows that it was too long.
                    _ if self.pressed.len() <= limits::ENTRY_DIGITS_MAX => self.pressed.push(*digit),
                    _ => {}
                }
                self.wait_for_key(self.options.next_key, now);
                Entry::Wait
            }
            Turn::NoKey => self.entered(),
            _ => {
                self.wait_for_key(self.options.first_key, now);
                Entry::Wait
            }
        }
    }

    fn entered(&mut self) -> Entry {
        if self.pressed.is_empty() {
            return Entry::NoKey;
        }
        let mut digits = Zeroizing::new(String::with_capacity(limits::ENTRY_DIGITS_MAX + 1));
        digits.extend(self.pressed.iter().map(|digit| digit.key()));
        self.pressed.zeroize();
        self.failures = 0;
        Entry::Entered(digits)
    }

    /// Counts a wrong or missing input; true when there were too many in a row.
    pub(crate) fn failed(&mut self) -> bool {
        self.failures += 1;
        self.failures >= self.options.input_failures_max
    }
}
