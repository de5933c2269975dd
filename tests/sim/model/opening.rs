//! Allocate: the relay that is asked for, and what the answer must tell.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use postern_turn::io::{Client, Family, Now, OpenRelay, PortWish, RelayFailure};
use postern_turn::message::Message;
use postern_turn::record::StartRecord;
use postern_turn::request::Request;

use super::answers::{Answer, answers, at_most_one};
use super::data::Bucket;
use super::ledger::{Allocation, Answered, Model, Port, Reservation, Waiting};
use super::violation::{Rule, Violation};
use crate::clock::SECOND;
use crate::effect::Effect;

const RESERVATION_NANOS: u64 = 30 * SECOND;
/// With fewer fitting ports than this an Allocate may fail: chance draws among ports that other programs hold.
const SCARCE: usize = 8;

impl Model {
    /// A good Allocate asks for exactly one relay, with the right quota, and is not answered yet.
    pub(super) fn check_asked(
        &mut self,
        client: Client,
        mut waiting: Waiting,
        request: &[u8],
        answer: Option<Answer<'_>>,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        if let Some(answer) = answer {
            return Err(Rule::Answer.broken(format!("a good Allocate was refused with {:?}", answer.code())));
        }
        let wishes: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Asked { shard, wish } => Some((*shard, wish)),
                _ => None,
            })
            .collect();
        let &[(shard, wish)] = wishes.as_slice() else {
            return Err(Rule::Answer.broken(format!("a good Allocate asked for {} relays", wishes.len())));
        };
        let reserved = matches!(waiting.port, PortWish::Reserved(_));
        let same = shard == waiting.shard
            && wish.port == waiting.port
            && (reserved || wish.families == waiting.families)
            && !wish.tcp;
        Rule::Answer.holds(same, || format!("{wish:?} was asked for instead of {waiting:?}"))?;
        let quota = wish.quota == waiting.key && wish.quota_max == waiting.quota_max;
        Rule::Quota
            .holds(quota, || format!("{wish:?} instead of at most {} for {:?}", waiting.quota_max, waiting.key))?;
        waiting.id = wish.allocation;
        waiting.request = request.to_vec();
        if !self.keys.contains(&waiting.key) {
            self.keys.push(waiting.key.clone());
        }
        self.waiting.insert(client, waiting);
        Ok(())
    }

    /// The shell has opened what was asked for, or could not.
    pub(super) fn on_open(
        &mut self,
        now: Now,
        shard: usize,
        wish: &OpenRelay,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let who = self.waiting.iter().find(|(_, waiting)| (waiting.shard, waiting.id) == (shard, wish.allocation));
        let Some(client) = who.map(|(client, _)| *client) else {
            return Err(Rule::Port.broken(format!("{wish:?} is asked for by nobody")));
        };
        let Some(waiting) = self.waiting.remove(&client) else { return Ok(()) };
        let opened: Vec<SocketAddr> = effects
            .iter()
            .filter_map(|effect| if let Effect::Opened { local } = effect { Some(*local) } else { None })
            .collect();
        let failure = effects
            .iter()
            .find_map(|effect| if let Effect::NotOpened { failure } = effect { Some(*failure) } else { None });
        self.check_outcome(now.mono_nanos, &waiting, &opened, failure)?;
        for effect in effects {
            if let Effect::Reserved { local, token } = effect {
                self.reserve(now.mono_nanos, &waiting, &opened, *local, *token)?;
            }
        }
        for local in &opened {
            self.own_port(&waiting, *local)?;
        }
        let request = waiting.request.clone();
        let answer = at_most_one(answers(effects, &client, &request)?)?;
        if waiting.abandoned {
            return self.check_abandoned(&waiting, opened, answer);
        }
        let answer = answer.ok_or_else(|| Rule::Answer.broken("an Allocate got no answer"))?;
        let message = Message::decode(&request).map_err(|error| Rule::Answer.broken(error.to_string()))?;
        self.check_signature(&answer, waiting.token, &Request::from_message(&message))?;
        self.answered.insert((client, request), Answered { at: now.mono_nanos, message: answer.bytes.to_vec() });
        match failure {
            None => self.enter(now, client, waiting, opened, &answer, effects),
            Some(failure) => {
                self.tally.refused += 1;
                self.tally.quota_refusals += u64::from(failure == RelayFailure::Quota);
                let code = match failure {
                    RelayFailure::Quota => 486,
                    RelayFailure::Family => 440,
                    _ => 508,
                };
                Rule::Answer.holds(answer.code() == Some(code), || format!("{failure:?} became {:?}", answer.code()))
            }
        }
    }

    /// Whether success or failure is what the books say.
    fn check_outcome(
        &self,
        now: u64,
        waiting: &Waiting,
        opened: &[SocketAddr],
        failure: Option<RelayFailure>,
    ) -> Result<(), Violation> {
        let Waiting { key, quota_max, port, families, .. } = waiting;
        let held = self.counted(key);
        let full = *quota_max != 0 && held >= *quota_max;
        let reserving = *port == PortWish::Even { reserve: true };
        let reserved = self.reservations.values().filter(|kept| kept.key == *key).count() as u32;
        let full_of_reservations = reserving && *quota_max != 0 && reserved >= *quota_max;
        if let PortWish::Reserved(token) = port {
            let good = self.reservations.get(token).is_some_and(|kept| now < kept.deadline && kept.key == *key);
            let due = if !good {
                Some(RelayFailure::BadReservation)
            } else if full {
                Some(RelayFailure::Quota)
            } else {
                None
            };
            return Rule::Port
                .holds(failure == due, || format!("a reservation came to {failure:?} instead of {due:?}"));
        }
        let over = full || full_of_reservations;
        if over || failure == Some(RelayFailure::Quota) {
            return Rule::Quota.holds(over && failure == Some(RelayFailure::Quota), || {
                format!("{key:?} holds {held} of {quota_max} and {reserved} reservations: {failure:?}, {opened:?}")
            });
        }
        for family in families {
            let is_v4 = *family == Family::V4;
            let got = opened.iter().any(|local| local.is_ipv4() == is_v4);
            let scarce = self.fitting_ports(is_v4, *port) < SCARCE;
            Rule::Port.holds(got || scarce, || format!("no {family:?} port among many: {failure:?}"))?;
        }
        let wanted = |local: &SocketAddr| families.iter().any(|family| (*family == Family::V4) == local.is_ipv4());
        let right = opened.len() <= families.len() && opened.iter().all(wanted);
        Rule::Port.holds(right && opened.is_empty() == failure.is_some(), || format!("{waiting:?} became {opened:?}"))
    }

    /// Ports of a family that are free and of the kind; those of other programs included.
    fn fitting_ports(&self, is_v4: bool, wish: PortWish) -> usize {
        let free = |ip, port| {
            port >= *self.rules.ports.start()
                && port <= *self.rules.ports.end()
                && !self.ports.contains_key(&SocketAddr::new(ip, port))
        };
        let fits = |ip, port: u16| match wish {
            PortWish::Any | PortWish::Reserved(_) => free(ip, port),
            PortWish::Even { reserve: false } => port.is_multiple_of(2) && free(ip, port),
            PortWish::Even { reserve: true } => port.is_multiple_of(2) && free(ip, port) && free(ip, port + 1),
        };
        let relays = self.rules.relays.iter().filter(|ip| ip.is_ipv4() == is_v4);
        relays.map(|ip| self.rules.ports.clone().filter(|port| fits(*ip, *port)).count()).sum()
    }

    fn own_port(&mut self, waiting: &Waiting, local: SocketAddr) -> Result<(), Violation> {
        let before = self.ports.insert(local, Port::Relay);
        let free = match waiting.port {
            PortWish::Reserved(token) => {
                let kept = self.reservations.remove(&token);
                before == Some(Port::Reserved(token)) && kept.is_some_and(|kept| kept.local == local)
            }
            PortWish::Even { .. } => before.is_none() && local.port().is_multiple_of(2),
            PortWish::Any => before.is_none(),
        };
        let ours = self.rules.relays.contains(&local.ip()) && self.rules.ports.contains(&local.port());
        Rule::Port.holds(free && ours, || format!("{local} was opened for {:?}, where {before:?} was", waiting.port))
    }

    fn reserve(
        &mut self,
        now: u64,
        waiting: &Waiting,
        opened: &[SocketAddr],
        local: SocketAddr,
        token: [u8; 8],
    ) -> Result<(), Violation> {
        let next = opened.first().is_some_and(|first| {
            first.ip() == local.ip() && first.port() + 1 == local.port() && first.port().is_multiple_of(2)
        });
        let free = self.ports.insert(local, Port::Reserved(token)).is_none();
        let asked = waiting.port == PortWish::Even { reserve: true };
        Rule::Port.holds(next && free && asked, || format!("{local} was reserved beside {opened:?}"))?;
        let reservation = Reservation { local, key: waiting.key.clone(), deadline: now + RESERVATION_NANOS };
        self.reservations.insert(token, reservation);
        Ok(())
    }

    /// A new allocation, whose answer tells what was opened.
    fn enter(
        &mut self,
        now: Now,
        client: Client,
        waiting: Waiting,
        opened: Vec<SocketAddr>,
        answer: &Answer<'_>,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let valid_secs = self.valid_secs(now, waiting.token);
        let lifetime_secs = u64::from(waiting.lifetime_secs).min(valid_secs) as u32;
        Rule::Answer
            .holds(answer.code().is_none(), || format!("{opened:?} was opened and {:?} told", answer.code()))?;
        Rule::Lifetime.holds(answer.lifetime() == Some(lifetime_secs), || {
            format!("granted {:?} s instead of {lifetime_secs}", answer.lifetime())
        })?;
        let told: Vec<SocketAddr> = opened.iter().map(|local| self.rules.outside(*local)).collect();
        let kept = self.reservations.iter().find(|(_, kept)| {
            opened.first().is_some_and(|first| kept.local == SocketAddr::new(first.ip(), first.port() + 1))
        });
        let reserving = waiting.port == PortWish::Even { reserve: true };
        let token = kept.map(|(token, _)| *token).filter(|_| reserving);
        let right = answer.relayed() == told && answer.mapped() == Some(client.remote) && answer.reservation() == token;
        Rule::Answer.holds(right, || format!("{:?}, {:?} was told of {told:?}", answer.relayed(), answer.mapped()))?;
        let record = self.check_start(&client, &waiting, &told, lifetime_secs, effects)?;
        let bucket = self.issued[waiting.token].bitrate_bps.map(Bucket::new);
        let mono = now.mono_nanos;
        self.tally.allocations += 1;
        self.tally.redeemed += u64::from(matches!(waiting.port, PortWish::Reserved(_)));
        let allocation = Allocation {
            shard: waiting.shard,
            client,
            reached: client,
            token: waiting.token,
            key: waiting.key,
            relays: opened,
            ends: mono + u64::from(lifetime_secs) * SECOND,
            credential_ends: mono + valid_secs * SECOND,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            bucket,
            icmp_told: VecDeque::new(),
            serial: record.serial,
            ticket: None,
            to_peer: (0, 0),
            to_client: (0, 0),
        };
        let before = self.live.insert(client, allocation);
        Rule::Kept.holds(before.is_none(), || format!("{client:?} has two allocations"))?;
        let ticket = answer.ticket();
        Rule::Answer.holds(ticket.is_some() == waiting.mobile, || "a ticket is missing, or one too many".into())?;
        if let Some(ticket) = ticket {
            self.note_ticket(&client, ticket);
        }
        Ok(())
    }

    fn check_start(
        &self,
        client: &Client,
        waiting: &Waiting,
        told: &[SocketAddr],
        lifetime_secs: u32,
        effects: &[Effect],
    ) -> Result<StartRecord, Violation> {
        let started = effects.iter().find_map(|effect| match effect {
            Effect::Started(record) => Some((**record).clone()),
            _ => None,
        });
        let record = started.ok_or_else(|| Rule::Record.broken("an allocation started without a record"))?;
        let issued = &self.issued[waiting.token];
        let same = record.client == *client
            && record.relays == told
            && record.key_id == issued.key_id
            && record.call_id == issued.call_id
            && record.lifetime_secs == lifetime_secs;
        let fresh = self.live.values().all(|allocation| allocation.serial != record.serial);
        Rule::Record.holds(same && fresh, || format!("{record:?} is not what happened"))?;
        Ok(record)
    }
}
