//! A shell of a few lines around an agent: std's sockets, one thread, no waiting inside.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use postern_ice::Agent;
use postern_ice::candidate::Component;
use postern_ice::io::{Action, Event, HEADROOM, Input, Settings, SocketId, StreamId, TAILROOM, Way};
use postern_ice::sdp::{Attributes, Description};

pub struct Shell {
    pub agent: Agent,
    pub events: Vec<Event>,
    pub heard: Vec<(Component, Vec<u8>)>,
    sockets: Vec<UdpSocket>,
    components: Vec<Component>,
    streams: HashMap<StreamId, (TcpStream, Vec<u8>)>,
}

impl Shell {
    /// Binds a port for each socket of the settings.
    pub fn new(mut settings: Settings) -> Self {
        let mut sockets = Vec::new();
        for local in &mut settings.sockets {
            let socket = UdpSocket::bind(local.address).unwrap();
            socket.set_nonblocking(true).unwrap();
            local.address = socket.local_addr().unwrap();
            sockets.push(socket);
        }
        let components = settings.sockets.iter().map(|local| local.component).collect();
        // Two agents must not draw the same.
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&settings.sockets[0].address.port().to_be_bytes());
        let agent = Agent::new(Instant::now(), settings, seed);
        Self { agent, events: Vec::new(), heard: Vec::new(), sockets, components, streams: HashMap::new() }
    }

    /// Takes a description as if it had come in SDP.
    pub fn hear(&mut self, description: &Description) {
        let mut attributes = Attributes::default();
        for (name, value) in description.attributes() {
            attributes.take(name, &value);
        }
        let description = attributes.description(Vec::new()).unwrap();
        self.agent.set_remote(Instant::now(), &description);
        self.drain();
    }

    pub fn close(&mut self) {
        self.agent.close(Instant::now());
        self.drain();
    }

    pub fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    /// Sends this on every component that has a pair.
    pub fn say(&mut self, payload: &[u8]) {
        for component in self.components.clone() {
            let mut buffer = vec![0; HEADROOM + payload.len() + TAILROOM];
            buffer[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
            let range = HEADROOM..HEADROOM + payload.len();
            if let Some(out) = self.agent.send(component, &mut buffer, range) {
                self.send(out.way, out.to, &buffer[out.frame]);
            }
        }
    }

    /// Does what there is to do now.
    pub fn turn(&mut self) {
        let mut buffer = [0; 2_048];
        for place in 0..self.sockets.len() {
            while let Ok((len, from)) = self.sockets[place].recv_from(&mut buffer) {
                let socket = SocketId(place as u8);
                let input = self.agent.handle_datagram(Instant::now(), socket, from, &buffer[..len]);
                self.take(input, &buffer[..len]);
            }
        }
        for stream in self.streams.keys().copied().collect::<Vec<_>>() {
            self.read(stream);
        }
        if self.agent.next_timeout().is_some_and(|at| at <= Instant::now()) {
            self.agent.handle_timeout(Instant::now());
        }
        self.drain();
    }

    fn read(&mut self, stream: StreamId) {
        let mut buffer = [0; 2_048];
        let Some((socket, bytes)) = self.streams.get_mut(&stream) else { return };
        let closed = match socket.read(&mut buffer) {
            Ok(0) => true,
            Ok(len) => {
                bytes.extend_from_slice(&buffer[..len]);
                false
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        if closed {
            self.streams.remove(&stream);
            return self.agent.handle_closed(Instant::now(), stream);
        }
        while let Some((_, bytes)) = self.streams.get_mut(&stream) {
            let buffered = std::mem::take(bytes);
            let progress = self.agent.handle_stream(Instant::now(), stream, &buffered);
            self.take(progress.input, &buffered);
            if let Some((_, bytes)) = self.streams.get_mut(&stream) {
                *bytes = buffered[progress.consumed..].to_vec();
            }
            if progress.consumed == 0 {
                break;
            }
        }
    }

    fn take(&mut self, input: Input, bytes: &[u8]) {
        if let Input::Media { component, payload, .. } = input {
            self.heard.push((component, bytes[payload].to_vec()));
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.agent.poll_action() {
            match action {
                Action::Transmit(transmit) => self.send(transmit.way, transmit.to, &transmit.bytes),
                Action::Connect { stream, server, .. } => self.connect(stream, server),
                Action::Close { stream } => {
                    self.streams.remove(&stream);
                }
            }
        }
        while let Some(event) = self.agent.poll_event() {
            self.events.push(event);
        }
    }

    fn connect(&mut self, stream: StreamId, server: SocketAddr) {
        match TcpStream::connect(server) {
            Ok(socket) => {
                socket.set_nonblocking(true).unwrap();
                socket.set_nodelay(true).unwrap();
                self.streams.insert(stream, (socket, Vec::new()));
                self.agent.handle_connected(Instant::now(), stream);
            }
            Err(_) => self.agent.handle_closed(Instant::now(), stream),
        }
    }

    fn send(&mut self, way: Way, to: SocketAddr, bytes: &[u8]) {
        match way {
            // A port that nobody listens on answers with an error to whatever is sent next.
            Way::Socket(socket) => drop(self.sockets[usize::from(socket.0)].send_to(bytes, to)),
            Way::Stream(stream) => {
                if let Some((socket, _)) = self.streams.get_mut(&stream) {
                    // So little fits always; a closed connection shows at the next reading.
                    drop(socket.write_all(bytes));
                }
            }
        }
    }
}

/// Lets the shells work until something is so; whether it came to be in time.
pub fn run_until(shells: &mut [&mut Shell], limit: Duration, mut is_so: impl FnMut(&mut [&mut Shell]) -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        for shell in shells.iter_mut() {
            shell.turn();
        }
        if is_so(shells) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}
