//! The endpoint's connections: accepted, made, read, closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Owner};
use crate::framer::Frame;
use crate::io::{Action, Event};
use crate::limits::CONNECT_TIME;
use crate::parse::Malformed;
use crate::resolve::Destination;
use crate::source::{ConnId, Source, Transport};

/// How long a connection must have been silent to give way to a new one when there are too many.
const YIELDING_SILENCE: Duration = Duration::from_secs(60);

impl Endpoint {
    pub(crate) fn on_accepted(&mut self, source: Source, now: Instant) -> Option<ConnId> {
        if self.connections.len() >= self.options.connections_max {
            let idlest = now.checked_sub(YIELDING_SILENCE).and_then(|since| self.connections.idlest(since));
            if let Some(idlest) = idlest {
                self.counters.closed_connections += 1;
                self.close(idlest, now);
            }
        }
        let conn = self.connections.accept(source, &self.options, now);
        match conn {
            Some(conn) => self.arm_connection(conn),
            None => self.counters.refused_connections += 1,
        }
        conn
    }

    /// A connection to this destination: one that is there or one that is being made from now on. The second value tells
    /// which: whether it is fresh.
    pub(crate) fn connection_to(
        &mut self,
        destination: &Destination,
        within: Option<Duration>,
        now: Instant,
    ) -> Option<(ConnId, bool)> {
        if let Some(conn) = self.connections.find(destination) {
            return Some((conn, false));
        }
        let until = now + within.map_or(CONNECT_TIME, |within| within.min(CONNECT_TIME));
        let conn = self.connections.connect(destination, until, &self.options, now)?;
        self.actions.push_back(Action::Connect {
            conn,
            transport: destination.transport,
            remote: destination.remote,
            server_name: destination.server_name.clone(),
        });
        self.arm_connection(conn);
        Some((conn, true))
    }

    pub(crate) fn on_connected(&mut self, conn: ConnId, local: SocketAddr, names: Arc<[String]>, now: Instant) {
        let Some(connection) = self.connections.of_mut(conn).filter(|connection| !connection.is_open()) else { return };
        connection.source.local = local;
        connection.source.names = names;
        let waiting = connection.open(now);
        let clients: Vec<_> = connection.clients.iter().copied().collect();
        for bytes in waiting {
            self.actions.push_back(Action::Send { conn, bytes });
        }
        for tx in clients {
            self.transmit(tx, now);
        }
        self.arm_connection(conn);
    }

    pub(crate) fn on_bytes(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {
        let Some(connection) = self.connections.of_mut(conn).filter(|connection| connection.is_open()) else { return };
        connection.framer.push(bytes);
        // A message may lead to the connection's end: it is looked up for each.
        while let Some(connection) = self.connections.of_mut(conn) {
            let Some(frame) = connection.framer.pop() else {
                connection.note_bytes(now);
                break;
            };
            match frame {
                Frame::Ping => self.actions.push_back(Action::Send { conn, bytes: b"\r\n".to_vec() }),
                Frame::Pong => {}
                Frame::Message(Ok(message)) => {
                    connection.note_message();
                    let source = connection.source.clone();
                    self.on_message(message, &source, now);
                }
                Frame::Message(Err(malformed)) => {
                    connection.note_message();
                    let source = connection.source.clone();
                    self.on_malformed(&malformed, &source, now);
                }
                Frame::Broken(malformed) => {
                    let source = connection.source.clone();
                    self.on_malformed(&malformed, &source, now);
                    self.counters.closed_connections += 1;
                    self.close(conn, now);
                }
            }
        }
        self.arm_connection(conn);
    }

    pub(crate) fn on_malformed(&mut self, malformed: &Malformed, source: &Source, now: Instant) {
        self.counters.malformed += 1;
        self.counters.malformed_over_tls += u64::from(source.transport == Transport::Tls);
        self.counters.malformed_over_udp += u64::from(source.transport == Transport::Udp);
        if let Some(answer) = malformed.answer() {
            self.answer_statelessly(answer.clone(), source, now);
        }
    }

    pub(crate) fn on_connection_timeout(&mut self, conn: ConnId, now: Instant) {
        let Some(connection) = self.connections.of_mut(conn) else { return };
        if connection.is_overdue(now) {
            self.counters.closed_connections += u64::from(connection.is_open());
            self.close(conn, now);
        } else {
            self.arm_connection(conn);
        }
    }

    /// Closes a connection of ours.
    pub(crate) fn close(&mut self, conn: ConnId, now: Instant) {
        if self.connections.of(conn).is_some() {
            self.actions.push_back(Action::Close { conn });
            self.on_connection_gone(conn, now);
        }
    }

    /// A connection failed, ended or was closed.
    pub(crate) fn on_connection_gone(&mut self, conn: ConnId, now: Instant) {
        let Some(connection) = self.connections.remove(conn) else { return };
        self.timers.set(Owner::Connection(conn), None);
        if connection.is_open() {
            self.events.push_back(Event::Closed { conn });
        }
        for tx in &connection.clients {
            self.on_client_connection_gone(*tx, conn, now);
        }
    }

    fn arm_connection(&mut self, conn: ConnId) {
        let deadline = self.connections.of(conn).map(|connection| connection.deadline(&self.options));
        self.timers.set(Owner::Connection(conn), deadline);
    }
}
