//! From the first byte of a connection to its first whole message, over TLS or not.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use rustls::ServerConnection;
use tokio::net::TcpStream;

use crate::limits::FIRST_MESSAGE_BYTES_MAX;
use crate::listener::FirstMessage;
use crate::tls::TlsSource;

/// What a connection has sent up to and including its first whole message.
pub(crate) struct First {
    pub(crate) tls: Option<Box<ServerConnection>>,
    pub(crate) plaintext: Vec<u8>,
}

/// Why there will be no first message; the client's fault, each closes only that connection.
#[derive(Debug)]
pub(crate) enum Failure {
    Tls(rustls::Error),
    Invalid,
    Closed,
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Closed
    }
}

/// How far it got, readable after a timeout too.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) tls_begun: bool,
    pub(crate) handshaken: Option<Instant>,
}

/// Content type of a TLS handshake record (RFC 8446 section 5.1). A STUN message begins with 0 to 3.
const TLS_HANDSHAKE: u8 = 0x16;

/// Reads until `framing` finds a whole message. The caller bounds the time.
pub(crate) async fn first_message(
    stream: &TcpStream,
    tls: &TlsSource,
    framing: fn(&[u8]) -> FirstMessage,
    progress: &mut Progress,
) -> Result<First, Failure> {
    stream.set_nodelay(true)?;
    let mut first_byte = [0];
    if stream.peek(&mut first_byte).await? == 0 {
        return Err(Failure::Closed);
    }
    if first_byte[0] != TLS_HANDSHAKE {
        return read_plain(stream, framing).await;
    }
    let config = tls().ok_or(Failure::Invalid)?;
    progress.tls_begun = true;
    let session = Box::new(ServerConnection::new(config).map_err(Failure::Tls)?);
    read_encrypted(stream, session, framing, progress).await
}

async fn read_plain(stream: &TcpStream, framing: fn(&[u8]) -> FirstMessage) -> Result<First, Failure> {
    let mut plaintext = Vec::with_capacity(512);
    loop {
        stream.readable().await?;
        let mut chunk = [0; 1024];
        match stream.try_read(&mut chunk) {
            Ok(0) => return Err(Failure::Closed),
            Ok(read) => plaintext.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        if is_whole(&plaintext, framing)? {
            return Ok(First { tls: None, plaintext });
        }
    }
}

async fn read_encrypted(
    stream: &TcpStream,
    mut session: Box<ServerConnection>,
    framing: fn(&[u8]) -> FirstMessage,
    progress: &mut Progress,
) -> Result<First, Failure> {
    let mut plaintext = Vec::with_capacity(512);
    let mut socket = Readiness(stream);
    loop {
        while session.wants_write() {
            match session.write_tls(&mut socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
                outcome => drop(outcome?),
            }
        }
        stream.readable().await?;
        match session.read_tls(&mut socket) {
            Ok(0) => return Err(Failure::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = session.process_new_packets() {
            // The alert that says why, if it goes out at once.
            let _ = session.write_tls(&mut socket);
            return Err(Failure::Tls(error));
        }
        if session.is_handshaking() {
            continue;
        }
        progress.handshaken.get_or_insert_with(Instant::now);
        take_plaintext(&mut session, &mut plaintext)?;
        if is_whole(&plaintext, framing)? {
            return Ok(First { tls: Some(session), plaintext });
        }
    }
}

/// Moves what is decrypted behind `plaintext`; what exceeds the bound stays in the session, for the shard.
fn take_plaintext(session: &mut ServerConnection, plaintext: &mut Vec<u8>) -> Result<(), Failure> {
    let mut chunk = [0; 1024];
    while plaintext.len() < FIRST_MESSAGE_BYTES_MAX {
        match session.reader().read(&mut chunk) {
            Ok(0) => return Err(Failure::Closed),
            Ok(read) => plaintext.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_whole(plaintext: &[u8], framing: fn(&[u8]) -> FirstMessage) -> Result<bool, Failure> {
    if plaintext.is_empty() {
        return Ok(false);
    }
    match framing(plaintext) {
        FirstMessage::Whole(_) => Ok(true),
        FirstMessage::Incomplete if plaintext.len() < FIRST_MESSAGE_BYTES_MAX => Ok(false),
        FirstMessage::Incomplete | FirstMessage::Invalid => Err(Failure::Invalid),
    }
}

/// The socket as rustls wants it: reads and writes that say `WouldBlock`, and tell the runtime so.
struct Readiness<'a>(&'a TcpStream);

impl Read for Readiness<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(room)
    }
}

impl Write for Readiness<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
