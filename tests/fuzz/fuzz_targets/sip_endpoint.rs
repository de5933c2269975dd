//! An endpoint that answers every request and sends one of its own for each, over streams and datagrams; in the end
//! everything ends. The input is a list of pieces: kind, length, bytes.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use postern_sip::io::Answer;
use postern_sip::options::EndpointOptions;
use postern_sip::{Action, Core, Endpoint, Event, Method, Source, StatusCode, Target, Transport};

fuzz_target!(|input: &[u8]| {
    let mut now = Instant::now();
    let local = "192.0.2.1:5060".parse().unwrap();
    let options = EndpointOptions { udp: vec![local], connections_max: 8, ..EndpointOptions::default() };
    let mut endpoint = Endpoint::new(options, [1; 32]);
    let remote = "192.0.2.9:5060".parse().unwrap();
    let source = Source { transport: Transport::Tcp, local, remote, names: [].into(), conn: None };
    let mut conn = endpoint.handle_accepted(source.clone(), now);
    let mut rest = input;
    while let [kind, length, tail @ ..] = rest {
        let (bytes, later) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = later;
        match kind % 4 {
            0 => endpoint.handle_datagram(local, remote, bytes, now),
            1 => {
                now += Duration::from_millis(u64::from(*length) * 100);
                endpoint.handle_timeout(now);
            }
            _ => {
                conn = conn.or_else(|| endpoint.handle_accepted(source.clone(), now));
                conn.inspect(|conn| endpoint.handle_bytes(*conn, bytes, now));
            }
        }
        drain(&mut endpoint, now);
        conn = conn.filter(|conn| endpoint.source(*conn).is_some());
    }
    for _ in 0..10_000 {
        let Some(at) = endpoint.next_timeout() else { break };
        now = now.max(at);
        endpoint.handle_timeout(now);
        drain(&mut endpoint, now);
    }
    assert_eq!((endpoint.transactions(), endpoint.connections()), ((0, 0), 0));
});

fn drain(endpoint: &mut Endpoint, now: Instant) {
    while let Some(event) = endpoint.poll_event() {
        if let Event::Request { tx, mut request, .. } = event {
            if let Some(response) = endpoint.response(tx, StatusCode::MOVED_TEMPORARILY) {
                endpoint.send_response(tx, response, now);
            }
            if let Some(target) = Target::of(&request).filter(|_| request.method != Method::Cancel) {
                request.headers.pop_first_value("Via");
                let _ = endpoint.send_request(request, target, now);
            }
        }
    }
    while let Some(action) = endpoint.poll_action() {
        match action {
            Action::Connect { conn, .. } => endpoint.handle_connect_failed(conn, now),
            Action::Resolve { question, .. } => endpoint.handle_resolved(question, Answer::None, now),
            _ => {}
        }
    }
}
