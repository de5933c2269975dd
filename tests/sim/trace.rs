//! Steps in words, for whoever has to find out what went wrong.

use postern_turn::attribute::{Attribute, AttributeType};
use postern_turn::io::Client;
use postern_turn::message::{Class, Message};

use crate::effect::{Effect, Input, ShortWay};

pub fn input(input: &Input) -> String {
    match input {
        Input::Client { client, bytes } => format!("{} sends {}", name(client), frame(bytes)),
        Input::ClientClosed { client } => format!("{} closes", name(client)),
        Input::Peer { relay, from, payload } => format!("{from} sends {} B to relay {relay}", payload.len()),
        Input::Icmp { relay, icmp } => format!("ICMP {} about {} at relay {relay}", icmp.icmp_type, icmp.peer.0),
        Input::Open { shard, wish } => format!("shard {shard} opens {wish:?}"),
        Input::Adopt { to, client, .. } => format!("shard {to} adopts for {}", name(client)),
        Input::Reload(rules) => format!(
            "reload: keys {:?}, allow {:?}, deny {:?}, {:?}, {:?}",
            rules.secrets.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            rules.allow_peers,
            rules.deny_peers,
            rules.quotas,
            rules.lifetimes,
        ),
        other => format!("{other:?}"),
    }
}

pub fn effect(effect: &Effect) -> String {
    let short = |way: &ShortWay| format!("{:x} {} <-> {} of {}", way.channel, way.relay, way.peer, name(&way.client));
    match effect {
        Effect::Answer { client, message } => format!("{} is told {}", name(client), frame(message)),
        Effect::ToClient { client, frame: bytes } => format!("{} gets {}", name(client), frame(bytes)),
        Effect::ToPeer { from, to, payload } => format!("{} B from {from} to {to}", payload.len()),
        Effect::Asked { wish, .. } => format!("asks for {wish:?}"),
        Effect::Handover { to, .. } => format!("to be handed to shard {to}"),
        Effect::Bound(way) => format!("short way {}", short(way)),
        Effect::Unbound(way) => format!("no short way {}", short(way)),
        Effect::Started(record) => format!("started {} of {}", record.serial, record.identity),
        Effect::Ended(record, reason) => format!("ended {}: {reason:?}", record.start.serial),
        other => format!("{other:?}"),
    }
}

fn name(client: &Client) -> String {
    match client.stream {
        0 => client.remote.to_string(),
        stream => format!("{} (stream {stream})", client.remote),
    }
}

fn frame(bytes: &[u8]) -> String {
    let Ok(message) = Message::decode(bytes) else {
        return match bytes {
            [a @ 0x40..=0x4f, b, ..] => format!("{a:02x}{b:02x} with {} B", bytes.len() - 4),
            _ => format!("{} B that are no message", bytes.len()),
        };
    };
    let mut text = format!("{:?}", message.method());
    if message.class() != Class::Request {
        text += &format!(" {:?}", message.class());
    }
    let id = message.transaction_id();
    for raw in message.attributes() {
        let silent = [AttributeType::REALM, AttributeType::NONCE, AttributeType::SOFTWARE];
        if silent.contains(&raw.attribute_type) || raw.attribute_type == AttributeType::PASSWORD_ALGORITHMS {
            continue;
        }
        text += &match Attribute::decode(raw.attribute_type, raw.value, &id) {
            Ok(Attribute::ErrorCode(code, _)) => format!(" {}", code.number()),
            Ok(Attribute::Data(data)) => format!(" {} B", data.len()),
            Ok(Attribute::Username(name)) => format!(" by {}", String::from_utf8_lossy(name)),
            Ok(Attribute::XorPeerAddress(peer)) => format!(" peer {peer}"),
            Ok(Attribute::XorRelayedAddress(relayed)) => format!(" relayed {relayed}"),
            Ok(Attribute::MobilityTicket(ticket)) => format!(" ticket {:02x?}", &ticket[..ticket.len().min(4)]),
            Ok(other) => format!(" {other:?}"),
            Err(_) => format!(" {:#06x}?", raw.attribute_type.0),
        };
    }
    let signed = if message.integrity().is_some() { ", signed" } else { "" };
    format!("{text}{signed} #{:02x}{:02x}", id.0[4], id.0[5])
}
