//! One call of a user agent: its phase, and what it waits for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::dialog::{Dialog, DialogId};
use crate::fields::Reason;
use crate::header_name::HeaderName;
use crate::headers::Headers;
use crate::io::{ClientTx, ServerTx};
use crate::limits::{END_TIME, OFFER_ANSWER_TIME};
use crate::message::{Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::sdp::SessionDescription;
use crate::session_challenge::Shown;
use crate::session_outgoing::Outgoing;
use crate::session_timer::{Due, SessionTimer};
use crate::source::{ConnId, Source};
use crate::status::StatusCode;
use crate::user_agent_io::{CallEvent, CallHandle, EndCause, TransferProgress};
use crate::user_agent_wire::{Purpose, Wire};

/// A call.
pub(crate) struct Session {
    pub call: CallHandle,
    pub phase: Phase,
    /// Absent in an incoming call that has no answer yet, and in an outgoing one that got none.
    pub dialog: Option<Dialog>,
    pub contact: NameAddr,
    pub exchange: Exchange,
    /// Our 2xx until its ACK comes.
    pub unacknowledged: Option<Unacknowledged>,
    /// The ACK that answers a repeated 2xx to our last INVITE; what it is signed with depends on its way.
    pub last_ack: Option<(ClientTx, Request)>,
    pub timer: SessionTimer,
    pub peer: Peer,
    /// A REFER of ours under way.
    pub referral: Option<Referral>,
    /// Until when the role may answer a re-offer.
    pub offer_until: Option<Instant>,
    /// When a re-offer that met a 491 may be repeated.
    pub offer_again_at: Option<Instant>,
    /// To hang up as soon as our 2xx is acknowledged: not before (RFC 3261 section 15.1.1).
    pub hang_up: Option<Option<Reason>>,
    /// The Call-ID is ours.
    pub we_called: bool,
    /// What the INVITE that was answered proved who we are with.
    pub shown: Shown,
    /// The end was told to the role.
    ended: bool,
}

/// Where a call stands.
pub(crate) enum Phase {
    Incoming(Box<Incoming>),
    Outgoing(Box<Outgoing>),
    Active,
    /// The peer's BYE waits for the role.
    PeerBye {
        tx: ServerTx,
        until: Instant,
    },
    /// Our BYE is on its way, and the role knows of the end.
    Leaving {
        until: Instant,
    },
    Over,
}

/// An incoming call before its final answer.
pub(crate) struct Incoming {
    pub tx: ServerTx,
    pub invite: Box<Request>,
    pub source: Source,
    pub reliable: Provisionals,
    /// The 2xx with this body waits for the acknowledgement of a description sent before (RFC 3262 section 5).
    pub answer_waits: Option<String>,
}

/// Provisional responses that the peer acknowledges (RFC 3262).
pub(crate) struct Provisionals {
    pub next_rseq: u32,
    pub outstanding: Option<Outstanding>,
    pub waiting: VecDeque<Response>,
}

/// A reliable provisional response under way.
pub(crate) struct Outstanding {
    pub rseq: u32,
    pub response: Response,
    pub repeat: Repeat,
}

/// A 2xx of ours under way.
pub(crate) struct Unacknowledged {
    pub tx: ServerTx,
    pub response: Response,
    /// CSeq number of its INVITE: the ACK has the same.
    pub cseq: u32,
    /// The ACK carries the answer to our offer.
    pub carries_offer: bool,
    /// The first one of the call.
    pub initial: bool,
    pub repeat: Repeat,
}

/// A message that is sent again at growing intervals until 64 T1 have gone by.
#[derive(Clone, Copy)]
pub(crate) struct Repeat {
    at: Instant,
    interval: Duration,
    longest: Duration,
    until: Instant,
}

/// What a repetition asks for.
pub(crate) enum Again {
    NotYet,
    Send,
    GiveUp,
}

/// Who owes whom a session description (RFC 3264, RFC 6337).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Idle,
    /// The role owes the answer, which goes by this.
    TheirOffer(AnswerBy),
    /// The role owes an offer for the 2xx to this INVITE.
    OfferWanted(ServerTx),
    /// Our offer went out in a response; its answer comes by ACK or PRACK.
    OurOfferInResponse,
    /// Our offer went out in a request.
    OurOffer,
}

/// What will carry an answer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerBy {
    /// The 2xx to the first INVITE (or a 1xx before it).
    Invite(ServerTx),
    Reinvite(ServerTx),
    Update(ServerTx),
    Prack(ServerTx),
    /// The ACK for a 2xx that brought the offer; with the INVITE's CSeq number.
    Ack(ClientTx, u32),
}

/// What we know of the peer.
#[derive(Default)]
pub(crate) struct Peer {
    /// `None`: it did not say.
    allow: Option<Vec<String>>,
    /// The last description it sent, to tell a repeated answer from a new one.
    pub last_answer: Option<SessionDescription>,
    /// Forks of our INVITE that answered too and were hung up.
    forks: Vec<DialogId>,
}

/// A transfer under way.
pub(crate) struct Referral {
    /// The subscription lasts until then.
    pub until: Instant,
}

impl Session {
    pub fn new(call: CallHandle, phase: Phase, contact: NameAddr) -> Self {
        let we_called = matches!(phase, Phase::Outgoing(_));
        Self {
            call,
            phase,
            dialog: None,
            contact,
            exchange: Exchange::Idle,
            unacknowledged: None,
            last_ack: None,
            timer: SessionTimer::default(),
            peer: Peer::default(),
            referral: None,
            offer_until: None,
            offer_again_at: None,
            hang_up: None,
            we_called,
            shown: Shown::default(),
            ended: false,
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    pub fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active)
    }

    /// When [`on_timeout`](Self::on_timeout) has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Incoming(incoming) => incoming.reliable.outstanding.as_ref().map(|one| one.repeat.next()),
            Phase::Outgoing(outgoing) => Some(outgoing.until),
            Phase::PeerBye { until, .. } | Phase::Leaving { until } => Some(*until),
            Phase::Active | Phase::Over => None,
        };
        let unacknowledged = self.unacknowledged.as_ref().map(|one| one.repeat.next());
        let timer = self.timer.next().filter(|_| self.is_active());
        let referral = self.referral.as_ref().map(|referral| referral.until);
        [phase, unacknowledged, timer, referral, self.offer_until, self.offer_again_at].into_iter().flatten().min()
    }

    pub fn on_timeout(&mut self, wire: &mut Wire, now: Instant) {
        match &self.phase {
            Phase::Incoming(_) => self.repeat_provisional(wire, now),
            Phase::Outgoing(outgoing) if outgoing.until <= now => self.stop_ringing(wire, now),
            Phase::PeerBye { until, .. } if *until <= now => self.confirm_bye(wire, now),
            Phase::Leaving { until } if *until <= now => self.phase = Phase::Over,
            Phase::Active => match self.timer.take_due(now) {
                Due::Nothing => {}
                Due::Refresh => self.refresh(wire, now),
                Due::Expired => self.leave(wire, EndCause::Expired, None, now),
            },
            _ => {}
        }
        self.repeat_final(wire, now);
        if self.offer_until.is_some_and(|until| until <= now) {
            self.refuse_offer(wire, StatusCode::SERVER_INTERNAL_ERROR, &[], now);
        }
        if self.offer_again_at.is_some_and(|at| at <= now) {
            self.offer_again_at = None;
            wire.emit(CallEvent::OfferDue { call: self.call });
        }
        if self.referral.as_ref().is_some_and(|referral| referral.until <= now) {
            self.end_referral(wire, TransferProgress::Unknown, now);
        }
    }

    /// Tells the role of the end, once.
    pub fn tell_end(&mut self, wire: &mut Wire, cause: EndCause) {
        if !std::mem::replace(&mut self.ended, true) {
            wire.emit(CallEvent::Ended { call: self.call, cause });
        }
    }

    /// Ends the call without a word to the peer.
    pub fn finish(&mut self, wire: &mut Wire, cause: EndCause) {
        self.tell_end(wire, cause);
        if let Phase::Outgoing(outgoing) = &self.phase {
            for early in &outgoing.early {
                wire.dialogs.remove(early.id());
            }
        }
        self.phase = Phase::Over;
    }

    /// Hangs up an answered call. The role learns of the end now, the peer by BYE: at once, or as soon as it has
    /// acknowledged our 2xx.
    pub fn leave(&mut self, wire: &mut Wire, cause: EndCause, reason: Option<Reason>, now: Instant) {
        self.tell_end(wire, cause);
        self.withdraw_exchange(wire, now);
        self.phase = Phase::Leaving { until: now + END_TIME };
        if self.unacknowledged.is_some() {
            self.hang_up = Some(reason);
        } else {
            self.send_bye(wire, reason, now);
        }
    }

    pub fn send_bye(&mut self, wire: &mut Wire, reason: Option<Reason>, now: Instant) {
        let Some(dialog) = &mut self.dialog else {
            self.phase = Phase::Over;
            return;
        };
        let mut bye = dialog.request(Method::Bye);
        if let Some(reason) = reason {
            bye.headers.push(HeaderName::Reason, reason);
        }
        if wire.send_in(dialog, bye, Purpose::Bye(self.call), now).is_err() {
            self.phase = Phase::Over;
        }
    }

    /// Answers a peer's BYE that waits for the role.
    pub fn confirm_bye(&mut self, wire: &mut Wire, now: Instant) {
        if let Phase::PeerBye { tx, .. } = self.phase {
            wire.answer(tx, StatusCode::OK, &[], now);
            self.finish(wire, EndCause::Peer);
        }
    }

    /// Answers what of the peer's still waits when the call ends (RFC 3261 section 15.1.2).
    pub fn withdraw_exchange(&mut self, wire: &mut Wire, now: Instant) {
        let waiting = match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::OfferWanted(tx) => Some(tx),
            Exchange::TheirOffer(AnswerBy::Ack(tx, cseq)) => {
                self.acknowledge(wire, tx, cseq, None, now);
                None
            }
            Exchange::TheirOffer(
                AnswerBy::Invite(tx) | AnswerBy::Reinvite(tx) | AnswerBy::Update(tx) | AnswerBy::Prack(tx),
            ) => Some(tx),
            Exchange::Idle | Exchange::OurOffer | Exchange::OurOfferInResponse => None,
        };
        self.offer_until = None;
        if let Some(tx) = waiting {
            wire.answer(tx, StatusCode::REQUEST_TERMINATED, &[], now);
        }
    }

    /// Takes note of what a message of the peer says about it.
    pub fn note_peer(&mut self, headers: &Headers, source: &Source) {
        if let Some(allow) = headers.allowed() {
            self.peer.allow = Some(allow.into_iter().map(str::to_ascii_uppercase).collect());
        }
        if let Some(dialog) = &mut self.dialog {
            dialog.note_source(source);
        }
    }

    /// A connection is gone.
    pub fn on_connection_gone(&mut self, wire: &mut Wire, conn: ConnId) {
        let ours = self.dialog.as_mut().is_some_and(|dialog| dialog.forget_connection(conn));
        if ours && !self.ended {
            wire.emit(CallEvent::ConnectionLost { call: self.call });
        }
    }

    /// Opens the time in which the role has to answer a re-offer.
    pub fn await_role(&mut self, exchange: Exchange, now: Instant) {
        self.exchange = exchange;
        self.offer_until = Some(now + OFFER_ANSWER_TIME);
    }
}

impl Peer {
    /// Did the peer say that it takes this method?
    pub fn says_it_allows(&self, method: &Method) -> bool {
        self.allow.as_ref().is_some_and(|allow| allow.iter().any(|word| word == method.as_str()))
    }

    /// Whether a fork is to be hung up: once each, and a bounded number of them.
    pub fn take_fork(&mut self, id: &DialogId, most: usize) -> bool {
        let fresh = self.forks.len() < most && !self.forks.contains(id);
        if fresh {
            self.forks.push(id.clone());
        }
        fresh
    }

    /// Did the peer list its methods, without this one?
    pub fn forbids(&self, method: &Method) -> bool {
        self.allow.is_some() && !self.says_it_allows(method)
    }
}

impl Repeat {
    pub fn new(t1: Duration, t2: Duration, now: Instant) -> Self {
        Self { at: now + t1, interval: t1, longest: t2, until: now + t1 * 64 }
    }

    /// Intervals that only double (RFC 3262 section 3).
    pub fn unbounded(t1: Duration, now: Instant) -> Self {
        Self::new(t1, t1 * 64, now)
    }

    fn next(&self) -> Instant {
        self.at.min(self.until)
    }

    pub fn poll(&mut self, now: Instant) -> Again {
        if self.until <= now {
            return Again::GiveUp;
        }
        if self.at > now {
            return Again::NotYet;
        }
        self.interval = (self.interval * 2).min(self.longest);
        self.at = now + self.interval;
        Again::Send
    }
}
