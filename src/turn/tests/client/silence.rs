//! A watched server that dies is noticed; one that is only quiet is not taken for dead.

use std::time::Duration;

use postern_turn::client::{ClientEvent, Failure};

use crate::line::{Line, peer, secs};

const LIMIT: Duration = Duration::from_secs(2);
const BINDING: u16 = 0x0001;

fn watched() -> Line {
    let mut line = Line::new();
    line.allocated();
    line.permit(peer());
    line.client.watch(line.now, Some(LIMIT));
    line
}

#[test]
fn a_dead_server_is_noticed_within_the_limit() {
    let mut line = watched();
    line.pass(secs(10));
    line.edge.is_dead = true;
    line.pass(LIMIT + Duration::from_millis(10));
    assert_eq!(line.events.last(), Some(&ClientEvent::Failed(Failure::Silent)));
}

#[test]
fn a_dead_server_is_noticed_in_the_middle_of_media() {
    let mut line = watched();
    let relayed = line.client.allocated().unwrap().relayed;
    for _ in 0..200 {
        line.send_back(relayed, peer(), &[0x80; 172]);
        line.pass(Duration::from_millis(20));
    }
    assert_eq!(line.count_sent(BINDING), 0, "media is sign of life enough");
    line.edge.is_dead = true;
    line.pass(LIMIT + Duration::from_millis(50));
    assert_eq!(line.events.last(), Some(&ClientEvent::Failed(Failure::Silent)));
}

#[test]
fn a_quiet_server_that_answers_lives_on_lossy_lines_too() {
    let mut line = watched();
    line.loss_per_mille = 150;
    line.pass(secs(600));
    assert!(line.client.allocated().is_some(), "{:?}", line.events);
    assert!(line.count_sent(BINDING) < 2_400, "{} probes", line.count_sent(BINDING));
}

#[test]
fn without_a_watch_nothing_is_asked() {
    let mut line = watched();
    line.client.watch(line.now, None);
    line.pass(secs(60));
    assert_eq!(line.count_sent(BINDING), 0);
}
