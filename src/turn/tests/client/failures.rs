//! How an allocation is not made: every answer that a server can give, and none.

use postern_turn::client::{ClientEvent, EdgeFailure, Failure};
use postern_turn::error_code::ErrorCode;
use postern_turn::io::{Family, RelayFailure, Transport};
use postern_turn::options::Quotas;

use crate::edge::Wishes;
use crate::line::{Line, at, secs, server};

fn failure_by(wishes: Wishes, relay: Option<RelayFailure>) -> Failure {
    let mut line = Line::with(wishes, |_, _| {});
    line.edge.fail_relays(relay);
    line.pass(secs(2));
    match line.events.last() {
        Some(ClientEvent::Failed(failure)) => *failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals_are_told_apart_and_belong_to_one_of_three_edge_failures() {
    let table = [
        (RelayFailure::Quota, Failure::Quota, EdgeFailure::OutOfPorts),
        (RelayFailure::NoPort, Failure::Capacity, EdgeFailure::OutOfPorts),
        (RelayFailure::Exhausted, Failure::Capacity, EdgeFailure::OutOfPorts),
        (RelayFailure::Family, Failure::Refused(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED), EdgeFailure::Unreachable),
    ];
    for (cause, expected, edge) in table {
        let failure = failure_by(Wishes::default(), Some(cause));
        assert_eq!((failure, failure.edge()), (expected, edge), "{cause:?}");
    }
}

#[test]
fn the_second_allocation_beyond_a_quota_of_one_is_refused() {
    let quotas = Quotas { allocations_per_identity: 1, ..Quotas::default() };
    let mut line = Line::with(Wishes { quotas, ..Wishes::default() }, |_, _| {});
    line.allocated();
    let settings = line.settings(line.edge.token(secs(36_000)));
    line.replace_client("198.51.100.1:4001", settings);
    line.pass(secs(1));
    assert_eq!(line.events, [ClientEvent::Failed(Failure::Quota)]);
}

#[test]
fn a_pool_of_one_port_is_soon_empty() {
    let mut line = Line::with(Wishes { ports: 50_000..=50_000, ..Wishes::default() }, |_, _| {});
    line.allocated();
    let settings = line.settings(line.edge.token(secs(36_000)));
    line.replace_client("198.51.100.1:4001", settings);
    line.pass(secs(1));
    assert_eq!(line.events, [ClientEvent::Failed(Failure::Capacity)]);
}

#[test]
fn a_family_that_the_edge_does_not_relay_is_refused() {
    let mut line = Line::with(Wishes::default(), |_, settings| settings.family = Some(Family::V6));
    line.pass(secs(1));
    assert_eq!(line.events, [ClientEvent::Failed(Failure::Refused(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED))]);
}

#[test]
fn a_server_that_is_not_there_gets_seven_requests_in_39_5_seconds() {
    let mut line = Line::new();
    line.edge.is_dead = true;
    line.pass(secs(39));
    assert_eq!((line.sent.len(), line.events.len()), (7, 0));
    line.pass(secs(1));
    assert_eq!(line.events, [ClientEvent::Failed(Failure::NoAnswer)]);
    assert_eq!(Failure::NoAnswer.edge(), EdgeFailure::Unreachable);
}

#[test]
fn on_a_stream_it_gets_one() {
    let mut line = Line::with(Wishes::default(), |_, settings| settings.transport = Transport::Tcp);
    line.edge.is_dead = true;
    line.pass(secs(40));
    assert_eq!(line.sent.len(), 1);
    assert_eq!(line.events, [ClientEvent::Failed(Failure::NoAnswer)]);
}

#[test]
fn what_an_earlier_life_left_on_the_5_tuple_is_given_back_first() {
    let mut line = Line::new();
    let former = line.allocated().relayed;
    let settings = line.settings(line.edge.token(secs(36_000)));
    line.replace_client("198.51.100.1:4000", settings);
    let relayed = line.allocated().relayed;
    assert_ne!(relayed, former);
    assert_eq!(line.edge.server.allocations(), 1);
}

#[test]
fn what_another_user_holds_on_the_5_tuple_is_not_touched() {
    let mut line = Line::with(Wishes::default(), |edge, settings| settings.credentials = edge.classic_token(secs(900)));
    line.allocated();
    let settings = line.settings(line.edge.token(secs(36_000)));
    line.replace_client("198.51.100.1:4000", settings);
    line.pass(secs(1));
    assert_eq!(line.events, [ClientEvent::Failed(Failure::Mismatch)]);
    assert_eq!(line.edge.server.allocations(), 1);
}

#[test]
fn a_redirection_is_followed_once() {
    let other = at("203.0.113.20:3478");
    let mut line = Line::idle(Wishes { alternate: Some(other), ..Wishes::default() }, |_, _| {});
    line.edge.drain(line.now);
    line.client.start(line.now);
    line.take_out();
    line.pass(secs(2));
    assert_eq!(line.client.server(), other);
    assert_eq!(
        line.events,
        [ClientEvent::Redirected { server: other }, ClientEvent::Failed(Failure::Redirects)],
        "here the other is the same, and sends away again"
    );
}

#[test]
fn a_redirection_over_a_stream_waits_for_a_new_connection() {
    let other = at("203.0.113.20:3478");
    let mut line = Line::idle(Wishes { alternate: Some(other), ..Wishes::default() }, |_, settings| {
        settings.transport = Transport::Tcp;
    });
    line.edge.drain(line.now);
    line.client.start(line.now);
    line.take_out();
    line.pass(secs(2));
    assert_eq!(line.events, [ClientEvent::Redirected { server: other }]);
    assert_eq!(line.client.next_timeout(), None);
    let before = line.sent.len();
    line.client.start(line.now);
    line.take_out();
    assert_eq!(line.sent.len(), before + 1);
    assert_ne!(line.client.server(), server());
}
