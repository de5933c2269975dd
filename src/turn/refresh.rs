//! Refresh (RFC 8656 section 8.2), by the same user, by a newer token, or from another address (RFC 8016).

use crate::attribute::{Attribute, FamilyWish};
use crate::authenticate::Session;
use crate::error_code::ErrorCode;
use crate::io::{Family, Now};
use crate::record::EndReason;
use crate::reply::ReplyTo;
use crate::request::Request;
use crate::requests::Outcome;
use crate::server::Server;
use crate::token_bucket::TokenBucket;
use crate::wheel::SECOND;

impl Server {
    pub(crate) fn on_refresh(&mut self, now: Now, request: &Request<'_>, reply: &ReplyTo, session: Session) -> Outcome {
        if request.mobility_ticket.is_some() {
            return self.on_mobile_refresh(now, request, reply, session);
        }
        let at = self.own_allocation(now, &reply.client, &session)?;
        self.refresh(now, at, request, reply, session)
    }

    /// Refreshes or deletes an allocation that is the session's.
    pub(crate) fn refresh(
        &mut self,
        now: Now,
        at: u32,
        request: &Request<'_>,
        reply: &ReplyTo,
        session: Session,
    ) -> Outcome {
        let family = self.asked_family(at, request)?;
        if request.lifetime_secs == Some(0) {
            self.release(now, at, family);
            return Ok(self.succeed(reply, &[Attribute::Lifetime(0)]));
        }
        // As at Allocate: a byte stream cannot be cut to a rate by dropping from it.
        if session.grant.bitrate_bps.is_some() && self.allocations.live(at).is_some_and(|allocation| allocation.tcp) {
            return Err(ErrorCode::FORBIDDEN);
        }
        let wished_secs = self.lifetime_secs(request.lifetime_secs);
        self.take_over(now, at, session);
        let allocation = self.allocations.live_mut(at).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        let credential_secs = (allocation.credential_ends_nanos.saturating_sub(now.mono_nanos)) / SECOND;
        let lifetime_secs = wished_secs.min(u32::try_from(credential_secs).unwrap_or(u32::MAX));
        let wished_end = now.mono_nanos + u64::from(wished_secs) * SECOND;
        allocation.expires_nanos = wished_end.min(allocation.credential_ends_nanos);
        let ticket = if request.mobility_ticket.is_some() { self.new_ticket(at) } else { None };
        self.schedule(now, at);
        let mut attributes = vec![Attribute::Lifetime(lifetime_secs)];
        attributes.extend(ticket.as_ref().map(|ticket| Attribute::MobilityTicket(ticket)));
        Ok(self.succeed(reply, &attributes))
    }

    /// REQUESTED-ADDRESS-FAMILY must name a family that the allocation has (443).
    fn asked_family(&self, at: u32, request: &Request<'_>) -> Result<Option<Family>, ErrorCode> {
        let allocation = self.allocations.live(at).ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        match request.requested_family {
            None => Ok(None),
            Some(FamilyWish::Known(family)) if allocation.relays.iter().any(|relay| relay.family() == family) => {
                Ok(Some(family))
            }
            Some(_) => Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH),
        }
    }

    /// Lifetime 0: all of the allocation, or one family of two.
    fn release(&mut self, now: Now, at: u32, family: Option<Family>) {
        let relays = self.allocations.live(at).map(|allocation| allocation.relays.clone()).unwrap_or_default();
        let one = relays.iter().find(|relay| Some(relay.family()) == family).filter(|_| relays.len() > 1);
        match one {
            Some(relay) => self.close_one_relay(at, *relay),
            None => self.end(now, at, EndReason::Released),
        }
    }

    /// From here on the allocation is this credential's: a newer token brings its own end and limits.
    fn take_over(&mut self, now: Now, at: u32, session: Session) {
        let valid_secs = self.valid_secs(now, &session.grant);
        let Some(allocation) = self.allocations.live_mut(at) else { return };
        let newer = session.succeeds(&allocation.session);
        if newer {
            allocation.credential_ends_nanos = now.mono_nanos.saturating_add(valid_secs.saturating_mul(SECOND));
            let bucket = allocation.bitrate.take();
            allocation.bitrate = session.grant.bitrate_bps.map(|rate| match bucket {
                Some(bucket) => bucket.at_rate(rate),
                None => TokenBucket::new(rate),
            });
        }
        allocation.session = session;
        self.settle(at);
        if newer {
            self.remove_forbidden(now, at);
        }
    }
}
