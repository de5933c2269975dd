//! Which shard gets a new TCP or TLS client.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_net::listener::{Accepted, FirstMessage};
use postern_turn::framer::{Frame, frame_stream};
use postern_turn::message::{Message, Method};
use postern_turn::request::Request;

use crate::shared::{Shared, ToShard};

/// Frames the first bytes of a connection: they must be a STUN message. Nobody has a channel yet, so what begins like
/// ChannelData (as a web browser's "GET " does) is not waited for.
pub(crate) fn first_message(bytes: &[u8]) -> FirstMessage {
    match frame_stream(bytes) {
        Frame::Incomplete { .. } if bytes.first().is_some_and(|first| first >> 6 != 0) => FirstMessage::Invalid,
        Frame::Incomplete { .. } => FirstMessage::Incomplete,
        Frame::Stun { bytes } => FirstMessage::Whole(bytes),
        Frame::ChannelData { .. } | Frame::Invalid => FirstMessage::Invalid,
    }
}

/// Why a client's connection is closed before any shard had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    NoDescriptor,
    InboxFull,
}

/// Moves the connection to the shard that it belongs to: a data connection to its allocation's owner (RFC 6062), any other to the
/// least loaded.
///
/// # Errors
/// What cannot be taken is closed by being dropped.
pub(crate) fn hand_over(shared: &Arc<Shared>, accepted: Accepted) -> Result<(), TurnedAway> {
    let shards = shared.shards();
    let owner = data_connection_owner(&accepted.buffered).filter(|&owner| owner < shards.len());
    let least = || (0..shards.len()).min_by_key(|&index| shards[index].streams.load(Ordering::Relaxed));
    let Some(index) = owner.or_else(least) else { return Ok(()) };
    let descriptor = shared.descriptors.take_for_client().ok_or(TurnedAway::NoDescriptor)?;
    shards[index].send(ToShard::Stream(Box::new(accepted), descriptor)).map_err(|_| TurnedAway::InboxFull)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_browser_is_turned_away_at_its_first_byte() {
        assert_eq!(first_message(b"GET / HTTP/1.1\r\n"), FirstMessage::Invalid);
    }

    #[test]
    fn the_beginning_of_a_stun_message_is_waited_for() {
        let binding = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        assert_eq!(first_message(&binding[..7]), FirstMessage::Incomplete);
        assert_eq!(first_message(&binding), FirstMessage::Whole(20));
    }
}
