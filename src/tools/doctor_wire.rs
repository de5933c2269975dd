//! The doctor's own connections to a server: UDP, TCP and TLS, cut into STUN messages and ChannelData.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::doctor_failure::Failure;
use crate::doctor_tls::{Handshake, Trust};

/// How long a TCP connection, and after it a TLS handshake, may each take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest message on any wire: a 16-bit length, a STUN header, padding.
const MESSAGE_BYTES_MAX: usize = 65535 + 24;

/// Both directions of a connection to one server.
pub struct Wire {
    pub reader: Reader,
    pub writer: Writer,
    /// True over UDP: messages may be lost, and requests are repeated.
    pub lossy: bool,
}

/// The receiving direction.
pub enum Reader {
    Datagrams(Arc<UdpSocket>),
    Stream { stream: Box<dyn AsyncRead + Send + Unpin>, buffered: Vec<u8> },
}

/// The sending direction.
pub enum Writer {
    Datagrams(Arc<UdpSocket>),
    Stream(Box<dyn AsyncWrite + Send + Unpin>),
}

/// A UDP socket of the family of `remote`, on any local port.
///
/// # Errors
/// When the family is not available.
pub async fn bind_like(remote: SocketAddr) -> Result<UdpSocket, Failure> {
    let any: SocketAddr =
        if remote.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    UdpSocket::bind(any).await.map_err(|error| Failure::from_io("opening a UDP socket", &error))
}

impl Wire {
    /// A UDP socket that talks to `server` alone.
    ///
    /// # Errors
    /// When there is no route.
    pub async fn udp(server: SocketAddr) -> Result<Self, Failure> {
        let socket = bind_like(server).await?;
        socket.connect(server).await.map_err(|error| Failure::from_io(&format!("UDP to {server}"), &error))?;
        let socket = Arc::new(socket);
        Ok(Self { reader: Reader::Datagrams(socket.clone()), writer: Writer::Datagrams(socket), lossy: true })
    }

    /// A TCP connection.
    ///
    /// # Errors
    /// When there is no route, or nobody answers in time.
    pub async fn tcp(server: SocketAddr) -> Result<Self, Failure> {
        let stream = connect(server).await?;
        let (reader, writer) = stream.into_split();
        Ok(Self::over(reader, writer))
    }

    /// A TLS connection that records, and does not judge, the certificate.
    ///
    /// # Errors
    /// As with TCP, and when no TLS session can be agreed on.
    pub async fn tls(server: SocketAddr, host: &str, trust: &Trust) -> Result<(Self, Handshake), Failure> {
        let stream = connect(server).await?;
        let silence = || Failure::Tls(format!("no TLS handshake with {server} within {} s", CONNECT_TIMEOUT.as_secs()));
        let (stream, handshake) =
            timeout(CONNECT_TIMEOUT, trust.handshake(stream, host)).await.map_err(|_| silence())??;
        let (reader, writer) = tokio::io::split(stream);
        Ok((Self::over(reader, writer), handshake))
    }

    fn over(reader: impl AsyncRead + Send + Unpin + 'static, writer: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            reader: Reader::Stream { stream: Box::new(reader), buffered: Vec::new() },
            writer: Writer::Stream(Box::new(writer)),
            lossy: false,
        }
    }
}

async fn connect(server: SocketAddr) -> Result<TcpStream, Failure> {
    let doing = format!("TCP to {server}");
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(server))
        .await
        .map_err(|_| Failure::Unreachable(format!("{doing}: no answer within {} s", CONNECT_TIMEOUT.as_secs())))?
        .map_err(|error| Failure::from_io(&doing, &error))?;
    // Voice must not wait for a second packet; without the option it is only slower.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

impl Reader {
    /// The next whole STUN message or ChannelData message, padding of a stream cut off.
    ///
    /// # Errors
    /// When the connection ends, or a stream carries anything else. An ICMP error of UDP is reported too; reading
    /// may go on after it.
    pub async fn next(&mut self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Datagrams(socket) => {
                let mut bytes = vec![0; MESSAGE_BYTES_MAX];
                let length =
                    socket.recv(&mut bytes).await.map_err(|error| Failure::from_io("receiving over UDP", &error))?;
                bytes.truncate(length);
                Ok(bytes)
            }
            Self::Stream { stream, buffered } => loop {
                if let Some((on_wire, useful)) = framed(buffered)?
                    && buffered.len() >= on_wire
                {
                    let mut message: Vec<u8> = buffered.drain(..on_wire).collect();
                    message.truncate(useful);
                    return Ok(message);
                }
                let mut bytes = [0; 4096];
                match stream.read(&mut bytes).await {
                    Ok(0) => return Err(Failure::Unreachable("the server closed the connection".into())),
                    Ok(length) => buffered.extend_from_slice(&bytes[..length]),
                    Err(error) => return Err(Failure::from_io("receiving", &error)),
                }
            },
        }
    }
}

impl Writer {
    /// Sends one STUN message or ChannelData message, padded to 4 bytes on a stream (RFC 8656 section 12.5).
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Datagrams(socket) => {
                socket.send(message).await.map_err(|error| Failure::from_io("sending over UDP", &error))?;
            }
            Self::Stream(stream) => {
                let mut padded = message.to_vec();
                padded.resize(message.len().next_multiple_of(4), 0);
                stream.write_all(&padded).await.map_err(|error| Failure::from_io("sending", &error))?;
                stream.flush().await.map_err(|error| Failure::from_io("sending", &error))?;
            }
        }
        Ok(())
    }
}

/// Length on the wire and length without padding of the message that `bytes` begins with; `None` when too few to say.
fn framed(bytes: &[u8]) -> Result<Option<(usize, usize)>, Failure> {
    let Some((head, _)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match head[0] >> 6 {
        0 => Ok(Some((20 + length, 20 + length))),
        1 => Ok(Some(((4 + length).next_multiple_of(4), 4 + length))),
        _ => Err(Failure::protocol("the stream carries something that is neither STUN nor ChannelData")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(stream: impl AsyncRead + Send + Unpin + 'static) -> Reader {
        Reader::Stream { stream: Box::new(stream), buffered: Vec::new() }
    }

    #[tokio::test]
    async fn a_stream_is_cut_into_messages_whatever_its_pieces() {
        let mut bytes = vec![0x40, 0x00, 0x00, 0x05, 1, 2, 3, 4, 5, 0, 0, 0];
        let mut stun = vec![0x01, 0x01, 0x00, 0x04];
        stun.extend([7; 20]);
        bytes.extend(&stun);
        bytes.extend([0x40, 0x01, 0x00, 0x00]);
        for piece in [1, 3, bytes.len()] {
            let (near, mut far) = tokio::io::duplex(64);
            let bytes = bytes.clone();
            tokio::spawn(async move {
                for part in bytes.chunks(piece) {
                    far.write_all(part).await.unwrap();
                }
            });
            let mut reader = reader(near);
            assert_eq!(reader.next().await.unwrap(), [0x40, 0x00, 0x00, 0x05, 1, 2, 3, 4, 5]);
            assert_eq!(reader.next().await.unwrap(), stun);
            assert_eq!(reader.next().await.unwrap(), [0x40, 0x01, 0x00, 0x00]);
            assert!(matches!(reader.next().await, Err(Failure::Unreachable(_))));
        }
    }

    #[tokio::test]
    async fn a_stream_of_something_else_is_named() {
        let mut reader = reader(&b"\xffHTTP/1.1 400"[..]);
        assert!(matches!(reader.next().await, Err(Failure::Protocol(_))));
    }

    #[tokio::test]
    async fn channel_data_is_padded_on_a_stream() {
        let (near, mut far) = tokio::io::duplex(64);
        Writer::Stream(Box::new(near)).send(&[0x40, 0x00, 0x00, 0x01, 9]).await.unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [0x40, 0x00, 0x00, 0x01, 9, 0, 0, 0]);
    }
}
