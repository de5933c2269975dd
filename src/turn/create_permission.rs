//! CreatePermission (RFC 8656 section 10.2): all of the named peers, or none.

use std::net::{IpAddr, SocketAddr};

use crate::authenticate::Session;
use crate::error_code::ErrorCode;
use crate::io::Now;
use crate::policy::{Purpose, Ruling};
use crate::reply::ReplyTo;
use crate::request::Request;
use crate::requests::Outcome;
use crate::server::Server;

impl Server {
    pub(crate) fn on_create_permission(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &ReplyTo,
        session: &Session,
    ) -> Outcome {
        let at = self.own_allocation(now, &reply.client, session)?;
        if request.peers.is_empty() {
            return Err(ErrorCode::BAD_REQUEST);
        }
        if request.peers.overflowed() {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        for peer in request.peers.iter() {
            self.check_peer(at, session, peer, Purpose::Permission)?;
        }
        let peers: Vec<SocketAddr> = request.peers.iter().collect();
        self.permit(now, at, &peers)?;
        Ok(self.succeed(reply, &[]))
    }

    /// Whether the allocation may have to do with `peer`, as the client named it: 443, 403.
    pub(crate) fn check_peer(
        &self,
        at: u32,
        session: &Session,
        peer: SocketAddr,
        purpose: Purpose,
    ) -> Result<(), ErrorCode> {
        let allocation = self.allocations.live(at).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if allocation.relay_for(peer.ip()).is_none() {
            return Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
        }
        match self.options.policy.judge(peer, session.grant.peers.as_deref(), purpose) {
            Ruling::Allowed | Ruling::NothingSent => Ok(()),
            Ruling::Forbidden => Err(ErrorCode::FORBIDDEN),
        }
    }

    /// Installs or refreshes permissions for peers that were judged before; 508 and none of them when there is no room.
    pub(crate) fn permit(&mut self, now: Now, at: u32, peers: &[SocketAddr]) -> Result<(), ErrorCode> {
        let advertise = self.options.policy.advertise();
        let ips: Vec<IpAddr> = peers.iter().map(|peer| advertise.inside_ip(peer.ip())).collect();
        let allocation = self.allocations.live_mut(at).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if !allocation.permissions.has_room_for(now.mono_nanos, &ips) {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        for (ip, peer) in ips.into_iter().zip(peers) {
            allocation.permissions.permit(now.mono_nanos, ip).map_err(|_| ErrorCode::INSUFFICIENT_CAPACITY)?;
            allocation.record_peer(*peer);
        }
        self.schedule(now, at);
        self.update_short_ways(now, at);
        Ok(())
    }
}
