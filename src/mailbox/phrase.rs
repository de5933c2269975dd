//! What a call has to say, apart from numbers, dates and times.

macro_rules! phrases {
    ($($phrase:ident = $name:literal,)*) => {
        /// A phrase. What it says in a language is in `config/prompts/<language>.toml`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Phrase {
            $($phrase,)*
        }

        impl Phrase {
            /// Every phrase.
            pub const ALL: &'static [Self] = &[$(Self::$phrase),*];

            /// Its name, which is the prompt's name in every language.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$phrase => $name,)*
                }
            }
        }
    };
}

phrases! {
    // Call answering.
    ThePersonAt = "the-person-at",
    ThePersonYouCalled = "the-person-you-called",
    IsNotAvailable = "is-not-available",
    LeaveMessage = "leave-message",
    MailboxFull = "mailbox-full",
    MailboxBusy = "mailbox-busy",
    MailboxUnknown = "mailbox-unknown",
    CannotRecord = "cannot-record",
    ToFinish = "to-finish",
    LimitReached = "limit-reached",
    NothingRecorded = "nothing-recorded",
    ToAccept = "to-accept",
    ToListen = "to-listen",
    ToRecordAgain = "to-record-again",
    ToCancel = "to-cancel",
    ToReachOperator = "to-reach-operator",
    MessageAccepted = "message-accepted",
    MessageNotAccepted = "message-not-accepted",
    Cancelled = "cancelled",
    RecordAfterTone = "record-after-tone",
    // Everywhere.
    OneMoment = "one-moment",
    OperatorFailed = "operator-failed",
    NoOperator = "no-operator",
    TechnicalProblem = "technical-problem",
    WrongKey = "wrong-key",
    AreYouThere = "are-you-there",
    CallTooLong = "call-too-long",
    Goodbye = "goodbye",
    // Logging on.
    Welcome = "welcome",
    EnterMailbox = "enter-mailbox",
    EnterPin = "enter-pin",
    WrongLogon = "wrong-logon",
    Locked = "locked",
    MustChangePin = "must-change-pin",
    PinExpired = "pin-expired",
    // A new PIN.
    EnterNewPin = "enter-new-pin",
    EnterPinAgain = "enter-pin-again",
    PinsDiffer = "pins-differ",
    PinTooShort = "pin-too-short",
    PinTooLong = "pin-too-long",
    PinTooEasy = "pin-too-easy",
    PinOwnNumber = "pin-own-number",
    PinUsedBefore = "pin-used-before",
    PinChanged = "pin-changed",
    // The main menu.
    ToHearNew = "to-hear-new",
    ToHearSaved = "to-hear-saved",
    ToChangeOptions = "to-change-options",
    ToHearAgain = "to-hear-again",
    ToEnd = "to-end",
    // Messages.
    NewMessage = "new-message",
    SavedMessage = "saved-message",
    DeletedMessage = "deleted-message",
    MessagePartial = "message-partial",
    MessageDamaged = "message-damaged",
    UnknownCaller = "unknown-caller",
    NoMessages = "no-messages",
    NoMoreMessages = "no-more-messages",
    FirstMessage = "first-message",
    ToRepeat = "to-repeat",
    ToSave = "to-save",
    ToDelete = "to-delete",
    ToKeepNew = "to-keep-new",
    ToHearNext = "to-hear-next",
    ToHearPrevious = "to-hear-previous",
    ToGoBack = "to-go-back",
    MessageSaved = "message-saved",
    MessageDeleted = "message-deleted",
    MessageRestored = "message-restored",
    MessageKeptNew = "message-kept-new",
    // Greetings.
    UsingStandard = "using-standard",
    UsingOwn = "using-own",
    UsingOutOfOffice = "using-out-of-office",
    GreetingMissing = "greeting-missing",
    GreetingSaved = "greeting-saved",
    ToRecordOwn = "to-record-own",
    ToRecordOutOfOffice = "to-record-out-of-office",
    ToRecordName = "to-record-name",
    ToUseStandard = "to-use-standard",
    ToUseOwn = "to-use-own",
    ToUseOutOfOffice = "to-use-out-of-office",
    ToChangePin = "to-change-pin",
}
