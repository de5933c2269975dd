//! What outlives one shard's 5-tuple: relay ports, quotas, reservations. One per process, asked when a relay opens or closes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use hashbrown::HashMap;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::io::{Family, OpenRelay, PortWish, QuotaKey, RelayFailure};
use crate::limits::{DRAWS_MAX, PORT_REST_NANOS, RESERVATION_NANOS};
use crate::live_ports::LivePorts;
use crate::port_pool::{Kind, PortPool};
use crate::quota::Quotas;

/// Where relays live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Local addresses; no wildcard.
    pub addresses: Vec<IpAddr>,
    /// The same range on each address, for UDP and TCP apart.
    pub ports: RangeInclusive<u16>,
}

/// A port that is to be bound under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasedPort {
    pub lease: u64,
    pub local: SocketAddr,
    pub tcp: bool,
}

/// The broker's answer to [`OpenRelay`](crate::io::Action::OpenRelay).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// One for each family that can be had, in the order asked; never empty.
    pub relays: Vec<LeasedPort>,
    /// The next port, to be bound at once and kept under the token.
    pub reserved: Option<ReservedPort>,
    /// For a redeemed reservation: the shard that holds the bound socket under this very lease. Nothing is to be bound.
    pub held_by: Option<u8>,
    /// The family of two for which there is no address or no port.
    pub failed: Vec<(Family, RelayFailure)>,
}

/// A port kept for a later Allocate (RFC 8656 section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedPort {
    pub port: LeasedPort,
    /// RESERVATION-TOKEN: random, good for 30 s, once, for the same identity.
    pub token: [u8; 8],
}

/// A reservation that nobody redeemed. The lease is gone already; the socket is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredReservation {
    pub port: LeasedPort,
    /// The shard that bound it.
    pub held_by: u8,
}

/// Ports of one relay address and transport, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortUse {
    pub address: IpAddr,
    pub tcp: bool,
    pub total: u32,
    /// Without a lease, resting ports included.
    pub available: u32,
}

/// Hands out relay ports and counts quotas, for all shards of a process.
///
/// # How a shell drives it
/// 1. [`draw`](Self::draw) for an `OpenRelay`: the quota unit is taken, ports are leased.
/// 2. Bind each. A port that another program holds: [`taken_by_others`](Self::taken_by_others) and bind what it answers. A family that
///    cannot be bound at all: [`close`](Self::close) its lease.
/// 3. [`open`](Self::open) each relay lease once all is bound, before telling the server: from here on the port is live for peers.
/// 4. [`close`](Self::close) at `CloseRelay`, after closing the socket.
/// 5. [`handle_timeout`](Self::handle_timeout) when [`next_timeout`](Self::next_timeout) has come.
///
/// Times are nanoseconds of the monotonic clock that the servers run on; they never go back. With the same seed and inputs the
/// outputs are the same. The packet path never comes here: it reads [`LivePorts`].
#[derive(Debug)]
pub struct Broker {
    rng: ChaCha12Rng,
    pools: Vec<PortPool>,
    live: LivePorts,
    leases: HashMap<u64, Lease>,
    next_lease: u64,
    quotas: Quotas,
    reservations: HashMap<[u8; 8], Reservation>,
    /// Deadlines of `reservations`, soonest first.
    deadlines: BTreeSet<(u64, [u8; 8])>,
}

#[derive(Debug)]
struct Lease {
    local: SocketAddr,
    tcp: bool,
    kind: Kind,
    phase: Phase,
    /// Ports drawn under this lease so far.
    draws: u32,
    /// The quota unit, which the leases of a dual allocation share; none while a reservation waits.
    unit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Being bound; a pair's other half is named.
    Drawn {
        partner: Option<u64>,
    },
    Open,
    /// Kept for whoever shows the token; `owner` is the lease drawn with it.
    Reserved {
        token: [u8; 8],
        owner: u64,
    },
}

#[derive(Debug)]
struct Reservation {
    lease: u64,
    quota: QuotaKey,
    deadline_nanos: u64,
    held_by: u8,
}

impl Broker {
    /// `seed` comes from the operating system, or from the test.
    pub fn new(options: PoolOptions, seed: [u8; 32]) -> Self {
        Self {
            rng: ChaCha12Rng::from_seed(seed),
            pools: pools(&options),
            live: LivePorts::new(&options.addresses),
            leases: HashMap::new(),
            next_lease: 1,
            quotas: Quotas::default(),
            reservations: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// The set of live relay ports, for [`PeerPolicy`](crate::policy::PeerPolicy).
    pub fn live_ports(&self) -> LivePorts {
        self.live.clone()
    }

    /// Takes one quota unit and leases ports for it; nothing is taken when it fails.
    ///
    /// # Errors
    /// [`Quota`](RelayFailure::Quota) comes first, so that a client over its quota learns nothing about ports. With two families the
    /// one that can be had suffices.
    pub fn draw(&mut self, now_nanos: u64, shard: u8, wish: &OpenRelay) -> Result<Drawn, RelayFailure> {
        if let PortWish::Reserved(token) = wish.port {
            return self.redeem(now_nanos, token, wish);
        }
        let reserve = wish.port == PortWish::Even { reserve: true };
        if !self.quotas.has_room(&wish.quota, wish.quota_max) {
            return Err(RelayFailure::Quota);
        }
        if reserve && !self.quotas.may_reserve(&wish.quota, wish.quota_max) {
            return Err(RelayFailure::Quota);
        }
        let kind = match wish.port {
            PortWish::Any | PortWish::Reserved(_) => Kind::Any,
            PortWish::Even { reserve: false } => Kind::Even,
            PortWish::Even { reserve: true } => Kind::Pair,
        };
        let mut drawn = Drawn { relays: Vec::new(), reserved: None, held_by: None, failed: Vec::new() };
        for &family in &wish.families {
            match self.draw_port(now_nanos, family, wish.tcp, kind) {
                Ok(local) => drawn.relays.push(self.lease(local, wish.tcp, kind)),
                Err(failure) => drawn.failed.push((family, failure)),
            }
        }
        let Some(first) = drawn.relays.first().copied() else {
            return Err(drawn.failed.first().map_or(RelayFailure::Family, |&(_, failure)| failure));
        };
        let unit = self.quotas.take(&wish.quota, drawn.relays.len() as u32);
        for relay in &drawn.relays {
            self.change(relay.lease, |lease| lease.unit = Some(unit));
        }
        if reserve {
            drawn.reserved = Some(self.reserve(now_nanos, shard, first, &wish.quota));
        }
        Ok(drawn)
    }

    /// The port of a lease cannot be bound because another program holds it: leases another one, of the same kind. Answers what is
    /// to be bound now: the new port, or for a reserving lease both new ports, in which case the other old socket is to be closed.
    ///
    /// # Errors
    /// [`NoPort`](RelayFailure::NoPort) after [`DRAWS_MAX`] draws, or when there is none; the lease (or both) is closed then.
    pub fn taken_by_others(&mut self, now_nanos: u64, lease: u64) -> Result<Vec<LeasedPort>, RelayFailure> {
        let Some((owner, partner)) = self.drawn_pair(lease) else {
            return Err(RelayFailure::NoPort);
        };
        let Some(&Lease { local, tcp, kind, draws, .. }) = self.leases.get(&owner) else {
            return Err(RelayFailure::NoPort);
        };
        let family = family_of(local.ip());
        let redrawn =
            if draws < DRAWS_MAX { self.draw_port(now_nanos, family, tcp, kind) } else { Err(RelayFailure::NoPort) };
        let new_local = match redrawn {
            Ok(new_local) => new_local,
            Err(failure) => {
                self.close(now_nanos, owner);
                return Err(failure);
            }
        };
        let mut to_bind = Vec::with_capacity(2);
        for (lease, port) in [(Some(owner), new_local.port()), (partner, new_local.port().wrapping_add(1))] {
            let Some(lease) = lease else { continue };
            let local = SocketAddr::new(new_local.ip(), port);
            self.rest(now_nanos, lease);
            self.change(lease, |state| (state.local, state.draws) = (local, state.draws + 1));
            to_bind.push(LeasedPort { lease, local, tcp });
        }
        Ok(to_bind)
    }

    /// The lease's socket is bound and its allocation stands: peers may reach it through this edge's other relays.
    pub fn open(&mut self, lease: u64) {
        let Some(state) = self.leases.get_mut(&lease) else {
            return;
        };
        if matches!(state.phase, Phase::Drawn { .. }) {
            state.phase = Phase::Open;
            self.live.set(state.local, state.tcp);
        }
    }

    /// Takes a lease back: the port rests, and with the last lease of an allocation its quota unit is free at once. Closing a lease
    /// that was never opened closes the reservation made with it. A lease that is gone already is no error.
    pub fn close(&mut self, now_nanos: u64, lease: u64) {
        self.live_off(lease);
        self.rest(now_nanos, lease);
        let Some(state) = self.leases.remove(&lease) else {
            return;
        };
        if let Some(unit) = state.unit {
            self.quotas.release(unit);
        }
        match state.phase {
            Phase::Reserved { token, owner } => {
                self.forget(token);
                self.unpair(owner, lease);
            }
            Phase::Drawn { partner: Some(partner) } => self.close(now_nanos, partner),
            Phase::Drawn { partner: None } | Phase::Open => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has work, at the earliest.
    pub fn next_timeout(&self) -> Option<u64> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Ends the reservations whose 30 s are over; their leases are closed, their sockets are the shell's to close.
    pub fn handle_timeout(&mut self, now_nanos: u64) -> Vec<ExpiredReservation> {
        let mut expired = Vec::new();
        while let Some(&(deadline, token)) = self.deadlines.first() {
            if deadline > now_nanos {
                break;
            }
            self.deadlines.pop_first();
            let Some(&Reservation { lease, held_by, .. }) = self.reservations.get(&token) else {
                continue;
            };
            if let Some(port) = self.leased_port(lease) {
                expired.push(ExpiredReservation { port, held_by });
            }
            self.close(now_nanos, lease);
        }
        expired
    }

    /// How many allocations count against a quota now.
    pub fn allocations_of(&self, quota: &QuotaKey) -> u32 {
        self.quotas.used(quota)
    }

    /// Use of each address and transport, for metrics.
    pub fn port_use(&self) -> impl Iterator<Item = PortUse> + '_ {
        self.pools.iter().map(|pool| PortUse {
            address: pool.address,
            tcp: pool.tcp,
            total: pool.total(),
            available: pool.available(),
        })
    }

    fn redeem(&mut self, now_nanos: u64, token: [u8; 8], wish: &OpenRelay) -> Result<Drawn, RelayFailure> {
        let kept = self.reservations.get(&token).ok_or(RelayFailure::BadReservation)?;
        // Compared with the clock here, since the timeout only reclaims; and a token is worth nothing to another identity.
        if now_nanos >= kept.deadline_nanos || kept.quota != wish.quota {
            return Err(RelayFailure::BadReservation);
        }
        if !self.quotas.has_room(&wish.quota, wish.quota_max) {
            return Err(RelayFailure::Quota);
        }
        let (lease, held_by) = (kept.lease, kept.held_by);
        let port = self.leased_port(lease).ok_or(RelayFailure::BadReservation)?;
        self.forget(token);
        let unit = self.quotas.take(&wish.quota, 1);
        self.change(lease, |state| (state.unit, state.phase) = (Some(unit), Phase::Drawn { partner: None }));
        Ok(Drawn { relays: vec![port], reserved: None, held_by: Some(held_by), failed: Vec::new() })
    }

    /// Leases the port after `first`, which `draw_port` took along with it.
    fn reserve(&mut self, now_nanos: u64, shard: u8, first: LeasedPort, quota: &QuotaKey) -> ReservedPort {
        let token = self.new_token();
        let local = SocketAddr::new(first.local.ip(), first.local.port().wrapping_add(1));
        let port = self.lease(local, first.tcp, Kind::Any);
        let deadline_nanos = now_nanos.saturating_add(RESERVATION_NANOS);
        self.change(port.lease, |state| state.phase = Phase::Reserved { token, owner: first.lease });
        self.change(first.lease, |state| state.phase = Phase::Drawn { partner: Some(port.lease) });
        self.quotas.reserve(quota);
        self.deadlines.insert((deadline_nanos, token));
        let reservation = Reservation { lease: port.lease, quota: quota.clone(), deadline_nanos, held_by: shard };
        self.reservations.insert(token, reservation);
        ReservedPort { port, token }
    }

    fn new_token(&mut self) -> [u8; 8] {
        loop {
            let token = self.rng.next_u64().to_ne_bytes();
            if !self.reservations.contains_key(&token) {
                return token;
            }
        }
    }

    /// Takes a reservation off the books; its lease stays.
    fn forget(&mut self, token: [u8; 8]) {
        if let Some(reservation) = self.reservations.remove(&token) {
            self.deadlines.remove(&(reservation.deadline_nanos, token));
            self.quotas.unreserve(&reservation.quota);
        }
    }

    /// The reserved half is gone before the other was opened: that one stays, on its own.
    fn unpair(&mut self, owner: u64, reserved: u64) {
        self.change(owner, |state| {
            if state.phase == (Phase::Drawn { partner: Some(reserved) }) {
                (state.phase, state.kind) = (Phase::Drawn { partner: None }, Kind::Even);
            }
        });
    }

    /// A random one of all free ports of the family's addresses; the one that rested longest when none is free.
    fn draw_port(&mut self, now_nanos: u64, family: Family, tcp: bool, kind: Kind) -> Result<SocketAddr, RelayFailure> {
        let mut fitting: Vec<&mut PortPool> =
            self.pools.iter_mut().filter(|pool| pool.tcp == tcp && family_of(pool.address) == family).collect();
        if fitting.is_empty() {
            return Err(RelayFailure::Family);
        }
        let mut choices = 0;
        for pool in &mut fitting {
            pool.end_rests(now_nanos);
            choices += pool.choices(kind);
        }
        if choices == 0 {
            let rested =
                fitting.iter_mut().find_map(|pool| Some(SocketAddr::new(pool.address, pool.take_resting(kind)?)));
            return rested.ok_or(RelayFailure::NoPort);
        }
        let mut nth = below(&mut self.rng, choices);
        for pool in fitting {
            let own = pool.choices(kind);
            if nth < own {
                let port = pool.take_free(kind, nth).ok_or(RelayFailure::NoPort)?;
                return Ok(SocketAddr::new(pool.address, port));
            }
            nth -= own;
        }
        Err(RelayFailure::NoPort)
    }

    fn lease(&mut self, local: SocketAddr, tcp: bool, kind: Kind) -> LeasedPort {
        let lease = self.next_lease;
        self.next_lease += 1;
        let phase = Phase::Drawn { partner: None };
        self.leases.insert(lease, Lease { local, tcp, kind, phase, draws: 1, unit: None });
        LeasedPort { lease, local, tcp }
    }

    fn leased_port(&self, lease: u64) -> Option<LeasedPort> {
        self.leases.get(&lease).map(|state| LeasedPort { lease, local: state.local, tcp: state.tcp })
    }

    fn change(&mut self, lease: u64, change: impl FnOnce(&mut Lease)) {
        if let Some(state) = self.leases.get_mut(&lease) {
            change(state);
        }
    }

    /// For either half of a pair that is being bound, or a single lease: the half with the allocation, and the reserved one.
    fn drawn_pair(&self, lease: u64) -> Option<(u64, Option<u64>)> {
        match self.leases.get(&lease)?.phase {
            Phase::Drawn { partner } => Some((lease, partner)),
            Phase::Reserved { owner, .. } => match self.leases.get(&owner)?.phase {
                Phase::Drawn { partner } if partner == Some(lease) => Some((owner, partner)),
                _ => None,
            },
            Phase::Open => None,
        }
    }

    /// The lease's present port goes back to its pool.
    fn rest(&mut self, now_nanos: u64, lease: u64) {
        let Some(state) = self.leases.get(&lease) else {
            return;
        };
        if let Some(pool) = pool_of(&mut self.pools, state.local, state.tcp) {
            pool.release(state.local.port(), now_nanos.saturating_add(PORT_REST_NANOS));
        }
    }

    fn live_off(&self, lease: u64) {
        if let Some(state) = self.leases.get(&lease) {
            self.live.clear(state.local, state.tcp);
        }
    }
}

fn pools(options: &PoolOptions) -> Vec<PortPool> {
    let each = |&address: &IpAddr| [false, true].map(|tcp| PortPool::new(address, tcp, &options.ports));
    options.addresses.iter().flat_map(each).collect()
}

/// The pool that a leased port goes back to.
fn pool_of(pools: &mut [PortPool], local: SocketAddr, tcp: bool) -> Option<&mut PortPool> {
    pools.iter_mut().find(|pool| pool.address == local.ip() && pool.tcp == tcp)
}

fn family_of(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// A number below `bound`, which is not 0. With 64 random bits over at most 32, what is uneven about it is below 2^-32.
fn below(rng: &mut ChaCha12Rng, bound: u32) -> u32 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u32
}
