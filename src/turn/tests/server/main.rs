//! The server as a table of what goes in and what comes out, in virtual time: one behaviour for each test.

#[path = "../harness/mod.rs"]
mod harness;

mod allocate;
mod amplification;
mod authentication;
mod binding;
mod channels;
mod discovery;
mod drain;
mod families;
mod grants;
mod icmp;
mod messages;
mod mobility;
mod permissions;
mod refresh;
mod relaying;
mod reload;
mod repeats;
mod short_way;
mod strangers;
mod streams;
mod tcp;

/// What nearly every test needs.
mod prelude {
    pub use std::net::SocketAddr;

    pub use postern_turn::attribute::{Attribute, AttributeType, EvenPort, FamilyWish};
    pub use postern_turn::integrity::{IntegrityAlgorithm, PasswordAlgorithm};
    pub use postern_turn::io::{Action, Client, CloseCause, DropReason, Family, Transport, Verdict};
    pub use postern_turn::message::{Class, Method};
    pub use postern_turn::record::EndReason;

    pub use crate::harness::{Answer, Endpoint, SECOND, World, token};

    pub const UDP: Attribute<'static> = Attribute::RequestedTransport(17);
    pub const TCP: Attribute<'static> = Attribute::RequestedTransport(6);
    pub const V4: FamilyWish = FamilyWish::Known(Family::V4);
    pub const V6: FamilyWish = FamilyWish::Known(Family::V6);

    pub fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    pub fn peer() -> SocketAddr {
        at("192.0.2.7:5000")
    }

    pub fn other_peer() -> SocketAddr {
        at("192.0.2.8:5000")
    }

    /// A client at the usual address with an allocation and, when asked for, a permission for `peer`.
    pub fn allocated(world: &mut World) -> (Endpoint, SocketAddr) {
        let mut alice = Endpoint::new(world, "198.51.100.1:4000");
        let relayed = world.allocate(&mut alice);
        (alice, relayed)
    }

    pub fn permit(world: &mut World, endpoint: &mut Endpoint, peer: SocketAddr) {
        let answer = world.ask(endpoint, Method::CreatePermission, &[Attribute::XorPeerAddress(peer)]);
        assert_eq!(answer.code(), None);
    }

    pub fn bind(world: &mut World, endpoint: &mut Endpoint, number: u16, peer: SocketAddr) -> Option<u16> {
        world
            .ask(endpoint, Method::ChannelBind, &[Attribute::ChannelNumber(number), Attribute::XorPeerAddress(peer)])
            .code()
    }

    /// The connections that these actions close, and why.
    pub fn closings(actions: &[Action]) -> Vec<(Client, CloseCause)> {
        let closing = |action: &Action| match action {
            Action::CloseClient { client, cause } => Some((*client, *cause)),
            _ => None,
        };
        actions.iter().filter_map(closing).collect()
    }

    /// How allocations ended since the last look.
    pub fn ends(world: &mut World) -> Vec<EndReason> {
        let actions = world.take_actions().into_iter();
        actions.filter_map(|action| if let Action::Ended(_, reason) = action { Some(reason) } else { None }).collect()
    }
}
