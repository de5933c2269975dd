//! Voice mail call logic as a state machine, and the trait of the store behind it.
//!
//! A call is one conversation: what happens to it goes in as an [`Input`], what it wants comes out as an [`Action`],
//! and it reads no clock, opens no file and waits for nothing. Its store is asked by [`Action::Store`] and answers by
//! [`Input::Stored`]; the shell awaits the [`Store`] in between ([`answer`]).

mod address;
mod id;
mod io;
pub mod limits;
mod mailbox;
mod message;
mod outcome;
mod pin;
mod prompt;
mod store;
mod store_request;

pub use address::{Address, AddressError, PlanName};
pub use id::{GreetingId, IdError, MailboxId, MessageId, RecordingId, RequestId};
pub use io::{Action, Clip, Digit, EndOfRecording, Event, Input, Kind, PlaybackId, Reason, Start};
pub use mailbox::{GreetingInUse, GreetingKind, Mailbox, Quota, RecordedGreeting, time_zone};
pub use message::{Caller, Message, MessageState};
pub use outcome::{CallResult, EndOfCall, Outcome};
pub use pin::{Pin, PinPolicy, PinRefusal};
pub use prompt::Prompt;
pub use store::{Audio, AudioId, Store, answer, audio_length};
pub use store_request::{
    Began, Beginning, Finished, Finishing, PinAttempt, PinChange, PinChanged, PinVerdict, Purpose, StoreAnswer,
    StoreError, StoreRequest,
};
