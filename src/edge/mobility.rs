//! An allocation changes shard because its client came back from another 5-tuple (RFC 8016): its sockets move along.

use postern_turn::io::{Client, RelayId, Verdict};
use postern_turn::mobility::ExportedAllocation;

use crate::relays::Relay;
use crate::shard::{Shard, Turn};
use crate::shared::ToShard;
use crate::streams::{is_stream, stream_of};

/// An allocation on its way, with the authenticated request that asked for it.
pub(crate) struct Adoption {
    exported: Box<ExportedAllocation>,
    relays: Vec<Relay>,
    client: Client,
    message: Vec<u8>,
}

impl Shard {
    /// Gives the allocation with this ticket to shard `to`.
    pub(crate) fn export(&mut self, to: usize, client: Client, ticket: &[u8], message: Vec<u8>, turn: Turn) {
        let Some(exported) = self.server.export(turn.now, ticket) else { return };
        let relays = exported.relays().filter_map(|relay| self.relays.try_remove(relay.0 as usize)).collect::<Vec<_>>();
        for relay in &relays {
            if let Err(error) = relay.deregister(&self.reactor) {
                tracing::error!(shard = self.index, %error, "a relay socket could not be taken out of the reactor");
            }
        }
        self.carry_out(turn);
        self.set_authenticated(exported.client(), false, turn);
        let adoption = Box::new(Adoption { exported, relays, client, message });
        let Some(adopter) = self.shared.shards().get(to) else { return };
        if let Err(ToShard::Adopted(back)) = adopter.send(ToShard::Adopted(adoption)) {
            // Its inbox is full: the allocation stays where it was, and the client's next try finds it.
            self.take_in(*back, None, turn);
        }
    }

    /// Takes an allocation over and answers the request that asked for it.
    pub(crate) fn adopt(&mut self, adoption: Adoption, turn: Turn) {
        let (client, message) = (adoption.client, adoption.message.clone());
        let is_here =
            !is_stream(client.transport) || stream_of(&mut self.streams, &client).is_some_and(|entry| entry.is_open());
        self.take_in(adoption, is_here.then_some(client), turn);
        if !is_here {
            // It left meanwhile; its ticket finds the allocation here when it comes back.
            return;
        }
        let verdict = self.server.handle_datagram(turn.now, client, 0, &message);
        debug_assert!(!matches!(verdict, Verdict::ToPeer { .. }), "a request is control");
        self.carry_out(turn);
    }

    fn take_in(&mut self, adoption: Adoption, client: Option<Client>, turn: Turn) {
        let ids = adoption.relays.into_iter().map(|relay| {
            let index = self.relays.insert(relay) as u32;
            if let Err(error) = self.relays[index as usize].register(&self.reactor, index) {
                tracing::error!(shard = self.index, %error, "a relay socket could not be watched");
            }
            RelayId(index)
        });
        let ids = ids.collect::<Vec<_>>();
        self.server.handle_adopted(turn.now, adoption.exported, &ids, client);
        self.carry_out(turn);
    }
}
