//! An RFC 6062 data connection: a client's stream and a peer's connection joined. Nothing is dropped or looked at.

use std::io::{self, ErrorKind};

use crate::limits::{PIPE_BYTES_MAX, PIPE_STEPS_PER_TURN, STREAM_READ_BYTES};
use crate::stream::{ReadOutcome, Stream};
use crate::tcp_peer::TcpPeer;

/// How a pipe stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeState {
    /// Neither side can go on: drive again upon an event of either.
    Waiting,
    /// The turn's budget is spent: drive again in the next turn, no event will tell.
    More,
    /// Both directions have ended and everything is delivered.
    Closed,
}

/// Bytes flow both ways, at most 64 KB in flight per direction; a side that takes nothing stops the reading of the
/// other. The end of one direction is passed on (half-close), the other goes on.
#[derive(Debug)]
pub struct Pipe {
    client: Stream,
    peer: TcpPeer,
    from_client: Source,
    from_peer: Source,
    bytes_to_peer: u64,
    bytes_to_client: u64,
}

/// One direction's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Open,
    /// Has ended; what is buffered still goes out.
    Ended,
    /// Has ended, and the other side was told.
    PassedOn,
}

impl Pipe {
    /// Joins both; what the client sent behind its ConnectionBind goes to the peer, what is queued for the client (the
    /// answer to it) comes first. Register both descriptors with [`Interest::EDGE`](crate::Interest::EDGE), then drive
    /// once, and again upon each event of either.
    pub fn new(client: Stream, peer: TcpPeer) -> Pipe {
        let open = Source::Open;
        Pipe { client, peer, from_client: open, from_peer: open, bytes_to_peer: 0, bytes_to_client: 0 }
    }

    /// The client's side.
    pub fn client(&self) -> &Stream {
        &self.client
    }

    /// The peer's side.
    pub fn peer(&self) -> &TcpPeer {
        &self.peer
    }

    /// Bytes written towards the peer.
    pub fn bytes_to_peer(&self) -> u64 {
        self.bytes_to_peer
    }

    /// Bytes taken from the peer for the client.
    pub fn bytes_to_client(&self) -> u64 {
        self.bytes_to_client
    }

    /// Moves bytes both ways as far as they go, within the budget of a turn.
    ///
    /// # Errors
    /// A reset or broken TLS on either side: drop the pipe, which closes both.
    pub fn drive(&mut self) -> io::Result<PipeState> {
        for _ in 0..PIPE_STEPS_PER_TURN {
            let to_peer = self.step_to_peer()?;
            let to_client = self.step_to_client()?;
            if !to_peer && !to_client {
                let passed = (self.from_client, self.from_peer) == (Source::PassedOn, Source::PassedOn);
                return Ok(if passed && self.client.output_ended() { PipeState::Closed } else { PipeState::Waiting });
            }
        }
        Ok(PipeState::More)
    }

    /// Whether anything moved.
    fn step_to_peer(&mut self) -> io::Result<bool> {
        let mut moved = false;
        let waiting = self.client.buffered();
        if !waiting.is_empty()
            && let Some(written) = unless_full(self.peer.write(waiting))?
        {
            self.client.consume(written);
            self.bytes_to_peer += written as u64;
            moved = true;
        }
        let waiting = self.client.buffered().len();
        match self.from_client {
            Source::Open if waiting < PIPE_BYTES_MAX => match self.client.read()? {
                ReadOutcome::Data => moved = true,
                ReadOutcome::WouldBlock => {}
                ReadOutcome::Closed => {
                    self.from_client = Source::Ended;
                    moved = true;
                }
            },
            Source::Ended if waiting == 0 => {
                self.peer.end_output()?;
                self.from_client = Source::PassedOn;
            }
            _ => {}
        }
        Ok(moved)
    }

    fn step_to_client(&mut self) -> io::Result<bool> {
        let mut moved = false;
        match self.from_peer {
            Source::Open if self.client.queued_bytes() < PIPE_BYTES_MAX => {
                let mut bytes = [0; STREAM_READ_BYTES];
                match unless_full(self.peer.read(&mut bytes))? {
                    Some(0) => {
                        self.from_peer = Source::Ended;
                        moved = true;
                    }
                    Some(read) => {
                        self.client.queue_control(&bytes[..read]);
                        self.bytes_to_client += read as u64;
                        moved = true;
                    }
                    None => {}
                }
            }
            Source::Ended => {
                self.client.end_output();
                self.from_peer = Source::PassedOn;
            }
            _ => {}
        }
        let queued = self.client.queued_bytes();
        self.client.write_out()?;
        Ok(moved || self.client.queued_bytes() < queued)
    }
}

/// `None` when the call would have waited.
fn unless_full(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
