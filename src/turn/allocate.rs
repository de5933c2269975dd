//! Allocate (RFC 8656 section 7.2): what is asked for, the relay socket by way of the broker, and the answer.

use postern_token::Grant;

use crate::allocation::{Allocation, Pending, Relay, Slot};
use crate::attribute::{Attribute, FamilyWish};
use crate::authenticate::Session;
use crate::channel::ChannelTable;
use crate::counters::RelayFamilies;
use crate::error_code::ErrorCode;
use crate::five_tuple::FiveTuple;
use crate::io::{
    Action, AllocationId, Client, Family, Now, OpenRelay, OpenedRelay, OpenedRelays, PortWish, QuotaKey, RelayFailure,
    Transport, Warning,
};
use crate::limits::{ALLOCATIONS_PER_SHARD_MAX, WARNED_MAX};
use crate::permission::PermissionTable;
use crate::record::{Flow, StartRecord};
use crate::reply::ReplyTo;
use crate::request::Request;
use crate::requests::{Handled, Outcome};
use crate::server::Server;
use crate::token_bucket::{SecondLimit, TokenBucket};
use crate::wheel::SECOND;

/// IP protocol numbers of REQUESTED-TRANSPORT.
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// A well-formed wish for a relayed transport address.
struct Wish {
    tcp: bool,
    families: Vec<Family>,
    port: PortWish,
}

impl Server {
    pub(crate) fn on_allocate(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &ReplyTo,
        session: Session,
    ) -> Outcome {
        let client = reply.client;
        if self.live_at(now, &client).is_some() || self.is_taken(now, &client) {
            return Err(ErrorCode::ALLOCATION_MISMATCH);
        }
        let wish = self.wish(request, &client)?;
        let mobile = self.wants_mobility(request, &wish)?;
        // A byte stream cannot be cut to a rate by dropping from it.
        if wish.tcp && session.grant.bitrate_bps.is_some() {
            return Err(ErrorCode::FORBIDDEN);
        }
        if self.draining {
            return self.send_elsewhere(reply);
        }
        let quota_max = self.quota_max(&session.grant).ok_or(ErrorCode::ALLOCATION_QUOTA_REACHED)?;
        if self.allocations.len() >= ALLOCATIONS_PER_SHARD_MAX {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        let pending = Pending {
            serial: self.draw_serial(),
            reply: reply.clone(),
            tcp: wish.tcp,
            mobile,
            lifetime_secs: self.lifetime_secs(request.lifetime_secs),
            abandoned: false,
            session,
        };
        let quota = pending.session.quota_key(&client);
        let at = self.allocations.insert(Slot::Pending(Box::new(pending)));
        self.clients.insert(reply.key.tuple, at);
        let Wish { tcp, families, port } = wish;
        self.actions.push_back(Action::OpenRelay(OpenRelay {
            allocation: AllocationId(at),
            quota,
            quota_max,
            tcp,
            families,
            port,
        }));
        Ok(Handled::Later)
    }

    /// The relay sockets that [`Action::OpenRelay`] asked for are bound.
    pub fn handle_relay_opened(&mut self, now: Now, allocation: AllocationId, opened: OpenedRelays) {
        if opened.relays.is_empty() {
            return self.handle_relay_failed(now, allocation, RelayFailure::Exhausted);
        }
        let Some(pending) = self.take_pending(allocation) else { return self.close_unwanted(&opened.relays) };
        debug_assert!(opened.relays.len() <= 2);
        let mobile = pending.mobile;
        let reply = pending.reply.clone();
        let allocation = self.new_allocation(now, pending, &opened.relays);
        let lifetime_secs = allocation.start.lifetime_secs;
        let relays = allocation.relays.clone();
        self.actions.push_back(Action::Started(Box::new(allocation.start.clone())));
        let at = self.install(now, allocation);

        let ticket = if mobile { self.new_ticket(at) } else { None };
        let mut attributes: Vec<Attribute<'_>> =
            relays.iter().map(|relay| Attribute::XorRelayedAddress(relay.outside)).collect();
        attributes.push(Attribute::Lifetime(lifetime_secs));
        attributes.extend(opened.reservation.map(Attribute::ReservationToken));
        attributes.push(Attribute::XorMappedAddress(reply.client.reflexive()));
        for (family, failure) in &opened.failed {
            let code = failure_code(*failure);
            attributes.push(Attribute::AddressErrorCode(FamilyWish::Known(*family), code, code.reason().as_bytes()));
        }
        attributes.extend(ticket.as_ref().map(|ticket| Attribute::MobilityTicket(ticket)));
        let outcome = Ok(self.succeed(&reply, &attributes));
        self.conclude(now, &reply, outcome);
    }

    /// No relay socket at all for [`Action::OpenRelay`].
    pub fn handle_relay_failed(&mut self, now: Now, allocation: AllocationId, failure: RelayFailure) {
        let Some(pending) = self.take_pending(allocation) else { return };
        if failure == RelayFailure::Quota {
            self.warn_of_quota(now, quota_name(pending.session.quota_key(&pending.reply.client)));
        }
        self.conclude(now, &pending.reply, Err(failure_code(failure)));
    }

    /// The Allocate that waits for this answer, taken out; `None` when its client has gone meanwhile.
    fn take_pending(&mut self, allocation: AllocationId) -> Option<Pending> {
        self.allocations.pending_mut(allocation.0)?;
        let Slot::Pending(pending) = self.allocations.remove(allocation.0) else { return None };
        if pending.abandoned {
            return None;
        }
        self.clients.remove(&pending.reply.key.tuple);
        Some(*pending)
    }

    /// RFC 8656 section 7.2, the checks on what is asked for.
    fn wish(&self, request: &Request<'_>, client: &Client) -> Result<Wish, ErrorCode> {
        let tcp = match request.requested_transport.ok_or(ErrorCode::BAD_REQUEST)? {
            PROTOCOL_UDP => false,
            PROTOCOL_TCP if self.options.features.tcp_allocations => true,
            _ => return Err(ErrorCode::UNSUPPORTED_TRANSPORT),
        };
        let datagrams = matches!(client.transport, Transport::Udp | Transport::Dtls);
        let unfit_for_tcp = request.even_port.is_some() || request.dont_fragment || request.reservation_token.is_some();
        // RFC 6062 section 5.1.
        if tcp && (datagrams || unfit_for_tcp) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        if let Some(token) = request.reservation_token {
            return reserved(request, token).map(|(families, port)| Wish { tcp, families, port });
        }
        let families = families(request)?;
        let port = match request.even_port {
            None => PortWish::Any,
            Some(even) => PortWish::Even { reserve: even.reserve_next },
        };
        if request.additional_family.is_some() && port == (PortWish::Even { reserve: true }) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        Ok(Wish { tcp, families, port })
    }

    /// RFC 8016 section 3.1.2: an empty ticket asks for one.
    fn wants_mobility(&self, request: &Request<'_>, wish: &Wish) -> Result<bool, ErrorCode> {
        match request.mobility_ticket {
            None => Ok(false),
            Some(_) if !self.options.features.mobility || wish.tcp => Err(ErrorCode::MOBILITY_FORBIDDEN),
            Some([]) => Ok(true),
            Some(_) => Err(ErrorCode::BAD_REQUEST),
        }
    }

    /// RFC 8489 section 10: an alternate of the client's family, or none.
    fn send_elsewhere(&mut self, reply: &ReplyTo) -> Outcome {
        let options = self.options.clone();
        let same_family =
            |address: &std::net::SocketAddr| address.is_ipv4() == reply.client.remote.ip().to_canonical().is_ipv4();
        let alternate = options.alternates.iter().find(|alternate| same_family(&alternate.address));
        let alternate = alternate.ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?;
        let mut attributes = vec![Attribute::AlternateServer(alternate.address)];
        attributes.extend(alternate.domain.as_ref().map(|domain| Attribute::AlternateDomain(domain.as_bytes())));
        self.counters.count_answer(reply.method, Some(ErrorCode::TRY_ALTERNATE));
        Ok(Handled::Answer(reply.error(ErrorCode::TRY_ALTERNATE, &attributes)))
    }

    /// How many allocations the credential may hold, 0 for any number; `None` when it may hold none at all.
    fn quota_max(&self, grant: &Grant) -> Option<u32> {
        let quotas = self.options.quotas;
        match grant.allocations_max {
            None => Some(quotas.allocations_per_identity),
            Some(0) => None,
            Some(own) if quotas.allocations_max == 0 => Some(own),
            Some(own) => Some(own.min(quotas.allocations_max)),
        }
    }

    /// What the client gets of the lifetime that it wishes, apart from its credential (RFC 8656 section 7.2).
    pub(crate) fn lifetime_secs(&self, wished_secs: Option<u32>) -> u32 {
        let lifetimes = self.options.lifetimes;
        let wished = wished_secs.unwrap_or(lifetimes.default_secs).max(lifetimes.default_secs);
        wished.min(lifetimes.allocation_max_secs.max(1))
    }

    fn new_allocation(&self, now: Now, pending: Pending, opened: &[OpenedRelay]) -> Allocation {
        let advertise = self.options.policy.advertise();
        let relay = |opened: &OpenedRelay| Relay {
            id: opened.relay,
            lease: opened.lease,
            local: opened.local,
            outside: advertise.outside(opened.local),
        };
        let relays: Vec<Relay> = opened.iter().map(relay).collect();
        let Pending { serial, reply, session, tcp, mobile, lifetime_secs, .. } = pending;
        let valid_secs = self.valid_secs(now, &session.grant);
        let lifetime_secs = lifetime_secs.min(u32::try_from(valid_secs).unwrap_or(u32::MAX));
        let start = StartRecord {
            serial,
            client: reply.client,
            relays: relays.iter().map(|relay| relay.outside).collect(),
            tcp,
            identity: quota_name(session.quota_key(&reply.client)),
            key_id: session.grant.key_id.clone(),
            call_id: session.grant.call_id.clone(),
            lifetime_secs,
            started: now,
        };
        Allocation {
            serial,
            client: reply.client,
            tcp,
            relays,
            expires_nanos: now.mono_nanos + u64::from(lifetime_secs) * SECOND,
            credential_ends_nanos: now.mono_nanos.saturating_add(valid_secs.saturating_mul(SECOND)),
            wheel_sec: u64::MAX,
            permissions: PermissionTable::default(),
            channels: ChannelTable::default(),
            connections: Vec::new(),
            bitrate: session.grant.bitrate_bps.map(TokenBucket::new),
            icmp: SecondLimit::new(),
            to_peer: Flow::default(),
            to_client: Flow::default(),
            peers_recorded: Vec::new(),
            start,
            ticket: mobile.then_some(0),
            session,
        }
    }

    /// For how many seconds from now a credential is good; one issued for too long counts as shorter from now on.
    pub(crate) fn valid_secs(&self, now: Now, grant: &Grant) -> u64 {
        grant.expires_unix_secs.saturating_sub(now.unix_secs).min(self.options.lifetimes.token_max_secs)
    }

    /// Enters an allocation everywhere. Its 5-tuple must be free.
    pub(crate) fn install(&mut self, now: Now, allocation: Allocation) -> u32 {
        let tuple = FiveTuple::of(&allocation.client);
        let relays: Vec<_> = allocation.relays.iter().map(|relay| relay.id).collect();
        let families = RelayFamilies::of(allocation.relays.iter().map(Relay::family));
        *self.counters.live_mut(allocation.client.transport, families) += 1;
        let mobile = allocation.ticket.is_some().then_some(allocation.serial);
        let at = self.allocations.insert(Slot::Live(Box::new(allocation)));
        self.mobile.extend(mobile.map(|serial| (serial, at)));
        let before = self.clients.insert(tuple, at);
        debug_assert_eq!(before, None, "two allocations of one 5-tuple");
        for relay in relays {
            let index = relay.0 as usize;
            if self.relays.len() <= index {
                self.relays.resize(index + 1, None);
            }
            self.relays[index] = Some(at);
        }
        self.schedule(now, at);
        at
    }

    fn close_unwanted(&mut self, relays: &[OpenedRelay]) {
        for opened in relays {
            self.actions.push_back(Action::CloseRelay { relay: opened.relay, lease: opened.lease });
        }
    }

    /// At most once a minute for each identity.
    fn warn_of_quota(&mut self, now: Now, identity: String) {
        let minute_ago = now.mono_nanos.saturating_sub(60 * SECOND);
        while self.warned.front().is_some_and(|(at, _)| *at < minute_ago) {
            self.warned.pop_front();
        }
        if self.warned.len() < WARNED_MAX && !self.warned.iter().any(|(_, warned)| *warned == identity) {
            self.warned.push_back((now.mono_nanos, identity.clone()));
            self.actions.push_back(Action::Warn(Warning::QuotaReached { identity }));
        }
    }
}

fn reserved(request: &Request<'_>, token: [u8; 8]) -> Result<(Vec<Family>, PortWish), ErrorCode> {
    let contradicted =
        request.even_port.is_some() || request.requested_family.is_some() || request.additional_family.is_some();
    if contradicted {
        return Err(ErrorCode::BAD_REQUEST);
    }
    // The reserved socket has its family already.
    Ok((vec![Family::V4], PortWish::Reserved(token)))
}

fn families(request: &Request<'_>) -> Result<Vec<Family>, ErrorCode> {
    match (request.requested_family, request.additional_family) {
        (None, None) => Ok(vec![Family::V4]),
        (Some(FamilyWish::Known(family)), None) => Ok(vec![family]),
        // RFC 8656 section 7.2: IPv4 is what an allocation has anyway.
        (None, Some(FamilyWish::Known(Family::V6))) => Ok(vec![Family::V4, Family::V6]),
        (None, Some(FamilyWish::Known(Family::V4))) | (Some(_), Some(_)) => Err(ErrorCode::BAD_REQUEST),
        (Some(FamilyWish::Unknown(_)), None) | (None, Some(FamilyWish::Unknown(_))) => {
            Err(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED)
        }
    }
}

fn failure_code(failure: RelayFailure) -> ErrorCode {
    match failure {
        RelayFailure::Quota => ErrorCode::ALLOCATION_QUOTA_REACHED,
        RelayFailure::NoPort | RelayFailure::BadReservation | RelayFailure::Exhausted => {
            ErrorCode::INSUFFICIENT_CAPACITY
        }
        RelayFailure::Family => ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED,
    }
}

/// What records and logs call the one whom a quota counts.
fn quota_name(quota: QuotaKey) -> String {
    match quota {
        QuotaKey::Identity(name) => name,
        QuotaKey::Address(address) => address.to_string(),
    }
}
