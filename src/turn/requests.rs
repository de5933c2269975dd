//! The way of a STUN message through the server: repeat, authentication, method, answer.

use std::hash::BuildHasher;

use crate::answer_cache::UserDigest;
use crate::attribute::{Attribute, AttributeType, PasswordAlgorithms};
use crate::authenticate::{self, Challenge, Session};
use crate::error_code::ErrorCode;
use crate::five_tuple::FiveTuple;
use crate::io::{Action, Client, CloseCause, DropReason, Now, ReplyFrom, Verdict};
use crate::message::{Class, Message, Method};
use crate::reply::{ReplyTo, RequestKey};
use crate::request::Request;
use crate::server::Server;

/// What a handler of an authenticated request makes of it.
pub(crate) enum Handled {
    /// The answer; kept for a repeat of the request.
    Answer(Vec<u8>),
    /// The answer follows when the shell has done its part.
    Later,
    /// The allocation of this mobility ticket lives on another shard: the request is handed in again when it is here.
    Elsewhere { ticket: Vec<u8> },
}

/// The answer to a request that cannot be done: the one table of core errors is [`ErrorCode`] itself.
pub(crate) type Outcome = Result<Handled, ErrorCode>;

impl Server {
    pub(crate) fn on_stun(&mut self, now: Now, client: Client, tos: u8, message: &Message<'_>) -> Verdict {
        match (message.class(), message.method()) {
            (Class::Request, method) if answers(method) => self.on_request(now, client, message),
            (Class::Indication, Method::Send) => self.on_send(now, &client, tos, &Request::from_message(message)),
            // A client's keep-alive: nothing to do, and nothing wrong (RFC 8489 section 6.3.2).
            (Class::Indication, Method::Binding) => Verdict::Control,
            _ => Verdict::Drop(DropReason::Malformed),
        }
    }

    fn on_request(&mut self, now: Now, client: Client, message: &Message<'_>) -> Verdict {
        let mut request = Request::from_message(message);
        let key = RequestKey {
            tuple: FiveTuple::of(&client),
            transaction_id: request.transaction_id.0,
            digest: self.digest(message.bytes()),
        };
        if request.integrity.is_some() && self.answer_again(now, client, &key) {
            return Verdict::Control;
        }
        let mut reply = ReplyTo::stranger(client, &request, key);
        if !self.speaks_discovery(&client) || request.method != Method::Binding {
            note_discovery_attributes(&mut request);
        }
        if request.method == Method::Binding {
            return self.on_binding(now, &request, &reply);
        }
        match self.authenticate(now, &client, &request) {
            Err(challenge) => self.challenge(now, &reply, challenge),
            Ok(session) => {
                let algorithm = request.integrity.map(|integrity| integrity.algorithm());
                reply.signature = algorithm.map(|algorithm| (algorithm, session.key.clone()));
                reply.user = UserDigest(self.hash.hash_one(session.quota_key(&client)));
                reply.software = self.options.features.software.clone();
                match self.dispatch(now, &request, &reply, session) {
                    Ok(Handled::Elsewhere { ticket }) => {
                        self.actions.push_back(Action::Adopt { client, ticket, message: message.bytes().to_vec() });
                    }
                    outcome => self.conclude(now, &reply, outcome),
                }
                Verdict::Control
            }
        }
    }

    /// Sends the kept answer once more when this very request was answered before, and nothing while its answer is on
    /// the way.
    fn answer_again(&mut self, now: Now, client: Client, key: &RequestKey) -> bool {
        if let Some(answer) = self.answers.find(now.mono_nanos, key) {
            let message = answer.clone();
            self.actions.push_back(Action::ToClient { client, to: client.remote, from: ReplyFrom::Same, message });
            return true;
        }
        let pending = self.clients.get(&key.tuple).copied().and_then(|at| self.allocations.pending_mut(at));
        pending.is_some_and(|pending| pending.reply.key == *key)
    }

    fn authenticate(&mut self, now: Now, client: &Client, request: &Request<'_>) -> Result<Session, Challenge> {
        let known = self.clients.get(&FiveTuple::of(client)).and_then(|at| self.allocations.live(*at));
        let known = known.map(|allocation| &allocation.session);
        let control = self.control_connection(client, request);
        authenticate::authenticate(&self.options, self.generation, now, client, request, known, control)
    }

    /// Whose nonce a ConnectionBind may show besides one of its own connection: a client that opens a data connection has
    /// no other yet, and many know no challenge there. Only from the same host; a replay finds the connection id used.
    fn control_connection(&self, client: &Client, request: &Request<'_>) -> Option<&Client> {
        let id = request.connection_id.filter(|_| request.method == Method::ConnectionBind)?;
        let connection = self.connections.get(&id)?;
        let control = &self.allocations.live(connection.allocation)?.client;
        (control.remote.ip() == client.remote.ip()).then_some(control)
    }

    fn challenge(&mut self, now: Now, reply: &ReplyTo, challenge: Challenge) -> Verdict {
        let familiar = challenge == Challenge::Stale { familiar: true };
        if !familiar && !self.may_answer_stranger(now, &reply.client) {
            return self.turn_away(now, reply.client);
        }
        let options = &self.options;
        let features = authenticate::nonce_features(options);
        let nonce = options.nonce_keys.issue(now.unix_secs, features, reply.client.transport, reply.client.remote);
        let attributes = [
            Attribute::Realm(options.realm.as_bytes()),
            Attribute::Nonce(&nonce),
            Attribute::PasswordAlgorithms(PasswordAlgorithms::OFFERED),
        ];
        let attributes = if challenge == Challenge::Malformed { &[][..] } else { &attributes[..] };
        let answer = reply.error(challenge.code(), attributes);
        self.counters.count_answer(reply.method, Some(challenge.code()));
        self.send_answer(reply, answer);
        Verdict::Control
    }

    /// Counts an answer to somebody who has not authenticated; false when it must not be sent.
    pub(crate) fn may_answer_stranger(&mut self, now: Now, client: &Client) -> bool {
        let source = client.remote.ip().to_canonical();
        let allowed = self.options.worker_networks.iter().any(|network| network.contains(&source))
            || self.shared.strangers.allow(now.mono_nanos, client.transport, source);
        self.counters.strangers_limited += u64::from(!allowed);
        allowed
    }

    /// What a stranger meets whose source has had its answers: silence, and on a connection its end. No client there
    /// repeats a request that got lost, and who wants to be heard once more pays for another connection.
    pub(crate) fn turn_away(&mut self, now: Now, client: Client) -> Verdict {
        if !client.transport.is_stream() || self.is_taken(now, &client) {
            return Verdict::Drop(DropReason::RateLimited);
        }
        self.counters.drops[DropReason::RateLimited as usize] += 1;
        self.actions.push_back(Action::CloseClient { client, cause: CloseCause::Stranger });
        Verdict::Control
    }

    fn dispatch(&mut self, now: Now, request: &Request<'_>, reply: &ReplyTo, session: Session) -> Outcome {
        if !request.unknown.is_empty() {
            let list = [Attribute::UnknownAttributes(request.unknown.list())];
            self.counters.count_answer(reply.method, Some(ErrorCode::UNKNOWN_ATTRIBUTE));
            return Ok(Handled::Answer(reply.error(ErrorCode::UNKNOWN_ATTRIBUTE, &list)));
        }
        if request.malformed.is_some() {
            return Err(ErrorCode::BAD_REQUEST);
        }
        match request.method {
            Method::Allocate => self.on_allocate(now, request, reply, session),
            Method::Refresh => self.on_refresh(now, request, reply, session),
            Method::CreatePermission => self.on_create_permission(now, request, reply, &session),
            Method::ChannelBind => self.on_channel_bind(now, request, reply, &session),
            Method::Connect => self.on_connect(now, request, reply, &session),
            Method::ConnectionBind => self.on_connection_bind(now, request, reply, &session),
            // `answers` let nothing else in.
            _ => Err(ErrorCode::BAD_REQUEST),
        }
    }

    /// Sends what a handler decided and keeps it for a repeat.
    pub(crate) fn conclude(&mut self, now: Now, reply: &ReplyTo, outcome: Outcome) {
        let answer = match outcome {
            Ok(Handled::Later | Handled::Elsewhere { .. }) => return,
            Ok(Handled::Answer(answer)) => answer,
            Err(code) => {
                self.counters.count_answer(reply.method, Some(code));
                reply.error(code, &[])
            }
        };
        self.answers.keep(now.mono_nanos, reply.user, reply.key, answer.clone());
        self.send_answer(reply, answer);
    }

    pub(crate) fn succeed(&mut self, reply: &ReplyTo, attributes: &[Attribute<'_>]) -> Handled {
        self.counters.count_answer(reply.method, None);
        Handled::Answer(reply.success(attributes))
    }

    fn send_answer(&mut self, reply: &ReplyTo, message: Vec<u8>) {
        let client = reply.client;
        self.actions.push_back(Action::ToClient { client, to: client.remote, from: ReplyFrom::Same, message });
    }

    /// The living allocation of the request's 5-tuple, which must be the session's: 437, 441.
    pub(crate) fn own_allocation(&mut self, now: Now, client: &Client, session: &Session) -> Result<u32, ErrorCode> {
        let at = self.live_at(now, client).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        let allocation = self.allocations.live(at).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if session.may_act_for(&allocation.session) { Ok(at) } else { Err(ErrorCode::WRONG_CREDENTIALS) }
    }
}

/// Methods whose requests get an answer; a request of any other is discarded (RFC 8489 section 6.3).
fn answers(method: Method) -> bool {
    match method {
        Method::Binding
        | Method::Allocate
        | Method::Refresh
        | Method::CreatePermission
        | Method::ChannelBind
        | Method::Connect
        | Method::ConnectionBind => true,
        Method::Send | Method::Data | Method::ConnectionAttempt | Method::Unknown(_) => false,
    }
}

/// Without NAT discovery its attributes are unknown ones.
fn note_discovery_attributes(request: &mut Request<'_>) {
    let present = [
        (request.change_request.is_some(), AttributeType::CHANGE_REQUEST),
        (request.response_port.is_some(), AttributeType::RESPONSE_PORT),
        (request.padding_bytes.is_some(), AttributeType::PADDING),
    ];
    for (_, attribute_type) in present.into_iter().filter(|(present, _)| *present) {
        request.unknown.note(attribute_type);
    }
}
