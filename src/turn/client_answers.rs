//! What a client makes of the server's answers and indications.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::attribute::{Attribute, AttributeType};
use crate::client::{Ask, Live, Request, State, TurnClient};
use crate::client_io::{Allocated, ClientEvent, ClientInput, Failure, Refusal};
use crate::client_limits::{CHALLENGES_MAX, REFRESH_MIN, RETRY_WAIT};
use crate::client_session::{NoAlgorithm, Session};
use crate::error_code::ErrorCode;
use crate::message::{Class, Message, Method};

impl TurnClient {
    /// A success or an error. Nothing is believed that is not signed as the request was, but what a server says before
    /// it knows us (RFC 8489 section 9.2.5).
    pub(crate) fn on_answer(&mut self, now: Instant, message: &Message<'_>) -> ClientInput {
        let id = message.transaction_id();
        if self.watch.is_some_and(|watch| watch.probe == Some(id)) {
            self.heard(now);
            return ClientInput::Consumed;
        }
        let Some(at) = self.requests.iter().position(|request| request.id == id) else { return ClientInput::Ignored };
        let request = &mut self.requests[at];
        if request.ask.method() != message.method() {
            return ClientInput::Ignored;
        }
        let code = match (message.class(), message.find(AttributeType::ERROR_CODE)) {
            (Class::Success, _) => None,
            (_, Ok(Some(Attribute::ErrorCode(code, _)))) => Some(code),
            _ => return ClientInput::Ignored,
        };
        let signed = request.signature.as_ref().is_none_or(|signature| signature.matches(message));
        if !signed && !code.is_some_and(may_come_unsigned) {
            request.hint = code.or(request.hint);
            return ClientInput::Ignored;
        }
        // Nobody gives an allocation to a stranger, and a challenge says what it wants.
        let is_challenge = matches!(code, Some(ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE));
        if code.is_none() && request.signature.is_none() || is_challenge && !Session::can_learn(message) {
            return ClientInput::Ignored;
        }
        let request = self.requests.swap_remove(at);
        self.heard(now);
        match code {
            None => self.on_success(now, request, message),
            Some(ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE) => self.on_challenge(now, request, message),
            Some(code) => self.on_error(now, request, code, message),
        }
        self.ask_for_peers(now);
        ClientInput::Consumed
    }

    fn on_success(&mut self, now: Instant, request: Request, message: &Message<'_>) {
        match request.ask {
            Ask::Allocate => self.on_allocated(now, message),
            Ask::Refresh => self.on_refreshed(now, &request, message),
            Ask::Clear => self.ask(now, Ask::Allocate),
            Ask::Release => self.finish(ClientEvent::Released),
            Ask::Permit(peers) => {
                for peer in peers {
                    if self.peers.permitted(now, peer.ip()) {
                        self.event(ClientEvent::Permitted(peer.ip()));
                    }
                }
            }
            Ask::Bind { channel, peer } => {
                if self.peers.bound(now, channel) {
                    self.event(ClientEvent::ChannelBound { peer, channel });
                }
            }
        }
    }

    fn on_allocated(&mut self, now: Instant, message: &Message<'_>) {
        let Ok(Some(Attribute::XorRelayedAddress(relayed))) = message.find(AttributeType::XOR_RELAYED_ADDRESS) else {
            return self.fail(Failure::Answer);
        };
        let Some(lifetime) = lifetime_of(message) else { return self.fail(Failure::Answer) };
        let mapped = match message.find(AttributeType::XOR_MAPPED_ADDRESS) {
            Ok(Some(Attribute::XorMappedAddress(mapped))) => Some(mapped),
            _ => None,
        };
        let reservation = match message.find(AttributeType::RESERVATION_TOKEN) {
            Ok(Some(Attribute::ReservationToken(token))) => Some(token),
            _ => None,
        };
        let allocated = Allocated { relayed, mapped, lifetime, reservation };
        self.state =
            State::Live(Live { allocated, ends_at: now + lifetime, refresh_at: Some(refresh_at(now, lifetime)) });
        if self.unwanted {
            return self.release(now);
        }
        self.event(ClientEvent::Allocated(allocated));
    }

    fn on_refreshed(&mut self, now: Instant, request: &Request, message: &Message<'_>) {
        let by_present = match (&request.signature, &self.session) {
            (Some(signature), Some(session)) => session.signs_like(signature),
            _ => false,
        };
        let State::Live(live) = &mut self.state else { return };
        let Some(lifetime) = lifetime_of(message) else { return self.fail(Failure::Answer) };
        live.allocated.lifetime = lifetime;
        live.ends_at = now + lifetime;
        live.refresh_at = Some(refresh_at(now, lifetime));
        if by_present && self.former.take().is_some() {
            self.event(ClientEvent::CredentialsTaken);
        }
    }

    /// 401 and 438.
    fn on_challenge(&mut self, now: Instant, request: Request, message: &Message<'_>) {
        let code =
            if error_is(message, ErrorCode::STALE_NONCE) { ErrorCode::STALE_NONCE } else { ErrorCode::UNAUTHENTICATED };
        // Signed, and still 401: not ours to use. A stale nonce says nothing of the credentials.
        if code == ErrorCode::UNAUTHENTICATED && request.signature.is_some() {
            return self.on_credentials_refused(now, request, code);
        }
        if request.challenges >= CHALLENGES_MAX {
            return self.fail(Failure::Credentials(code));
        }
        match Session::learn(message, &self.settings.credentials, self.settings.integrity) {
            Ok(session) => {
                self.session = Some(session);
                self.ask_again(now, request.ask, request.challenges + 1);
            }
            Err(NoAlgorithm) => self.fail(Failure::Algorithms),
        }
    }

    /// Back to the former credentials, when these are new.
    fn on_credentials_refused(&mut self, now: Instant, request: Request, code: ErrorCode) {
        if request.ask == Ask::Release {
            return self.finish(ClientEvent::Released);
        }
        if request.ask == Ask::Clear {
            return self.fail(Failure::Mismatch);
        }
        let Some(former) = self.former.take() else { return self.fail(Failure::Credentials(code)) };
        self.settings.credentials = former;
        if let Some(session) = &mut self.session {
            session.use_credentials(&self.settings.credentials);
        }
        self.event(ClientEvent::CredentialsRefused(code));
        self.ask_again(now, request.ask, request.challenges);
    }

    fn on_error(&mut self, now: Instant, request: Request, code: ErrorCode, message: &Message<'_>) {
        if code == ErrorCode::WRONG_CREDENTIALS {
            return self.on_credentials_refused(now, request, code);
        }
        match request.ask {
            Ask::Allocate => self.on_allocate_error(now, code, message),
            Ask::Clear if code == ErrorCode::ALLOCATION_MISMATCH => self.ask(now, Ask::Allocate),
            Ask::Clear => self.fail(Failure::Mismatch),
            Ask::Release => self.finish(ClientEvent::Released),
            _ if code == ErrorCode::ALLOCATION_MISMATCH => self.fail(Failure::Mismatch),
            Ask::Refresh => self.refresh_later(now),
            Ask::Permit(peers) => {
                for ip in self.peers.permissions_refused(now, &peers) {
                    self.event(ClientEvent::PermissionRefused { peer: ip, why: Refusal::Code(code) });
                }
            }
            Ask::Bind { channel, peer } => {
                self.peers.channel_refused(channel);
                self.event(ClientEvent::ChannelRefused { peer, why: Refusal::Code(code) });
            }
        }
    }

    fn on_allocate_error(&mut self, now: Instant, code: ErrorCode, message: &Message<'_>) {
        match code {
            ErrorCode::TRY_ALTERNATE => match message.find(AttributeType::ALTERNATE_SERVER) {
                Ok(Some(Attribute::AlternateServer(server))) => self.on_redirected(now, server),
                _ => self.fail(Failure::Answer),
            },
            // Left by who had this 5-tuple before us, perhaps ourselves: give it back once, then ask again.
            ErrorCode::ALLOCATION_MISMATCH if !self.cleared => {
                self.cleared = true;
                self.ask(now, Ask::Clear);
            }
            _ => self.fail(failure_of(code)),
        }
    }

    fn on_redirected(&mut self, now: Instant, server: SocketAddr) {
        if self.redirected || server.is_ipv4() != self.settings.server.is_ipv4() {
            return self.fail(Failure::Redirects);
        }
        self.redirected = true;
        self.settings.server = server;
        self.event(ClientEvent::Redirected { server });
        if self.is_stream() {
            self.state = State::Idle;
            self.requests.clear();
        } else {
            self.ask(now, Ask::Allocate);
        }
    }

    /// A request was repeated often enough. `hint` is what somebody answered without proof.
    pub(crate) fn on_no_answer(&mut self, now: Instant, ask: Ask, hint: Option<ErrorCode>) {
        match ask {
            Ask::Allocate => self.fail(hint.map_or(Failure::NoAnswer, failure_of)),
            Ask::Clear => self.fail(Failure::Mismatch),
            Ask::Refresh => self.fail(Failure::NoAnswer),
            Ask::Release => self.finish(ClientEvent::Released),
            Ask::Permit(peers) => {
                for ip in self.peers.permissions_unanswered(now, &peers) {
                    self.event(ClientEvent::PermissionRefused { peer: ip, why: Refusal::NoAnswer });
                }
            }
            Ask::Bind { channel, peer } => {
                if self.peers.channel_unanswered(now, channel) {
                    self.event(ClientEvent::ChannelRefused { peer, why: Refusal::NoAnswer });
                }
            }
        }
    }

    fn refresh_later(&mut self, now: Instant) {
        if let State::Live(live) = &mut self.state {
            live.refresh_at = Some(now + RETRY_WAIT);
        }
    }

    /// A Data indication (RFC 8656 section 11.5): data, or an ICMP error in its place.
    pub(crate) fn on_indication(&mut self, now: Instant, message: &Message<'_>) -> ClientInput {
        let (true, Method::Data) = (self.is_live(), message.method()) else { return ClientInput::Ignored };
        let Ok(Some(Attribute::XorPeerAddress(peer))) = message.find(AttributeType::XOR_PEER_ADDRESS) else {
            return ClientInput::Ignored;
        };
        if !self.peers.is_permitted(peer.ip()) {
            return ClientInput::Ignored;
        }
        self.heard(now);
        if let Ok(Some(Attribute::Icmp(icmp))) = message.find(AttributeType::ICMP) {
            let (icmp_type, icmp_code) = (icmp.icmp_type, icmp.icmp_code);
            self.event(ClientEvent::PeerUnreachable { peer, icmp_type, icmp_code });
            return ClientInput::Consumed;
        }
        match message.attributes().find(|raw| raw.attribute_type == AttributeType::DATA) {
            Some(raw) => ClientInput::Data { peer, payload: raw.value_at..raw.value_at + raw.value.len() },
            None => ClientInput::Ignored,
        }
    }
}

/// What a server answers that does not know, or not believe, who asks.
fn may_come_unsigned(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::BAD_REQUEST | ErrorCode::UNAUTHENTICATED | ErrorCode::UNKNOWN_ATTRIBUTE | ErrorCode::STALE_NONCE
    )
}

fn failure_of(code: ErrorCode) -> Failure {
    match code {
        ErrorCode::UNAUTHENTICATED | ErrorCode::WRONG_CREDENTIALS => Failure::Credentials(code),
        ErrorCode::ALLOCATION_MISMATCH => Failure::Mismatch,
        ErrorCode::ALLOCATION_QUOTA_REACHED => Failure::Quota,
        ErrorCode::INSUFFICIENT_CAPACITY => Failure::Capacity,
        _ => Failure::Refused(code),
    }
}

fn error_is(message: &Message<'_>, code: ErrorCode) -> bool {
    matches!(message.find(AttributeType::ERROR_CODE), Ok(Some(Attribute::ErrorCode(found, _))) if found == code)
}

fn lifetime_of(message: &Message<'_>) -> Option<Duration> {
    match message.find(AttributeType::LIFETIME) {
        Ok(Some(Attribute::Lifetime(secs))) => Some(Duration::from_secs(u64::from(secs))),
        _ => None,
    }
}

/// At three quarters of the lifetime: time enough for all repeats of a usual one.
fn refresh_at(now: Instant, lifetime: Duration) -> Instant {
    now + (lifetime * 3 / 4).max(REFRESH_MIN)
}
