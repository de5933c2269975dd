//! Pairs of ports: RTP on an even one, RTCP on the next (RFC 3550 section 11).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_net::{UdpOptions, UdpSocket};

use crate::limits::SOCKET_BYTES;

/// The port of RTP. Even by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RtpPort(u16);

impl RtpPort {
    /// None when `port` is odd.
    pub fn new(port: u16) -> Option<Self> {
        port.is_multiple_of(2).then_some(Self(port))
    }

    pub fn rtp(self) -> u16 {
        self.0
    }

    pub fn rtcp(self) -> u16 {
        self.0 + 1
    }
}

/// All pairs of a range. A pair rests after a call, so that late packets of that call reach no other one.
pub struct PortPool {
    /// Number of the first pair: half its RTP port.
    first: u16,
    pairs: u16,
    rest: Duration,
    /// When a pair may be used again; `None` while it is in use.
    taken: Mutex<HashMap<u16, Option<Instant>>>,
}

/// Numbers of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs {
    pub all: u16,
    pub free: u16,
}

/// Two bound sockets. The pair rests when its lease is dropped; drop the sockets first.
pub struct PortPair {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub lease: PortLease,
}

/// The right to a pair.
pub struct PortLease {
    pool: Arc<PortPool>,
    pair: u16,
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let until = Instant::now() + self.pool.rest;
        self.pool.taken().insert(self.pair, Some(until));
    }
}

impl PortPool {
    /// Pairs within `first..=last`.
    pub fn new(first: u16, last: u16, rest: Duration) -> Arc<Self> {
        let first = first.div_ceil(2);
        let pairs = u32::from(last).div_ceil(2);
        let pairs = u16::try_from(pairs.saturating_sub(first.into())).unwrap_or(u16::MAX);
        Arc::new(Self { first, pairs, rest, taken: Mutex::default() })
    }

    /// How many pairs there are, and how many of them may be leased at `now`, but for those that others have bound. Cost:
    /// linear in pairs that were ever used.
    pub fn count(&self, now: Instant) -> Pairs {
        let is_taken = |until: &&Option<Instant>| until.is_none_or(|until| until > now);
        let taken = self.taken().values().filter(is_taken).count();
        let taken = u16::try_from(taken).unwrap_or(u16::MAX);
        Pairs { all: self.pairs, free: self.pairs.saturating_sub(taken) }
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Option<Instant>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds a pair on `ip`, drawn at random. Pairs that somebody else has bound are passed over.
    ///
    /// # Errors
    /// `AddrInUse` when every pair is in use or rests; what else bind(2) says.
    pub fn lease(self: &Arc<Self>, ip: IpAddr) -> io::Result<PortPair> {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let start = u16::from_ne_bytes(random);
        for step in 0..self.pairs {
            let pair = self.first + (start % self.pairs + step) % self.pairs;
            if !self.reserve(pair) {
                continue;
            }
            let lease = PortLease { pool: Arc::clone(self), pair };
            match bind(ip, RtpPort(pair * 2)) {
                Ok((rtp, rtcp)) => return Ok(PortPair { rtp, rtcp, lease }),
                // Somebody else's: it rests, so that it is not tried again soon.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "every pair of RTP ports is in use or rests"))
    }

    fn reserve(&self, pair: u16) -> bool {
        let mut taken = self.taken();
        match taken.get(&pair) {
            Some(None) => return false,
            Some(Some(until)) if *until > Instant::now() => return false,
            _ => {}
        }
        taken.insert(pair, None);
        true
    }
}

fn bind(ip: IpAddr, port: RtpPort) -> io::Result<(UdpSocket, UdpSocket)> {
    let options = UdpOptions {
        recv_buffer: SOCKET_BYTES,
        send_buffer: SOCKET_BYTES,
        arrival_times: true,
        ..UdpOptions::default()
    };
    let rtp = UdpSocket::bind(SocketAddr::new(ip, port.rtp()), &options)?;
    let rtcp = UdpSocket::bind(SocketAddr::new(ip, port.rtcp()), &options)?;
    Ok((rtp, rtcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn rtp_has_an_even_port_and_rtcp_the_next() {
        let pool = PortPool::new(41_001, 41_010, Duration::ZERO);
        for _ in 0..4 {
            let pair = pool.lease(LOOPBACK).unwrap();
            let (rtp, rtcp) = (pair.rtp.local_addr().port(), pair.rtcp.local_addr().port());
            assert!(rtp.is_multiple_of(2) && rtcp == rtp + 1, "{rtp} {rtcp}");
            assert!((41_002..=41_009).contains(&rtp) && rtcp <= 41_010);
        }
        assert_eq!(RtpPort::new(41_001), None);
    }

    #[test]
    fn a_busy_port_is_passed_over_and_a_full_range_refuses() {
        let pool = PortPool::new(41_020, 41_023, Duration::from_secs(60));
        let busy = std::net::UdpSocket::bind((LOOPBACK, 41_021)).unwrap();
        let pair = pool.lease(LOOPBACK).unwrap();
        assert_eq!(pair.rtp.local_addr().port(), 41_022);
        assert_eq!(pool.lease(LOOPBACK).map(drop).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(pool.count(Instant::now()), Pairs { all: 2, free: 0 });
        drop((pair, busy));
        assert_eq!(pool.lease(LOOPBACK).map(drop).unwrap_err().kind(), io::ErrorKind::AddrInUse, "pairs rest");
    }

    #[test]
    fn a_pair_serves_again_after_its_rest() {
        let pool = PortPool::new(41_030, 41_031, Duration::ZERO);
        for _ in 0..3 {
            drop(pool.lease(LOOPBACK).unwrap());
        }
    }
}
