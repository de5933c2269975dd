//! Voice mail call logic as a state machine, and the trait of the store behind it.
//!
//! A [`Call`] is one conversation: what happens to it goes in as an [`Input`], what it wants comes out as an [`Action`],
//! and it reads no clock, opens no file and waits for nothing. Its store is asked by [`Action::Store`] and answers by
//! [`Input::Stored`]; the shell awaits the [`Store`] in between ([`answer`]).

mod access;
mod address;
mod answering;
mod call;
mod command;
mod conversation;
mod deposit;
mod english;
mod english_recordings;
mod greetings;
mod id;
mod inbox;
mod io;
mod key_map;
mod language;
mod leaving;
pub mod limits;
mod line;
mod logon;
mod mailbox;
mod message;
mod new_pin;
mod options;
mod outcome;
mod phrase;
mod pin;
mod placed;
mod prompt;
mod speech;
mod store;
mod store_request;

pub use address::{Address, AddressError, PlanName};
pub use call::Call;
pub use command::{
    Command, EntryCommand, GreetingCommand, MainCommand, MessageCommand, OptionsCommand, RecordingCommand,
    ReviewCommand,
};
pub use id::{GreetingId, IdError, LetterId, MailboxId, MessageId, RecordingId, RequestId};
pub use io::{Action, Clip, Digit, EndOfRecording, Errand, Event, Input, Kind, PlaybackId, Reason, Start};
pub use key_map::{KeyMap, KeyMapError, Match, Menu};
pub use language::{Language, language, recording};
pub use mailbox::{GreetingInUse, GreetingKind, Mailbox, OwnQuota, Quota, RecordedGreeting, time_zone};
pub use message::{Caller, Message, MessageState};
pub use options::Options;
pub use outcome::{CallResult, EndOfCall, Outcome};
pub use phrase::Phrase;
pub use pin::{Pin, PinPolicy, PinRefusal};
pub use prompt::Prompt;
pub use store::{Audio, AudioId, Store, answer, audio_length};
pub use store_request::{
    Began, Beginning, Finished, Finishing, PinAttempt, PinChange, PinChanged, PinVerdict, Purpose, StoreAnswer,
    StoreError, StoreRequest,
};
