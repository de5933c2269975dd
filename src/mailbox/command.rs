//! What keys can ask for, menu by menu.

use crate::phrase::Phrase;

/// A menu's commands.
pub trait Command: Copy + PartialEq + Send + Sync + 'static {
    /// The menu's name in a key map.
    const MENU: &'static str;
    /// Every command in the order in which a menu speaks them, with its name in a key map.
    const ALL: &'static [(&'static str, Self)];
    /// The ones that a key map cannot leave out.
    const NEEDED: &'static [Self];

    /// What the menu says before "press" and the keys; none for a command that is not spoken.
    fn phrase(self) -> Option<Phrase>;
}

macro_rules! commands {
    (
        $(#[$doc:meta])* $type:ident in $menu:literal, needed: [$($needed:ident),*];
        $($(#[$command_doc:meta])* $command:ident = $name:literal => $phrase:expr;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$command_doc])* $command,)*
        }

        impl Command for $type {
            const MENU: &'static str = $menu;
            const ALL: &'static [(&'static str, Self)] = &[$(($name, Self::$command)),*];
            const NEEDED: &'static [Self] = &[$(Self::$needed),*];

            fn phrase(self) -> Option<Phrase> {
                match self {
                    $(Self::$command => $phrase,)*
                }
            }
        }
    };
}

commands! {
    /// While a caller hears a greeting.
    GreetingCommand in "greeting", needed: [];
    /// Go on to the tone.
    Skip = "skip" => None;
    Operator = "operator" => None;
}

commands! {
    /// While something is recorded.
    RecordingCommand in "recording", needed: [Finish];
    Finish = "finish" => Some(Phrase::ToFinish);
    /// Keep what was recorded, and reach the operator.
    Operator = "operator" => None;
}

commands! {
    /// After something was recorded.
    ReviewCommand in "review", needed: [Accept, RecordAgain, Cancel];
    Accept = "accept" => Some(Phrase::ToAccept);
    Listen = "listen" => Some(Phrase::ToListen);
    RecordAgain = "record_again" => Some(Phrase::ToRecordAgain);
    Cancel = "cancel" => Some(Phrase::ToCancel);
    /// Keep what was recorded, and reach the operator.
    Operator = "operator" => Some(Phrase::ToReachOperator);
}

commands! {
    /// A number or a PIN being entered; its digits are themselves.
    EntryCommand in "entry", needed: [Finish];
    Finish = "finish" => None;
    /// Start the entry anew.
    Clear = "clear" => None;
}

commands! {
    /// An owner who has logged on.
    MainCommand in "main", needed: [HearNew, Options];
    HearNew = "hear_new" => Some(Phrase::ToHearNew);
    HearSaved = "hear_saved" => Some(Phrase::ToHearSaved);
    Options = "options" => Some(Phrase::ToChangeOptions);
    Operator = "operator" => Some(Phrase::ToReachOperator);
    /// Hear the menu again.
    Help = "help" => Some(Phrase::ToHearAgain);
    End = "end" => Some(Phrase::ToEnd);
}

commands! {
    /// During and after a message.
    MessageCommand in "message", needed: [Repeat, Delete, Next];
    Repeat = "repeat" => Some(Phrase::ToRepeat);
    Save = "save" => Some(Phrase::ToSave);
    /// Delete the message, or bring a deleted one back.
    Delete = "delete" => Some(Phrase::ToDelete);
    /// Leave it as if it had not been heard.
    KeepNew = "keep_new" => Some(Phrase::ToKeepNew);
    Next = "next" => Some(Phrase::ToHearNext);
    Previous = "previous" => Some(Phrase::ToHearPrevious);
    Operator = "operator" => None;
    Help = "help" => None;
    /// Back to the main menu.
    Back = "back" => Some(Phrase::ToGoBack);
}

commands! {
    /// An owner's greetings and PIN.
    OptionsCommand in "options", needed: [RecordOwn, UseStandard, ChangePin, Back];
    RecordOwn = "record_own" => Some(Phrase::ToRecordOwn);
    RecordOutOfOffice = "record_out_of_office" => Some(Phrase::ToRecordOutOfOffice);
    RecordName = "record_name" => Some(Phrase::ToRecordName);
    UseStandard = "use_standard" => Some(Phrase::ToUseStandard);
    UseOwn = "use_own" => Some(Phrase::ToUseOwn);
    UseOutOfOffice = "use_out_of_office" => Some(Phrase::ToUseOutOfOffice);
    ChangePin = "change_pin" => Some(Phrase::ToChangePin);
    Help = "help" => None;
    /// Back to the main menu.
    Back = "back" => Some(Phrase::ToGoBack);
}
