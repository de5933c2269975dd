//! What goes into a [`Notifier`](crate::Notifier) and what comes out.

use std::time::Duration;

use crate::io::ServerTx;
use crate::limits;
use crate::message::Request;
use crate::source::Source;
use crate::status::StatusCode;

/// What is subscribed to, by a number of its owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(pub u128);

/// Our handle of a SUBSCRIBE that waits for its answer; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What a notifier is told at birth.
#[derive(Clone, Debug)]
pub struct NotifierOptions {
    /// The one event package, in lower case.
    pub package: &'static str,
    /// Content-Type of its bodies.
    pub content_type: &'static str,
    pub subscriptions_max: usize,
    pub subscriptions_per_owner_max: usize,
    pub interval_min: Duration,
}

impl NotifierOptions {
    /// For a package whose bodies are of this type, with the limits of [`limits`].
    pub fn new(package: &'static str, content_type: &'static str) -> NotifierOptions {
        NotifierOptions {
            package,
            content_type,
            subscriptions_max: limits::SUBSCRIPTIONS_MAX,
            subscriptions_per_owner_max: limits::SUBSCRIPTIONS_PER_OWNER_MAX,
            interval_min: limits::NOTIFY_INTERVAL_MIN,
        }
    }
}

/// A SUBSCRIBE of one who may speak to us.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'s> {
    pub tx: ServerTx,
    pub request: &'s Request,
    pub source: &'s Source,
    /// The subscriber's address, by which its subscriptions are counted.
    pub owner: &'s str,
}

/// What became of a SUBSCRIBE at first sight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was answered with this.
    Answered(StatusCode),
    /// The role is to look for the resource and its state, keep `kept`, and say `admit` or `refuse`.
    Asked {
        ask: AskId,
        /// That of the subscription that is refreshed; `None`: what the request asks for.
        resource: Option<Resource>,
        /// `None`: the state is asked for once, and nothing is kept.
        kept: Option<Kept>,
    },
}

/// A subscription in words, for [`restore`](crate::Notifier::restore). At most
/// [`SUBSCRIPTION_BYTES_MAX`](limits::SUBSCRIPTION_BYTES_MAX).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Unique, and not to be guessed.
    pub id: String,
    pub text: String,
    /// How long it lasts from now on.
    pub lasts: Duration,
}

/// What the role must know, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifierEvent {
    /// These words take the place of those that were kept before.
    Keep { resource: Resource, kept: Kept },
    /// A subscription is over: what was kept of it is to go.
    Ended { id: String, cause: EndCause },
    /// A NOTIFY was answered, or failed.
    Notified(NotifyResult),
}

/// Why a subscription is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndCause {
    /// The subscriber asked for it.
    Unsubscribed,
    /// It was not refreshed.
    Expired,
    /// Another one of the same subscriber stands in its place.
    Replaced,
    /// The subscriber does not know it, or wants no NOTIFY.
    Refused,
    /// The subscriber cannot be reached, or says nothing.
    Unreachable,
    /// There is nothing to subscribe to any more.
    Gone,
    /// A limit of ours: it never began.
    NoRoom,
}

/// What became of a NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotifyResult {
    Delivered,
    /// The receiver said no.
    Refused,
    /// Nobody was reached, or nothing came back, or something broke there.
    Failed,
}
