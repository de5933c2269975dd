//! The server's actions, carried out in their order.

use postern_net::Outgoing;
use postern_turn::io::{Action, Client, RelayId, ReplyFrom, Warning};

use crate::quality::Summary;
use crate::relays::Relay;
use crate::shard::{Shard, Turn};
use crate::shared::{ReleasedRelay, ToShard};
use crate::streams::is_stream;

impl Shard {
    /// Drains the server. To be called after each input that may have asked for something.
    pub(crate) fn carry_out(&mut self, turn: Turn) {
        while let Some(action) = self.server.poll() {
            match action {
                Action::ToClient { client, to, from, message } => {
                    if is_stream(client.transport) {
                        self.queue_control(&client, &message);
                    } else {
                        self.answer_datagram(client, to, from, &message, turn);
                    }
                }
                Action::OpenRelay(wish) => self.open_relay(&wish, turn),
                Action::CloseRelay { relay, lease } => self.close_relay(relay, lease, turn),
                Action::ConnectPeer { connection, relay, peer } => self.connect_peer(connection, relay, peer, turn),
                Action::Splice { stream, connection } => self.splice(stream, connection, turn),
                Action::ClosePeer { connection } => self.close_peer(connection),
                Action::CloseClient { client, cause } => self.close_client(client, cause, turn),
                Action::Adopt { client, ticket, message } => self.ask_for_adoption(client, ticket, message),
                Action::Bind { client, channel, relay, peer } => self.forwarder.bind(client, channel, relay, peer),
                Action::Unbind { client, channel, relay, peer } => self.forwarder.unbind(client, channel, relay, peer),
                Action::Started(record) => {
                    self.shared.client_came(record.client.listener);
                    self.set_authenticated(record.client, true, turn);
                    self.meters.allocation_started(&record);
                    self.shared.records.started(&record);
                }
                Action::Moved { from, to } => {
                    self.shared.client_came(to.listener);
                    self.shared.client_went(from.listener);
                    self.set_authenticated(from, false, turn);
                    self.set_authenticated(to, true, turn);
                }
                Action::Released { serial, transport, relay, family } => {
                    self.meters.relay_released(transport, family);
                    let media = self.media_of(&[relay]);
                    self.shared.relay_released(serial, ReleasedRelay { family, media });
                }
                Action::Ended(record, reason) => {
                    self.shared.client_went(record.client.listener);
                    self.set_authenticated(record.client, false, turn);
                    let released = self.shared.take_released(record.start.serial);
                    self.meters.allocation_ended(&record, reason, &released);
                    let media = released.into_iter().flat_map(|relay| relay.media);
                    let media: Vec<Summary> = media.chain(self.media_of(&record.relay_ids)).collect();
                    self.shared.records.ended(&record, reason, &media);
                }
                Action::Warn(warning) => self.warn(&warning),
            }
        }
    }

    fn answer_datagram(
        &mut self,
        client: Client,
        to: std::net::SocketAddr,
        from: ReplyFrom,
        message: &[u8],
        turn: Turn,
    ) {
        let index = match from {
            ReplyFrom::Same => client.listener,
            ReplyFrom::Alternate { address, port } => {
                let alternates = self
                    .listeners
                    .get(usize::from(client.listener))
                    .and_then(Option::as_ref)
                    .and_then(|own| own.alternates);
                match (alternates, address, port) {
                    (Some(others), true, true) => others.both,
                    (Some(others), true, false) => others.address,
                    (Some(others), false, true) => others.port,
                    (_, false, false) => client.listener,
                    // The server answers 420 where no alternates are configured.
                    (None, ..) => return,
                }
            }
        };
        let Some(Some(listener)) = self.listeners.get_mut(usize::from(index)) else { return };
        let from_ip = (index == client.listener).then(|| client.local.ip());
        let outgoing = Outgoing { payload: message, to, from_ip, tos: 0, dont_fragment: false };
        listener.push_to_client(&client, &outgoing, turn.instant, &mut self.meters);
    }

    /// What the media of an allocation was like, one entry per relay socket; nothing more comes for them.
    fn media_of(&mut self, relays: &[RelayId]) -> Vec<Summary> {
        let mut summaries = Vec::with_capacity(relays.len());
        for relay in relays {
            let Some(Relay::Udp(relay)) = self.relays.get_mut(relay.0 as usize) else { continue };
            relay.quality.finish();
            while let Some(event) = relay.quality.poll() {
                self.meters.media(event);
            }
            summaries.push(relay.quality.summary());
        }
        summaries
    }

    fn warn(&self, warning: &Warning) {
        match warning {
            Warning::QuotaReached { identity } => {
                tracing::warn!(%identity, "allocation quota reached; raise edge.auth.allocations_per_identity or look for a leak in the client");
            }
            Warning::ExpiredToken { identity } => {
                tracing::warn!(%identity, "an allocation ended because its token expired; the client should ask for a new one earlier");
            }
        }
    }

    fn ask_for_adoption(&mut self, client: Client, ticket: Vec<u8>, message: Vec<u8>) {
        let Some(owner) = self.server.shard_of_ticket(&ticket) else { return };
        let to = self.index;
        if let Some(owner) = self.shared.shards().get(usize::from(owner)) {
            // A full inbox loses the request; the client sends it again.
            let _ = owner.send(ToShard::Export { to, client, ticket, message });
        }
    }
}
