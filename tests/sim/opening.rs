//! Relay sockets of the simulated shell: leased, bound unless another program has the port, kept, redeemed.

use std::net::SocketAddr;

use postern_turn::broker::{Drawn, LeasedPort};
use postern_turn::io::{Family, Now, OpenRelay, OpenedRelay, OpenedRelays, RelayFailure};

use crate::defect::Defect;
use crate::edge::Edge;
use crate::effect::Effect;

impl Edge {
    /// Leases, binds, and tells the server; or tells it why not.
    pub(crate) fn open(&mut self, now: Now, shard: usize, wish: &OpenRelay) {
        let mut asked = wish.clone();
        if self.defect == Defect::NoQuota {
            asked.quota_max = 0;
        }
        let drawn = self.broker.draw(now.mono_nanos, shard as u8, &asked);
        let opened = drawn.and_then(|drawn| match drawn.held_by {
            Some(_) => self.redeem(now, shard, &drawn),
            None => self.bind_drawn(now, shard, drawn),
        });
        match opened {
            Ok(opened) => self.shards[shard].server.handle_relay_opened(now, wish.allocation, opened),
            Err(failure) => {
                self.effects.push(Effect::NotOpened { failure });
                self.shards[shard].server.handle_relay_failed(now, wish.allocation, failure);
            }
        }
    }

    fn redeem(&mut self, now: Now, shard: usize, drawn: &Drawn) -> Result<OpenedRelays, RelayFailure> {
        let port = drawn.relays[0];
        let Some(local) = self.reserved.remove(&port.lease) else {
            self.broker.close(now.mono_nanos, port.lease);
            return Err(RelayFailure::BadReservation);
        };
        let relay = self.keep(shard, LeasedPort { local, ..port });
        Ok(OpenedRelays { relays: vec![relay], reservation: None, failed: Vec::new() })
    }

    fn bind_drawn(&mut self, now: Now, shard: usize, drawn: Drawn) -> Result<OpenedRelays, RelayFailure> {
        let Drawn { relays, reserved, mut failed, .. } = drawn;
        let mut opened = Vec::new();
        for port in relays {
            match self.bind(now, port, reserved.map(|reserved| reserved.port)) {
                Ok((port, above)) => {
                    opened.push(self.keep(shard, port));
                    if let (Some(above), Some(reserved)) = (above, reserved) {
                        self.keep_reserved(above, reserved.token);
                    }
                }
                Err(failure) => failed.push((family(port.local), failure)),
            }
        }
        match failed.first() {
            Some(&(_, failure)) if opened.is_empty() => Err(failure),
            _ => Ok(OpenedRelays { relays: opened, reservation: reserved.map(|reserved| reserved.token), failed }),
        }
    }

    /// Which ports it came to, after those that are taken.
    fn bind(
        &mut self,
        now: Now,
        mut port: LeasedPort,
        mut above: Option<LeasedPort>,
    ) -> Result<(LeasedPort, Option<LeasedPort>), RelayFailure> {
        while [Some(port), above].into_iter().flatten().any(|port| self.foreign.contains(&port.local.port())) {
            let again = self.broker.taken_by_others(now.mono_nanos, port.lease)?;
            port = *again.first().ok_or(RelayFailure::NoPort)?;
            above = again.get(1).copied();
        }
        Ok((port, above))
    }

    fn keep(&mut self, shard: usize, port: LeasedPort) -> OpenedRelay {
        self.broker.open(port.lease);
        self.effects.push(Effect::Opened { local: port.local });
        self.add_socket(shard, port.local, port.lease)
    }

    fn keep_reserved(&mut self, port: LeasedPort, token: [u8; 8]) {
        self.effects.push(Effect::Reserved { local: port.local, token });
        if self.defect != Defect::DropsReservations {
            self.reserved.insert(port.lease, port.local);
        }
    }
}

fn family(local: SocketAddr) -> Family {
    if local.is_ipv4() { Family::V4 } else { Family::V6 }
}
