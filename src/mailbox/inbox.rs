//! Hearing messages, one after the other.

use std::time::{Duration, Instant};

use crate::command::MessageCommand;
use crate::io::Event;
use crate::line::{Choice, Line, Turn};
use crate::mailbox::Mailbox;
use crate::message::{Message, MessageState};
use crate::phrase::Phrase;
use crate::speech::Speech;
use crate::store::AudioId;
use crate::store_request::{StoreAnswer, StoreRequest};

/// What an owner's call has at hand.
pub(crate) struct Owned {
    pub(crate) mailbox: Box<Mailbox>,
    /// As they were listed when the call began, with what has changed since; deleted ones included.
    pub(crate) messages: Vec<Message>,
    /// Somebody has shown to be there: by the PIN, or by a key of a call that we placed.
    pub(crate) is_attended: bool,
}

impl Owned {
    /// The indices of the messages in a state.
    pub(crate) fn in_state(&self, state: MessageState) -> Vec<usize> {
        let messages = self.messages.iter().enumerate();
        messages.filter(|(_, message)| message.state == state).map(|(index, _)| index).collect()
    }
}

pub(crate) struct Inbox {
    /// Indices of the messages to hear.
    list: Vec<usize>,
    /// Which of them.
    at: usize,
    stage: Stage,
    /// There are no other messages to go to.
    is_alone: bool,
    /// The message was played to its end, and nobody was known to be there.
    is_unattended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Who left it, and when.
    Header,
    /// The message itself.
    Audio,
    /// What can be done with it.
    Menu,
    /// The store moves it to a state; what is done then.
    Moving(MessageState, Then),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The menu, after these words.
    Menu(Option<Phrase>),
    /// The next message, after these words.
    Next(Option<Phrase>),
    Previous,
    Repeat,
    Back,
    Operator,
}

pub(crate) enum InboxNext {
    Stay,
    /// To the main menu, where this is said first.
    Back(Option<Phrase>),
    Operator,
    GivenUp,
}

impl Inbox {
    /// Begins with the first of `list`; none for an empty one.
    pub(crate) fn begin(list: Vec<usize>, owned: &Owned, line: &mut Line, now: Instant) -> Option<Self> {
        Self { list, at: 0, stage: Stage::Header, is_alone: false, is_unattended: false }.started(owned, line, now)
    }

    /// Begins with the one message that there is; none if there is none.
    pub(crate) fn of_one(owned: &Owned, line: &mut Line, now: Instant) -> Option<Self> {
        Self { list: vec![0], at: 0, stage: Stage::Header, is_alone: true, is_unattended: false }
            .started(owned, line, now)
    }

    fn started(self, owned: &Owned, line: &mut Line, now: Instant) -> Option<Self> {
        let mut inbox = self;
        inbox.message(owned)?;
        inbox.header(None, owned, line, now);
        Some(inbox)
    }

    fn message<'a>(&self, owned: &'a Owned) -> Option<&'a Message> {
        owned.messages.get(*self.list.get(self.at)?)
    }

    pub(crate) fn on(&mut self, turn: Turn, owned: &mut Owned, line: &mut Line, now: Instant) -> InboxNext {
        let Some(message) = self.message(owned) else { return InboxNext::Back(None) };
        match (self.stage, turn) {
            (Stage::Moving(state, then), turn) => self.on_moved(state, then, turn, owned, line, now),
            (Stage::Header, Turn::Played) => {
                self.stage = Stage::Audio;
                line.play(line.speech().audio(AudioId::Message(message.id)), message.length, now);
                InboxNext::Stay
            }
            (Stage::Audio, Turn::Played) => {
                line.event(Event::MessageHeard);
                self.heard(Then::Menu(None), owned, line, now)
            }
            (Stage::Audio, Turn::PlayFailed) => self.menu(Some(Phrase::MessageDamaged), line, now),
            (_, turn) => self.on_key(turn, owned, line, now),
        }
    }

    fn on_key(&mut self, turn: Turn, owned: &Owned, line: &mut Line, now: Instant) -> InboxNext {
        let keys = line.options.keys.clone();
        let command = match line.choose(&keys.message, &turn, now) {
            Choice::Wait => return InboxNext::Stay,
            Choice::Command(command) => command,
            Choice::WrongKey | Choice::NoKey if line.failed() => return InboxNext::GivenUp,
            Choice::WrongKey => return self.menu(Some(Phrase::WrongKey), line, now),
            Choice::NoKey => return self.menu(Some(Phrase::AreYouThere), line, now),
        };
        let is_deleted = self.message(owned).is_some_and(|message| message.state == MessageState::Deleted);
        let (state, then) = match command {
            MessageCommand::Save => (MessageState::Saved, Then::Next(Some(Phrase::MessageSaved))),
            MessageCommand::KeepNew => (MessageState::New, Then::Next(Some(Phrase::MessageKeptNew))),
            MessageCommand::Delete if is_deleted => (MessageState::Saved, Then::Menu(Some(Phrase::MessageRestored))),
            MessageCommand::Delete => (MessageState::Deleted, Then::Menu(Some(Phrase::MessageDeleted))),
            MessageCommand::Help => return self.menu(None, line, now),
            MessageCommand::Repeat => return self.heard(Then::Repeat, owned, line, now),
            MessageCommand::Next => return self.heard(Then::Next(None), owned, line, now),
            MessageCommand::Previous => return self.heard(Then::Previous, owned, line, now),
            MessageCommand::Back => return self.heard(Then::Back, owned, line, now),
            MessageCommand::Operator => return self.heard(Then::Operator, owned, line, now),
        };
        self.move_to(state, then, owned, line, now)
    }

    /// A new message of which something was heard is a saved one from now on, or from the first key on of somebody who
    /// was not known to be there.
    fn heard(&mut self, then: Then, owned: &Owned, line: &mut Line, now: Instant) -> InboxNext {
        let is_new = self.message(owned).is_some_and(|message| message.state == MessageState::New);
        let was_heard = self.stage == Stage::Audio || self.is_unattended;
        if is_new && was_heard && !owned.is_attended {
            self.is_unattended = true;
        } else if is_new && was_heard {
            self.is_unattended = false;
            return self.move_to(MessageState::Saved, then, owned, line, now);
        }
        self.then(then, owned, line, now)
    }

    fn move_to(&mut self, state: MessageState, then: Then, owned: &Owned, line: &mut Line, now: Instant) -> InboxNext {
        let Some(message) = self.message(owned) else { return InboxNext::Back(None) };
        self.stage = Stage::Moving(state, then);
        line.ask(StoreRequest::SetMessageState { mailbox: owned.mailbox.id, message: message.id, state }, now);
        InboxNext::Stay
    }

    fn on_moved(
        &mut self,
        state: MessageState,
        then: Then,
        turn: Turn,
        owned: &mut Owned,
        line: &mut Line,
        now: Instant,
    ) -> InboxNext {
        if !matches!(turn, Turn::Answer(StoreAnswer::SetMessageState)) {
            line.event(Event::of(turn.store_error()));
            return self.menu(Some(Phrase::TechnicalProblem), line, now);
        }
        match (state, then) {
            (MessageState::Deleted, _) => line.event(Event::MessageDeleted),
            (MessageState::Saved, Then::Next(Some(_))) => line.event(Event::MessageSaved),
            _ => {}
        }
        if let Some(message) = self.list.get(self.at).and_then(|&index| owned.messages.get_mut(index)) {
            message.state = state;
        }
        self.then(then, owned, line, now)
    }

    fn then(&mut self, then: Then, owned: &Owned, line: &mut Line, now: Instant) -> InboxNext {
        match then {
            Then::Menu(said) => return self.menu(said, line, now),
            Then::Back => return InboxNext::Back(None),
            Then::Operator => return InboxNext::Operator,
            // Nobody expected others.
            Then::Next(said) if self.is_alone => return InboxNext::Back(said),
            Then::Next(_) if self.at + 1 == self.list.len() => return InboxNext::Back(Some(Phrase::NoMoreMessages)),
            Then::Next(said) => {
                self.at += 1;
                self.header(said, owned, line, now);
            }
            Then::Previous if self.at == 0 => self.header(Some(Phrase::FirstMessage), owned, line, now),
            Then::Previous => {
                self.at -= 1;
                self.header(None, owned, line, now);
            }
            Then::Repeat => self.header(None, owned, line, now),
        }
        InboxNext::Stay
    }

    pub(crate) fn menu(&mut self, said: Option<Phrase>, line: &mut Line, now: Instant) -> InboxNext {
        self.stage = Stage::Menu;
        let keys = line.options.keys.clone();
        let speech = said.into_iter().fold(line.speech(), Speech::sentence);
        let leads_nowhere = |command| {
            self.is_alone && matches!(command, MessageCommand::Next | MessageCommand::Previous | MessageCommand::Back)
        };
        line.play(speech.menu(&keys.message, leads_nowhere), Duration::ZERO, now);
        InboxNext::Stay
    }

    /// "New message. From 1 0 0 1. Received today at 3 15 p.m."
    fn header(&mut self, said: Option<Phrase>, owned: &Owned, line: &mut Line, now: Instant) {
        let Some(message) = self.message(owned) else { return };
        let kind = match message.state {
            MessageState::New => Phrase::NewMessage,
            MessageState::Saved => Phrase::SavedMessage,
            MessageState::Deleted => Phrase::DeletedMessage,
        };
        let local = |at: jiff::Timestamp| at.to_zoned(owned.mailbox.time_zone.clone()).datetime();
        let (received, today) = (local(message.received), local(line.wall(now)).date());
        let speech = said.into_iter().fold(line.speech(), Speech::sentence).sentence(kind);
        let speech = match message.caller.digits() {
            Some(digits) => speech.words(|language, words| language.from(&digits, words)).pause(),
            None => speech.sentence(Phrase::UnknownCaller),
        };
        let speech =
            speech.words(|language, words| language.received(received.date(), received.time(), today, words)).pause();
        let speech = if message.partial { speech.sentence(Phrase::MessagePartial) } else { speech };
        self.stage = Stage::Header;
        line.play(speech, Duration::ZERO, now);
    }
}
