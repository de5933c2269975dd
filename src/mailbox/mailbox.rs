//! A mailbox and what its owner chose.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::address::{Address, PlanName};
use crate::id::{GreetingId, MailboxId};

/// A mailbox as the store knows it. Its PIN is no part of it: only the store compares PINs.
#[derive(Clone, Debug, PartialEq)]
pub struct Mailbox {
    pub id: MailboxId,
    /// The dial plan it belongs to.
    pub plan: PlanName,
    /// Its addresses in that plan, the one to be spoken first; at most
    /// [`ADDRESSES_MAX`](crate::limits::ADDRESSES_MAX).
    pub addresses: Vec<Address>,
    /// Its owner's name, to show.
    pub name: String,
    /// BCP 47 tag of the language it speaks. One we have no prompts for falls back to English.
    pub language: String,
    /// Where its owner lives, for spoken dates and times; see [`time_zone`].
    pub time_zone: TimeZone,
    /// Whom the operator key reaches: a SIP URI, or a number of the dial plan; "" is nobody. None: the dial
    /// plan's.
    pub operator: Option<String>,
    /// What it may hold, where that is not what all may.
    pub quota: OwnQuota,
    /// The greeting that callers hear.
    pub greeting: GreetingInUse,
    /// The recorded greetings, at most one of a kind.
    pub recorded: Vec<RecordedGreeting>,
}

impl Mailbox {
    /// The recorded greeting of `kind`, if there is one.
    pub fn recorded(&self, kind: GreetingKind) -> Option<GreetingId> {
        self.recorded.iter().find(|greeting| greeting.kind == kind).map(|greeting| greeting.id)
    }

    /// The digits that callers hear in the standard greeting: those of the first address that has some.
    pub fn spoken_digits(&self) -> Option<&str> {
        self.addresses.iter().find_map(Address::digits)
    }
}

/// What a recorded greeting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GreetingKind {
    /// In place of the standard greeting.
    Own,
    /// While its owner is away.
    OutOfOffice,
    /// The owner's name, spoken within the standard greeting.
    Name,
}

impl GreetingKind {
    pub const ALL: [Self; 3] = [Self::Own, Self::OutOfOffice, Self::Name];

    /// The kind's name in a database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::OutOfOffice => "out-of-office",
            Self::Name => "name",
        }
    }
}

/// Which greeting callers hear. One that was never recorded, or cannot be read, is replaced by the standard one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GreetingInUse {
    /// Spoken by us, with the owner's recorded name or the number.
    #[default]
    Standard,
    Own,
    OutOfOffice,
}

impl GreetingInUse {
    pub const ALL: [Self; 3] = [Self::Standard, Self::Own, Self::OutOfOffice];

    /// The choice's name in a database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Own => "own",
            Self::OutOfOffice => "out-of-office",
        }
    }

    /// The recording that it plays.
    pub fn kind(self) -> Option<GreetingKind> {
        match self {
            Self::Standard => None,
            Self::Own => Some(GreetingKind::Own),
            Self::OutOfOffice => Some(GreetingKind::OutOfOffice),
        }
    }
}

/// A greeting that its owner recorded and accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedGreeting {
    pub kind: GreetingKind,
    pub id: GreetingId,
}

/// What a mailbox may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Messages, new and saved.
    pub messages: u32,
    /// Their audio together, in seconds.
    pub audio_secs: u32,
}

impl Default for Quota {
    /// 100 messages, 60 minutes.
    fn default() -> Self {
        Self { messages: 100, audio_secs: 3600 }
    }
}

/// What one mailbox may hold; what is absent is as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnQuota {
    pub messages: Option<u32>,
    pub audio_secs: Option<u32>,
}

impl OwnQuota {
    /// The quota that holds, where `all` holds for the others.
    pub fn or(self, all: Quota) -> Quota {
        Quota { messages: self.messages.unwrap_or(all.messages), audio_secs: self.audio_secs.unwrap_or(all.audio_secs) }
    }
}

/// The time zone of an IANA name (`Europe/Berlin`), from the database that we bring along; none for an unknown name.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}
