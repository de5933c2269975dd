//! ChannelBind (RFC 8656 section 12.2).

use crate::authenticate::Session;
use crate::channel::{BindError, Bound};
use crate::channel_data::CHANNEL_NUMBERS;
use crate::error_code::ErrorCode;
use crate::five_tuple::FiveTuple;
use crate::io::{Now, Peer};
use crate::policy::Purpose;
use crate::reply::ReplyTo;
use crate::request::Request;
use crate::requests::Outcome;
use crate::server::Server;

impl Server {
    pub(crate) fn on_channel_bind(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &ReplyTo,
        session: &Session,
    ) -> Outcome {
        let at = self.own_allocation(now, &reply.client, session)?;
        let (Some(number), Some(named)) = (request.channel, request.peers.first()) else {
            return Err(ErrorCode::BAD_REQUEST);
        };
        let tcp = self.allocations.live(at).is_some_and(|allocation| allocation.tcp);
        if tcp || !CHANNEL_NUMBERS.contains(&number) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        self.check_peer(at, session, named, Purpose::Channel)?;
        let options = self.options.clone();
        let own_relay = options.policy.is_relay_address(named.ip());
        let peer = Peer(options.policy.advertise().inside(named));

        self.reclaim(now, at);
        let allocation = self.allocations.live_mut(at).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if !allocation.permissions.has_room_for(now.mono_nanos, &[peer.0.ip()]) {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        let relay = allocation.relay_for(peer.0.ip()).ok_or(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH)?.id;
        match allocation.channels.bind(now.mono_nanos, number, peer, relay, own_relay) {
            Ok(Bound::New { slot }) => {
                self.channels.insert((FiveTuple::of(&reply.client), number), (at, slot));
            }
            Ok(Bound::Refreshed) => {}
            Err(BindError::Taken) => return Err(ErrorCode::BAD_REQUEST),
            Err(BindError::Full) => return Err(ErrorCode::INSUFFICIENT_CAPACITY),
        }
        self.permit(now, at, &[named])?;
        Ok(self.succeed(reply, &[]))
    }
}
