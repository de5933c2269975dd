//! Subscriber access: an owner whose PIN was right.

use std::time::{Duration, Instant};

use crate::command::{MainCommand, OptionsCommand};
use crate::conversation::Next;
use crate::greetings::{Greetings, GreetingsNext};
use crate::inbox::{Inbox, InboxNext, Owned};
use crate::io::Event;
use crate::leaving::Farewell;
use crate::limits::MESSAGES_LISTED_MAX;
use crate::line::{Choice, Line, Turn};
use crate::mailbox::{GreetingInUse, GreetingKind, Mailbox};
use crate::message::MessageState;
use crate::new_pin::{NewPin, NewPinNext};
use crate::outcome::EndOfCall;
use crate::phrase::Phrase;
use crate::speech::Speech;
use crate::store_request::{StoreAnswer, StoreRequest};

pub(crate) struct Access {
    owned: Owned,
    stage: Stage,
}

enum Stage {
    /// The PIN must be changed before anything else.
    MustChangePin(NewPin),
    /// The messages are fetched.
    Listing,
    Main,
    Inbox(Inbox),
    Options,
    Greetings(Greetings),
    ChangePin(NewPin),
    Transferring,
}

impl Access {
    pub(crate) fn begin(mailbox: Box<Mailbox>, must_change: Option<Phrase>, line: &mut Line, now: Instant) -> Self {
        let stage = match must_change {
            Some(why) => Stage::MustChangePin(NewPin::begin(Some(why), line, now)),
            None => {
                line.ask(StoreRequest::ListMessages(mailbox.id), now);
                Stage::Listing
            }
        };
        Self { owned: Owned { mailbox, messages: Vec::new(), is_attended: true }, stage }
    }

    /// Gives up what is still open, for the end of the call.
    pub(crate) fn abandon(&mut self, line: &mut Line) {
        if let Stage::Greetings(greetings) = &mut self.stage {
            greetings.abandon(line);
        }
    }

    pub(crate) fn on(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match &mut self.stage {
            Stage::MustChangePin(new_pin) => match new_pin.on(turn, &self.owned.mailbox, line, now) {
                NewPinNext::Stay => Next::Stay,
                NewPinNext::Changed => {
                    self.stage = Stage::Listing;
                    line.ask(StoreRequest::ListMessages(self.owned.mailbox.id), now);
                    Next::Stay
                }
                NewPinNext::GivenUp => Next::inputs_failed(line),
                NewPinNext::StoreFailed(error) => Next::store_failed(error, line),
            },
            Stage::ChangePin(new_pin) => match new_pin.on(turn, &self.owned.mailbox, line, now) {
                NewPinNext::Stay => Next::Stay,
                NewPinNext::Changed => self.options_menu(Some(Phrase::PinChanged), line, now),
                NewPinNext::GivenUp => Next::inputs_failed(line),
                NewPinNext::StoreFailed(error) => {
                    line.event(Event::of(error));
                    self.options_menu(Some(Phrase::TechnicalProblem), line, now)
                }
            },
            Stage::Listing => self.on_listed(turn, line, now),
            Stage::Main => self.on_main(turn, line, now),
            Stage::Inbox(inbox) => match inbox.on(turn, &mut self.owned, line, now) {
                InboxNext::Stay => Next::Stay,
                InboxNext::Back(said) => self.main_menu(said, line, now),
                InboxNext::Operator => self.transfer(line, now),
                InboxNext::GivenUp => Next::inputs_failed(line),
            },
            Stage::Options => self.on_options(turn, line, now),
            Stage::Greetings(greetings) => match greetings.on(turn, &mut self.owned.mailbox, line, now) {
                GreetingsNext::Stay => Next::Stay,
                GreetingsNext::Done(said) => self.options_menu(said, line, now),
                GreetingsNext::GivenUp => Next::inputs_failed(line),
            },
            Stage::Transferring => match turn {
                Turn::Transferred => Next::Leave(Farewell::new(EndOfCall::Transferred)),
                _ => {
                    line.event(Event::TransferFailed);
                    self.main_menu(Some(Phrase::OperatorFailed), line, now)
                }
            },
        }
    }

    fn on_listed(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let Turn::Answer(StoreAnswer::Messages(messages)) = turn else {
            return Next::store_failed(turn.store_error(), line);
        };
        self.owned.messages = messages;
        self.owned.messages.truncate(2 * MESSAGES_LISTED_MAX);
        self.main_menu(None, line, now)
    }

    /// How many messages there are, and what can be done.
    fn main_menu(&mut self, said: Option<Phrase>, line: &mut Line, now: Instant) -> Next {
        self.stage = Stage::Main;
        let keys = line.options.keys.clone();
        let (new, saved) =
            (self.owned.in_state(MessageState::New).len(), self.owned.in_state(MessageState::Saved).len());
        let hidden = |command| match command {
            MainCommand::HearNew => new == 0,
            MainCommand::HearSaved => saved == 0,
            MainCommand::Operator => line.options.operator_of(&self.owned.mailbox).is_none(),
            _ => false,
        };
        let speech = said
            .into_iter()
            .fold(line.speech(), Speech::sentence)
            .words(|language, words| language.counts(new, saved, words))
            .pause()
            .menu(&keys.main, hidden);
        line.play(speech, Duration::ZERO, now);
        Next::Stay
    }

    fn on_main(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let keys = line.options.keys.clone();
        let said = match line.choose(&keys.main, &turn, now) {
            Choice::Wait => return Next::Stay,
            Choice::Command(MainCommand::HearNew) => return self.hear(MessageState::New, line, now),
            Choice::Command(MainCommand::HearSaved) => return self.hear(MessageState::Saved, line, now),
            Choice::Command(MainCommand::Options) => return self.options_menu(None, line, now),
            Choice::Command(MainCommand::Operator) => return self.transfer(line, now),
            Choice::Command(MainCommand::Help) => return self.main_menu(None, line, now),
            Choice::Command(MainCommand::End) => {
                return Next::Leave(Farewell::new(EndOfCall::Finished).words(&[Phrase::Goodbye]));
            }
            Choice::WrongKey => Phrase::WrongKey,
            Choice::NoKey => Phrase::AreYouThere,
        };
        if line.failed() { Next::inputs_failed(line) } else { self.main_menu(Some(said), line, now) }
    }

    fn hear(&mut self, state: MessageState, line: &mut Line, now: Instant) -> Next {
        match Inbox::begin(self.owned.in_state(state), &self.owned, line, now) {
            Some(inbox) => {
                self.stage = Stage::Inbox(inbox);
                Next::Stay
            }
            None => self.main_menu(Some(Phrase::NoMessages), line, now),
        }
    }

    /// Which greeting is in use, and what can be done about greetings and PIN.
    fn options_menu(&mut self, said: Option<Phrase>, line: &mut Line, now: Instant) -> Next {
        self.stage = Stage::Options;
        let keys = line.options.keys.clone();
        let in_use = match self.owned.mailbox.greeting {
            GreetingInUse::Standard => Phrase::UsingStandard,
            GreetingInUse::Own => Phrase::UsingOwn,
            GreetingInUse::OutOfOffice => Phrase::UsingOutOfOffice,
        };
        let hidden = |command| match command {
            OptionsCommand::UseStandard => self.owned.mailbox.greeting == GreetingInUse::Standard,
            OptionsCommand::UseOwn => self.hides(GreetingInUse::Own),
            OptionsCommand::UseOutOfOffice => self.hides(GreetingInUse::OutOfOffice),
            _ => false,
        };
        let speech = said.into_iter().fold(line.speech(), Speech::sentence).sentence(in_use);
        line.play(speech.menu(&keys.options, hidden), Duration::ZERO, now);
        Next::Stay
    }

    /// A greeting that is in use already, or was never recorded, is no choice to speak of.
    fn hides(&self, greeting: GreetingInUse) -> bool {
        self.owned.mailbox.greeting == greeting
            || greeting.kind().is_some_and(|kind| self.owned.mailbox.recorded(kind).is_none())
    }

    fn on_options(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let keys = line.options.keys.clone();
        let command = match line.choose(&keys.options, &turn, now) {
            Choice::Wait => return Next::Stay,
            Choice::Command(command) => command,
            Choice::WrongKey | Choice::NoKey if line.failed() => return Next::inputs_failed(line),
            Choice::WrongKey => return self.options_menu(Some(Phrase::WrongKey), line, now),
            Choice::NoKey => return self.options_menu(Some(Phrase::AreYouThere), line, now),
        };
        match command {
            OptionsCommand::RecordOwn => self.record(GreetingKind::Own, line, now),
            OptionsCommand::RecordOutOfOffice => self.record(GreetingKind::OutOfOffice, line, now),
            OptionsCommand::RecordName => self.record(GreetingKind::Name, line, now),
            OptionsCommand::UseStandard => self.use_greeting(GreetingInUse::Standard, line, now),
            OptionsCommand::UseOwn => self.use_greeting(GreetingInUse::Own, line, now),
            OptionsCommand::UseOutOfOffice => self.use_greeting(GreetingInUse::OutOfOffice, line, now),
            OptionsCommand::ChangePin => {
                self.stage = Stage::ChangePin(NewPin::begin(None, line, now));
                Next::Stay
            }
            OptionsCommand::Help => self.options_menu(None, line, now),
            OptionsCommand::Back => self.main_menu(None, line, now),
        }
    }

    fn record(&mut self, kind: GreetingKind, line: &mut Line, now: Instant) -> Next {
        self.stage = Stage::Greetings(Greetings::record(kind, &self.owned.mailbox, line, now));
        Next::Stay
    }

    fn use_greeting(&mut self, greeting: GreetingInUse, line: &mut Line, now: Instant) -> Next {
        if greeting.kind().is_some_and(|kind| self.owned.mailbox.recorded(kind).is_none()) {
            return self.options_menu(Some(Phrase::GreetingMissing), line, now);
        }
        self.stage = Stage::Greetings(Greetings::choose(greeting, None, &self.owned.mailbox, line, now));
        Next::Stay
    }

    fn transfer(&mut self, line: &mut Line, now: Instant) -> Next {
        match line.options.operator_of(&self.owned.mailbox).map(str::to_owned) {
            Some(target) => {
                self.stage = Stage::Transferring;
                line.transfer(target, now);
                Next::Stay
            }
            None => self.main_menu(Some(Phrase::NoOperator), line, now),
        }
    }
}
