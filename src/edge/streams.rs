//! TCP and TLS clients of a shard: frames in, verdicts carried out, answers and media queued.

use std::sync::atomic::Ordering;
use std::time::Instant;

use postern_net::dtls::{DtlsOutput, DtlsPath};
use postern_net::listener::Accepted;
use postern_net::{Flush, Interest, Outgoing, ReadOutcome, Stream};
use postern_telemetry::labels::CloseReason;
use postern_turn::io::{Client, CloseCause, Transport, Verdict};
use slab::Slab;

use crate::datagrams::send_to_peer;
use crate::descriptors::Descriptor;
use crate::limits;
use crate::meters::Meters;
use crate::shard::{Shard, Source, Turn};

pub(crate) struct ClientStream {
    stream: Stream,
    descriptor: Descriptor,
    pub(crate) client: Client,
    /// Stamp of this use of the slab index.
    birth: u64,
    /// Until when it must have an allocation; `None` while it has one.
    deadline: Option<Instant>,
    dirty: bool,
    /// Ends for this reason once everything queued is out.
    closing: Option<CloseReason>,
}

impl ClientStream {
    /// Whether it is still listened to.
    pub(crate) fn is_open(&self) -> bool {
        self.closing.is_none()
    }
}

impl Shard {
    /// A connection from the control plane, with its first whole message.
    pub(crate) fn take_stream(&mut self, accepted: Accepted, descriptor: Descriptor, turn: Turn) {
        let transport = if accepted.tls.is_some() { Transport::Tls } else { Transport::Tcp };
        let (listener, local, remote, deadline) =
            (accepted.listener, accepted.local, accepted.peer, accepted.accepted_at + limits::UNAUTHENTICATED_STREAM);
        let Ok(stream) = Stream::from_accepted(accepted) else { return };
        let birth = self.birth();
        let entry = self.streams.vacant_entry();
        let index = entry.key() as u32;
        let client = Client { transport, listener, stream: index, local, remote };
        if self.reactor.register(&stream, Source::Stream(index).token(), Interest::EDGE).is_err() {
            return;
        }
        entry.insert(ClientStream {
            stream,
            descriptor,
            client,
            birth,
            deadline: Some(deadline),
            dirty: false,
            closing: None,
        });
        self.streams_gauge.fetch_add(1, Ordering::Relaxed);
        self.meters.stream_opened(transport);
        self.stream_deadlines.insert((deadline, index, birth));
        // The first message is already here, and no event will tell of it.
        self.on_stream(index, turn);
    }

    /// Takes what is buffered, then what the socket has, as far as the turn's budget goes.
    pub(crate) fn on_stream(&mut self, index: u32, turn: Turn) {
        let mut frames_left = limits::STREAM_FRAMES_PER_TURN;
        loop {
            self.take_frames(index, &mut frames_left, turn);
            let Some(entry) = self.streams.get_mut(index as usize) else { return };
            mark_dirty(&mut self.dirty_streams, entry, index);
            if entry.closing.is_some() {
                return;
            }
            if frames_left == 0 {
                return self.unfinished.push(Source::Stream(index));
            }
            match entry.stream.read() {
                // A message in small pieces costs as much as small messages.
                Ok(ReadOutcome::Data) => frames_left -= 1,
                Ok(ReadOutcome::WouldBlock) => return,
                Ok(ReadOutcome::Closed) => return self.lose_stream(index, CloseReason::Client, turn),
                Err(error) => return self.lose_stream(index, close_reason(&error), turn),
            }
        }
    }

    /// The whole frames in the stream's buffer, at most `frames_left`.
    fn take_frames(&mut self, index: u32, frames_left: &mut usize, turn: Turn) {
        while *frames_left > 0 {
            let Some(entry) = self.streams.get_mut(index as usize).filter(|entry| entry.is_open()) else { return };
            let bytes = entry.stream.buffered();
            let progress = self.server.handle_stream(turn.now, entry.client, bytes);
            if let Some(Verdict::ToPeer { relay, peer, payload, tos, dont_fragment }) = progress.verdict {
                let outgoing = Outgoing { payload: &bytes[payload], to: peer.0, from_ip: None, tos, dont_fragment };
                send_to_peer(&mut self.relays, &mut self.meters, relay, &outgoing, turn);
            }
            entry.stream.consume(progress.consumed);
            self.carry_out(turn);
            if progress.consumed == 0 {
                return;
            }
            *frames_left -= 1;
        }
    }

    pub(crate) fn queue_control(&mut self, client: &Client, message: &[u8]) {
        if let Some(entry) = stream_of(&mut self.streams, client) {
            entry.stream.queue_control(message);
            mark_dirty(&mut self.dirty_streams, entry, client.stream);
        }
    }

    pub(crate) fn flush_streams(&mut self, turn: Turn) {
        // By position: a stream that is lost may leave work for others, which is done in the same turn.
        let mut place = 0;
        while let Some(&index) = self.dirty_streams.get(place) {
            place += 1;
            let Some(entry) = self.streams.get_mut(index as usize) else { continue };
            entry.dirty = false;
            let flushed = entry.stream.flush(turn.instant);
            self.meters.queue_drops(entry.stream.take_dropped());
            match flushed {
                Ok(Flush::Idle) => {
                    if let Some(reason) = entry.closing {
                        self.lose_stream(index, reason, turn);
                    }
                }
                Ok(_) => {}
                Err(error) => self.lose_stream(index, close_reason(&error), turn),
            }
        }
        self.dirty_streams.clear();
    }

    /// Ends the connection after what is queued for it.
    pub(crate) fn close_client(&mut self, client: Client, cause: CloseCause, turn: Turn) {
        if is_stream(client.transport) {
            if let Some(entry) = stream_of(&mut self.streams, &client) {
                entry.closing = Some(match cause {
                    CloseCause::Framing => CloseReason::Protocol,
                    CloseCause::Stranger => CloseReason::Limit,
                    CloseCause::PeerGone => CloseReason::Peer,
                });
                entry.stream.end_output();
                mark_dirty(&mut self.dirty_streams, entry, client.stream);
            }
        } else if let Some(Some(listener)) = self.listeners.get_mut(usize::from(client.listener))
            && let Some(mut sessions) = listener.dtls.take()
        {
            let path = DtlsPath { remote: client.remote, local: client.local.ip() };
            sessions.close(turn.instant, path, &mut |output| {
                if let DtlsOutput::Send { path, datagram } = output {
                    listener.push_record(path, datagram, &mut self.meters);
                }
            });
            listener.dtls = Some(sessions);
        }
    }

    /// The connection is gone, by whichever side.
    fn lose_stream(&mut self, index: u32, reason: CloseReason, turn: Turn) {
        if let Some(entry) = self.remove_stream(index) {
            self.meters.stream_closed(entry.client.transport, reason);
            self.server.handle_client_closed(turn.now, entry.client);
            self.carry_out(turn);
        }
    }

    /// Takes the stream out for a pipe, where it stays one of the open streams.
    pub(crate) fn detach_stream(&mut self, index: u32) -> Option<(Stream, Descriptor, Transport)> {
        self.remove_stream(index).map(|entry| (entry.stream, entry.descriptor, entry.client.transport))
    }

    fn remove_stream(&mut self, index: u32) -> Option<ClientStream> {
        let entry = self.streams.try_remove(index as usize)?;
        self.streams_gauge.fetch_sub(1, Ordering::Relaxed);
        Some(entry)
    }

    /// An allocation on this stream began or ended: the limit for strangers is lifted or set again.
    pub(crate) fn set_authenticated(&mut self, client: Client, authenticated: bool, turn: Turn) {
        if !is_stream(client.transport) {
            return;
        }
        let Some(entry) = stream_of(&mut self.streams, &client) else { return };
        entry.deadline = (!authenticated).then(|| turn.instant + limits::UNAUTHENTICATED_STREAM);
        if let Some(deadline) = entry.deadline {
            self.stream_deadlines.insert((deadline, client.stream, entry.birth));
        }
    }

    pub(crate) fn close_silent_streams(&mut self, turn: Turn) {
        while let Some(&(at, index, birth)) = self.stream_deadlines.first()
            && at <= turn.instant
        {
            self.stream_deadlines.pop_first();
            let entry = self.streams.get(index as usize).filter(|entry| entry.birth == birth);
            // An allocation that could not move (RFC 8016) is here again.
            let is_due = |entry: &ClientStream| entry.deadline.is_some_and(|deadline| deadline <= turn.instant);
            if entry.is_some_and(|entry| is_due(entry) && !self.server.serves(&entry.client)) {
                self.lose_stream(index, CloseReason::Idle, turn);
            }
        }
    }
}

/// Queues a relayed frame for a client; older ones may have to go for it.
pub(crate) fn queue_media(
    streams: &mut Slab<ClientStream>,
    dirty: &mut Vec<u32>,
    meters: &mut Meters,
    client: &Client,
    frame: &[u8],
    turn: Turn,
) {
    if let Some(entry) = stream_of(streams, client) {
        meters.queue_drops(entry.stream.queue_media(frame, turn.instant));
        mark_dirty(dirty, entry, client.stream);
    }
}

/// The stream of this very client. The server may speak of one that is gone (a data connection that ended with its pipe, an
/// allocation that moved to a client which left meanwhile), whose index is another's by now.
pub(crate) fn stream_of<'a>(streams: &'a mut Slab<ClientStream>, client: &Client) -> Option<&'a mut ClientStream> {
    streams.get_mut(client.stream as usize).filter(|entry| entry.client == *client)
}

fn close_reason(error: &std::io::Error) -> CloseReason {
    match error.kind() {
        std::io::ErrorKind::InvalidData => CloseReason::Protocol,
        std::io::ErrorKind::OutOfMemory | std::io::ErrorKind::StorageFull => CloseReason::SlowReader,
        _ => CloseReason::Transport,
    }
}

/// Remembers that the stream has something to send, once per turn.
fn mark_dirty(dirty: &mut Vec<u32>, entry: &mut ClientStream, index: u32) {
    if !std::mem::replace(&mut entry.dirty, true) {
        dirty.push(index);
    }
}

/// Whether the client is reached by a byte stream.
pub(crate) fn is_stream(transport: Transport) -> bool {
    matches!(transport, Transport::Tcp | Transport::Tls)
}
