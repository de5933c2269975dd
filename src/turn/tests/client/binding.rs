//! The question for one's own address.

use std::time::{Duration, Instant};

use postern_turn::client::{BindingClient, BindingEvent};
use postern_turn::message::Message;

use crate::edge::{Edge, Out, Wishes};
use crate::line::{at, server};

#[test]
fn the_server_tells_our_address_even_when_it_had_to_be_asked_twice() {
    let start = Instant::now();
    let mut edge = Edge::new(start, server(), Wishes::default());
    let mut client = BindingClient::new(start, [1; 32]);
    let lost = client.poll_transmit().expect("a request");
    assert_eq!((client.poll_transmit(), client.poll_event()), (None, None));
    let later = client.next_timeout().expect("a repeat");
    assert_eq!(later, start + Duration::from_millis(500));
    client.handle_timeout(later);
    let request = client.poll_transmit().expect("the request once more");
    assert_eq!(request, lost);
    edge.handle_datagram(later, at("198.51.100.1:4000"), &request);
    let Some(Out::ToClient { bytes, .. }) = edge.out.pop() else { panic!("no answer") };
    // Not an answer to this question.
    let mut other = bytes.clone();
    other[8] ^= 1;
    assert!(!client.handle_datagram(&other) && !client.handle_datagram(&request) && !client.handle_datagram(b"x"));
    assert!(Message::decode(&bytes).is_ok());
    assert!(client.handle_datagram(&bytes));
    assert_eq!(client.poll_event(), Some(BindingEvent::Mapped(at("198.51.100.1:4000"))));
    assert!(!client.handle_datagram(&bytes), "once");
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn a_server_that_is_not_there_is_asked_seven_times() {
    let start = Instant::now();
    let mut client = BindingClient::new(start, [1; 32]);
    let mut asked = usize::from(client.poll_transmit().is_some());
    let mut now = start;
    while let Some(at) = client.next_timeout() {
        now = at;
        client.handle_timeout(now);
        asked += usize::from(client.poll_transmit().is_some());
    }
    assert_eq!((asked, now - start), (7, Duration::from_millis(39_500)));
    assert_eq!(client.poll_event(), Some(BindingEvent::NoAnswer));
}
