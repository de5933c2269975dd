//! The process-wide table of listeners: bound all or none, opened together, retired by reload, closed after their last client.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postern_config::{EdgeConfig, SocketsConfig};
use postern_net::listener::{
    Accepted, HalfOpen, ListenerEvent, ListenerHandle, ListenerSpec, Watched, bind_tcp, watch,
};
use postern_net::tls::TlsSource;
use postern_net::{BindError, ReusePortGroup, UdpOptions};

use crate::accept;
use crate::generation::discovery_listeners;
use crate::shared::{Alternates, LISTENERS_MAX, ListenerSocket};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Udp,
    Dtls,
    Tcp,
    Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Serves the clients it has.
    Retired,
    /// Without clients; not every shard is told yet.
    Closing,
    Closed,
}

struct Entry {
    kind: Kind,
    address: SocketAddr,
    state: State,
    /// Datagram listeners have none.
    accepting: Option<Accepting>,
}

/// A stream listener at work; it stops when dropped.
struct Accepting {
    _handle: ListenerHandle,
    /// Whether TLS is answered beside plain STUN.
    tls: Arc<AtomicBool>,
}

/// Every listener that this process has or had. An index is never used for another address.
#[derive(Default)]
pub(crate) struct Listeners {
    entries: Vec<Entry>,
}

/// Why no new generation of listeners could be had; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{address}: {source}")]
    Open { address: SocketAddr, source: std::io::Error },
    #[error("this process has had {LISTENERS_MAX} listeners; restart it")]
    TooMany,
}

/// Bound, but not yet open: dropping it leaves everything as it was.
pub(crate) struct Prepared {
    groups: Vec<(u16, SocketAddr, Kind, ReusePortGroup)>,
    streams: Vec<(u16, SocketAddr, Kind, Watched)>,
    changes: Changes,
}

/// What a generation does to the listeners that there are already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Retired ones that are wanted again.
    pub(crate) revived: Vec<u16>,
    /// From here on they serve the clients they have and no new ones.
    pub(crate) retired: Vec<u16>,
    /// The same address of another kind: between udp and dtls, or tcp and tls.
    pub(crate) converted: Vec<(u16, Kind)>,
    /// Of all listeners, new ones too: who answers from the other address or port (RFC 5780). Others have none.
    pub(crate) alternates: Vec<(u16, Alternates)>,
}

impl Prepared {
    /// Bytes that the kernel granted, the least over all new datagram listeners.
    pub(crate) fn smallest_receive_buffer(&self) -> Option<usize> {
        let sockets = self.groups.iter().flat_map(|(.., group)| &group.sockets);
        sockets.map(postern_net::UdpSocket::effective_recv_buffer).min()
    }

    /// Lets datagrams in: the last step that can fail. They wait in the sockets until the shards have them.
    ///
    /// # Errors
    /// What setsockopt(2) reports. To be dropped then, which closes all again.
    pub(crate) fn open(self) -> Result<Opened, ListenError> {
        for (_, address, _, group) in &self.groups {
            group.open().map_err(|source| ListenError::Open { address: *address, source })?;
        }
        Ok(Opened(self))
    }
}

/// Ready to be served: nothing that follows can fail.
pub(crate) struct Opened(Prepared);

/// What the shards must be told, one list of new sockets per shard.
pub(crate) struct Published {
    pub(crate) added: Vec<Vec<(u16, ListenerSocket)>>,
    pub(crate) changes: Changes,
}

/// What stream listeners need to serve.
pub(crate) struct StreamService {
    pub(crate) tls: TlsSource,
    pub(crate) half_open: Arc<HalfOpen>,
    pub(crate) on_accepted: Arc<dyn Fn(Accepted) + Send + Sync>,
    pub(crate) on_event: Arc<dyn Fn(ListenerEvent) + Send + Sync>,
}

impl Listeners {
    /// Binds what `edge` has and this table has not, behind closed doors. An address that is open already is taken over as
    /// it is, whatever kind it is to be. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first address that cannot be had; nothing is bound then.
    pub(crate) fn prepare(&self, edge: &EdgeConfig, shards: usize) -> Result<Prepared, ListenError> {
        let wanted = wanted(edge);
        let mut prepared = Prepared { groups: Vec::new(), streams: Vec::new(), changes: Changes::default() };
        let mut next = self.entries.len();
        let mut places = Vec::new();
        for &(kind, address) in &wanted {
            let known = self.entries.iter().position(|entry| {
                entry.is_at(kind, address)
                    && (entry.state == State::Open || entry.state == State::Retired && kind.is_datagram())
            });
            if let Some(index) = known {
                let entry = &self.entries[index];
                if entry.state == State::Retired {
                    prepared.changes.revived.push(index as u16);
                }
                if entry.kind != kind {
                    prepared.changes.converted.push((index as u16, kind));
                }
                places.push((kind, address, index as u16));
                continue;
            }
            let index = u16::try_from(next)
                .ok()
                .filter(|&index| usize::from(index) < LISTENERS_MAX)
                .ok_or(ListenError::TooMany)?;
            next += 1;
            places.push((kind, address, index));
            if kind.is_datagram() {
                let group = ReusePortGroup::bind(address, shards, &udp_options(&edge.sockets))?;
                prepared.groups.push((index, address, kind, group));
            } else {
                let watched = watch(bind_tcp(address)?).map_err(|source| ListenError::Open { address, source })?;
                prepared.streams.push((index, address, kind, watched));
            }
        }
        prepared.changes.alternates = alternates(edge, &places);
        let is_wanted = |entry: &Entry| wanted.iter().any(|&(kind, address)| entry.is_at(kind, address));
        let gone = self.entries.iter().enumerate().filter(|(_, entry)| entry.state == State::Open && !is_wanted(entry));
        prepared.changes.retired = gone.map(|(index, _)| index as u16).collect();
        Ok(prepared)
    }

    /// Serves what was opened. From here on the table is the new one.
    pub(crate) fn publish(&mut self, opened: Opened, shards: usize, service: &StreamService) -> Published {
        let Opened(Prepared { groups, streams, changes }) = opened;
        let mut added: Vec<Vec<(u16, ListenerSocket)>> = (0..shards).map(|_| Vec::new()).collect();
        let mut entries = Vec::new();
        for (index, address, kind, group) in groups {
            for (socket, shard) in group.sockets.into_iter().zip(&mut added) {
                shard.push((index, ListenerSocket { socket, kind }));
            }
            entries.push((index, Entry { kind, address, state: State::Open, accepting: None }));
        }
        for (index, address, kind, listener) in streams {
            let tls = Arc::new(AtomicBool::new(kind == Kind::Tls));
            let (answered, config) = (Arc::clone(&tls), Arc::clone(&service.tls));
            let spec = ListenerSpec {
                listener: index,
                tls: Arc::new(move || answered.load(Ordering::Relaxed).then(|| config()).flatten()),
                framing: accept::first_message,
                half_open: Arc::clone(&service.half_open),
                on_accepted: Arc::clone(&service.on_accepted),
                on_event: Arc::clone(&service.on_event),
            };
            let accepting = Some(Accepting { _handle: listener.serve(spec), tls });
            entries.push((index, Entry { kind, address, state: State::Open, accepting }));
        }
        entries.sort_by_key(|(index, _)| *index);
        self.entries.extend(entries.into_iter().map(|(_, entry)| entry));
        for &index in &changes.revived {
            self.entries[usize::from(index)].state = State::Open;
        }
        for &(index, kind) in &changes.converted {
            let entry = &mut self.entries[usize::from(index)];
            entry.kind = kind;
            if let Some(accepting) = &entry.accepting {
                accepting.tls.store(kind == Kind::Tls, Ordering::Relaxed);
            }
        }
        for &index in &changes.retired {
            let entry = &mut self.entries[usize::from(index)];
            entry.state = State::Retired;
            entry.accepting = None;
        }
        Published { added, changes }
    }

    /// Retired listeners that no client uses any more: to be closed on every shard, and then [`closed`](Self::closed).
    pub(crate) fn closing(&mut self, clients: impl Fn(u16) -> i64) -> Vec<u16> {
        let mut closing = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.state == State::Retired && clients(index as u16) <= 0 {
                entry.state = State::Closing;
            }
            if entry.state == State::Closing {
                closing.push(index as u16);
            }
        }
        closing
    }

    /// Every shard has been told.
    pub(crate) fn closed(&mut self, index: u16) {
        self.entries[usize::from(index)].state = State::Closed;
    }

    /// Addresses that clients can come to now.
    pub(crate) fn open(&self) -> impl Iterator<Item = (Kind, SocketAddr)> + '_ {
        self.entries.iter().filter(|entry| entry.state == State::Open).map(|entry| (entry.kind, entry.address))
    }
}

impl Entry {
    /// Whether its socket is the one that a listener of this kind at this address would have.
    fn is_at(&self, kind: Kind, address: SocketAddr) -> bool {
        self.address == address && self.kind.is_datagram() == kind.is_datagram()
    }
}

impl Kind {
    fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::Dtls)
    }
}

/// Every listener that the configuration asks for, each once.
fn wanted(edge: &EdgeConfig) -> Vec<(Kind, SocketAddr)> {
    let lists = [(Kind::Udp, &edge.udp), (Kind::Dtls, &edge.dtls), (Kind::Tcp, &edge.tcp), (Kind::Tls, &edge.tls)];
    let listed = lists.into_iter().flat_map(|(kind, addresses)| addresses.iter().map(move |&address| (kind, address)));
    let discovery = discovery_listeners(edge).into_iter().map(|address| (Kind::Udp, address));
    let mut seen = BTreeSet::new();
    listed.chain(discovery).filter(|listener| seen.insert(*listener)).collect()
}

/// For each of the four listeners of NAT discovery, who answers from the other address or port.
fn alternates(edge: &EdgeConfig, places: &[(Kind, SocketAddr, u16)]) -> Vec<(u16, Alternates)> {
    let Some(discovery) = &edge.nat_discovery else { return Vec::new() };
    let addresses = [discovery.primary.ip(), discovery.alternate_address];
    let ports = [discovery.primary.port(), discovery.alternate_port];
    let place = |address: usize, port: usize| {
        let wanted = SocketAddr::new(addresses[address], ports[port]);
        places.iter().find(|(kind, address, _)| (*kind, *address) == (Kind::Udp, wanted)).map(|&(.., index)| index)
    };
    let mut all = Vec::new();
    for (a, p) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        if let (Some(own), Some(address), Some(port), Some(both)) =
            (place(a, p), place(1 - a, p), place(a, 1 - p), place(1 - a, 1 - p))
        {
            all.push((own, Alternates { address, port, both }));
        }
    }
    all
}

fn udp_options(sockets: &SocketsConfig) -> UdpOptions {
    UdpOptions {
        recv_buffer: sockets.listener_bytes as usize,
        send_buffer: sockets.listener_bytes as usize,
        reuse_port: true,
        transparent_errors: false,
        v6_only: true,
        arrival_times: false,
    }
}
