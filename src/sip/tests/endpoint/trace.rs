//! What is told of messages that went by.

use postern_sip::trace::Way;

use crate::harness::*;

fn told(bed: &mut Bed) -> Vec<String> {
    let line = |traced: postern_sip::trace::Traced| {
        let arrow = if traced.way == Way::Received { "->" } else { "<-" };
        format!("{arrow} {} {} ({})", traced.call_id, traced.gist, traced.cseq)
    };
    std::iter::from_fn(|| bed.endpoint.poll_traced()).map(line).collect()
}

#[test]
fn messages_of_both_ways_are_told_by_method_and_status_once_somebody_asks() {
    let mut bed = Bed::new();
    bed.datagram(&incoming("OPTIONS", "z9hG4bKbefore"));
    bed.incoming();
    assert!(told(&mut bed).is_empty(), "nobody has asked");
    bed.endpoint.set_tracing(true);
    let invite = incoming("INVITE", "z9hG4bKa");
    bed.datagram(&invite);
    let call_id = invite.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().to_owned();
    let tx = bed.incoming();
    bed.answer(tx, 486);
    bed.datagram(&incoming("ACK", "z9hG4bKa"));
    let told = told(&mut bed);
    let told: Vec<&str> = told.iter().filter_map(|line| line.split_once(" (").map(|(line, _)| line)).collect();
    let expected = [format!("-> {call_id} INVITE"), format!("<- {call_id} 486 Busy Here"), format!("-> {call_id} ACK")];
    assert_eq!(told, expected);
}

#[test]
fn what_nobody_takes_is_bounded() {
    let mut bed = Bed::new();
    bed.endpoint.set_tracing(true);
    for _ in 0..postern_sip::limits::TRACED_MAX + 10 {
        bed.datagram(&incoming("ACK", "z9hG4bKnone"));
    }
    assert_eq!(told(&mut bed).len(), postern_sip::limits::TRACED_MAX);
}
