//! A store in memory that keeps its contract, and fails when told to.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use postern_mailbox::*;

/// The mailbox of most tests: 1001, of Alice Ng in Berlin, PIN 271828.
pub fn alice() -> Mailbox {
    Mailbox {
        id: MailboxId::new(1, [1; 10]),
        plan: PlanName("office".into()),
        addresses: vec![Address::Extension("1001".into()), Address::E164("4930123456".into())],
        name: "Alice Ng".into(),
        language: "en".into(),
        time_zone: time_zone("Europe/Berlin").unwrap(),
        operator: Some("sip:operator@example.test".into()),
        quota: OwnQuota::default(),
        greeting: GreetingInUse::Standard,
        recorded: Vec::new(),
    }
}

pub const PIN: &str = "271828";

/// When all tests begin: 15:00 in Berlin, a Tuesday.
pub fn wall() -> Timestamp {
    "2026-10-20T13:00:00Z".parse().unwrap()
}

#[derive(Debug, Clone)]
pub struct Recording {
    pub mailbox: MailboxId,
    pub purpose: Purpose,
    pub begun: Timestamp,
    pub audio: Duration,
}

#[derive(Debug)]
pub struct Pins {
    pub used: Vec<String>,
    pub wrong: u32,
    pub locked: bool,
    pub must_change: bool,
    pub chosen: Timestamp,
}

/// What it holds, and how it is to fail.
pub struct Kept {
    pub mailboxes: Vec<Mailbox>,
    pub pins: Pins,
    pub messages: Vec<(MailboxId, Message)>,
    pub recordings: BTreeMap<RecordingId, Recording>,
    /// What was finished, with its answer: to finish again is no error.
    pub finished: BTreeMap<RecordingId, Finished>,
    pub discarded: BTreeMap<RecordingId, Recording>,
    /// PINs compared for a mailbox that does not exist.
    pub compared_for_nobody: u32,
    pub audio_left: Duration,
    /// Errors to come, the next first, by the request's kind.
    pub fail_begin: Vec<StoreError>,
    pub fail_finish: Vec<StoreError>,
    pub fail_others: Vec<StoreError>,
    ids: u64,
}

pub struct FakeStore(Mutex<Kept>);

impl FakeStore {
    pub fn new() -> Self {
        Self(Mutex::new(Kept {
            mailboxes: vec![alice()],
            pins: Pins {
                used: vec![PIN.into()],
                wrong: 0,
                locked: false,
                must_change: false,
                chosen: "2026-10-01T00:00:00Z".parse().unwrap(),
            },
            messages: Vec::new(),
            recordings: BTreeMap::new(),
            finished: BTreeMap::new(),
            discarded: BTreeMap::new(),
            compared_for_nobody: 0,
            audio_left: Duration::from_secs(3600),
            fail_begin: Vec::new(),
            fail_finish: Vec::new(),
            fail_others: Vec::new(),
            ids: 0,
        }))
    }

    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    /// Puts a message into Alice's mailbox.
    pub fn message(&self, from: Option<&str>, received: &str, state: MessageState) -> MessageId {
        let mut kept = self.kept();
        let id = MessageId::new(kept.next(), [7; 10]);
        let message = Message {
            id,
            caller: Caller { address: from.map(str::to_owned), name: None },
            received: received.parse().unwrap(),
            length: Duration::from_secs(8),
            state,
            partial: false,
        };
        kept.messages.push((alice().id, message));
        id
    }

    /// The answer, at once.
    pub fn answer(&self, request: StoreRequest) -> StoreAnswer {
        let future = pin!(answer(self, request));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("a store in memory never waits"),
        }
    }

    fn others(&self) -> Result<MutexGuard<'_, Kept>, StoreError> {
        let mut kept = self.kept();
        if kept.fail_others.is_empty() { Ok(kept) } else { Err(kept.fail_others.remove(0)) }
    }
}

impl Kept {
    fn next(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn deposits(&self, mailbox: MailboxId, except: Option<RecordingId>) -> usize {
        let of = |recording: &Recording| {
            recording.mailbox == mailbox && matches!(recording.purpose, Purpose::Deposit { .. })
        };
        self.recordings.iter().filter(|(id, recording)| Some(**id) != except && of(recording)).count()
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn find_mailbox(&self, plan: &PlanName, address: &Address) -> Result<Option<Mailbox>, StoreError> {
        let kept = self.others()?;
        let found = kept.mailboxes.iter().find(|mailbox| mailbox.plan == *plan && mailbox.addresses.contains(address));
        Ok(found.cloned())
    }

    async fn verify_pin(&self, attempt: PinAttempt) -> Result<PinVerdict, StoreError> {
        let mut kept = self.others()?;
        if attempt.mailbox.is_none() {
            kept.compared_for_nobody += 1;
            return Ok(PinVerdict::Wrong);
        }
        let pins = &mut kept.pins;
        if pins.locked {
            return Ok(PinVerdict::Locked);
        }
        if pins.used.last().is_some_and(|pin| pin == attempt.pin.digits()) {
            pins.wrong = 0;
            return Ok(PinVerdict::Right { chosen: pins.chosen, must_change: pins.must_change });
        }
        pins.wrong += 1;
        pins.locked = pins.wrong >= attempt.attempts_max;
        Ok(PinVerdict::Wrong)
    }

    async fn change_pin(&self, change: PinChange) -> Result<PinChanged, StoreError> {
        let mut kept = self.others()?;
        let pins = &mut kept.pins;
        if pins.used.iter().rev().take(change.history as usize).any(|used| used == change.pin.digits()) {
            return Ok(PinChanged::UsedBefore);
        }
        pins.used.push(change.pin.digits().to_owned());
        pins.chosen = change.chosen;
        pins.must_change = false;
        Ok(PinChanged::Changed)
    }

    async fn begin_recording(&self, beginning: Beginning) -> Result<Began, StoreError> {
        let mut kept = self.kept();
        if !kept.fail_begin.is_empty() {
            return Err(kept.fail_begin.remove(0));
        }
        let mut audio_max = Duration::MAX;
        if let Purpose::Deposit { quota, deposits_max, replaces, .. } = &beginning.purpose {
            let counted = kept.messages.iter().filter(|(_, message)| message.state != MessageState::Deleted).count();
            if counted >= quota.messages as usize {
                return Ok(Began::MailboxFull);
            }
            if kept.deposits(beginning.mailbox, *replaces) >= *deposits_max as usize {
                return Ok(Began::TooManyDeposits);
            }
            audio_max = kept.audio_left;
        }
        let recording = RecordingId::new(kept.next(), [9; 10]);
        let Beginning { mailbox, purpose, begun, .. } = beginning;
        kept.recordings.insert(recording, Recording { mailbox, purpose, begun, audio: Duration::ZERO });
        Ok(Began::Recording { recording, audio_max })
    }

    async fn append_audio(&self, recording: RecordingId, samples: &[i16]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        let recording = kept.recordings.get_mut(&recording).ok_or(StoreError::Gone)?;
        recording.audio += audio_length(samples.len() as u64, 8000);
        Ok(())
    }

    async fn finish_recording(&self, finishing: Finishing) -> Result<Finished, StoreError> {
        let mut kept = self.kept();
        if !kept.fail_finish.is_empty() {
            return Err(kept.fail_finish.remove(0));
        }
        if let Some(finished) = kept.finished.get(&finishing.recording) {
            return Ok(*finished);
        }
        let recording = kept.recordings.remove(&finishing.recording).ok_or(StoreError::Gone)?;
        if recording.audio < finishing.audio_min {
            return Ok(Finished::TooShort);
        }
        let number = kept.next();
        let finished = match recording.purpose {
            Purpose::Greeting(kind) => {
                let id = GreetingId::new(number, [5; 10]);
                for mailbox in kept.mailboxes.iter_mut().filter(|mailbox| mailbox.id == recording.mailbox) {
                    mailbox.recorded.retain(|greeting| greeting.kind != kind);
                    mailbox.recorded.push(RecordedGreeting { kind, id });
                }
                Finished::Greeting(id)
            }
            Purpose::Deposit { caller, .. } => {
                let message = MessageId::new(number, [7; 10]);
                let length = recording.audio;
                let state = MessageState::New;
                let kept_message =
                    Message { id: message, caller, received: recording.begun, length, state, partial: false };
                kept.messages.push((recording.mailbox, kept_message));
                Finished::Message { message, length }
            }
        };
        kept.finished.insert(finishing.recording, finished);
        Ok(finished)
    }

    async fn discard_recording(&self, recording: RecordingId) -> Result<(), StoreError> {
        let mut kept = self.kept();
        if let Some(gone) = kept.recordings.remove(&recording) {
            kept.discarded.insert(recording, gone);
        }
        Ok(())
    }

    async fn list_messages(&self, mailbox: MailboxId) -> Result<Vec<Message>, StoreError> {
        let kept = self.others()?;
        let listed = kept.messages.iter().filter(|(of, m)| *of == mailbox && m.state != MessageState::Deleted);
        Ok(listed.map(|(_, message)| message.clone()).collect())
    }

    async fn set_message_state(
        &self,
        mailbox: MailboxId,
        message: MessageId,
        state: MessageState,
    ) -> Result<(), StoreError> {
        let mut kept = self.others()?;
        let found = kept.messages.iter_mut().find(|(of, m)| *of == mailbox && m.id == message);
        found.ok_or(StoreError::Gone)?.1.state = state;
        Ok(())
    }

    async fn note_missed_call(&self, _: MailboxId, _: Caller, _: Timestamp) -> Result<(), StoreError> {
        self.others().map(|_| ())
    }

    async fn use_greeting(&self, mailbox: MailboxId, greeting: GreetingInUse) -> Result<(), StoreError> {
        let mut kept = self.others()?;
        let found = kept.mailboxes.iter_mut().find(|m| m.id == mailbox);
        found.ok_or(StoreError::Gone)?.greeting = greeting;
        Ok(())
    }

    async fn read_audio(&self, audio: AudioId, from: u64, samples_max: usize) -> Result<Audio, StoreError> {
        let AudioId::Recording(recording) = audio else { return Err(StoreError::Gone) };
        let kept = self.others()?;
        let recording = kept.recordings.get(&recording).ok_or(StoreError::Gone)?;
        let total = (recording.audio.as_millis() * 8) as u64;
        let left = total.saturating_sub(from) as usize;
        Ok(Audio { samples: vec![0; left.min(samples_max)], rate_hz: 8000, is_end: left <= samples_max })
    }
}
