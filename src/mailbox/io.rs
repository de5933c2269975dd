//! What goes into a call and what comes out: the whole surface between the state machine and its shell.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroize;

use crate::address::{Address, PlanName};
use crate::id::{MessageId, RecordingId, RequestId};
use crate::mailbox::GreetingKind;
use crate::message::Caller;
use crate::outcome::Outcome;
use crate::prompt::Prompt;
use crate::store::AudioId;
use crate::store_request::{StoreAnswer, StoreError, StoreRequest};

/// What is known when a call is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The dial plan whose gateway it came by.
    pub plan: PlanName,
    pub caller: Caller,
    /// The caller as an address of that plan, if it has that form: its owner's own number opens a mailbox, by PIN.
    pub caller_address: Option<Address>,
    pub kind: Kind,
    /// Samples per second of what the call hears: 8000 or 16000. Recordings are kept at that rate.
    pub rate_hz: u32,
}

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody called a mailbox's owner. Called directly by the owner's own number, it is subscriber access.
    Answering { mailbox: Address, reason: Reason },
    /// Somebody called a pilot, to hear messages: asked for the mailbox number, unless the caller's number tells it,
    /// and for the PIN.
    SubscriberAccess,
    /// We called a mailbox's owner, who asked for it and is not asked for the PIN.
    Placed { mailbox: Address, errand: Errand },
}

/// What an owner wants of a call that we place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To hear a message, and to say by keys what becomes of it. A new one stays new unless a key was pressed.
    PlayMessage(MessageId),
    PlayGreeting(GreetingKind),
    RecordGreeting(GreetingKind),
}

/// Why a call comes to a mailbox (RFC 5806 section 4: the reason of a diversion).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The mailbox's own number was called.
    #[default]
    Direct,
    Busy,
    NoAnswer,
    /// Forwarded without condition, or for a reason we do not know.
    Forwarded,
}

/// A key of the telephone. Never printed: keys spell PINs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digit(u8);

impl Digit {
    /// The star key.
    pub const STAR: Self = Self(b'*');
    /// The pound key, `#`.
    pub const POUND: Self = Self(b'#');

    /// The key of `0`-`9`, `*` or `#`; none for any other, A to D included.
    pub fn new(key: char) -> Option<Self> {
        matches!(key, '0'..='9' | '*' | '#').then_some(Self(key as u8))
    }

    /// The key's character.
    pub fn key(self) -> char {
        char::from(self.0)
    }
}

impl Zeroize for Digit {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digit")
    }
}

/// A call's name for one playback. Unique within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaybackId(pub u32);

/// What happens to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The caller pressed a key (once per press, however signalled).
    Digit(Digit),
    /// All clips of a playback were played.
    PlaybackFinished(PlaybackId),
    /// A playback was given up, since recorded audio in it could not be read.
    PlaybackFailed(PlaybackId),
    /// No more audio will be appended to a recording, and all of it was, or the store refused the rest.
    RecordingEnded {
        recording: RecordingId,
        why: EndOfRecording,
        /// What was appended; when silence ended it, without that silence.
        audio: Duration,
    },
    /// The store's answer to [`Action::Store`].
    Stored(RequestId, StoreAnswer),
    /// The call was put on hold: playback and recording rest, and so do this call's timers.
    Held,
    /// The hold is over.
    Resumed,
    /// Whom [`Action::Transfer`] named has the call: the caller will leave it by itself.
    Transferred,
    /// The transfer came to nothing; the caller is still here.
    TransferFailed,
    /// Media or the signalling connection is lost for good.
    MediaLost,
    /// The caller ended the call, or it ended in any other way. Nobody hears anything any more.
    HungUp,
}

/// Why a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfRecording {
    /// [`Action::StopRecording`] asked for it, or the call's media ended.
    Stopped,
    Silence,
    /// `audio_max` was reached.
    Limit,
    /// What was appended before is kept.
    StoreFailed(StoreError),
}

/// What a call wants. To be carried out in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Play these clips, one after the other, after whatever is playing was stopped.
    Play { playback: PlaybackId, clips: Vec<Clip> },
    /// Fall silent. No input answers it.
    StopPlayback(PlaybackId),
    /// Append what the caller says to this recording, until silence of that length, that much audio, or a stop.
    Record { recording: RecordingId, audio_max: Duration, silence: Duration },
    /// Answered by [`Input::RecordingEnded`].
    StopRecording(RecordingId),
    /// Answered by [`Input::Stored`]; requests of one call are carried out in order.
    Store(RequestId, StoreRequest),
    /// Hand the caller on to a SIP URI or a number of the dial plan. Answered by [`Input::Transferred`] or
    /// [`Input::TransferFailed`].
    Transfer { target: String },
    /// End the call. What was played before has been heard.
    HangUp,
    /// Something to count.
    Event(Event),
    /// The last action: what was to be kept is synced, and no input means anything any more. A caller's BYE is best
    /// answered now, but not later than 500 ms after it came. A recording that the store says later to have begun is
    /// the shell's to discard.
    Ended(Outcome),
}

/// Something to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clip {
    Prompt(Prompt),
    /// The tone before a recording.
    Tone,
    Pause(Duration),
    Audio(AudioId),
}

/// Something that happened, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    MailboxUnknown,
    MailboxFull,
    TooManyDeposits,
    DiskFull,
    /// The store failed in another way.
    StoreFailed,
    /// A message was accepted and is synced.
    MessageLeft,
    /// The caller of a mailbox left none.
    CallMissed,
    /// A PIN was right.
    LoggedOn,
    /// A PIN was wrong.
    LogonFailed,
    /// A PIN was entered into a locked mailbox.
    LockedOut,
    PinChanged,
    MessageHeard,
    MessageSaved,
    MessageDeleted,
    GreetingRecorded,
    OperatorAsked,
    TransferFailed,
    /// We hung up after too many wrong or missing inputs.
    InputsFailed,
    /// We hung up since the longest call was reached.
    CallTooLong,
}
