//! A call that we placed to the owner of a mailbox: to hear a message or a greeting, or to record a greeting.
//!
//! Nobody is asked for a PIN: the owner, signed in elsewhere, named the number. What is to be heard begins at once. Should
//! an answering machine have taken the call, nothing is lost: a new message stays new until somebody presses a key.

use std::time::Instant;

use crate::address::Address;
use crate::conversation::Next;
use crate::greetings::{Greetings, GreetingsNext};
use crate::id::MessageId;
use crate::inbox::{Inbox, InboxNext, Owned};
use crate::io::{Errand, Event};
use crate::leaving::Farewell;
use crate::line::{Line, Turn};
use crate::mailbox::{GreetingKind, Mailbox};
use crate::outcome::EndOfCall;
use crate::phrase::Phrase;
use crate::store::AudioId;
use crate::store_request::{StoreAnswer, StoreRequest};

pub(crate) struct Placed {
    errand: Errand,
    stage: Stage,
}

enum Stage {
    FindingMailbox,
    /// The message is looked for.
    Listing(Box<Mailbox>, MessageId),
    Message(Box<Owned>, Inbox),
    /// A greeting is played.
    Greeting,
    Recording(Box<Mailbox>, Greetings),
}

impl Placed {
    pub(crate) fn begin(mailbox: Address, errand: Errand, line: &mut Line, now: Instant) -> Self {
        let plan = line.start.plan.clone();
        line.ask(StoreRequest::FindMailbox { plan, address: mailbox }, now);
        Self { errand, stage: Stage::FindingMailbox }
    }

    /// Gives up what is still open, for the end of the call.
    pub(crate) fn abandon(&mut self, line: &mut Line) {
        if let Stage::Recording(_, greetings) = &mut self.stage {
            greetings.abandon(line);
        }
    }

    pub(crate) fn on(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        match &mut self.stage {
            Stage::FindingMailbox => self.on_found(turn, line, now),
            Stage::Listing(..) => self.on_listed(turn, line, now),
            Stage::Message(owned, inbox) => {
                owned.is_attended |= matches!(turn, Turn::Digit(_));
                match inbox.on(turn, owned, line, now) {
                    InboxNext::Stay => Next::Stay,
                    InboxNext::Back(said) => finished(said),
                    // There is nothing to come back to from a transfer.
                    InboxNext::Operator => {
                        inbox.menu(Some(Phrase::NoOperator), line, now);
                        Next::Stay
                    }
                    InboxNext::GivenUp => Next::inputs_failed(line),
                }
            }
            Stage::Greeting => match turn {
                Turn::Played => finished(None),
                Turn::PlayFailed => finished(Some(Phrase::TechnicalProblem)),
                _ => Next::Stay,
            },
            Stage::Recording(mailbox, greetings) => match greetings.on(turn, mailbox, line, now) {
                GreetingsNext::Stay => Next::Stay,
                GreetingsNext::Done(said) => finished(said),
                GreetingsNext::GivenUp => Next::inputs_failed(line),
            },
        }
    }

    fn on_found(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let mailbox = match turn {
            Turn::Answer(StoreAnswer::FoundMailbox(Some(mailbox))) => mailbox,
            Turn::Answer(StoreAnswer::FoundMailbox(None)) => {
                line.event(Event::MailboxUnknown);
                return Next::Leave(
                    Farewell::new(EndOfCall::Refused).words(&[Phrase::MailboxUnknown, Phrase::Goodbye]),
                );
            }
            turn => return Next::store_failed(turn.store_error(), line),
        };
        line.mailbox = Some(mailbox.id);
        line.speak_for(&mailbox);
        match self.errand {
            Errand::PlayMessage(message) => {
                line.ask(StoreRequest::ListMessages(mailbox.id), now);
                self.stage = Stage::Listing(mailbox, message);
            }
            Errand::PlayGreeting(kind) => return self.play_greeting(kind, &mailbox, line, now),
            Errand::RecordGreeting(kind) => {
                let greetings = Greetings::record(kind, &mailbox, line, now);
                self.stage = Stage::Recording(mailbox, greetings);
            }
        }
        Next::Stay
    }

    /// One that was deleted meanwhile is not played.
    fn on_listed(&mut self, turn: Turn, line: &mut Line, now: Instant) -> Next {
        let Turn::Answer(StoreAnswer::Messages(messages)) = turn else {
            return Next::store_failed(turn.store_error(), line);
        };
        let Stage::Listing(mailbox, wanted) = std::mem::replace(&mut self.stage, Stage::FindingMailbox) else {
            return Next::Stay;
        };
        let messages = messages.into_iter().filter(|message| message.id == wanted).collect();
        let owned = Box::new(Owned { mailbox, messages, is_attended: false });
        match Inbox::of_one(&owned, line, now) {
            Some(inbox) => {
                self.stage = Stage::Message(owned, inbox);
                Next::Stay
            }
            None => finished(Some(Phrase::NoMessages)),
        }
    }

    fn play_greeting(&mut self, kind: GreetingKind, mailbox: &Mailbox, line: &mut Line, now: Instant) -> Next {
        let Some(greeting) = mailbox.recorded(kind) else { return finished(Some(Phrase::GreetingMissing)) };
        self.stage = Stage::Greeting;
        line.play(line.speech().audio(AudioId::Greeting(greeting)), line.options.greeting_max, now);
        Next::Stay
    }
}

fn finished(said: Option<Phrase>) -> Next {
    let words: Vec<Phrase> = said.into_iter().chain([Phrase::Goodbye]).collect();
    Next::Leave(Farewell::new(EndOfCall::Finished).words(&words))
}
