//! What a conversation does after a turn.

use crate::io::Event;
use crate::leaving::Farewell;
use crate::line::Line;
use crate::mailbox::Mailbox;
use crate::outcome::EndOfCall;
use crate::phrase::Phrase;
use crate::store_request::StoreError;

pub(crate) enum Next {
    /// It goes on.
    Stay,
    /// The mailbox's owner seems to be calling: the PIN decides.
    Logon(Box<Mailbox>),
    /// The PIN was right. It must be changed first, for that reason, if there is one.
    Access {
        mailbox: Box<Mailbox>,
        must_change: Option<Phrase>,
    },
    Leave(Farewell),
}

impl Next {
    /// Too many inputs were wrong or missing.
    pub(crate) fn inputs_failed(line: &mut Line) -> Self {
        line.event(Event::InputsFailed);
        Self::Leave(Farewell::new(EndOfCall::InputsFailed).words(&[Phrase::Goodbye]))
    }

    /// The conversation cannot go on without what the store did not give.
    pub(crate) fn store_failed(error: StoreError, line: &mut Line) -> Self {
        line.event(Event::of(error));
        Self::Leave(Farewell::new(EndOfCall::StoreFailed).words(&[Phrase::TechnicalProblem, Phrase::Goodbye]))
    }
}

impl Event {
    /// What to count for an error of the store.
    pub(crate) fn of(error: StoreError) -> Self {
        if error == StoreError::DiskFull { Self::DiskFull } else { Self::StoreFailed }
    }
}
