//! What the tests of this room share: certificates, TLS clients and pairs of streams.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::listener::Accepted;
use crate::stream::Stream;
use crate::tls;

/// Nothing on loopback takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A server's configuration and the client's that trusts it.
pub(crate) struct Pair {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

pub(crate) fn pair() -> Pair {
    pair_with(&[&rustls::version::TLS13, &rustls::version::TLS12])
}

pub(crate) fn pair_with(versions: &[&'static rustls::SupportedProtocolVersion]) -> Pair {
    let made = rcgen::generate_simple_self_signed(vec!["edge.test".into()]).unwrap();
    let chain = made.cert.pem();
    let server = tls::server_config(chain.as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"stun.turn".to_vec()];
    Pair { server, client: Arc::new(client) }
}

pub(crate) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A blocking TLS client; the handshake happens with the first read or write.
pub(crate) fn tls_client(socket: TcpStream, config: &Arc<ClientConfig>) -> TlsClient {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("edge.test").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// Two ends of a TCP connection; the second one is the server's.
pub(crate) fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (client, listener.accept().unwrap().0)
}

fn stream_over(socket: TcpStream, tls: Option<Box<ServerConnection>>) -> Stream {
    let accepted = Accepted {
        peer: socket.peer_addr().unwrap(),
        local: socket.local_addr().unwrap(),
        stream: socket,
        tls,
        buffered: Vec::new(),
        listener: 0,
        accepted_at: Instant::now(),
        handshake: Duration::ZERO,
    };
    Stream::from_accepted(accepted).unwrap()
}

pub(crate) fn plain_pair() -> (TcpStream, Stream) {
    let (client, server) = connected();
    (client, stream_over(server, None))
}

/// A TLS client and the stream that it talks to, handshaken.
pub(crate) fn tls_pair() -> (TlsClient, Stream) {
    let configs = pair();
    let (client, mut server) = connected();
    let mut client = tls_client(client, &configs.client);
    let handshake = std::thread::spawn(move || {
        let mut session = ServerConnection::new(configs.server).unwrap();
        while session.is_handshaking() || session.wants_write() {
            session.complete_io(&mut server).unwrap();
        }
        stream_over(server, Some(Box::new(session)))
    });
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock).unwrap();
    }
    (client, handshake.join().unwrap())
}

/// Calls `step` until it answers; what it waits for is on its way over loopback.
pub(crate) fn until<T>(mut step: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = step() {
            return answer;
        }
        assert!(Instant::now() < give_up, "nothing came of it");
        std::thread::yield_now();
    }
}

/// Reads until the other side's end.
pub(crate) fn read_to_end(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) fn write_all(to: &mut impl Write, bytes: &[u8]) {
    to.write_all(bytes).unwrap();
    to.flush().unwrap();
}
