//! The end of a process while an allocation is on its way from one shard to another.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use postern_config::{Config, Source, load_source};
use postern_net::Reactor;
use postern_net::system::Clock;
use postern_telemetry::{Health, Metrics, Readiness};
use postern_token::{Issuer, KeyRing, Secret, Token};
use postern_turn::Server;
use postern_turn::attribute::Attribute;
use postern_turn::attribute::AttributeType;
use postern_turn::broker::{Broker, PoolOptions};
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey, PasswordAlgorithm};
use postern_turn::io::{Action, Client, Transport};
use postern_turn::message::{Class, Message, MessageWriter, Method, TransactionId};

use crate::descriptors::DescriptorBudget;
use crate::generation;
use crate::meters::Meters;
use crate::quality::ClockRates;
use crate::records::RecordSink;
use crate::shard::{Birth, Shard, Turn};
use crate::shared::{ShardHandle, Shared, ToShard};

const REALM: &str = "example.test";
const SECRET: &str = "sixteen-bytes-at-the-least";
const UDP: Attribute<'static> = Attribute::RequestedTransport(17);

fn config() -> Config {
    let text = format!(
        "[edge]\nrealm = \"{REALM}\"\nudp = [\"127.0.0.1:3478\"]\nmobility = true\n\
         [edge.relay]\naddresses = [\"127.0.0.1\"]\nports = \"21000-21999\"\n\
         [edge.auth]\nsecrets = [{{ id = \"k\", value = \"{SECRET}\" }}]\n"
    );
    load_source(&Source::text("edge.toml", &text, Path::new("/nonexistent")), &[]).expect("sound").config
}

/// Two shards that do not run yet, and what both have in common.
fn two_shards(records: &Path) -> (Shard, Shard, Arc<Shared>, Clock) {
    let config = config();
    let clock = Clock::new();
    let health = Arc::new(Health::new(2, Readiness::default(), || 0));
    let metrics = Metrics::new(2, Arc::clone(&health)).expect("a catalogue");
    let broker =
        Broker::new(PoolOptions { addresses: config.edge.relay.addresses.clone(), ports: 21_000..=21_999 }, [1; 32]);
    let options = Arc::new(generation::options(&config, &[], broker.live_ports()).expect("keys"));
    let records = RecordSink::file(records).expect("a file");
    let shared = Arc::new(Shared::new(broker, DescriptorBudget::new(100), records, metrics.control()));
    let common = postern_turn::options::Shared::new([2; 32]);
    let mut handles = Vec::new();
    let mut shards = [0, 1].map(|index: usize| {
        let reactor = Reactor::new().expect("epoll");
        let (sender, inbox) = sync_channel(16);
        let (generation_sender, generations) = sync_channel(1);
        let streams_gauge = Arc::default();
        handles.push(ShardHandle {
            inbox: sender,
            generations: generation_sender,
            waker: reactor.waker(),
            streams: Arc::clone(&streams_gauge),
        });
        let meters =
            Meters::new(metrics.shard(index).expect("its cells"), health.heartbeat(index).expect("its heartbeat"));
        let server = Server::new(Arc::clone(&options), [index as u8; 32], common.for_shard(index as u8));
        Some(Shard::new(Birth {
            index,
            server,
            reactor,
            shared: Arc::clone(&shared),
            meters,
            media: Arc::new(ClockRates::new([])),
            relay_buffer_bytes: 65_536,
            inbox,
            generations,
            streams_gauge,
            clock,
        }))
    });
    shared.publish_shards(handles);
    (shards[0].take().expect("made"), shards[1].take().expect("made"), shared, clock)
}

fn client(port: u16) -> Client {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Client { transport: Transport::Udp, listener: 0, stream: 0, local: at(3478), remote: at(port) }
}

/// A request with these attributes, signed where a nonce is known.
fn request(method: Method, attributes: &[Attribute<'_>], signature: Option<(&Token, &[u8])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        MessageWriter::new(&mut bytes, Class::Request, method, TransactionId::new([method.number() as u8; 12]));
    for attribute in attributes {
        writer.attribute(attribute);
    }
    if let Some((token, nonce)) = signature {
        let (username, password) = (token.username.as_bytes(), token.password().as_bytes());
        let key = IntegrityKey::long_term(PasswordAlgorithm::Md5, username, REALM.as_bytes(), password);
        writer.attribute(&Attribute::Username(username)).attribute(&Attribute::Realm(REALM.as_bytes()));
        writer.attribute(&Attribute::Nonce(nonce)).integrity(IntegrityAlgorithm::Sha1, &key);
    }
    writer.finish().expect("short enough");
    bytes
}

/// Hands a request in and answers what the server said; relay sockets are opened as the shard does it.
fn ask(shard: &mut Shard, from: Client, request: &[u8], turn: Turn) -> Vec<u8> {
    shard.server.handle_datagram(turn.now, from, 0, request);
    let mut answer = Vec::new();
    while let Some(action) = shard.server.poll() {
        match action {
            Action::ToClient { message, .. } => answer = message,
            Action::OpenRelay(wish) => shard.open_relay(&wish, turn),
            Action::Started(record) => {
                shard.shared.client_came(record.client.listener);
                shard.shared.records.started(&record);
            }
            other => panic!("{other:?}"),
        }
    }
    answer
}

fn attribute(message: &[u8], wanted: AttributeType) -> Vec<u8> {
    let message = Message::decode(message).expect("an answer");
    let found = message.attributes().find(|attribute| attribute.attribute_type == wanted);
    found.map(|attribute| attribute.value.to_vec()).unwrap_or_else(|| panic!("no {wanted:?}"))
}

/// A file that goes away with its owner.
struct RecordFile(PathBuf);

impl Drop for RecordFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn an_allocation_that_is_between_two_shards_when_the_process_ends_has_its_end_recorded() {
    let file = RecordFile(std::env::temp_dir().join(format!("postern-leaving-{}.jsonl", std::process::id())));
    let (mut old, new, shared, clock) = two_shards(&file.0);
    let token = Issuer::new(&KeyRing::new(vec![Secret::new("k", SECRET).expect("long")]).expect("one"))
        .issue_classic(Some("alice"), clock.read().unix_secs + 600)
        .expect("a token");
    let turn = || Turn::from(clock.read());
    let challenge = ask(&mut old, client(4000), &request(Method::Allocate, &[UDP], None), turn());
    let nonce = attribute(&challenge, AttributeType::NONCE);
    let wish = [UDP, Attribute::MobilityTicket(&[])];
    let granted = ask(&mut old, client(4000), &request(Method::Allocate, &wish, Some((&token, &nonce))), turn());
    let ticket = attribute(&granted, AttributeType::MOBILITY_TICKET);

    // The shard that it goes to hears of the end first, and has left its loop when the allocation comes.
    assert!(shared.shards()[1].send(ToShard::End).is_ok());
    old.export(1, client(4001), &ticket, request(Method::Refresh, &[], None), turn());
    shared.shard_ended();
    new.run().expect("epoll goes on");

    shared.records.close();
    let records = std::fs::read_to_string(&file.0).expect("records");
    let last = records.lines().last().expect("one");
    assert!(last.contains("\"allocation_ended\"") && last.contains("\"shutdown\""), "{records}");
    assert_eq!(shared.allocations(), 0);
    assert_eq!(shared.descriptors.used(), 0, "no socket is left, nor its place");
}
