//! What a call's task and the signalling say to each other.

use postern_sip::StatusCode;
use postern_sip::sdp::SessionDescription;
use postern_sip::user_agent_io::{Alternative, EndCause, Invite, TransferProgress};
use postern_slots::Progress;

/// What signalling tells a call.
#[derive(Debug)]
pub(crate) enum ToCall {
    Established,
    /// Our call rings, or makes itself heard before its answer. Said once.
    Alerted,
    /// Our call goes by its next way, counted from 0 for the first.
    Rerouted(usize),
    /// Our call was answered, and that was acknowledged.
    Answered,
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
    /// Who ordered the call wants it to end.
    HangUp,
}

/// What a call asks of signalling.
#[derive(Debug)]
pub(crate) enum FromCall {
    /// Place the call.
    Invite(Box<Placing>),
    /// The outgoing call has come this far.
    Progress(Progress),
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

/// An INVITE of ours, and where it goes next.
#[derive(Debug)]
pub(crate) struct Placing {
    pub(crate) call_id: String,
    pub(crate) invite: Invite,
    pub(crate) alternatives: Vec<Alternative>,
}
