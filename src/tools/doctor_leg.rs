//! What the doctor needs of a relay, whichever TURN client stands behind it.

use std::net::SocketAddr;

use async_trait::async_trait;

use crate::doctor_failure::Failure;

/// One allocation on a server, as its client sees it.
#[async_trait]
pub trait Leg: Send + Sync {
    /// XOR-RELAYED-ADDRESS: where peers send to.
    fn relayed(&self) -> SocketAddr;

    /// XOR-MAPPED-ADDRESS: our own address as the server sees it.
    fn mapped(&self) -> Option<SocketAddr>;

    /// Lets `peer`'s address send to the relay.
    ///
    /// # Errors
    /// [`Failure::Refused`] with 403 where the server's policy denies the peer.
    async fn permit(&self, peer: SocketAddr) -> Result<(), Failure>;

    /// Binds a channel to `peer`; what goes to it from now on goes by that channel.
    ///
    /// # Errors
    /// As [`permit`](Self::permit).
    async fn bind(&self, peer: SocketAddr) -> Result<(), Failure>;

    /// Sends `payload` to a bound peer.
    ///
    /// # Errors
    /// When the connection has ended.
    async fn send(&self, peer: SocketAddr, payload: &[u8]) -> Result<(), Failure>;

    /// The next datagram from a permitted peer.
    ///
    /// # Errors
    /// When the connection has ended.
    async fn receive(&self) -> Result<(SocketAddr, Vec<u8>), Failure>;

    /// Messages that came by a channel so far.
    fn received_by_channel(&self) -> u64;

    /// Gives the allocation back; best effort.
    async fn release(&self);
}
