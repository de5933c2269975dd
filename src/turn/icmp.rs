//! ICMP errors from peers become Data indications (RFC 8656 section 11.5).

use std::net::SocketAddr;

use crate::attribute::{Attribute, Icmp};
use crate::io::{Action, Now, PeerIcmp, RelayId, ReplyFrom};
use crate::message::{Class, MessageWriter, Method};
use crate::server::Server;

impl Server {
    /// An ICMP error that the relay socket's error queue held.
    pub fn handle_peer_icmp(&mut self, now: Now, relay: RelayId, icmp: PeerIcmp) {
        let Some(at) = self.relay_owner(relay) else { return };
        if !is_told(&icmp) || !self.check_alive(now, at) {
            return;
        }
        let transaction_id = self.draw_transaction_id();
        let outside = self.options.policy.advertise().outside(icmp.peer.0);
        let Some(allocation) = self.allocations.live_mut(at) else { return };
        let permitted = allocation.permissions.is_permitted(now.mono_nanos, icmp.peer.0.ip());
        if allocation.tcp || !permitted || !allocation.icmp.allow(now.mono_nanos) {
            return;
        }
        let client = allocation.client;
        let mut message = Vec::with_capacity(64);
        let mut writer = MessageWriter::new(&mut message, Class::Indication, Method::Data, transaction_id);
        writer.attribute(&Attribute::XorPeerAddress(outside));
        writer.attribute(&Attribute::Icmp(Icmp {
            icmp_type: icmp.icmp_type,
            icmp_code: u16::from(icmp.code),
            data: if tells_mtu(&icmp) { icmp.info.to_be_bytes() } else { [0; 4] },
        }));
        // Two short attributes always fit.
        let _ = writer.finish();
        self.counters.icmp_told += 1;
        self.actions.push_back(Action::ToClient { client, to: client.remote, from: ReplyFrom::Same, message });
    }
}

/// RFC 8656 section 11.5: which errors a client learns of.
fn is_told(icmp: &PeerIcmp) -> bool {
    const DESTINATION_UNREACHABLE_V4: u8 = 3;
    const TIME_EXCEEDED_V4: u8 = 11;
    const DESTINATION_UNREACHABLE_V6: u8 = 1;
    const PACKET_TOO_BIG_V6: u8 = 2;
    const TIME_EXCEEDED_V6: u8 = 3;
    if icmp.peer.0.is_ipv4() {
        matches!(icmp.icmp_type, DESTINATION_UNREACHABLE_V4 | TIME_EXCEEDED_V4)
    } else {
        matches!(icmp.icmp_type, DESTINATION_UNREACHABLE_V6 | PACKET_TOO_BIG_V6 | TIME_EXCEEDED_V6)
    }
}

/// RFC 8656 section 18.13: of all the rest the four bytes are zero.
fn tells_mtu(icmp: &PeerIcmp) -> bool {
    const FRAGMENTATION_NEEDED_V4: (u8, u8) = (3, 4);
    const PACKET_TOO_BIG_V6: u8 = 2;
    match icmp.peer.0 {
        SocketAddr::V4(_) => (icmp.icmp_type, icmp.code) == FRAGMENTATION_NEEDED_V4,
        SocketAddr::V6(_) => icmp.icmp_type == PACKET_TOO_BIG_V6,
    }
}
