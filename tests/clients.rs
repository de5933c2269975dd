//! The crates `turn` and `turn-client-proto` as clients of the real binary: relay to relay on one `postern up`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use turn_client_proto::api::{TurnClientApi, TurnConfig, TurnEvent, TurnRecvRet};
use turn_client_proto::prelude::DelayedTransmitBuild;
use turn_client_proto::stun::Instant as ProtocolInstant;
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;
use webrtc_util::Conn;

const PACKETS: usize = 50;
const PERMISSION: &[u8] = b"permission";
const DEADLINE: Duration = Duration::from_secs(10);

/// One edge at a time: each takes the standard ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An edge on loopback, ended with this value.
struct Up {
    _turn: MutexGuard<'static, ()>,
    process: Child,
    /// Held open: the process may go on printing.
    _printed: BufReader<ChildStdout>,
    udp: SocketAddr,
    tcp: SocketAddr,
    username: String,
    password: String,
}

impl Up {
    fn start() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut process =
            Command::new(env!("CARGO_BIN_EXE_postern")).arg("up").stdout(Stdio::piped()).spawn().expect("postern runs");
        let mut printed = BufReader::new(process.stdout.take().expect("a pipe"));
        let (mut udp, mut tcp, mut token) = (None, None, None);
        for line in printed.by_ref().lines().map(|line| line.expect("text")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["turn", "udp", address, ..] => udp = address.parse().ok(),
                ["turn", "tcp", address, ..] => tcp = address.parse().ok(),
                ["token", "username", username, "password", password] => {
                    token = Some((username.to_owned(), password.to_owned()));
                }
                [_, "doctor", ..] => break,
                _ => {}
            }
        }
        let (username, password) = token.expect("a token is printed");
        let (udp, tcp) = (udp.expect("a UDP listener"), tcp.expect("a TCP listener"));
        Self { _turn: turn, process, _printed: printed, udp, tcp, username, password }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // SIGINT, so that it removes its temporary files.
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}

fn payload(number: usize) -> Vec<u8> {
    (0..172).map(|index| (number * 7 + index) as u8).collect()
}

#[tokio::test]
async fn the_turn_crate_relays_both_ways() {
    let up = Up::start();
    let (one, one_relay) = allocate(&up).await;
    let (other, other_relay) = allocate(&up).await;
    let (one_address, other_address) = (one_relay.local_addr().unwrap(), other_relay.local_addr().unwrap());

    // Sending asks for the permission; until the other side has one too, its edge drops what arrives.
    one_relay.send_to(PERMISSION, other_address).await.unwrap();
    other_relay.send_to(PERMISSION, one_address).await.unwrap();
    for number in 0..PACKETS {
        for (sender, receiver, to, from) in [
            (&one_relay, &other_relay, other_address, one_address),
            (&other_relay, &one_relay, one_address, other_address),
        ] {
            sender.send_to(&payload(number), to).await.unwrap();
            assert_eq!(received(receiver).await, (payload(number), from));
        }
    }
    one.close().await.unwrap();
    other.close().await.unwrap();
}

/// The next datagram that is more than the asking for a permission.
async fn received(relay: &impl Conn) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 1500];
    loop {
        let (length, from) = tokio::time::timeout(DEADLINE, relay.recv_from(&mut buffer)).await.unwrap().unwrap();
        if &buffer[..length] != PERMISSION {
            return (buffer[..length].to_vec(), from);
        }
    }
}

async fn allocate(up: &Up) -> (turn::client::Client, impl Conn) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = turn::client::Client::new(turn::client::ClientConfig {
        stun_serv_addr: up.udp.to_string(),
        turn_serv_addr: up.udp.to_string(),
        username: up.username.clone(),
        password: up.password.clone(),
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    let relay = client.allocate().await.unwrap();
    (client, relay)
}

#[test]
fn turn_client_proto_relays_both_ways_over_udp() {
    let up = Up::start();
    relays_both_ways(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(up.udp).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let client = TurnClientUdp::allocate(socket.local_addr().unwrap(), up.udp, config(&up));
        Endpoint { client, wire: Wire::Udp(socket), server: up.udp }
    });
}

#[test]
fn turn_client_proto_relays_both_ways_over_tcp() {
    let up = Up::start();
    relays_both_ways(|| {
        let stream = TcpStream::connect(up.tcp).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let client = TurnClientTcp::allocate(stream.local_addr().unwrap(), up.tcp, config(&up));
        Endpoint { client, wire: Wire::Tcp(stream), server: up.tcp }
    });
}

fn config(up: &Up) -> TurnConfig {
    TurnConfig::new(TurnCredentials::new(&up.username, &up.password))
}

fn relays_both_ways<C: TurnClientApi>(endpoint: impl Fn() -> Endpoint<C>) {
    let (mut one, mut other) = (endpoint(), endpoint());
    let (one_address, other_address) = (one.allocated(), other.allocated());
    one.channel(other_address);
    other.channel(one_address);
    for number in 0..PACKETS {
        one.send(other_address, &payload(number));
        assert_eq!(other.receive(), (one_address, payload(number)));
        other.send(one_address, &payload(number));
        assert_eq!(one.receive(), (other_address, payload(number)));
    }
    one.client.delete(now()).unwrap();
    one.flush();
}

fn now() -> ProtocolInstant {
    ProtocolInstant::from_std(start())
}

/// The origin of the protocol's clock.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Wire {
    fn send(&mut self, data: &[u8]) {
        match self {
            Wire::Udp(socket) => drop(socket.send(data).unwrap()),
            Wire::Tcp(stream) => stream.write_all(data).unwrap(),
        }
    }

    /// What arrives within the socket's patience.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let length = match self {
            Wire::Udp(socket) => socket.recv(&mut buffer).ok()?,
            Wire::Tcp(stream) => stream.read(&mut buffer).ok()?,
        };
        buffer.truncate(length);
        Some(buffer)
    }

    fn transport(&self) -> TransportType {
        match self {
            Wire::Udp(_) => TransportType::Udp,
            Wire::Tcp(_) => TransportType::Tcp,
        }
    }
}

/// A sans-IO client and the socket that it is driven over.
struct Endpoint<C> {
    client: C,
    wire: Wire,
    server: SocketAddr,
}

impl<C: TurnClientApi> Endpoint<C> {
    fn allocated(&mut self) -> SocketAddr {
        match self.await_event() {
            TurnEvent::AllocationCreated(TransportType::Udp, address) => address,
            event => panic!("{event:?} instead of an allocation"),
        }
    }

    fn channel(&mut self, peer: SocketAddr) {
        self.client.bind_channel(TransportType::Udp, peer, now()).unwrap();
        loop {
            match self.await_event() {
                TurnEvent::ChannelCreated(_, bound) if bound == peer => return,
                TurnEvent::PermissionCreated(..) => {}
                event => panic!("{event:?} instead of a channel"),
            }
        }
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let transmit = self.client.send_to(TransportType::Udp, peer, data.to_vec(), now()).unwrap();
        if let Some(transmit) = transmit {
            self.wire.send(&transmit.data.build());
        }
    }

    fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(received) = self.turn() {
                return received;
            }
        }
        panic!("nothing was relayed")
    }

    fn await_event(&mut self) -> TurnEvent {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            assert!(self.turn().is_none(), "data before any was sent");
        }
        panic!("no event from the client")
    }

    /// Sends what is due and takes in what came; returns what a peer sent.
    fn turn(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.flush();
        if let Some(data) = self.client.poll_recv(now()) {
            return Some((data.peer, data.data().to_vec()));
        }
        let bytes = self.wire.receive()?;
        let transmit = Transmit::new(bytes, self.wire.transport(), self.server, self.client.local_addr());
        match self.client.recv(transmit, now()) {
            TurnRecvRet::PeerData(data) => Some((data.peer, data.data().to_vec())),
            _ => None,
        }
    }

    fn flush(&mut self) {
        self.client.poll(now());
        while let Some(transmit) = self.client.poll_transmit(now()) {
            self.wire.send(transmit.data.as_ref());
        }
    }
}
