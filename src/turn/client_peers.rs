//! Whom an allocation may exchange data with: permissions and channels, and when each is asked for anew.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::channel_data::CHANNEL_NUMBERS;
use crate::client_io::Refusal;
use crate::client_limits::{CLIENT_CHANNELS_MAX, CLIENT_PERMISSIONS_MAX, PERMISSION_REFRESH, RETRY_WAIT};
use crate::limits::PEERS_PER_REQUEST_MAX;

/// Where a permission or a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// To be asked for at this moment.
    Wanted(Instant),
    Asked,
    /// There; to be asked for anew at this moment.
    Held(Instant),
    /// There, and asked for anew.
    Renewing,
}

impl Standing {
    fn is_held(self) -> bool {
        matches!(self, Self::Held(_) | Self::Renewing)
    }

    fn due_at(self) -> Option<Instant> {
        match self {
            Self::Wanted(at) | Self::Held(at) => Some(at),
            Self::Asked | Self::Renewing => None,
        }
    }

    fn is_due(self, now: Instant) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }

    fn asked(&mut self) {
        *self = if self.is_held() { Self::Renewing } else { Self::Asked };
    }

    /// The question came to nothing: what there was is still there.
    fn again_at(&mut self, at: Instant) {
        *self = if self.is_held() { Self::Held(at) } else { Self::Wanted(at) };
    }
}

#[derive(Debug)]
struct Permission {
    ip: IpAddr,
    /// The permission is for all ports; the request names one.
    named: SocketAddr,
    standing: Standing,
    /// Asked for in a request of its own: it may be what a batch was refused for.
    alone: bool,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    standing: Standing,
}

/// Permissions and channels of one allocation. A client has a handful: they are found by looking at each.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
    /// Numbers given out so far: none serves twice (RFC 8656 section 12).
    numbers_used: u16,
}

impl Peers {
    /// Asks for a permission unless there is one.
    ///
    /// # Errors
    /// [`Refusal::TooMany`]
    pub(crate) fn want_permission(&mut self, now: Instant, peer: SocketAddr) -> Result<(), Refusal> {
        if self.permissions.iter().any(|permission| permission.ip == peer.ip()) {
            return Ok(());
        }
        if self.permissions.len() >= CLIENT_PERMISSIONS_MAX {
            return Err(Refusal::TooMany);
        }
        let standing = Standing::Wanted(now);
        self.permissions.push(Permission { ip: peer.ip(), named: peer, standing, alone: false });
        Ok(())
    }

    /// Asks for a channel unless there is one.
    ///
    /// # Errors
    /// [`Refusal::TooMany`]
    pub(crate) fn want_channel(&mut self, now: Instant, peer: SocketAddr) -> Result<(), Refusal> {
        if self.channels.iter().any(|channel| channel.peer == peer) {
            return Ok(());
        }
        let number = CHANNEL_NUMBERS.start() + self.numbers_used;
        if usize::from(self.numbers_used) >= CLIENT_CHANNELS_MAX {
            return Err(Refusal::TooMany);
        }
        self.numbers_used += 1;
        self.channels.push(Channel { number, peer, standing: Standing::Wanted(now) });
        Ok(())
    }

    /// Peers of the next CreatePermission, now asked for; empty when none is due.
    pub(crate) fn take_permissions(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut taken = Vec::new();
        for permission in &mut self.permissions {
            if !permission.standing.is_due(now) || permission.alone && !taken.is_empty() {
                continue;
            }
            permission.standing.asked();
            taken.push(permission.named);
            if permission.alone || taken.len() == PEERS_PER_REQUEST_MAX {
                break;
            }
        }
        taken
    }

    /// The next channel that is due, now asked for.
    pub(crate) fn take_channel(&mut self, now: Instant) -> Option<(u16, SocketAddr)> {
        let channel = self.channels.iter_mut().find(|channel| channel.standing.is_due(now))?;
        channel.standing.asked();
        Some((channel.number, channel.peer))
    }

    /// The server agreed; whether that is new.
    pub(crate) fn permitted(&mut self, now: Instant, ip: IpAddr) -> bool {
        let Some(permission) = self.permissions.iter_mut().find(|permission| permission.ip == ip) else { return false };
        let new = !permission.standing.is_held();
        permission.standing = Standing::Held(now + PERMISSION_REFRESH);
        new
    }

    /// The server agreed; whether that is new. The permission is there with it (RFC 8656 section 12).
    pub(crate) fn bound(&mut self, now: Instant, number: u16) -> bool {
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.number == number) else { return false };
        let new = !channel.standing.is_held();
        channel.standing = Standing::Held(now + PERMISSION_REFRESH);
        let ip = channel.peer.ip();
        if let Some(permission) = self.permissions.iter_mut().find(|permission| permission.ip == ip)
            && permission.standing.is_held()
        {
            permission.standing = Standing::Held(now + PERMISSION_REFRESH);
        }
        new
    }

    /// The server refused all of these, or one of them: which one shows when each is asked for alone. Returns those
    /// that are refused for good.
    pub(crate) fn permissions_refused(&mut self, now: Instant, peers: &[SocketAddr]) -> Vec<IpAddr> {
        if let [only] = peers {
            self.permissions.retain(|permission| permission.ip != only.ip());
            return vec![only.ip()];
        }
        for permission in self.permissions.iter_mut().filter(|permission| peers.contains(&permission.named)) {
            permission.alone = true;
            permission.standing.again_at(now);
        }
        Vec::new()
    }

    /// No answer came. What there was is asked for again later; the others are given up, and returned.
    pub(crate) fn permissions_unanswered(&mut self, now: Instant, peers: &[SocketAddr]) -> Vec<IpAddr> {
        let mut given_up = Vec::new();
        self.permissions.retain_mut(|permission| {
            if !peers.contains(&permission.named) {
                return true;
            }
            let held = permission.standing.is_held();
            permission.standing.again_at(now + RETRY_WAIT);
            if !held {
                given_up.push(permission.ip);
            }
            held
        });
        given_up
    }

    /// There is no such channel: its peer goes by indications.
    pub(crate) fn channel_refused(&mut self, number: u16) {
        self.channels.retain(|channel| channel.number != number);
    }

    /// No answer came: a bound channel is asked for again later; whether another was given up.
    pub(crate) fn channel_unanswered(&mut self, now: Instant, number: u16) -> bool {
        let Some(channel) = self.channels.iter_mut().find(|channel| channel.number == number) else { return false };
        channel.standing.again_at(now + RETRY_WAIT);
        if channel.standing.is_held() {
            return false;
        }
        self.channel_refused(number);
        true
    }

    /// The channel by which data goes to this peer.
    #[inline]
    pub(crate) fn channel_of(&self, peer: SocketAddr) -> Option<u16> {
        let channel = self.channels.iter().find(|channel| channel.peer == peer)?;
        channel.standing.is_held().then_some(channel.number)
    }

    /// The peer whose data comes by this channel. A channel that is only asked for counts: the answer may be late.
    #[inline]
    pub(crate) fn peer_of(&self, number: u16) -> Option<SocketAddr> {
        self.channels.iter().find(|channel| channel.number == number).map(|channel| channel.peer)
    }

    pub(crate) fn is_permitted(&self, ip: IpAddr) -> bool {
        self.permissions.iter().any(|permission| permission.ip == ip && permission.standing.is_held())
            || self.channels.iter().any(|channel| channel.peer.ip() == ip && channel.standing.is_held())
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let permissions = self.permissions.iter().filter_map(|permission| permission.standing.due_at());
        permissions.chain(self.channels.iter().filter_map(|channel| channel.standing.due_at())).min()
    }
}
