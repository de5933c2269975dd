//! The seam for faster tiers of the data plane: who is told which flows could bypass the shard.

use postern_turn::io::{Client, Peer, RelayId};

/// A tier of the data plane. Whatever a tier does not take over, the shard's own loop relays: a tier may refuse any flow.
pub(crate) trait Forwarder: Send {
    /// The tier's name, a label of the metric that says which one is active.
    fn name(&self) -> &'static str;

    /// A channel was bound: from here on its packets may take the short way.
    fn bind(&mut self, client: Client, channel: u16, relay: RelayId, peer: Peer);

    /// The channel is gone, or must be judged packet by packet again.
    fn unbind(&mut self, client: Client, channel: u16, relay: RelayId, peer: Peer);
}

/// The tier that always works: sockets, read and written by the shard. It has nothing to learn from a binding.
pub(crate) struct Portable;

impl Forwarder for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn bind(&mut self, _client: Client, _channel: u16, _relay: RelayId, _peer: Peer) {}

    fn unbind(&mut self, _client: Client, _channel: u16, _relay: RelayId, _peer: Peer) {}
}
