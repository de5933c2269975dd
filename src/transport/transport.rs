//! The shell of a SIP core: sockets, TLS, DNS and the clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use postern_net::listener::{HalfOpen, ListenerLimits};
use postern_sip::io::Question;
use postern_sip::{Action, ConnId, Core, Transport as Protocol};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::connect::{Wanted, connect};
use crate::connection::{Outbox, Stream, queue, serve};
use crate::dns::Dns;
use crate::input::Input;
use crate::limits::{
    CLOSE_TIME, HANDSHAKE_TIME, HANDSHAKES_MAX, HANDSHAKES_PER_SOURCE_MAX, INPUTS_MAX, INPUTS_PER_TURN,
};
use crate::listener::{Listener, Surroundings};
use crate::options::{Listening, TlsIdentity, TransportError, TransportOptions};
use crate::report::Report;
use crate::tls::TlsConfigs;

/// Owns sockets, listeners and connections, and drives one core with them:
///
/// ```text
/// let mut transport = Transport::bind(options)?;
/// loop {
///     tokio::select! {
///         () = transport.drive(&mut core) => while let Some(event) = core.poll_event() { ... }
///         command = commands.recv() => { ... commands to the core ... }
///     }
/// }
/// ```
///
/// What the core was told in between is carried out at the beginning of the next `drive`.
pub struct Transport {
    surroundings: Surroundings,
    inputs: mpsc::Receiver<Input>,
    listeners: Vec<Listener>,
    connections: HashMap<ConnId, Connection>,
    tasks: JoinSet<()>,
    dns: Dns,
}

enum Connection {
    Connecting { remote: SocketAddr, task: AbortHandle },
    Open(Outbox),
}

impl Transport {
    /// Binds all listeners and begins to accept. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`TransportError`]; nothing is bound then.
    pub fn bind(options: TransportOptions) -> Result<Transport, TransportError> {
        let (feed, inputs) = mpsc::channel(INPUTS_MAX);
        let half_open = HalfOpen::new(ListenerLimits {
            first_message: HANDSHAKE_TIME,
            half_open_max: HANDSHAKES_MAX,
            half_open_per_source_max: HANDSHAKES_PER_SOURCE_MAX,
        });
        let tls = Arc::new(ArcSwapOption::empty());
        let surroundings = Surroundings { feed, tls, half_open, on_report: options.on_report };
        let dns = Dns::new(options.hosts, &options.dns_servers);
        let mut transport = Transport {
            surroundings,
            inputs,
            listeners: Vec::new(),
            connections: HashMap::new(),
            tasks: JoinSet::new(),
            dns,
        };
        if let Some(identity) = &options.tls {
            transport.set_tls(identity)?;
        }
        transport.listen(&options.listening)?;
        Ok(transport)
    }

    /// Takes another certificate, key and authorities: for all handshakes from now on. What stands, stands.
    ///
    /// # Errors
    /// [`TransportError`]; the former ones stay.
    pub fn set_tls(&mut self, identity: &TlsIdentity) -> Result<(), TransportError> {
        self.surroundings.tls.store(Some(Arc::new(TlsConfigs::new(identity)?)));
        Ok(())
    }

    /// Listens there and nowhere else. Listeners that stay are not touched, connections of those that go live on.
    ///
    /// # Errors
    /// [`TransportError`]; everything is as before then.
    pub fn listen(&mut self, listening: &Listening) -> Result<(), TransportError> {
        if !listening.tls.is_empty() && self.surroundings.tls.load().is_none() {
            return Err(TransportError::NoIdentity);
        }
        let all = [(Protocol::Tcp, &listening.tcp), (Protocol::Tls, &listening.tls), (Protocol::Udp, &listening.udp)];
        let wanted: Vec<_> =
            all.into_iter().flat_map(|(protocol, addrs)| addrs.iter().map(move |addr| (protocol, *addr))).collect();
        let mut fresh = Vec::new();
        for (protocol, addr) in &wanted {
            if !self.listeners.iter().any(|listener| (listener.protocol, listener.asked) == (*protocol, *addr)) {
                fresh.push(Listener::start(*protocol, *addr, &self.surroundings)?);
            }
        }
        self.listeners.retain(|listener| wanted.contains(&(listener.protocol, listener.asked)));
        self.listeners.append(&mut fresh);
        Ok(())
    }

    /// Where we listen, with the ports that the system chose.
    pub fn listening(&self) -> Listening {
        let of = |protocol| {
            self.listeners
                .iter()
                .filter(|listener| listener.protocol == protocol)
                .map(|listener| listener.bound)
                .collect()
        };
        Listening { tcp: of(Protocol::Tcp), tls: of(Protocol::Tls), udp: of(Protocol::Udp) }
    }

    /// Carries out what the core asks for, waits for the first thing to happen or the core's next deadline, and tells
    /// the core; then its events are to be drained. Cancel-safe: what has not reached the core is not lost.
    pub async fn drive(&mut self, core: &mut impl Core) {
        self.perform(core);
        let input = tokio::select! {
            biased;
            input = self.inputs.recv() => input,
            () = until(core.next_timeout()) => None,
        };
        if let Some(input) = input {
            self.take_in(core, input);
            for _ in 1..INPUTS_PER_TURN {
                let Ok(input) = self.inputs.try_recv() else { break };
                self.take_in(core, input);
            }
        }
        let now = Instant::now();
        if core.next_timeout().is_some_and(|at| at <= now) {
            core.handle_timeout(now);
        }
        self.perform(core);
        while self.tasks.try_join_next().is_some() {}
    }

    /// Carries out what the core asks for, stops listening, lets each connection write what waits for it (2 s at most) and
    /// closes them.
    pub async fn close(mut self, core: &mut impl Core) {
        self.perform(core);
        self.listeners.clear();
        for (_, connection) in self.connections.drain() {
            if let Connection::Connecting { task, .. } = connection {
                task.abort();
            }
        }
        self.inputs.close();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // Those that are not done by then are dropped with the set.
        let _ = tokio::time::timeout(CLOSE_TIME, ended).await;
    }

    fn take_in(&mut self, core: &mut impl Core, input: Input) {
        let now = Instant::now();
        match input {
            Input::Accepted { stream, source } => {
                let (remote, protocol) = (source.remote, source.transport);
                match core.handle_accepted(source, now) {
                    Some(conn) => self.open(conn, remote, stream),
                    None => (self.surroundings.on_report)(Report::Refused { remote, protocol }),
                }
            }
            Input::Connected { conn, stream, local, names } => {
                // One that the core has given up meanwhile is dropped.
                if let Some(Connection::Connecting { remote, .. }) = self.connections.get(&conn) {
                    self.open(conn, *remote, stream);
                    core.handle_connected(conn, local, names, now);
                }
            }
            Input::ConnectFailed { conn } => {
                self.connections.remove(&conn);
                core.handle_connect_failed(conn, now);
            }
            Input::Bytes { conn, bytes } => core.handle_bytes(conn, &bytes, now),
            Input::Closed { conn } => {
                self.connections.remove(&conn);
                core.handle_closed(conn, now);
            }
            Input::Datagram { local, remote, bytes } => core.handle_datagram(local, remote, &bytes, now),
            Input::Resolved { question, answer } => core.handle_resolved(question, answer, now),
        }
    }

    fn open(&mut self, conn: ConnId, remote: SocketAddr, stream: Box<dyn Stream>) {
        let (mut outbox, inbox) = queue(remote);
        outbox.watch(self.tasks.spawn(serve(conn, stream, inbox, self.surroundings.feed.clone())));
        self.connections.insert(conn, Connection::Open(outbox));
    }

    fn perform(&mut self, core: &mut impl Core) {
        while let Some(action) = core.poll_action() {
            match action {
                Action::Connect { conn, transport, remote, server_name } => {
                    let wanted = Wanted { conn, protocol: transport, remote, server_name };
                    let Surroundings { feed, tls, on_report, .. } = self.surroundings.clone();
                    let task = self.tasks.spawn(connect(wanted, tls, feed, on_report));
                    self.connections.insert(conn, Connection::Connecting { remote, task });
                }
                Action::Send { conn, bytes } => self.send(core, conn, bytes),
                Action::SendDatagram { local, remote, bytes } => self.send_datagram(local, remote, &bytes),
                Action::Close { conn } => match self.connections.remove(&conn) {
                    Some(Connection::Connecting { task, .. }) => task.abort(),
                    // What was sent before is still written.
                    Some(Connection::Open(outbox)) => drop(outbox),
                    None => {}
                },
                Action::Resolve { question, what } => self.resolve(core, question, what),
            }
        }
    }

    fn send(&mut self, core: &mut impl Core, conn: ConnId, bytes: Vec<u8>) {
        let Some(Connection::Open(outbox)) = self.connections.get(&conn) else { return };
        if outbox.send(bytes) {
            return;
        }
        if let Some(Connection::Open(outbox)) = self.connections.remove(&conn) {
            (self.surroundings.on_report)(Report::SlowReader { remote: outbox.remote });
            outbox.abort();
        }
        core.handle_closed(conn, Instant::now());
    }

    fn send_datagram(&self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let socket = self.listeners.iter().filter(|listener| listener.bound == local).find_map(|l| l.socket.as_ref());
        // What the kernel cannot take now is lost as on any line: the transaction sends it again.
        if let Some(Err(error)) = socket.map(|socket| socket.try_send_to(bytes, remote))
            && !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::ConnectionRefused)
        {
            (self.surroundings.on_report)(Report::SocketFailed { local, reason: error.to_string() });
        }
    }

    fn resolve(&mut self, core: &mut impl Core, question: postern_sip::io::QuestionId, what: Question) {
        if let Some(answer) = self.dns.known(&what) {
            return core.handle_resolved(question, answer, Instant::now());
        }
        if let Some(reason) = self.dns.fault() {
            (self.surroundings.on_report)(Report::DnsFailed { reason: reason.to_owned() });
        }
        let (dns, feed) = (self.dns.clone(), self.surroundings.feed.clone());
        self.tasks.spawn(async move {
            let answer = dns.ask(&what).await;
            // A core that is gone needs no answer.
            let _ = feed.send(Input::Resolved { question, answer }).await;
        });
    }
}

/// Waits until then, for ever without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
