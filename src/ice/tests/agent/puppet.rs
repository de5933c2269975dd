//! Peers that behave in their own way: lite, aggressive, stubborn, early. A puppet is an address and a few messages.

use std::net::SocketAddr;

use postern_ice::candidate::{Candidate, Component, Kind};
use postern_ice::io::{Event, Role};
use postern_ice::sdp::Description;
use postern_ice::secret::Password;
use postern_turn::attribute::{Attribute, AttributeType};
use postern_turn::error_code::ErrorCode;
use postern_turn::integrity::{IntegrityAlgorithm, IntegrityKey};
use postern_turn::message::{Class, Message, MessageWriter, Method, TransactionId};

use crate::world::{Plan, RTP, World, at, millis, secs};

pub const PUPPET_PWD: &str = "puppetpuppetpuppetpuppet";

/// What a puppet's check says beside its name.
pub struct Says {
    pub role: Attribute<'static>,
    pub use_candidate: bool,
    pub password: Option<String>,
    pub username: Option<String>,
    pub more: Vec<u16>,
}

impl Default for Says {
    fn default() -> Self {
        Self {
            role: Attribute::IceControlling(1),
            use_candidate: false,
            password: None,
            username: None,
            more: Vec::new(),
        }
    }
}

/// An agent under test at 10.0.0.2, one component, and a puppet at some addresses of 10.0.0.1.
pub struct Stage {
    pub world: World,
    pub agent: usize,
    serial: u32,
}

pub fn puppet(number: u16) -> SocketAddr {
    at(&format!("10.0.0.1:{}", 20_000 + number))
}

pub fn agent_at() -> SocketAddr {
    at("10.0.0.2:10000")
}

pub fn description(candidates: &[SocketAddr], lite: bool) -> Description {
    let candidate = |(number, address): (usize, &SocketAddr)| Candidate {
        foundation: format!("p{number}"),
        component: Component::RTP,
        priority: 2_000_000_000 - number as u32,
        address: *address,
        kind: Kind::Host,
        related: None,
    };
    Description {
        ufrag: "puppet".into(),
        password: Password::new(PUPPET_PWD),
        lite,
        candidates: candidates.iter().enumerate().map(candidate).collect(),
        complete: true,
        defaults: Vec::new(),
        remote_candidates: Vec::new(),
    }
}

impl Stage {
    pub fn new(role: Role) -> Self {
        let mut world = World::new(21);
        world.latency = millis(1);
        let agent = world.add(Plan::new(role, "10.0.0.2").mux());
        Self { world, agent, serial: 0 }
    }

    pub fn met(role: Role, lite: bool) -> Self {
        let mut stage = Self::new(role);
        stage.world.hear(stage.agent, &description(&[puppet(0)], lite));
        stage
    }

    /// Sends a check from one of the puppet's addresses and returns the answer.
    pub fn check(&mut self, from: u16, says: &Says) -> Option<Vec<u8>> {
        let request = self.request(says);
        self.exchange(from, &request)
    }

    pub fn request(&mut self, says: &Says) -> Vec<u8> {
        self.serial += 1;
        let told = self.world.hosts[self.agent].agent.description();
        let username = says.username.clone().unwrap_or_else(|| format!("{}:puppet", told.ufrag));
        let password = says.password.clone().unwrap_or_else(|| told.password.as_str().to_owned());
        let mut bytes = Vec::new();
        let mut id = [7; 12];
        id[..4].copy_from_slice(&self.serial.to_be_bytes());
        let id = TransactionId::new(id);
        let mut writer = MessageWriter::new(&mut bytes, Class::Request, Method::Binding, id);
        writer.attribute(&Attribute::Username(username.as_bytes())).attribute(&Attribute::Priority(1_000));
        writer.attribute(&says.role);
        if says.use_candidate {
            writer.attribute(&Attribute::UseCandidate);
        }
        for kind in &says.more {
            writer.raw_attribute(AttributeType(*kind), b"");
        }
        writer.integrity(IntegrityAlgorithm::Sha1, &IntegrityKey::short_term(password.as_bytes()));
        writer.fingerprint().finish().unwrap();
        bytes
    }

    pub fn exchange(&mut self, from: u16, request: &[u8]) -> Option<Vec<u8>> {
        self.world.inject(puppet(from), agent_at(), request.to_vec());
        self.world.pass(millis(3));
        let mut astray = self.world.astray.iter();
        let answer = astray.find(|(_, to, bytes)| *to == puppet(from) && bytes[4..20] == request[4..20])?;
        Some(answer.2.clone())
    }

    /// Checks of the agent that reached the puppet since the last look: where to, and the bytes.
    pub fn take_checks(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let astray = std::mem::take(&mut self.world.astray);
        let requests = astray
            .into_iter()
            .filter(|(_, _, bytes)| Message::decode(bytes).is_ok_and(|message| message.class() == Class::Request));
        requests.map(|(_, to, bytes)| (to, bytes)).collect()
    }

    /// Answers the agent's checks for so long, all of them or those to some addresses.
    pub fn answer(&mut self, time: std::time::Duration, which: impl Fn(SocketAddr) -> bool) -> Vec<Vec<u8>> {
        let until = self.world.now + time;
        let mut answered = Vec::new();
        while self.world.now < until {
            self.world.pass(millis(5));
            for (to, check) in self.take_checks() {
                if which(to) {
                    self.world.inject(to, agent_at(), success(&check));
                    answered.push(check);
                }
            }
        }
        answered
    }

    pub fn has(&self, event: impl Fn(&Event) -> bool) -> bool {
        self.world.has(self.agent, event)
    }

    pub fn selected(&self) -> Option<SocketAddr> {
        self.world.hosts[self.agent].agent.selected(RTP).map(|pair| pair.remote.address)
    }
}

fn success(check: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = Message::decode(check).unwrap().transaction_id();
    let mut writer = MessageWriter::new(&mut bytes, Class::Success, Method::Binding, id);
    writer.attribute(&Attribute::XorMappedAddress(agent_at()));
    writer.integrity(IntegrityAlgorithm::Sha1, &IntegrityKey::short_term(PUPPET_PWD.as_bytes()));
    writer.fingerprint().finish().unwrap();
    bytes
}

fn role_conflict(check: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = Message::decode(check).unwrap().transaction_id();
    let mut writer = MessageWriter::new(&mut bytes, Class::Error, Method::Binding, id);
    writer.attribute(&Attribute::ErrorCode(ErrorCode::ROLE_CONFLICT, b""));
    writer.integrity(IntegrityAlgorithm::Sha1, &IntegrityKey::short_term(PUPPET_PWD.as_bytes()));
    writer.fingerprint().finish().unwrap();
    bytes
}

pub fn code_of(answer: &[u8]) -> Option<u16> {
    match Message::decode(answer).unwrap().find(AttributeType::ERROR_CODE) {
        Ok(Some(Attribute::ErrorCode(code, _))) => Some(code.number()),
        _ => None,
    }
}

fn has(message: &[u8], kind: AttributeType) -> bool {
    Message::decode(message).unwrap().attributes().any(|raw| raw.attribute_type == kind)
}

#[test]
fn a_lite_peer_is_checked_and_nominated_by_us_whoever_offered() {
    let mut stage = Stage::met(Role::Controlled, true);
    assert!(stage.has(|event| *event == Event::RoleSwitched(Role::Controlling)));
    let answered = stage.answer(secs(1), |_| true);
    assert!(answered.iter().any(|check| has(check, AttributeType::USE_CANDIDATE)));
    assert!(stage.has(|event| *event == Event::Completed));
    assert_eq!(stage.selected(), Some(puppet(0)));
}

#[test]
fn a_regular_nomination_follows_a_plain_check() {
    let mut stage = Stage::met(Role::Controlling, false);
    let answered = stage.answer(secs(1), |_| true);
    assert!(!has(&answered[0], AttributeType::USE_CANDIDATE));
    assert!(has(&answered[0], AttributeType::ICE_CONTROLLING));
    assert_eq!(answered.iter().filter(|check| has(check, AttributeType::USE_CANDIDATE)).count(), 1);
    assert!(stage.has(|event| *event == Event::Completed));
}

#[test]
fn of_two_pairs_that_work_the_better_is_nominated() {
    let mut stage = Stage::new(Role::Controlling);
    stage.world.hear(stage.agent, &description(&[puppet(0), puppet(1)], false));
    // The better one answers later, but within the grace.
    stage.answer(millis(200), |to| to == puppet(1));
    stage.answer(secs(2), |_| true);
    assert_eq!(stage.selected(), Some(puppet(0)));
}

#[test]
fn a_better_pair_that_never_answers_is_not_waited_for() {
    let mut stage = Stage::new(Role::Controlling);
    stage.world.hear(stage.agent, &description(&[puppet(0), puppet(1)], false));
    stage.answer(millis(1_000), |to| to == puppet(1));
    assert_eq!(stage.selected(), Some(puppet(1)));
    assert!(stage.has(|event| *event == Event::Completed));
}

#[test]
fn an_aggressive_peer_that_nominates_everything_gets_the_best_pair() {
    let mut stage = Stage::new(Role::Controlled);
    stage.world.hear(stage.agent, &description(&[puppet(0), puppet(1)], false));
    let says = Says { use_candidate: true, ..Says::default() };
    stage.check(1, &says);
    stage.answer(millis(300), |to| to == puppet(1));
    assert_eq!(stage.selected(), Some(puppet(1)));
    stage.check(0, &says);
    stage.answer(millis(300), |_| true);
    assert_eq!(stage.selected(), Some(puppet(0)));
    stage.check(1, &says);
    stage.answer(millis(300), |_| true);
    assert_eq!(stage.selected(), Some(puppet(0)), "the better one stays");
}

#[test]
fn media_goes_by_what_works_before_nomination() {
    let mut stage = Stage::met(Role::Controlled, false);
    stage.answer(millis(300), |_| true);
    assert!(!stage.has(|event| *event == Event::Completed));
    let (agent, world) = (stage.agent, &mut stage.world);
    assert!(world.say(agent, RTP));
}

#[test]
fn checks_before_the_description_are_answered_and_remembered() {
    let mut stage = Stage::new(Role::Controlled);
    let answer = stage.check(7, &Says { use_candidate: true, ..Says::default() }).expect("an answer");
    assert_eq!(code_of(&answer), None);
    assert!(stage.take_checks().is_empty(), "nothing is known of the peer yet");
    stage.world.hear(stage.agent, &description(&[puppet(0)], false));
    stage.answer(millis(500), |to| to == puppet(7));
    assert_eq!(stage.selected(), Some(puppet(7)), "learned, checked, nominated");
    let kind = stage.world.hosts[stage.agent].agent.selected(RTP).unwrap().remote.kind;
    assert_eq!(kind, Kind::PeerReflexive);
}

#[test]
fn a_candidate_told_after_it_was_learned_is_what_it_was_told_to_be() {
    let mut stage = Stage::met(Role::Controlled, false);
    stage.check(5, &Says::default());
    assert_eq!(stage.world.hosts[stage.agent].agent.story().remote[1].kind, Kind::PeerReflexive);
    let change = stage.world.hear(stage.agent, &description(&[puppet(0), puppet(5), puppet(6)], false));
    assert_eq!(change, postern_ice::io::RemoteChange::Same);
    let story = stage.world.hosts[stage.agent].agent.story();
    assert_eq!(story.remote.len(), 3);
    assert!(story.remote.iter().all(|remote| remote.kind == Kind::Host));
    assert_eq!(story.pairs.len(), 3);
}

#[test]
fn two_controlling_sides_settle_by_tie_breaker() {
    for (theirs, switches) in [(0, false), (u64::MAX, true)] {
        let mut stage = Stage::met(Role::Controlling, false);
        let answer = stage.check(0, &Says { role: Attribute::IceControlling(theirs), ..Says::default() }).unwrap();
        assert_eq!(code_of(&answer), if switches { None } else { Some(487) });
        assert_eq!(stage.has(|event| *event == Event::RoleSwitched(Role::Controlled)), switches);
    }
    for (theirs, switches) in [(0, true), (u64::MAX, false)] {
        let mut stage = Stage::met(Role::Controlled, false);
        let answer = stage.check(0, &Says { role: Attribute::IceControlled(theirs), ..Says::default() }).unwrap();
        assert_eq!(code_of(&answer), if switches { None } else { Some(487) });
        assert_eq!(stage.has(|event| *event == Event::RoleSwitched(Role::Controlling)), switches);
    }
}

#[test]
fn a_487_switches_the_role_once_and_the_check_is_repeated() {
    let mut stage = Stage::met(Role::Controlling, false);
    stage.world.pass(millis(60));
    let checks = stage.take_checks();
    let refused = role_conflict(&checks[0].1);
    stage.world.inject(puppet(0), agent_at(), refused.clone());
    stage.world.inject(puppet(0), agent_at(), refused);
    stage.world.pass(millis(200));
    let switches = stage.world.hosts[stage.agent].events.iter();
    assert_eq!(switches.filter(|event| matches!(event, Event::RoleSwitched(_))).count(), 1);
    let again = stage.take_checks();
    assert!(has(&again[0].1, AttributeType::ICE_CONTROLLED));
    assert_ne!(again[0].1[4..20], checks[0].1[4..20]);
}

#[test]
fn an_answer_from_elsewhere_makes_no_pair() {
    let mut stage = Stage::met(Role::Controlling, false);
    stage.world.pass(millis(60));
    let (_, check) = stage.take_checks().remove(0);
    stage.world.inject(puppet(9), agent_at(), success(&check));
    stage.world.pass(millis(10));
    assert_eq!(stage.selected(), None);
    let story = stage.world.hosts[stage.agent].agent.story();
    assert_eq!(story.pairs[0].state.to_string(), "failed: answered from elsewhere");
}

#[test]
fn an_attribute_that_must_be_known_gets_420() {
    let mut stage = Stage::met(Role::Controlled, false);
    let answer = stage.check(0, &Says { more: vec![0x7FFF], ..Says::default() }).unwrap();
    assert_eq!(code_of(&answer), Some(420));
    assert_eq!(
        Message::decode(&answer).unwrap().find(AttributeType::UNKNOWN_ATTRIBUTES).unwrap().map(|it| match it {
            Attribute::UnknownAttributes(list) => list.iter().collect(),
            _ => Vec::new(),
        }),
        Some(vec![AttributeType(0x7FFF)])
    );
    let answer = stage.check(0, &Says { more: vec![0xC057], ..Says::default() }).unwrap();
    assert_eq!(code_of(&answer), None);
}
