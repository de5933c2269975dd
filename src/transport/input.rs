//! What the tasks of connections, sockets and DNS hand to the core's.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_sip::io::{Answer, QuestionId};
use postern_sip::{ConnId, Source};

use crate::connection::Stream;

pub(crate) enum Input {
    /// Handshaken, if it is TLS; not read yet.
    Accepted {
        stream: Box<dyn Stream>,
        source: Source,
    },
    Connected {
        conn: ConnId,
        stream: Box<dyn Stream>,
        local: SocketAddr,
        names: Arc<[String]>,
    },
    ConnectFailed {
        conn: ConnId,
    },
    Bytes {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    Closed {
        conn: ConnId,
    },
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    Resolved {
        question: QuestionId,
        answer: Answer,
    },
}
