//! Calls at random: whatever callers, players and stores do, a call ends, loses no message, and keeps what it knows to
//! itself until the PIN was right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_mailbox::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::store::{FakeStore, wall};
use crate::talk::{access, access_by_alice, answering, placed};

/// Actions that follow one input, at most.
const ACTIONS_MAX: usize = 200;

struct Walk {
    random: ChaCha8Rng,
    seed: u64,
    call: Call,
    store: FakeStore,
    now: Instant,
    playing: Option<PlaybackId>,
    recording: Option<(RecordingId, Duration)>,
    late: Vec<(RequestId, StoreAnswer)>,
    /// Audio of each deposit of this call.
    taken: BTreeMap<RecordingId, Duration>,
    discarded: BTreeSet<RecordingId>,
    confirmed: usize,
    logged_on: bool,
    cancelled: bool,
    outcome: Option<Outcome>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let store = FakeStore::new();
        store.message(Some("2001"), "2026-10-20T12:15:00Z", MessageState::New);
        store.message(None, "2026-10-02T12:15:00Z", MessageState::Saved);
        store.kept().pins.must_change = random.next_u32().is_multiple_of(4);
        let listed = store.kept().messages[random.next_u32() as usize % 2].1.id;
        let start = match random.next_u32() % 6 {
            0 => access(),
            1 => access_by_alice(),
            2 => placed(Errand::PlayMessage(listed)),
            3 => placed(Errand::RecordGreeting(GreetingKind::Own)),
            _ => answering(),
        };
        let is_placed = matches!(start.kind, Kind::Placed { .. });
        let keys = KeyMap::preset(KeyMap::PRESETS[random.next_u32() as usize % 3]).unwrap();
        let now = Instant::now();
        let call = Call::new(Arc::new(Options { keys: keys.into(), ..Options::default() }), start, now, wall());
        Self {
            random,
            seed,
            call,
            store,
            now,
            playing: None,
            recording: None,
            late: Vec::new(),
            taken: BTreeMap::new(),
            discarded: BTreeSet::new(),
            confirmed: 0,
            // Whom we called was signed in elsewhere.
            logged_on: is_placed,
            cancelled: false,
            outcome: None,
        }
    }

    /// One of `all`.
    fn pick<T: Copy, const N: usize>(&mut self, all: [T; N]) -> T {
        all[self.random.next_u32() as usize % N]
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.next_u32().is_multiple_of(n)
    }

    fn input(&mut self, input: Input) {
        self.call.handle(input, self.now);
        self.drain();
    }

    fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            self.input(Input::Digit(Digit::new(key).unwrap()));
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(u64::from(self.random.next_u32() % 700));
        match self.random.next_u32() % 20 {
            0..5 => {
                if let Some(playback) = self.playing.take() {
                    self.input(Input::PlaybackFinished(playback));
                }
            }
            5 => {
                if let Some(playback) = self.playing.take() {
                    self.input(Input::PlaybackFailed(playback));
                }
            }
            6..10 => {
                let key = self.pick(*b"0123456789*#");
                self.press(&char::from(key).to_string());
            }
            10 => self.press("271828#"),
            11 => {
                let keys = self.pick(["1001#", "314159#314159#", "99#", "1#2#", "##"]);
                self.press(keys);
            }
            12..14 => {
                let failed = EndOfRecording::StoreFailed(StoreError::DiskFull);
                let why = self.pick([EndOfRecording::Silence, EndOfRecording::Limit, failed]);
                self.end_recording(why);
            }
            14..16 => {
                if let Some(deadline) = self.call.deadline() {
                    self.now = self.now.max(deadline);
                    self.call.handle_timeout(self.now);
                    self.drain();
                }
            }
            16 => {
                let hold = if self.one_in(3) { Input::Held } else { Input::Resumed };
                self.input(hold);
            }
            17 => {
                let of_transfer = if self.one_in(4) { Input::Transferred } else { Input::TransferFailed };
                self.input(of_transfer);
            }
            18 => self.answer_late(),
            _ => self.nonsense(),
        }
    }

    /// Inputs that belong to nothing.
    fn nonsense(&mut self) {
        let number = self.random.next_u32();
        self.input(match number % 5 {
            0 => Input::PlaybackFinished(PlaybackId(number)),
            1 => Input::Stored(RequestId(number), StoreAnswer::DiscardedRecording),
            2 => Input::RecordingEnded {
                recording: RecordingId::new(u64::from(number), [0; 10]),
                why: EndOfRecording::Silence,
                audio: Duration::from_secs(9),
            },
            3 if number.is_multiple_of(13) => Input::MediaLost,
            _ => Input::PlaybackFailed(PlaybackId(number)),
        });
    }

    fn answer_late(&mut self) {
        for (request, answer) in std::mem::take(&mut self.late) {
            self.logged_on |= matches!(answer, StoreAnswer::VerifiedPin(PinVerdict::Right { .. }));
            self.confirmed += usize::from(matches!(answer, StoreAnswer::FinishedRecording(_)));
            match answer {
                // The shell's duty once a call has ended.
                StoreAnswer::BeganRecording(Began::Recording { recording, .. }) if self.outcome.is_some() => {
                    self.store.answer(StoreRequest::DiscardRecording(recording));
                }
                answer => self.input(Input::Stored(request, answer)),
            }
        }
    }

    fn end_recording(&mut self, why: EndOfRecording) {
        if let Some((recording, audio)) = self.end_of_recording() {
            self.input(Input::RecordingEnded { recording, why, audio });
        }
    }

    /// The recording that ends now, with audio of a random length.
    fn end_of_recording(&mut self) -> Option<(RecordingId, Duration)> {
        let (recording, audio_max) = self.recording.take()?;
        let millis = if self.one_in(3) { self.random.next_u32() % 1000 } else { self.random.next_u32() % 60_000 };
        let audio = Duration::from_millis(millis.into()).min(audio_max);
        if let Some(kept) = self.store.kept().recordings.get_mut(&recording) {
            kept.audio = audio;
            if matches!(kept.purpose, Purpose::Deposit { .. }) {
                self.taken.insert(recording, audio);
            }
        }
        Some((recording, audio))
    }

    fn drain(&mut self) {
        for _ in 0..ACTIONS_MAX {
            let Some(action) = self.call.poll() else { return };
            assert!(self.outcome.is_none(), "seed {}: nothing follows the end", self.seed);
            self.carry_out(action);
        }
        panic!("seed {}: more than {ACTIONS_MAX} actions after one input", self.seed);
    }

    fn carry_out(&mut self, action: Action) {
        let seed = self.seed;
        match action {
            Action::Play { playback, clips } => {
                assert!(self.playing.is_none() && self.recording.is_none(), "seed {seed}");
                assert!(!clips.is_empty() && clips.len() <= limits::CLIPS_MAX, "seed {seed}");
                clips.iter().for_each(|clip| self.hear(clip));
                self.playing = Some(playback);
            }
            Action::StopPlayback(playback) => {
                assert!(self.playing.take().is_none_or(|playing| playing == playback), "seed {seed}");
            }
            Action::Record { recording, audio_max, .. } => {
                assert!(self.playing.is_none() && self.recording.is_none(), "seed {seed}");
                self.recording = Some((recording, audio_max));
            }
            Action::StopRecording(_) => {
                // Now and then nobody says that it ended, and the store alone knows what was recorded.
                if let Some((recording, audio)) = self.end_of_recording()
                    && !self.one_in(10)
                {
                    self.call
                        .handle(Input::RecordingEnded { recording, why: EndOfRecording::Stopped, audio }, self.now);
                }
            }
            Action::Store(id, request) => self.ask(id, request),
            Action::Ended(outcome) => {
                assert!(self.playing.is_none() && self.recording.is_none(), "seed {seed}: the end comes last");
                self.outcome = Some(outcome);
            }
            Action::Transfer { .. } | Action::HangUp | Action::Event(_) => {}
        }
    }

    /// Before the PIN, a caller hears nothing of what a mailbox holds; after "saved", it is.
    fn hear(&mut self, clip: &Clip) {
        let seed = self.seed;
        match clip {
            Clip::Audio(AudioId::Message(_)) => assert!(self.logged_on, "seed {seed}: a message before the PIN"),
            Clip::Prompt(prompt) => {
                let of_owner = ["you-have", "new-message", "saved-message", "deleted-message", "using-", "received"];
                let tells = of_owner.iter().any(|name| prompt.name.starts_with(name));
                assert!(self.logged_on || !tells, "seed {seed}: {} before the PIN", prompt.name);
                assert!(recording(*prompt).is_some(), "seed {seed}: {prompt} has no recording");
                self.cancelled |= prompt.name == "cancelled";
                assert!(prompt.name != "message-accepted" || self.confirmed > 0, "seed {seed}: saved too early");
            }
            _ => {}
        }
    }

    fn ask(&mut self, id: RequestId, request: StoreRequest) {
        let seed = self.seed;
        match &request {
            StoreRequest::FindMailbox { .. } | StoreRequest::VerifyPin(_) => {}
            StoreRequest::FinishRecording(_) => {}
            StoreRequest::DiscardRecording(recording) => {
                self.discarded.insert(*recording);
            }
            StoreRequest::BeginRecording(Beginning { purpose: Purpose::Deposit { .. }, .. }) => {}
            other => assert!(self.logged_on, "seed {seed}: {other:?} before the PIN"),
        }
        let is_finish = matches!(request, StoreRequest::FinishRecording(_));
        let error = self.pick([StoreError::DiskFull, StoreError::Busy, StoreError::Unavailable]);
        if self.one_in(40) {
            let mut kept = self.store.kept();
            match &request {
                StoreRequest::FinishRecording(_) => kept.fail_finish.push(error),
                StoreRequest::BeginRecording(_) => kept.fail_begin.push(error),
                StoreRequest::DiscardRecording(_) => {}
                _ => kept.fail_others.push(error),
            }
        }
        let answer = self.store.answer(request);
        if self.one_in(10) {
            self.late.push((id, answer));
            return;
        }
        self.logged_on |= matches!(answer, StoreAnswer::VerifiedPin(PinVerdict::Right { .. }));
        self.confirmed += usize::from(is_finish && !matches!(answer, StoreAnswer::Failed(_)));
        self.call.handle(Input::Stored(id, answer), self.now);
    }

    /// To its end, by a caller who hangs up or a call left alone.
    fn finish(&mut self) {
        if self.one_in(2) {
            self.input(Input::HungUp);
        }
        self.answer_late();
        for _ in 0..1000 {
            let Some(deadline) = self.call.deadline() else { break };
            self.now = self.now.max(deadline);
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.answer_late();
    }

    fn judge(&self) {
        let seed = self.seed;
        let outcome = self.outcome.as_ref().unwrap_or_else(|| panic!("seed {seed}: the call never ends"));
        let kept = self.store.kept();
        let deposits: Vec<_> = self.taken.iter().filter(|(_, audio)| **audio >= limits::MESSAGE_MIN).collect();
        let left = kept.messages.len() - 2;
        match outcome.result {
            CallResult::VoiceMessage { message, .. } => {
                assert!(kept.messages.iter().any(|(_, m)| m.id == message), "seed {seed}: no such message");
            }
            CallResult::VoiceMessageUnconfirmed => {
                // Still open, or finished without our hearing of it.
                let found = |id: &RecordingId| kept.recordings.contains_key(id) || kept.finished.contains_key(id);
                assert!(deposits.iter().any(|(id, _)| found(id)), "seed {seed}: nothing for recovery to find");
            }
            _ => {
                let lost = !deposits.is_empty() && !self.cancelled;
                assert!(!lost, "seed {seed}: {deposits:?} lost, {outcome:?}");
                assert_eq!(left, 0, "seed {seed}: a message that nobody left");
            }
        }
        // A discarded take of a second gave way to a longer-lived one, or to the caller's wish.
        let gave_way = deposits.iter().all(|(id, _)| self.discarded.contains(id));
        assert!(deposits.is_empty() || !gave_way || self.cancelled, "seed {seed}: every take was discarded");
        let may_stay_open = matches!(outcome.result, CallResult::VoiceMessageUnconfirmed);
        assert!(may_stay_open || kept.recordings.is_empty(), "seed {seed}: a recording stays open: {outcome:?}");
    }
}

#[test]
fn no_call_at_random_panics_lingers_loses_a_message_or_tells_before_the_pin() {
    let mut results = BTreeSet::new();
    for seed in 0..4000 {
        let mut walk = Walk::new(seed);
        walk.drain();
        let steps = walk.random.next_u32() % 120;
        for _ in 0..steps {
            walk.step();
        }
        walk.finish();
        walk.judge();
        results.insert(format!("{:?}", walk.outcome.as_ref().map(|outcome| outcome.end)));
        results.insert(format!("{:.14?}", format!("{:?}", walk.outcome.as_ref().map(|outcome| outcome.result))));
    }
    // The walk goes everywhere: every end of a call but those that need a table of their own.
    for end in ["CallerHungUp", "MediaLost", "Finished", "Transferred", "InputsFailed", "LogonFailed", "StoreFailed"] {
        assert!(results.contains(&format!("Some({end})")), "no walk ended by {end}: {results:?}");
    }
}
