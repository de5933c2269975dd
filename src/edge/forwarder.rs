//! The seam for faster tiers of the data plane: who is told which flows could bypass the shard.

use postern_telemetry::labels::Tier;
use postern_turn::io::{Client, Peer, RelayId};

/// A tier of the data plane. Whatever a tier does not take over, the shard's own loop relays: a tier may refuse any flow.
pub(crate) trait Forwarder: Send {
    /// Which one it is, for the metric that says what carries media.
    fn tier(&self) -> Tier;

    /// A channel was bound: from here on its packets may take the short way.
    fn bind(&mut self, client: Client, channel: u16, relay: RelayId, peer: Peer);

    /// The channel is gone, or must be judged packet by packet again.
    fn unbind(&mut self, client: Client, channel: u16, relay: RelayId, peer: Peer);
}

/// The tier that always works: sockets, read and written by the shard. It has nothing to learn from a binding.
pub(crate) struct Portable;

impl Forwarder for Portable {
    fn tier(&self) -> Tier {
        Tier::Portable
    }

    fn bind(&mut self, _client: Client, _channel: u16, _relay: RelayId, _peer: Peer) {}

    fn unbind(&mut self, _client: Client, _channel: u16, _relay: RelayId, _peer: Peer) {}
}
