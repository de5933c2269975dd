//! Calls over lossy, reordering, doubling datagrams and over connections that break, by seed.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_sip::offer_answer::OfferAnswer;
use postern_sip::sdp_media::Direction;
use postern_sip::user_agent_io::EndCause;
use postern_sip::{CallEvent, CallHandle, Method, StatusCode};

use crate::network::{Network, Weather};
use crate::room::{A, B, Room, SECOND, invite, local, negotiation, room, sdp, uri};

pub const STORM: Weather =
    Weather { latency_ms: 20, jitter_ms: 300, lost_percent: 25, doubled_percent: 10, damaged_percent: 0 };

/// What a called role does by itself: answers calls and offers, hangs up after a while, confirms BYEs.
#[derive(Default)]
pub struct Roles {
    pub negotiations: BTreeMap<(usize, CallHandle), OfferAnswer>,
    pub ended: BTreeMap<(usize, CallHandle), Vec<EndCause>>,
    pub established: usize,
    /// Answers that did not fit their offer.
    pub misfits: usize,
    reoffered: usize,
}

impl Roles {
    pub fn act(&mut self, net: &mut Network, party: usize) {
        let events = std::mem::take(&mut net.parties[party].events);
        if events.is_empty() {
            return;
        }
        let now = net.now;
        let agent = net.parties[party].agent();
        for event in events {
            match event {
                CallEvent::Incoming { call, offer, .. } => {
                    let mut own = negotiation(party);
                    let text = match offer {
                        Some(offer) => own.answer(&offer, &local(party, Direction::SendRecv)).map(|(_, text)| text),
                        None => Ok(own.offer(&local(party, Direction::SendRecv))),
                    };
                    self.negotiations.insert((party, call), own);
                    // Only a damaged INVITE leads elsewhere than to a dialog.
                    let _ = match text {
                        Ok(text) => agent.answer(call, &text, now),
                        Err(_) => agent.reject(call, StatusCode::NOT_ACCEPTABLE_HERE, &[], now),
                    };
                }
                CallEvent::Offer { call, offer } => {
                    let own = self.negotiations.get_mut(&(party, call)).unwrap();
                    match own.answer(&offer, &local(party, Direction::SendRecv)) {
                        Ok((_, text)) => agent.answer_offer(call, &text, now).unwrap(),
                        Err(_) => agent.refuse_offer(call, &[], now).unwrap(),
                    }
                }
                CallEvent::OfferWanted { call } => {
                    let own = self.negotiations.get_mut(&(party, call)).unwrap();
                    let text = own.offer(&local(party, Direction::SendRecv));
                    agent.answer_offer(call, &text, now).unwrap();
                }
                CallEvent::Answer { call, answer } => {
                    let own = self.negotiations.get_mut(&(party, call)).unwrap();
                    if own.on_answer(&answer).is_err() {
                        self.misfits += 1;
                    }
                }
                CallEvent::OfferRefused { call, .. } => {
                    self.negotiations.get_mut(&(party, call)).unwrap().on_offer_failed();
                }
                CallEvent::OfferDue { call } => self.reoffer(agent, party, call, now),
                CallEvent::Established { .. } => self.established += 1,
                CallEvent::Bye { call, .. } => agent.confirm_bye(call, now).unwrap(),
                CallEvent::Ended { call, cause } => self.ended.entry((party, call)).or_default().push(cause),
                _ => {}
            }
        }
    }

    pub fn reoffer(
        &mut self,
        agent: &mut postern_sip::UserAgent,
        party: usize,
        call: CallHandle,
        now: std::time::Instant,
    ) {
        let own = self.negotiations.get_mut(&(party, call)).unwrap();
        if own.is_offering() {
            return;
        }
        let text = own.offer(&local(party, Direction::SendOnly));
        match agent.reoffer(call, &text, now) {
            Ok(()) => self.reoffered += 1,
            Err(_) => own.on_offer_failed(),
        }
    }
}

/// One call by UDP in a storm: answered, re-offered from both sides, hung up. Every call ends once on each side, both
/// sides agree, and nothing is left.
fn stormy_call(seed: u64, delayed: bool, weather: Weather) -> (Roles, Room) {
    let mut room = room(2);
    room.net = with_seed(room.net, seed);
    room.net.weather = weather;
    let mut roles = Roles::default();
    let mut own = negotiation(A);
    let mut call = invite(uri(B, "udp"));
    call.offer = (!delayed).then(|| own.offer(&local(A, Direction::SendRecv)));
    let now = room.net.now;
    let out = room.agent(A).invite(call, now).unwrap();
    roles.negotiations.insert((A, out), own);
    room.net.run_with(SECOND * 40, |net, party| roles.act(net, party));
    let incoming = roles.negotiations.keys().find(|(party, _)| *party == B).map(|(_, call)| *call);
    if let Some(incoming) = incoming {
        let now = room.net.now;
        for (party, call) in [(A, out), (B, incoming)] {
            if !roles.ended.contains_key(&(party, call)) {
                roles.reoffer(room.agent(party), party, call, now);
            }
        }
    }
    room.net.run_with(SECOND * 60, |net, party| roles.act(net, party));
    let now = room.net.now;
    let _ = room.agent(A).hang_up(out, None, now);
    room.net.run_with(SECOND * 120, |net, party| roles.act(net, party));
    (roles, room)
}

pub fn with_seed(old: Network, seed: u64) -> Network {
    let mut net = Network::new(seed);
    net.now = old.now;
    net.parties = old.parties;
    net.names = old.names;
    net
}

#[test]
fn calls_survive_loss_reordering_and_doubling_and_leave_nothing_behind() {
    let (mut answered, mut reoffered) = (0, 0);
    for seed in 0..60 {
        let (roles, room) = stormy_call(seed, seed.is_multiple_of(3), STORM);
        for (key, causes) in &roles.ended {
            assert_eq!(causes.len(), 1, "seed {seed}: {key:?} {causes:?}");
        }
        for party in [A, B] {
            assert!(room.net.parties[party].is_idle(), "seed {seed}");
        }
        assert!(room.responses(B, StatusCode::LOOP_DETECTED).is_empty());
        answered += usize::from(roles.established == 1);
        assert!(roles.established <= 1 && roles.misfits == 0, "seed {seed}");
        reoffered += roles.reoffered;
    }
    assert!(answered >= 55, "{answered} of 60");
    assert!(reoffered >= 60, "{reoffered}");
}

#[test]
fn both_sides_of_a_stormy_call_agree_on_its_media() {
    for seed in 100..130 {
        let mut room = room(2);
        room.net = with_seed(room.net, seed);
        room.net.weather = STORM;
        let mut roles = Roles::default();
        let mut own = negotiation(A);
        let mut call = invite(uri(B, "udp"));
        call.offer = Some(own.offer(&local(A, Direction::SendRecv)));
        let now = room.net.now;
        let out = room.agent(A).invite(call, now).unwrap();
        roles.negotiations.insert((A, out), own);
        room.net.run_with(SECOND * 32, |net, party| roles.act(net, party));
        let now = room.net.now;
        if roles.ended.is_empty() {
            roles.reoffer(room.agent(A), A, out, now);
        }
        room.net.run_with(SECOND * 40, |net, party| roles.act(net, party));
        if !roles.ended.is_empty() {
            continue;
        }
        let media: Vec<_> = roles.negotiations.values().map(|one| one.media().unwrap()).collect();
        assert_eq!(media.len(), 2);
        assert_eq!(media[0].codec, media[1].codec, "seed {seed}");
        assert_eq!(media[0].direction, media[1].direction.reversed(), "seed {seed}");
    }
}

#[test]
fn a_call_outlives_its_connection_and_makes_a_new_one() {
    let mut room = room(2);
    let (out, incoming) = room.talk("tcp");
    room.net.break_connections(B);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::ConnectionLost { call } if *call == out)));
    assert!(
        room.events(B).iter().any(|event| matches!(event, CallEvent::ConnectionLost { call } if *call == incoming))
    );
    assert_eq!(room.net.connections(B), 0);
    let now = room.net.now;
    room.agent(B).hang_up(incoming, None, now).unwrap();
    room.run(SECOND);
    assert_eq!(room.end(A), Some(EndCause::Peer));
    room.assert_empty();
}

#[test]
fn requests_of_the_called_side_come_back_over_the_caller_s_connection() {
    let mut room = room(2);
    let (_, incoming) = room.talk("tcp");
    let before = room.net.connections(A);
    let now = room.net.now;
    room.agent(B).reoffer(incoming, &sdp("sendrecv"), now).unwrap();
    room.run(Duration::from_millis(100));
    assert_eq!(room.requests(B, Method::Invite).len(), 1);
    assert!(room.events(A).iter().any(|event| matches!(event, CallEvent::Offer { .. })));
    assert_eq!((before, room.net.connections(A)), (1, 1));
}

#[test]
fn an_answer_finds_its_caller_though_the_connection_of_the_invite_broke() {
    let mut room = room(2);
    let (_, incoming) = room.call("tcp");
    let now = room.net.now;
    room.agent(B).ring(incoming, now).unwrap();
    room.run(SECOND);
    room.events(A);
    room.net.break_connections(A);
    room.run(SECOND);
    room.answer(incoming);
}

#[test]
fn a_bye_that_reaches_nobody_still_ends_the_call_here() {
    let mut room = room(2);
    let (out, _) = room.talk("tcp");
    room.net.break_connections(A);
    room.net.dead.push(B);
    let now = room.net.now;
    room.agent(A).hang_up(out, None, now).unwrap();
    assert_eq!(room.events(A).iter().filter(|event| matches!(event, CallEvent::Ended { .. })).count(), 1);
    room.run(SECOND * 45);
    assert_eq!(room.agent(A).calls(), 0);
}

#[test]
fn damaged_messages_harm_nobody_and_every_call_ends() {
    let hail = Weather { lost_percent: 5, damaged_percent: 30, ..STORM };
    for seed in 0..150 {
        let (mut roles, mut room) = stormy_call(seed, seed.is_multiple_of(3), hail);
        // What the other side never heard of ends by its session timer.
        room.net.weather.damaged_percent = 0;
        room.net.run_with(SECOND * 4000, |net, party| roles.act(net, party));
        for party in [A, B] {
            assert!(room.net.parties[party].is_idle(), "seed {seed}, party {party}");
        }
        assert!(roles.ended.values().all(|causes| causes.len() == 1), "seed {seed}");
    }
}
