//! What each request deserves, and what follows from it.

use std::net::{IpAddr, SocketAddr};

use postern_turn::attribute::FamilyWish;
use postern_turn::io::{Client, Family, Now, PortWish};
use postern_turn::message::{Class, Message, Method};
use postern_turn::request::Request;

use super::answers::{Answer, answers, at_most_one};
use super::ledger::{Answered, Model, Waiting};
use super::policy::Wish;
use super::violation::{Rule, Violation};
use crate::clock::SECOND;
use crate::effect::Effect;

const PERMISSION_NANOS: u64 = 300 * SECOND;
const CHANNEL_NANOS: u64 = 600 * SECOND;
const PERMISSIONS_MAX: usize = 256;
const REPEAT_NANOS: u64 = 40 * SECOND;

/// What should come of an authenticated request.
pub enum Due {
    /// A signed error with one of these codes.
    Refused(&'static [u16]),
    Granted(Deed),
    /// The relay is asked for; the answer follows.
    Asked(Box<Waiting>),
    /// The allocation has to come from this shard first.
    Elsewhere,
}

/// What a granted request changes.
pub enum Deed {
    Permit(Vec<IpAddr>),
    Bind { number: u16, peer: SocketAddr },
    Refresh { lifetime_secs: u32, ends: u64, credential_ends: u64, ticket: bool },
    Release,
    ReleaseFamily(Family),
}

impl Model {
    /// Bytes of a client.
    pub(super) fn on_client(
        &mut self,
        now: Now,
        shard: usize,
        client: Client,
        bytes: &[u8],
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let data = |model: &mut Self, passage| model.on_client_data(now.mono_nanos, &client, passage, effects);
        if bytes.first().is_some_and(|first| (0x40..0x80).contains(first)) {
            let passage = self.channel_data(now.mono_nanos, &client, bytes);
            return data(self, passage);
        }
        let message = Message::decode(bytes).ok();
        let Some(message) = message.filter(|message| !matches!(message.class(), Class::Success | Class::Error)) else {
            self.check_silence(effects, "what is no message of a client")?;
            return data(self, None);
        };
        let request = Request::from_message(&message);
        match (message.class(), message.method()) {
            (Class::Indication, Method::Send) => {
                self.check_silence(effects, "an indication")?;
                let passage = self.send(now.mono_nanos, &client, &request, bytes);
                data(self, passage)
            }
            (
                Class::Request,
                Method::Binding
                | Method::Allocate
                | Method::Refresh
                | Method::CreatePermission
                | Method::ChannelBind
                | Method::Connect
                | Method::ConnectionBind,
            ) => {
                data(self, None)?;
                self.on_request(now, shard, client, &message, &request, effects)
            }
            _ => {
                self.check_silence(effects, "a message without an answer")?;
                data(self, None)
            }
        }
    }

    fn on_request(
        &mut self,
        now: Now,
        shard: usize,
        client: Client,
        message: &Message<'_>,
        request: &Request<'_>,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let bytes = message.bytes();
        let answer = at_most_one(answers(effects, &client, bytes)?)?;
        if request.integrity.is_some() {
            let kept = self.answered.get(&(client, bytes.to_vec()));
            if let Some(kept) = kept.filter(|kept| now.mono_nanos < kept.at + REPEAT_NANOS) {
                let same = answer.is_some_and(|answer| answer.bytes == kept.message);
                self.tally.repeats += 1;
                return Rule::Repeat.holds(same, || "a repeated request got another answer".into());
            }
            if self.waiting.get(&client).is_some_and(|waiting| waiting.request == bytes) {
                return Rule::Repeat.holds(answer.is_none(), || "answered before its relay was open".into());
            }
        }
        if request.method == Method::Binding {
            return self.check_binding(now.mono_nanos, &client, answer);
        }
        let Some(token) = self.sender(now, &client, request) else {
            Rule::Authentication.holds(!effects.iter().any(grants), || format!("a stranger caused {effects:?}"))?;
            return answer.map_or(Ok(()), |answer| self.check_challenge(now, &client, request, &answer));
        };
        let due = self.due(now, shard, &client, request, token);
        self.check_due(now, client, request, token, bytes, due, answer, effects)
    }

    /// Compares what is due with what came, and enters it into the books.
    #[expect(clippy::too_many_arguments, reason = "a request with all that belongs to it")]
    pub(super) fn check_due(
        &mut self,
        now: Now,
        client: Client,
        request: &Request<'_>,
        token: usize,
        bytes: &[u8],
        due: Due,
        answer: Option<Answer<'_>>,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        match due {
            Due::Asked(waiting) => return self.check_asked(client, *waiting, bytes, answer, effects),
            Due::Elsewhere => {
                let handed = effects.iter().any(|effect| matches!(effect, Effect::Handover { .. }));
                let quiet = answer.is_none() && handed;
                return Rule::Answer.holds(quiet, || "a ticket of another shard was not handed over".into());
            }
            Due::Refused(_) | Due::Granted(_) => {}
        }
        let method = request.method;
        let unanswered = || Rule::Answer.broken(format!("{method:?} with a good credential got no answer"));
        let answer = answer.ok_or_else(unanswered)?;
        Rule::Authentication.holds(answer.is_signed(), || {
            format!("{method:?} with a good credential got {:?} like a stranger", answer.code())
        })?;
        self.check_signature(&answer, token, request)?;
        self.answered.insert((client, bytes.to_vec()), Answered { at: now.mono_nanos, message: answer.bytes.to_vec() });
        match due {
            Due::Refused(codes) => {
                self.tally.refused += 1;
                self.tally.forbidden += u64::from(answer.code() == Some(403));
                let right = answer.code().is_some_and(|code| codes.contains(&code));
                let rule = if codes.contains(&403) || answer.code() == Some(403) { Rule::Policy } else { Rule::Answer };
                rule.holds(right, || format!("{method:?} got {:?} instead of {codes:?}", answer.code()))
            }
            Due::Granted(deed) => {
                self.tally.granted += 1;
                let rule = if answer.code() == Some(403) { Rule::Policy } else { Rule::Answer };
                rule.holds(answer.code().is_none(), || {
                    format!("{method:?} got {:?} instead of success", answer.code())
                })?;
                self.enact(now, client, token, deed, &answer)
            }
            Due::Asked(_) | Due::Elsewhere => Ok(()),
        }
    }

    fn due(&mut self, now: Now, shard: usize, client: &Client, request: &Request<'_>, token: usize) -> Due {
        if !request.unknown.is_empty() {
            return Due::Refused(&[420]);
        }
        if request.malformed.is_some() {
            return Due::Refused(&[400]);
        }
        match request.method {
            Method::Allocate => self.due_allocate(now, shard, client, request, token),
            Method::Refresh if request.mobility_ticket.is_some() => {
                self.due_mobile_refresh(now, shard, client, request, token)
            }
            method => {
                // TCP allocations are switched off: their requests fail, each in its way.
                let Some(allocation) = self.live.get(client) else {
                    return Due::Refused(if method == Method::ConnectionBind { &[400] } else { &[437] });
                };
                if method == Method::ConnectionBind {
                    return Due::Refused(&[400]);
                }
                if !self.may_act(token, allocation.token) {
                    return Due::Refused(&[441]);
                }
                match method {
                    Method::Refresh => self.due_refresh(now, client, request, token),
                    Method::CreatePermission => self.due_permission(now.mono_nanos, client, request, token),
                    Method::ChannelBind => self.due_channel(now.mono_nanos, client, request, token),
                    _ => Due::Refused(&[400]),
                }
            }
        }
    }

    fn due_allocate(&self, now: Now, shard: usize, client: &Client, request: &Request<'_>, token: usize) -> Due {
        if self.serves(client) || self.awaits(now.mono_nanos, client).is_some() {
            return Due::Refused(&[437]);
        }
        match request.requested_transport {
            None => return Due::Refused(&[400]),
            Some(17) => {}
            Some(_) => return Due::Refused(&[442]),
        }
        let (families, port) = match relay_wish(request) {
            Ok(wish) => wish,
            Err(code) => return Due::Refused(code),
        };
        let mobile = match request.mobility_ticket {
            Some(_) if !self.rules.mobility => return Due::Refused(&[405]),
            Some(ticket) if !ticket.is_empty() => return Due::Refused(&[400]),
            ticket => ticket.is_some(),
        };
        if self.draining {
            let v4 = client.remote.is_ipv4();
            let elsewhere = self.rules.alternates.iter().any(|alternate| alternate.is_ipv4() == v4);
            return Due::Refused(if elsewhere { &[300] } else { &[508] });
        }
        Due::Asked(Box::new(Waiting {
            shard,
            id: postern_turn::io::AllocationId(u32::MAX),
            token,
            key: self.quota_key(token, client),
            quota_max: self.quota_max(token),
            families,
            port,
            lifetime_secs: self.lifetime_secs(request.lifetime_secs),
            mobile,
            request: Vec::new(),
            abandoned: false,
        }))
    }

    fn lifetime_secs(&self, wished: Option<u32>) -> u32 {
        let lifetimes = self.rules.lifetimes;
        let least = lifetimes.default_secs;
        wished.map_or(least, |wished| wished.max(least)).min(lifetimes.allocation_max_secs)
    }

    pub(super) fn due_refresh(&self, now: Now, client: &Client, request: &Request<'_>, token: usize) -> Due {
        let Some(allocation) = self.live.get(client) else { return Due::Refused(&[437]) };
        let has = |family: Family| allocation.relays.iter().any(|relay| relay.is_ipv4() == (family == Family::V4));
        let family = match request.requested_family {
            None => None,
            Some(FamilyWish::Known(family)) if has(family) => Some(family),
            Some(_) => return Due::Refused(&[443]),
        };
        if request.lifetime_secs == Some(0) {
            return Due::Granted(match family {
                Some(family) if allocation.relays.len() > 1 => Deed::ReleaseFamily(family),
                _ => Deed::Release,
            });
        }
        let mono = now.mono_nanos;
        let credential_ends = if self.succeeds(token, allocation.token) {
            mono + self.valid_secs(now, token) * SECOND
        } else {
            allocation.credential_ends
        };
        let wished = self.lifetime_secs(request.lifetime_secs);
        let left_secs = (credential_ends.saturating_sub(mono) / SECOND) as u32;
        Due::Granted(Deed::Refresh {
            lifetime_secs: wished.min(left_secs),
            ends: (mono + u64::from(wished) * SECOND).min(credential_ends),
            credential_ends,
            ticket: request.mobility_ticket.is_some(),
        })
    }

    fn due_permission(&self, now: u64, client: &Client, request: &Request<'_>, token: usize) -> Due {
        if request.peers.is_empty() {
            return Due::Refused(&[400]);
        }
        if request.peers.overflowed() {
            return Due::Refused(&[508]);
        }
        for peer in request.peers.iter() {
            if let Err(code) = self.peer_fits(client, peer, token, Wish::Permit) {
                return Due::Refused(code);
            }
        }
        let ips: Vec<IpAddr> = request.peers.iter().map(|peer| self.rules.inside(peer).ip()).collect();
        if self.has_room(now, client, &ips) { Due::Granted(Deed::Permit(ips)) } else { Due::Refused(&[508]) }
    }

    fn due_channel(&self, now: u64, client: &Client, request: &Request<'_>, token: usize) -> Due {
        let (Some(number), Some(named)) = (request.channel, request.peers.first()) else {
            return Due::Refused(&[400]);
        };
        if !(0x4000..0x5000).contains(&number) {
            return Due::Refused(&[400]);
        }
        if let Err(code) = self.peer_fits(client, named, token, Wish::Reach) {
            return Due::Refused(code);
        }
        let peer = self.rules.inside(named);
        if !self.has_room(now, client, &[peer.ip()]) {
            return Due::Refused(&[508]);
        }
        let channels = self.live.get(client).map(|allocation| &allocation.channels);
        let bound = channels.into_iter().flatten().filter(|(_, (_, end))| now < *end);
        let clash = |(other, (bound, _)): (&u16, &(SocketAddr, u64))| (*other == number) != (*bound == peer);
        if bound.into_iter().any(clash) {
            return Due::Refused(&[400]);
        }
        Due::Granted(Deed::Bind { number, peer })
    }

    fn peer_fits(&self, client: &Client, peer: SocketAddr, token: usize, wish: Wish) -> Result<(), &'static [u16]> {
        if self.live.get(client).and_then(|allocation| allocation.relay_for(peer.ip())).is_none() {
            return Err(&[443]);
        }
        if self.allows(token, peer, wish) { Ok(()) } else { Err(&[403]) }
    }

    fn has_room(&self, now: u64, client: &Client, ips: &[IpAddr]) -> bool {
        let held = self.live.get(client).map(|allocation| &allocation.permissions);
        let mut held: Vec<IpAddr> =
            held.into_iter().flatten().filter(|(_, end)| now < **end).map(|(ip, _)| *ip).collect();
        held.extend(ips);
        held.sort();
        held.dedup();
        held.len() <= PERMISSIONS_MAX
    }

    fn enact(
        &mut self,
        now: Now,
        client: Client,
        token: usize,
        deed: Deed,
        answer: &Answer<'_>,
    ) -> Result<(), Violation> {
        let mono = now.mono_nanos;
        match deed {
            Deed::Permit(ips) => self.permit(mono, &client, ips),
            Deed::Bind { number, peer } => {
                self.permit(mono, &client, vec![peer.ip()]);
                if let Some(allocation) = self.live.get_mut(&client) {
                    allocation.channels.insert(number, (peer, mono + CHANNEL_NANOS));
                }
            }
            Deed::Refresh { lifetime_secs, ends, credential_ends, ticket } => {
                Rule::Lifetime.holds(answer.lifetime() == Some(lifetime_secs), || {
                    format!("granted {:?} s instead of {lifetime_secs}", answer.lifetime())
                })?;
                self.take_over(&client, token);
                let Some(allocation) = self.live.get_mut(&client) else { return Ok(()) };
                (allocation.ends, allocation.credential_ends) = (ends, credential_ends);
                let told = answer.ticket();
                Rule::Answer.holds(told.is_some() == ticket, || "a ticket is missing, or one too many".into())?;
                if let Some(ticket) = told {
                    self.note_ticket(&client, ticket);
                }
            }
            Deed::Release => self.end(&client, None),
            Deed::ReleaseFamily(family) => self.end_family(&client, family),
        }
        Ok(())
    }

    fn permit(&mut self, now: u64, client: &Client, ips: Vec<IpAddr>) {
        if let Some(allocation) = self.live.get_mut(client) {
            allocation.permissions.extend(ips.into_iter().map(|ip| (ip, now + PERMISSION_NANOS)));
        }
    }

    /// A refresh by a newer token brings its limits along.
    fn take_over(&mut self, client: &Client, token: usize) {
        let Some(allocation) = self.live.get(client) else { return };
        let newer = self.succeeds(token, allocation.token);
        let rate = self.issued[token].bitrate_bps;
        let Some(allocation) = self.live.get_mut(client) else { return };
        allocation.token = token;
        if newer {
            let full_until = allocation.bucket.map_or(0.0, |bucket| bucket.full_until);
            allocation.bucket = rate.map(|bits_per_sec| super::data::Bucket { bits_per_sec, full_until });
            self.remove_forbidden(client);
        }
    }

    fn check_binding(&mut self, now: u64, client: &Client, answer: Option<Answer<'_>>) -> Result<(), Violation> {
        let Some(answer) = answer else { return Ok(()) };
        let right = answer.code().is_some() || answer.mapped() == Some(client.remote);
        Rule::Answer.holds(right && !answer.is_signed(), || format!("Binding told {:?}", answer.mapped()))?;
        let known = self.live.contains_key(client) || self.waiting.contains_key(client);
        if known { Ok(()) } else { self.count_stranger(now, client) }
    }

    fn check_silence(&self, effects: &[Effect], what: &str) -> Result<(), Violation> {
        let answered = effects.iter().any(|effect| matches!(effect, Effect::Answer { .. }) || grants(effect));
        Rule::Kept.holds(!answered, || format!("{what} caused {effects:?}"))
    }
}

/// Whether an effect gives somebody something, apart from data.
fn grants(effect: &Effect) -> bool {
    use Effect::{Asked, Bound, Handover, Opened, Reserved, Started};
    matches!(effect, Asked { .. } | Handover { .. } | Opened { .. } | Reserved { .. } | Bound(_) | Started(_))
}

fn relay_wish(request: &Request<'_>) -> Result<(Vec<Family>, PortWish), &'static [u16]> {
    let (one, other) = (request.requested_family, request.additional_family);
    if let Some(token) = request.reservation_token {
        let alone = one.is_none() && other.is_none() && request.even_port.is_none();
        return if alone { Ok((Vec::new(), PortWish::Reserved(token))) } else { Err(&[400]) };
    }
    let families = match (one, other) {
        (None, None) => vec![Family::V4],
        (Some(FamilyWish::Known(family)), None) => vec![family],
        (None, Some(FamilyWish::Known(Family::V6))) => vec![Family::V4, Family::V6],
        (None, Some(FamilyWish::Known(Family::V4))) | (Some(_), Some(_)) => return Err(&[400]),
        (Some(FamilyWish::Unknown(_)), None) | (None, Some(FamilyWish::Unknown(_))) => return Err(&[440]),
    };
    match request.even_port {
        Some(even) if even.reserve_next && families.len() > 1 => Err(&[400]),
        Some(even) => Ok((families, PortWish::Even { reserve: even.reserve_next })),
        None => Ok((families, PortWish::Any)),
    }
}
