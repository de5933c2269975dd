//! What a call's task and the signalling say to each other.

use postern_sip::StatusCode;
use postern_sip::sdp::SessionDescription;
use postern_sip::user_agent_io::{EndCause, TransferProgress};

/// What signalling tells a call.
#[derive(Debug)]
pub(crate) enum ToCall {
    Established,
    Offer(Box<SessionDescription>),
    OfferWanted,
    OfferWithdrawn,
    Answer(Box<SessionDescription>),
    /// Our re-offer was refused, or nobody answered.
    OfferRefused,
    /// Offer again, if it is still wanted.
    OfferDue,
    /// A key, by INFO. Never printed.
    Digit(postern_sip::user_agent_io::Digit),
    Transfer(TransferProgress),
    /// The caller hung up and waits for our word.
    Bye,
    Ended(EndCause),
    /// The worker ends: hang up.
    Leave,
}

/// What a call asks of signalling.
#[derive(Debug)]
pub(crate) enum FromCall {
    Answer(String),
    Reject {
        status: StatusCode,
        warning: Option<String>,
        retry_after_secs: Option<u32>,
    },
    AnswerOffer(String),
    RefuseOffer,
    Reoffer(String),
    Refer(String),
    HangUp,
    ConfirmBye,
    /// Nothing more will be asked; the call's resources are free.
    Done,
}
