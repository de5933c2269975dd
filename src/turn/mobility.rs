//! Mobility (RFC 8016): tickets, and how an allocation moves to another 5-tuple, on another shard if need be.

use crate::io::{OpenedRelay, RelayId};

/// An allocation between two shards.
#[derive(Debug)]
pub struct ExportedAllocation {
    relays: Vec<OpenedRelay>,
}

impl ExportedAllocation {
    /// The relay sockets to move, by the old shard's indices.
    pub fn relays(&self) -> impl Iterator<Item = RelayId> + '_ {
        self.relays.iter().map(|opened| opened.relay)
    }
}
