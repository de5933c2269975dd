//! Who has no business here: forged checks, floods, media from elsewhere.

use postern_ice::io::{Event, Ignored, Input, Role, SocketId};
use postern_ice::limits::{EARLY_CHECKS_MAX, PAIRS_MAX, PEER_REFLEXIVE_MAX, REFUSALS_PER_SEC_MAX};
use postern_turn::message::Message;

use crate::puppet::{Says, Stage, agent_at, code_of, description, puppet};
use crate::world::{RTP, at, millis, secs};

#[test]
fn a_check_with_a_wrong_password_or_name_teaches_nothing() {
    for says in [
        Says { password: Some("guessguessguessguessguess".into()), ..Says::default() },
        Says { username: Some("other:puppet".into()), ..Says::default() },
        Says { username: Some("".into()), ..Says::default() },
    ] {
        let mut stage = Stage::met(Role::Controlled, false);
        let answer = stage.check(66, &says).expect("a refusal");
        assert_eq!(code_of(&answer), Some(401));
        assert!(Message::decode(&answer).unwrap().integrity().is_none());
        let story = stage.world.hosts[stage.agent].agent.story();
        assert_eq!((story.remote.len(), story.pairs.len()), (1, 1));
    }
}

#[test]
fn a_check_without_fingerprint_or_damaged_gets_no_answer() {
    let mut stage = Stage::met(Role::Controlled, false);
    let request = stage.request(&Says::default());
    let mut bare = request[..request.len() - 8].to_vec();
    let length = (bare.len() - 20) as u16;
    bare[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(stage.exchange(0, &bare), None);
    for place in 0..request.len() {
        let mut damaged = request.clone();
        damaged[place] ^= 0x41;
        stage.world.inject(puppet(66), agent_at(), damaged);
        stage.world.inject(puppet(66), agent_at(), request[..place].to_vec());
    }
    stage.world.pass(millis(10));
    assert_eq!(stage.world.hosts[stage.agent].agent.story().remote.len(), 1);
}

#[test]
fn refusals_are_rare_in_a_flood() {
    let mut stage = Stage::met(Role::Controlled, false);
    stage.take_checks();
    for number in 0..5_000_u32 {
        let mut request = stage.request(&Says { username: Some("x:y".into()), ..Says::default() });
        request[16..20].copy_from_slice(&number.to_be_bytes());
        let end = request.len() - 8;
        let crc = postern_turn::fingerprint::value_of(&request[..end]);
        request[end + 4..].copy_from_slice(&crc.to_be_bytes());
        stage.world.inject(puppet(66), agent_at(), request);
    }
    stage.world.pass(millis(900));
    let refused = stage.world.astray.iter().filter(|(_, to, _)| *to == puppet(66)).count();
    assert_eq!(refused, REFUSALS_PER_SEC_MAX as usize);
}

#[test]
fn a_peer_from_everywhere_fills_no_table_beyond_its_limit() {
    let mut stage = Stage::new(Role::Controlled);
    for number in 0..200 {
        stage.check(number, &Says::default());
    }
    let told: Vec<_> = (300..500).map(puppet).collect();
    stage.world.hear(stage.agent, &description(&told, false));
    for number in 600..800 {
        stage.check(number, &Says::default());
    }
    let story = stage.world.hosts[stage.agent].agent.story();
    assert!(story.pairs.len() <= PAIRS_MAX, "{}", story.pairs.len());
    let learned = story.remote.iter().filter(|remote| !told.contains(&remote.address)).count();
    assert!(learned <= PEER_REFLEXIVE_MAX && EARLY_CHECKS_MAX <= 200, "{learned}");
    stage.world.pass(secs(60));
    assert!(stage.has(|event| matches!(event, Event::Failed { .. })));
}

#[test]
fn an_answer_nobody_asked_for_or_signed_by_another_is_nothing() {
    let mut stage = Stage::met(Role::Controlling, false);
    stage.world.pass(millis(60));
    let (_, check) = stage.take_checks().remove(0);
    // Our own check as its answer: the class alone is another.
    let mut forged = check.clone();
    forged[0..2].copy_from_slice(&0x0101_u16.to_be_bytes());
    let end = forged.len() - 8;
    let crc = postern_turn::fingerprint::value_of(&forged[..end]);
    forged[end + 4..].copy_from_slice(&crc.to_be_bytes());
    stage.world.inject(puppet(0), agent_at(), forged);
    stage.world.pass(millis(10));
    assert_eq!(stage.selected(), None);
}

#[test]
fn media_is_taken_from_where_checks_were_authentic_alone() {
    let mut stage = Stage::met(Role::Controlling, false);
    let rtp = [0x80; 172];
    let from = |stage: &mut Stage, port| {
        let (now, agent) = (stage.world.now, stage.agent);
        stage.world.hosts[agent].agent.handle_datagram(now, SocketId(0), puppet(port), &rtp)
    };
    let unknown = Input::Ignored(Ignored::UnknownSource);
    assert_eq!(from(&mut stage, 0), unknown);
    stage.check(0, &Says { role: postern_turn::attribute::Attribute::IceControlled(1), ..Says::default() });
    let media = Input::Media { component: RTP, from: puppet(0), payload: 0..172 };
    assert_eq!(from(&mut stage, 0), media);
    stage.answer(secs(1), |_| true);
    assert_eq!(from(&mut stage, 0), media);
    for port in 1..2_000 {
        assert_eq!(from(&mut stage, port), unknown);
    }
    let (now, agent) = (stage.world.now, stage.agent);
    let agent = &mut stage.world.hosts[agent].agent;
    for bytes in [&[][..], &[0x40], &[0x40, 0, 0, 0], &[0; 20], &[0xFF; 1_500]] {
        assert!(matches!(agent.handle_datagram(now, SocketId(0), at("10.6.6.6:6"), bytes), Input::Ignored(_)));
    }
    assert!(matches!(agent.handle_datagram(now, SocketId(9), puppet(0), &rtp), Input::Ignored(_)));
}

#[test]
fn a_flood_does_not_disturb_a_call() {
    let mut stage = Stage::met(Role::Controlling, false);
    stage.answer(secs(1), |_| true);
    let before = stage.world.hosts[stage.agent].events.len();
    for number in 0..2_000 {
        let garbage = vec![(number % 251) as u8; (number % 300) as usize];
        stage.world.inject(puppet(number), agent_at(), garbage);
    }
    stage.answer(secs(5), |_| true);
    assert_eq!(stage.world.hosts[stage.agent].events.len(), before);
    assert_eq!(stage.selected(), Some(puppet(0)));
}
