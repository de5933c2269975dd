//! The process-wide table of listeners: bound all or none, opened together, retired by reload, closed after their last client.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use postern_config::{CertifiedKeyMaterial, EdgeConfig, SocketsConfig};
use postern_net::listener::{Accepted, HalfOpen, ListenerEvent, ListenerHandle, ListenerSpec, bind_tcp, serve};
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
    /// Stops accepting when dropped; datagram listeners have none.
    accepting: Option<ListenerHandle>,
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
    streams: Vec<(u16, SocketAddr, Kind, std::net::TcpListener)>,
    revived: Vec<u16>,
    retired: Vec<u16>,
    alternates: Vec<(u16, Alternates)>,
}

impl Prepared {
    /// Bytes that the kernel granted, the least over all new datagram listeners.
    pub(crate) fn smallest_receive_buffer(&self) -> Option<usize> {
        let sockets = self.groups.iter().flat_map(|(.., group)| &group.sockets);
        sockets.map(postern_net::UdpSocket::effective_recv_buffer).min()
    }
}

/// What the shards must be told, one list of new sockets per shard.
pub(crate) struct Published {
    pub(crate) added: Vec<Vec<(u16, ListenerSocket)>>,
    pub(crate) revived: Vec<u16>,
    pub(crate) retired: Vec<u16>,
}

/// What stream listeners need to serve.
pub(crate) struct StreamService {
    pub(crate) tls: TlsSource,
    pub(crate) half_open: Arc<HalfOpen>,
    pub(crate) on_accepted: Arc<dyn Fn(Accepted) + Send + Sync>,
    pub(crate) on_event: Arc<dyn Fn(ListenerEvent) + Send + Sync>,
}

impl Listeners {
    /// Binds what `edge` has and this table has not, behind closed doors.
    ///
    /// # Errors
    /// The first address that cannot be had; nothing is bound then.
    pub(crate) fn prepare(&self, edge: &EdgeConfig, shards: usize) -> Result<Prepared, ListenError> {
        let wanted = wanted(edge);
        let mut prepared = Prepared {
            groups: Vec::new(),
            streams: Vec::new(),
            revived: Vec::new(),
            retired: Vec::new(),
            alternates: Vec::new(),
        };
        let mut next = self.entries.len();
        let mut places = Vec::new();
        for &(kind, address) in &wanted {
            let known = self.entries.iter().position(|entry| {
                (entry.kind, entry.address) == (kind, address)
                    && (entry.state == State::Open || entry.state == State::Retired && kind.is_datagram())
            });
            if let Some(index) = known {
                if self.entries[index].state == State::Retired {
                    prepared.revived.push(index as u16);
                }
                places.push((address, index as u16));
                continue;
            }
            let index = u16::try_from(next)
                .ok()
                .filter(|&index| usize::from(index) < LISTENERS_MAX)
                .ok_or(ListenError::TooMany)?;
            next += 1;
            places.push((address, index));
            if kind.is_datagram() {
                let group = ReusePortGroup::bind(address, shards, &udp_options(&edge.sockets))?;
                prepared.groups.push((index, address, kind, group));
            } else {
                prepared.streams.push((index, address, kind, bind_tcp(address)?));
            }
        }
        prepared.alternates = alternates(edge, &places);
        let gone = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.state == State::Open && !wanted.contains(&(entry.kind, entry.address)));
        prepared.retired = gone.map(|(index, _)| index as u16).collect();
        Ok(prepared)
    }

    /// Opens what was prepared. From here on the table is the new one.
    ///
    /// # Errors
    /// A socket that binds and does not open; the listeners before it stay.
    pub(crate) fn publish(
        &mut self,
        prepared: Prepared,
        shards: usize,
        certificate: Option<&Arc<CertifiedKeyMaterial>>,
        service: &StreamService,
    ) -> Result<Published, ListenError> {
        let Prepared { groups, streams, revived, retired, alternates } = prepared;
        let mut added: Vec<Vec<(u16, ListenerSocket)>> = (0..shards).map(|_| Vec::new()).collect();
        let mut entries = Vec::new();
        for (index, address, kind, group) in groups {
            group.open().map_err(|source| ListenError::Open { address, source })?;
            let alternates = alternates.iter().find(|(of, _)| *of == index).map(|(_, alternates)| *alternates);
            for (socket, shard) in group.sockets.into_iter().zip(&mut added) {
                let dtls = (kind == Kind::Dtls).then(|| certificate.cloned()).flatten();
                shard.push((index, ListenerSocket { socket, dtls, alternates }));
            }
            entries.push((index, Entry { kind, address, state: State::Open, accepting: None }));
        }
        for (index, address, kind, listener) in streams {
            let spec = ListenerSpec {
                listener: index,
                tls: if kind == Kind::Tls { Arc::clone(&service.tls) } else { Arc::new(|| None) },
                framing: accept::first_message,
                half_open: Arc::clone(&service.half_open),
                on_accepted: Arc::clone(&service.on_accepted),
                on_event: Arc::clone(&service.on_event),
            };
            let accepting = serve(listener, spec).map_err(|source| ListenError::Open { address, source })?;
            entries.push((index, Entry { kind, address, state: State::Open, accepting: Some(accepting) }));
        }
        entries.sort_by_key(|(index, _)| *index);
        self.entries.extend(entries.into_iter().map(|(_, entry)| entry));
        for &index in &revived {
            self.entries[usize::from(index)].state = State::Open;
        }
        for &index in &retired {
            let entry = &mut self.entries[usize::from(index)];
            entry.state = State::Retired;
            entry.accepting = None;
        }
        Ok(Published { added, revived, retired })
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
fn alternates(edge: &EdgeConfig, places: &[(SocketAddr, u16)]) -> Vec<(u16, Alternates)> {
    let Some(discovery) = &edge.nat_discovery else { return Vec::new() };
    let addresses = [discovery.primary.ip(), discovery.alternate_address];
    let ports = [discovery.primary.port(), discovery.alternate_port];
    let place = |address: usize, port: usize| {
        let wanted = SocketAddr::new(addresses[address], ports[port]);
        places.iter().find(|(address, _)| *address == wanted).map(|&(_, index)| index)
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
    }
}
