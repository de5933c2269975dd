//! What a user agent tells its role, and what the role may ask of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Credentials;
use crate::header_name::HeaderName;
use crate::io::{FailCause, SendError, ServerTx};
use crate::message::{Request, Response};
use crate::name_addr::NameAddr;
use crate::sdp::SessionDescription;
use crate::source::Source;
use crate::status::StatusCode;
use crate::target::Target;
use crate::uri::Uri;

/// Our handle of a call, incoming or outgoing; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallHandle(pub u64);

/// Our handle of an OPTIONS of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PingHandle(pub u64);

/// What happened, in order. Offers and answers are the role's to negotiate
/// ([`OfferAnswer`](crate::offer_answer::OfferAnswer)); the user agent keeps the order in which they may be exchanged.
#[derive(Clone, Debug, PartialEq)]
pub enum CallEvent {
    /// A call asks to be let in: `ring`, `progress`, then `answer`, `reject` or `redirect`. Without `offer` the answer
    /// carries ours.
    Incoming { call: CallHandle, invite: Box<Request>, offer: Option<SessionDescription>, source: Source },
    /// An outgoing call rings, or is on its way.
    Progress { call: CallHandle, status: StatusCode },
    /// An outgoing call goes by its next way: the alternative of this number, counted from 1.
    Rerouted { call: CallHandle, at: usize },
    /// An outgoing call was answered.
    Answered { call: CallHandle },
    /// The peer acknowledged our answer.
    Established { call: CallHandle },
    /// The peer offers again: `answer_offer` or `refuse_offer`.
    Offer { call: CallHandle, offer: SessionDescription },
    /// The peer wants our offer (a re-INVITE without one): `answer_offer` carries it.
    OfferWanted { call: CallHandle },
    /// The peer took its offer, or its wish for ours, back before it was answered.
    OfferWithdrawn { call: CallHandle },
    /// The answer to our offer.
    Answer { call: CallHandle, answer: SessionDescription },
    /// Our re-offer was refused, or nobody answered; the call goes on as agreed before.
    OfferRefused { call: CallHandle, status: StatusCode },
    /// Offer again, if it is still wanted: after a 491 (RFC 3261 section 14.1), or to keep the session alive with a peer
    /// that knows no UPDATE. The same offer as last is fine.
    OfferDue { call: CallHandle },
    /// A key pressed, by INFO.
    Digit { call: CallHandle, digit: Digit, duration: Option<Duration> },
    /// How the transfer that we asked for goes.
    Transfer { call: CallHandle, progress: TransferProgress },
    /// The peer asked us to call somebody else; it was declined.
    TransferDeclined { call: CallHandle, refer_to: NameAddr },
    /// The connection of the call is gone. It goes on; requests try to make a new one.
    ConnectionLost { call: CallHandle },
    /// The peer hung up: `confirm_bye` when what it left behind is safe. It is confirmed without that after
    /// [`BYE_ANSWER_TIME`](crate::limits::BYE_ANSWER_TIME).
    Bye { call: CallHandle, bye: Box<Request> },
    /// The call is over; the handle means nothing from here on.
    Ended { call: CallHandle, cause: EndCause },
    /// A request outside of calls, of a method in [`passed_up`](crate::user_agent_options::UserAgentOptions::passed_up): `respond`.
    Request { tx: ServerTx, request: Box<Request>, source: Source },
    /// The outcome of a ping.
    Pong { ping: PingHandle, outcome: Result<Pong, PingFault> },
}

/// A key of a telephone: `0` to `9`, `*`, `#`, `A` to `D`. Not shown by `Debug`: digits may be a PIN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digit(pub char);

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digit(..)")
    }
}

/// News of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferProgress {
    /// The peer will try.
    Accepted,
    /// The other party rings or the like.
    Provisional(StatusCode),
    /// The other party answered; our call is hung up.
    Succeeded,
    /// The peer refused, or could not reach the other party; the call goes on.
    Failed(StatusCode),
    /// The peer ceased to tell.
    Unknown,
}

/// Why a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum EndCause {
    /// We hung up, rejected or redirected.
    Ours,
    /// The peer hung up.
    Peer,
    /// The caller gave up before the answer.
    Cancelled,
    /// An outgoing call was refused; the last target's response.
    Refused(Box<Response>),
    /// An outgoing call reached nobody.
    Unreachable(FailCause),
    /// An outgoing call rang too long.
    NoAnswer,
    /// An outgoing call was redirected in a circle, too often, or to nothing that may be called.
    Redirected,
    /// Our answer was never acknowledged.
    NoAck,
    /// An offer or answer that had to come did not, or could not be read.
    BadOffer,
    /// A reliable provisional response was never acknowledged.
    NoPrack,
    /// The session timer ran out.
    Expired,
    /// The peer does not know the call any more.
    Forgotten,
    /// We answered a transfer's success by hanging up.
    Transferred,
    /// The transaction went before it was answered.
    Abandoned,
}

/// A ping that was answered, whatever the status.
#[derive(Clone, Debug, PartialEq)]
pub struct Pong {
    pub response: Box<Response>,
    pub source: Source,
    pub round_trip: Duration,
}

/// A ping without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingFault {
    pub cause: FailCause,
    pub after: Duration,
}

/// An outgoing call.
#[derive(Clone, Debug)]
pub struct Invite {
    /// The Request-URI.
    pub uri: Uri,
    /// The next hop; `None`: what the Request-URI says.
    pub target: Option<Target>,
    pub from: NameAddr,
    /// `None`: the Request-URI.
    pub to: Option<NameAddr>,
    /// An offer; `None` lets the peer offer.
    pub offer: Option<String>,
    /// Header lines besides, such as Diversion; they go to redirection targets too.
    pub headers: Vec<(HeaderName, String)>,
    /// How long it may ring.
    pub ring_time: Duration,
    /// Whether redirections are followed.
    pub follow_redirects: bool,
    /// What a challenge of the next hop is answered with; one from anywhere else, or after a redirection, is not.
    pub credentials: Option<Arc<Credentials>>,
}

/// Another way for an outgoing call: tried when the one before answers 408 or 5xx, or not at all.
#[derive(Clone, Debug)]
pub struct Alternative {
    /// The Request-URI, and To.
    pub uri: Uri,
    /// The next hop.
    pub target: Target,
    /// As [`Invite::credentials`].
    pub credentials: Option<Arc<Credentials>>,
}

/// Why a command was not carried out; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("there is no such call any more")]
    NoSuchCall,
    #[error("the call is not in the state for it")]
    WrongState,
    #[error("another offer or answer is under way")]
    OfferUnderWay,
    #[error("the peer does not allow that method")]
    NotAllowedByPeer,
    #[error("too many calls or pings")]
    TooMany,
    #[error("the request could not be sent: {0}")]
    Send(#[from] SendError),
}
