//! A reload bites on the living: what the new options forbid is gone when it returns.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::error_code::ErrorCode;
use crate::io::Now;
use crate::options::Options;
use crate::policy::{Purpose, Ruling};
use crate::server::Server;

impl Server {
    /// A new generation of options. Permissions, channels and connections to peers that are no longer allowed are gone
    /// when this returns; allocations whose key was removed get 401 from here on and end at their lifetime.
    pub fn handle_options(&mut self, now: Now, options: Arc<Options>) {
        self.options = options;
        self.generation += 1;
        for at in self.allocations.live_ids() {
            self.remove_forbidden(now, at);
        }
    }

    /// Takes away what policy and credential do not allow (any more).
    pub(crate) fn remove_forbidden(&mut self, now: Now, at: u32) {
        let options = self.options.clone();
        let Some(allocation) = self.allocations.live_mut(at) else { return };
        let claim = allocation.session.grant.peers.clone();
        let allows =
            |peer: SocketAddr, purpose| options.policy.judge(peer, claim.as_deref(), purpose) != Ruling::Forbidden;
        let address = |ip: IpAddr| SocketAddr::new(ip, 0);
        allocation.permissions.retain(|ip| allows(address(ip), Purpose::Permission));
        let connections = allocation.connections.clone();
        // Whether the port behind a relay address of ours lives is judged per packet.
        self.remove_channels(at, |channel| {
            allows(channel.peer.0, if channel.own_relay { Purpose::Permission } else { Purpose::Channel })
        });
        for id in connections {
            let peer = self.connections.get(&id).map(|connection| connection.peer());
            if peer.is_some_and(|peer| !allows(address(peer.0.ip()), Purpose::Permission)) {
                self.give_up(now, id, ErrorCode::FORBIDDEN);
            }
        }
        self.update_short_ways(now, at);
    }
}
