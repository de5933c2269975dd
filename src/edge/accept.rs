//! Which shard gets a new TCP or TLS client.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_net::listener::{Accepted, FirstMessage};
use postern_turn::framer::{Frame, frame_stream};
use postern_turn::message::{Message, Method};
use postern_turn::request::Request;

use crate::shared::{Shared, ToShard};

/// Frames the first bytes of a connection: they must be a STUN message.
pub(crate) fn first_message(bytes: &[u8]) -> FirstMessage {
    match frame_stream(bytes) {
        Frame::Incomplete { .. } => FirstMessage::Incomplete,
        Frame::Stun { bytes } => FirstMessage::Whole(bytes),
        Frame::ChannelData { .. } | Frame::Invalid => FirstMessage::Invalid,
    }
}

/// Moves the connection to the shard that it belongs to: a data connection to its allocation's owner (RFC 6062), any other to the
/// least loaded. What cannot be taken is closed by being dropped.
pub(crate) fn hand_over(shared: &Arc<Shared>, accepted: Accepted) {
    let shards = shared.shards();
    let owner = data_connection_owner(&accepted.buffered).filter(|&owner| owner < shards.len());
    let least = || (0..shards.len()).min_by_key(|&index| shards[index].streams.load(Ordering::Relaxed));
    let Some(index) = owner.or_else(least) else { return };
    if !shared.descriptors.take() {
        return tracing::debug!(client = %accepted.peer, "no descriptor left for a client's connection");
    }
    if shards[index].send(ToShard::Stream(Box::new(accepted))).is_err() {
        shared.descriptors.give_back();
    }
}

/// The shard that a ConnectionBind belongs to, by the connection id that the shard itself made. Nothing is believed here: the
/// request is authenticated there.
fn data_connection_owner(buffered: &[u8]) -> Option<usize> {
    let Frame::Stun { bytes } = frame_stream(buffered) else { return None };
    let message = Message::decode(buffered.get(..bytes)?).ok()?;
    let request = Request::from_message(&message);
    let id = request.connection_id.filter(|_| request.method == Method::ConnectionBind)?;
    Some(usize::from(id.shard()))
}
