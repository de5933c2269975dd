//! Speech through a relay and back, and the account of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::doctor_failure::Failure;
use crate::doctor_leg::Leg;
use crate::doctor_report::{Direction, RoundTrip};
use crate::doctor_rtp::{Arrival, PACKET_INTERVAL, Receiver, Speech, round_trip};
use crate::doctor_wire::bind_like;

/// How long stragglers are waited for after the last packet was sent.
const GRACE: Duration = Duration::from_secs(1);

/// How long the relay may take to hear our own socket for the first time.
const KNOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Spacing of the datagrams by which our own socket makes itself known.
const KNOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Who sends the speech back.
pub enum Peer {
    /// A socket of our own, by which any NAT between is crossed a second time.
    Socket { socket: UdpSocket, relay: SocketAddr, seen_as: SocketAddr },
    /// A second allocation, which sends to the relay address of the first.
    Relay { leg: Arc<dyn Leg>, relay: SocketAddr },
}

/// What came of the speech.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub outward: Direction,
    pub back: Direction,
    pub round_trip: Option<RoundTrip>,
    /// Whether the relay delivered to us by the channel, and not by Data indications.
    pub by_channel: bool,
}

impl Peer {
    /// Opens a socket of our own and makes it known to the relay of `leg`: permission for the address that the server
    /// sees us at, datagrams from the socket until one comes through, then a channel to where it came from. That works
    /// behind every NAT whose second mapping has the address of the first.
    ///
    /// # Errors
    /// When the permission is refused or the relay never hears the socket: UDP is blocked, or the NAT draws another address.
    pub async fn socket(leg: &dyn Leg, knock: u64) -> Result<Self, Failure> {
        let relay = leg.relayed();
        let mapped = leg.mapped().ok_or_else(|| Failure::protocol("the server does not say where it sees us"))?;
        if mapped.is_ipv4() != relay.is_ipv4() {
            return Err(Failure::NoRoute(format!("the relay address {relay} is of another family than ours")));
        }
        let socket = bind_like(relay).await?;
        let port = socket.local_addr().map_err(|error| Failure::from_io("own socket", &error))?.port();
        leg.permit(SocketAddr::new(mapped.ip(), port)).await?;
        let knock = knock.to_be_bytes();
        let heard = async {
            loop {
                let (from, payload) = leg.receive().await?;
                if payload == knock {
                    return Ok::<_, Failure>(from);
                }
            }
        };
        let knocking = async {
            let mut ticks = interval(KNOCK_INTERVAL);
            loop {
                ticks.tick().await;
                if let Err(error) = socket.send_to(&knock, relay).await {
                    return Failure::from_io(&format!("own socket to {relay}"), &error);
                }
            }
        };
        let seen_as = tokio::select! {
            heard = timeout(KNOCK_TIMEOUT, heard) => heard.map_err(|_| {
                Failure::Unreachable(format!("the relay {relay} does not hear our own UDP socket"))
            })??,
            failure = knocking => return Err(failure),
        };
        leg.bind(seen_as).await?;
        Ok(Self::Socket { socket, relay, seen_as })
    }

    /// Joins two allocations by a channel on each.
    ///
    /// # Errors
    /// When the server refuses either channel.
    pub async fn relay(first: &dyn Leg, second: Arc<dyn Leg>) -> Result<Self, Failure> {
        let relay = first.relayed();
        second.bind(relay).await?;
        first.bind(second.relayed()).await?;
        Ok(Self::Relay { leg: second, relay })
    }

    /// For people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Socket { .. } => "own socket",
            Self::Relay { .. } => "second allocation",
        }
    }

    /// Where the relay of the first allocation sends to.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Socket { seen_as, .. } => *seen_as,
            Self::Relay { leg, .. } => leg.relayed(),
        }
    }

    async fn receive(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Socket { socket, relay, .. } => {
                let mut bytes = vec![0; 2048];
                loop {
                    match socket.recv_from(&mut bytes).await {
                        Ok((length, from)) if from == *relay => return Ok(bytes[..length].to_vec()),
                        Ok(_) => {}
                        Err(error) => return Err(Failure::from_io("own socket", &error)),
                    }
                }
            }
            Self::Relay { leg, .. } => Ok(leg.receive().await?.1),
        }
    }

    async fn send(&self, payload: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Socket { socket, relay, .. } => {
                socket.send_to(payload, *relay).await.map_err(|error| Failure::from_io("own socket", &error))?;
                Ok(())
            }
            Self::Relay { leg, relay } => leg.send(*relay, payload).await,
        }
    }

    /// Gives back what was allocated for the peer.
    pub async fn release(&self) {
        if let Self::Relay { leg, .. } = self {
            leg.release().await;
        }
    }
}

/// Sends the speech through `leg` to `peer`, which sends back each intact packet once; ends a second after the last.
///
/// # Errors
/// When nothing could be sent at all; loss is an [`Outcome`], not an error.
pub async fn exchange(leg: &dyn Leg, peer: &Peer, speech: &Speech) -> Result<Outcome, Failure> {
    let to = peer.address();
    let by_channel_before = leg.received_by_channel();
    let sent_at: Mutex<Vec<Instant>> = Mutex::new(Vec::with_capacity(speech.packets() as usize));
    let at_peer = Mutex::new(Receiver::new(speech));
    let at_home = Mutex::new(Receiver::new(speech));
    let times = Mutex::new(Vec::new());
    let lost_way = Mutex::new(None);

    let sending = async {
        let mut ticks = interval(PACKET_INTERVAL);
        // After a stall the schedule is caught up with, as a sound card would.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for index in 0..speech.packets() {
            ticks.tick().await;
            guard(&sent_at).push(Instant::now());
            if let Err(failure) = leg.send(to, &speech.packet(index)).await {
                guard(&lost_way).get_or_insert(failure);
            }
        }
    };
    let echoing = async {
        while let Ok(datagram) = peer.receive().await {
            let arrival = speech.judge(&datagram);
            if guard(&at_peer).note(arrival, Instant::now()) {
                let _ = peer.send(&datagram).await;
            }
        }
    };
    let receiving = async {
        while let Ok((_, datagram)) = leg.receive().await {
            let now = Instant::now();
            let arrival = speech.judge(&datagram);
            if guard(&at_home).note(arrival, now)
                && let Arrival::Intact(index) = arrival
                && let Some(sent) = guard(&sent_at).get(index as usize)
            {
                guard(&times).push(now.duration_since(*sent));
            }
            if guard(&at_home).received() == speech.packets() {
                break;
            }
        }
    };
    // Both directions run until all is back, or the grace after the last packet is over.
    let to_the_end = async {
        sending.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = to_the_end => {}
        () = async { tokio::join!(receiving, echoing); } => {}
    }
    let returned = guard(&at_peer).received();
    let sent = guard(&sent_at).len() as u32;
    if let (0, Some(failure)) = (returned, guard(&lost_way).take()) {
        return Err(failure);
    }
    let outcome = Outcome {
        outward: guard(&at_peer).direction(sent),
        back: guard(&at_home).direction(returned),
        round_trip: round_trip(guard(&times).clone()),
        by_channel: leg.received_by_channel() > by_channel_before,
    };
    Ok(outcome)
}

fn guard<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
