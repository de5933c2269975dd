//! Which call has which token, and which edge fails how: what [`Edges`](crate::edges::Edges) keeps under its lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_ice::io::{EdgeId, EdgeServer};
use postern_telemetry::WorkerCells;
use postern_telemetry::call_labels;
use postern_turn::client::{ClientCredentials, EdgeFailure};
use tokio::sync::mpsc;

use crate::edges::{EdgeHealth, server};
use crate::service_limits::{
    CALLS_WITH_TOKENS_MAX, FAILED_FOR, IMPAIRED_FOR, PROBE_IDLE, PROBE_IN_USE, PROBES_UNANSWERED, RELAYS_AGE_MAX,
    TOKEN_LEFT_MIN, TOKENS_READY,
};
use crate::tokens::{Token, TokenError};

/// When nothing else is due, seats are looked through for what has gone.
const LOOK_ROUND: Duration = Duration::from_secs(5);

type Push = mpsc::Sender<(EdgeId, ClientCredentials)>;

pub(crate) struct State {
    edges: Vec<EdgeState>,
    /// By number; a higher one is younger.
    seats: BTreeMap<u64, Seat>,
    /// Seats that wait for a call.
    ready: VecDeque<u64>,
    /// Seats of calls, by the call's name.
    calls: HashMap<String, u64>,
    next_seat: u64,
}

/// One call's place, taken or not.
struct Seat {
    /// What the edges' records name it by.
    shared_id: String,
    /// By edge.
    tokens: Vec<Option<Held>>,
    call: Option<Sitting>,
}

struct Sitting {
    name: String,
    since: Instant,
    push: Option<Push>,
}

struct Held {
    credentials: ClientCredentials,
    issued_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Default)]
struct EdgeState {
    host: String,
    uris: Vec<String>,
    relays: Vec<SocketAddr>,
    resolved_at: Option<Instant>,
    /// A call or probes say that it does not answer.
    dead_since: Option<Instant>,
    unanswered: u32,
    /// The newest answer of the token service was none.
    no_token: bool,
    refuses_until: Option<Instant>,
    no_ports_until: Option<Instant>,
    /// What was told of it last, so that each failure is told once.
    told: [bool; EdgeFailure::ALL.len()],
}

/// What a keeper of tokens has to do.
pub(crate) enum Need {
    /// Ask for one.
    Now { seat: u64, shared_id: String },
    /// Look again then, unless woken.
    Later(Instant),
}

impl State {
    pub(crate) fn new(hosts: Vec<String>) -> Self {
        let edges = hosts.into_iter().map(|host| EdgeState { host, ..EdgeState::default() }).collect();
        let mut state =
            Self { edges, seats: BTreeMap::new(), ready: VecDeque::new(), calls: HashMap::new(), next_seat: 0 };
        state.fill();
        state
    }

    /// Seats for calls to come.
    fn fill(&mut self) {
        while !self.edges.is_empty() && self.ready.len() < TOKENS_READY {
            // A name that could be guessed would be of no harm: it is the password that counts.
            let Ok(random) = getrandom::u64() else { return };
            let shared_id = format!("{random:016x}");
            let tokens = self.edges.iter().map(|_| None).collect();
            self.seats.insert(self.next_seat, Seat { shared_id, tokens, call: None });
            self.ready.push_back(self.next_seat);
            self.next_seat += 1;
        }
    }

    /// Gives a call its seat, the readiest one, unless it has one. False: there is none to give.
    pub(crate) fn seat(&mut self, call: &str, now: Instant) -> bool {
        if self.calls.contains_key(call) {
            return true;
        }
        if self.calls.len() >= CALLS_WITH_TOKENS_MAX {
            self.forget(now);
        }
        if self.calls.len() >= CALLS_WITH_TOKENS_MAX {
            return false;
        }
        let tokens = |number: &u64| {
            self.seats.get(number).map_or(0, |seat| seat.tokens.iter().filter(|held| is_of_use(held, now)).count())
        };
        // The oldest of those with the most tokens.
        let best = self.ready.iter().copied().rev().max_by_key(tokens);
        let Some((number, seat)) = best.and_then(|number| Some((number, self.seats.get_mut(&number)?))) else {
            return false;
        };
        seat.call = Some(Sitting { name: call.to_owned(), since: now, push: None });
        self.ready.retain(|ready| *ready != number);
        self.calls.insert(call.to_owned(), number);
        self.fill();
        true
    }

    fn seat_of(&self, call: &str) -> Option<&Seat> {
        self.seats.get(self.calls.get(call)?)
    }

    pub(crate) fn shared_id(&self, call: &str) -> Option<String> {
        let seat = self.seat_of(call)?;
        seat.tokens.iter().any(Option::is_some).then(|| seat.shared_id.clone())
    }

    pub(crate) fn host(&self, edge: usize) -> Option<&str> {
        self.edges.get(edge).map(|edge| edge.host.as_str())
    }

    pub(crate) fn watch(&mut self, call: &str, push: Push) {
        let seat = self.calls.get(call).and_then(|number| self.seats.get_mut(number));
        if let Some(sitting) = seat.and_then(|seat| seat.call.as_mut()) {
            sitting.push = Some(push);
        }
    }

    /// Living edges with a token for that call: the first relay of each, then the second ones. A call takes no more than
    /// a few, and wants more than one edge.
    pub(crate) fn servers(&self, call: &str, now: Instant) -> Vec<EdgeServer> {
        let Some(seat) = self.seat_of(call) else { return Vec::new() };
        let mut edges: Vec<usize> = (0..self.edges.len()).filter(|edge| self.edges[*edge].is_alive()).collect();
        edges.sort_by_key(|edge| self.edges[*edge].is_impaired(now));
        let of_edge = |edge: usize| {
            let held = seat.tokens[edge].as_ref().filter(|held| held.ends_at > now);
            let relays = self.edges[edge].relays.iter().enumerate();
            held.into_iter().flat_map(move |held| {
                relays.clone().map(move |(place, relay)| (place, server(edge, *relay, &held.credentials)))
            })
        };
        let mut servers: Vec<(usize, EdgeServer)> = edges.into_iter().flat_map(of_edge).collect();
        servers.sort_by_key(|(place, _)| *place);
        servers.into_iter().map(|(_, server)| server).collect()
    }

    /// Whether a token may come soon.
    pub(crate) fn is_hopeful(&self) -> bool {
        self.edges.iter().any(|edge| edge.dead_since.is_none() && !edge.no_token)
    }

    /// What an edge's keeper of tokens should do. Calls come before seats that wait.
    pub(crate) fn need(&mut self, edge: usize, now: Instant) -> Need {
        self.forget(now);
        let mut next = now + LOOK_ROUND;
        let mut waiting = None;
        for (number, seat) in &self.seats {
            let due = match &seat.tokens[edge] {
                // Renewed for a call that hears of it, and for one that is to come.
                Some(held) if seat.call.as_ref().is_none_or(|sitting| sitting.push.is_some()) => held.renew_at,
                Some(_) => continue,
                None => now,
            };
            if due > now {
                next = next.min(due);
            } else if seat.call.is_some() {
                return Need::Now { seat: *number, shared_id: seat.shared_id.clone() };
            } else {
                waiting.get_or_insert((*number, seat));
            }
        }
        match waiting {
            Some((number, seat)) => Need::Now { seat: number, shared_id: seat.shared_id.clone() },
            None => Need::Later(next),
        }
    }

    /// Clears seats whose call is over, or cannot be told of new credentials and has no good ones left.
    fn forget(&mut self, now: Instant) {
        let calls = &mut self.calls;
        self.seats.retain(|_, seat| {
            let Some(sitting) = &seat.call else { return true };
            let is_over = match &sitting.push {
                Some(push) => push.is_closed(),
                None => {
                    now.saturating_duration_since(sitting.since) > IMPAIRED_FOR
                        && seat.tokens.iter().flatten().all(|held| held.ends_at <= now)
                }
            };
            if is_over {
                calls.remove(&sitting.name);
            }
            !is_over
        });
    }

    /// Relays that were named and could not be found, to be looked up again.
    pub(crate) fn lost_relays(&self, edge: usize) -> Option<Vec<String>> {
        let edge = &self.edges[edge];
        (edge.relays.is_empty() && !edge.uris.is_empty()).then(|| edge.uris.clone())
    }

    /// Whether the relays of an answer are to be looked up.
    pub(crate) fn wants_relays(&self, edge: usize, uris: &[String], now: Instant) -> bool {
        let edge = &self.edges[edge];
        edge.uris != uris || edge.resolved_at.is_none_or(|at| now.saturating_duration_since(at) > RELAYS_AGE_MAX)
    }

    pub(crate) fn on_relays(&mut self, edge: usize, uris: Vec<String>, relays: Vec<SocketAddr>, now: Instant) {
        let edge = &mut self.edges[edge];
        if relays.is_empty() && edge.uris != uris {
            tracing::warn!(edge = %edge.host, ?uris, "the token service names no relay over UDP that can be found; mend edge.tokens.intranet or internet");
        }
        (edge.uris, edge.relays, edge.resolved_at) = (uris, relays, Some(now));
    }

    /// A token came. It is renewed at a time drawn between a half and three quarters of its life.
    pub(crate) fn on_token(&mut self, edge: usize, seat: u64, token: Token, asked: Instant, random: f64) {
        self.edges[edge].no_token = false;
        let Some(seat) = self.seats.get_mut(&seat) else { return };
        let held = Held {
            credentials: token.credentials,
            issued_at: asked,
            renew_at: asked + token.lifetime.mul_f64(0.5 + random / 4.0),
            ends_at: asked + token.lifetime,
        };
        if let Some(push) = seat.call.as_ref().and_then(|sitting| sitting.push.as_ref()) {
            // A call that does not take them in time runs on under the former ones, and asks for servers when it must.
            let _ = push.try_send((EdgeId(edge as u16), held.credentials.clone()));
        }
        seat.tokens[edge] = Some(held);
    }

    pub(crate) fn on_token_failed(&mut self, edge: usize, error: &TokenError) {
        let edge = &mut self.edges[edge];
        if !std::mem::replace(&mut edge.no_token, true) {
            tracing::warn!(edge = %edge.host, %error, "no token from the A/V authentication service");
        }
    }

    pub(crate) fn on_failed_call(&mut self, edge: usize, why: EdgeFailure, now: Instant) {
        let Some(state) = self.edges.get_mut(edge) else { return };
        match why {
            EdgeFailure::Unreachable => state.dead_since = Some(now),
            EdgeFailure::OutOfPorts => state.no_ports_until = Some(now + IMPAIRED_FOR),
            EdgeFailure::NoCredentials => {
                state.refuses_until = Some(now + IMPAIRED_FOR);
                // Its keys may have changed: tokens that wait are exchanged, but not again and again.
                for number in &self.ready {
                    if let Some(seat) = self.seats.get_mut(number) {
                        seat.tokens[edge].take_if(|held| held.issued_at + IMPAIRED_FOR <= now);
                    }
                }
            }
        }
    }

    pub(crate) fn on_served_call(&mut self, edge: usize) {
        if let Some(edge) = self.edges.get_mut(edge) {
            (edge.dead_since, edge.unanswered) = (None, 0);
            (edge.refuses_until, edge.no_ports_until) = (None, None);
        }
    }

    /// Which relay to probe, and after what rest.
    pub(crate) fn probe(&self, edge: usize) -> (Option<SocketAddr>, Duration) {
        let is_used =
            self.calls.values().any(|seat| self.seats.get(seat).is_some_and(|seat| seat.tokens[edge].is_some()));
        let state = &self.edges[edge];
        let rest = match state.unanswered {
            _ if is_used => PROBE_IN_USE,
            0 => PROBE_IDLE.0,
            unanswered => PROBE_IN_USE.saturating_mul(1 << unanswered.min(8)).min(PROBE_IDLE.1),
        };
        (state.relays.first().copied(), rest)
    }

    pub(crate) fn on_probe(&mut self, edge: usize, answered: bool, now: Instant) {
        let edge = &mut self.edges[edge];
        if answered {
            edge.unanswered = 0;
            // What failed a call did so although it may answer probes.
            edge.dead_since.take_if(|since| now.saturating_duration_since(*since) >= FAILED_FOR);
        } else {
            edge.unanswered = edge.unanswered.saturating_add(1);
            if edge.unanswered >= PROBES_UNANSWERED {
                edge.dead_since.get_or_insert(now);
            }
        }
    }

    pub(crate) fn health(&self, now: Instant) -> Vec<EdgeHealth> {
        let health = |edge: &EdgeState| EdgeHealth {
            host: edge.host.clone(),
            usable: edge.is_usable(),
            failures: EdgeFailure::ALL.into_iter().filter(|failure| edge.fails(*failure, now)).collect(),
        };
        self.edges.iter().map(health).collect()
    }

    /// Sets the gauges, and tells of each failure when it begins and when it is over.
    pub(crate) fn publish(&mut self, cells: &WorkerCells, now: Instant) {
        cells.edges.set((), self.edges.len() as u64);
        cells.edges_usable.set((), self.edges.iter().filter(|edge| edge.is_usable()).count() as u64);
        for (place, failure) in EdgeFailure::ALL.into_iter().enumerate() {
            let label = label(failure);
            cells.edges_failing.set(label, self.edges.iter().filter(|edge| edge.fails(failure, now)).count() as u64);
            for edge in &mut self.edges {
                let fails = edge.fails(failure, now);
                if std::mem::replace(&mut edge.told[place], fails) == fails {
                    continue;
                }
                if fails {
                    cells.edge_failures.add(label, 1);
                    tracing::warn!(edge = %edge.host, "{failure}");
                } else {
                    tracing::info!(edge = %edge.host, "over: {failure}");
                }
            }
        }
    }
}

impl EdgeState {
    fn is_alive(&self) -> bool {
        self.dead_since.is_none() && !self.relays.is_empty()
    }

    /// Whether a call that begins gets something of it.
    fn is_usable(&self) -> bool {
        self.is_alive() && !self.no_token
    }

    fn is_impaired(&self, now: Instant) -> bool {
        self.fails(EdgeFailure::NoCredentials, now) || self.fails(EdgeFailure::OutOfPorts, now)
    }

    fn fails(&self, failure: EdgeFailure, now: Instant) -> bool {
        let lasts = |until: Option<Instant>| until.is_some_and(|until| now < until);
        match failure {
            EdgeFailure::Unreachable => {
                self.dead_since.is_some() || (self.resolved_at.is_some() && self.relays.is_empty())
            }
            EdgeFailure::NoCredentials => self.no_token || lasts(self.refuses_until),
            EdgeFailure::OutOfPorts => lasts(self.no_ports_until),
        }
    }
}

fn is_of_use(held: &Option<Held>, now: Instant) -> bool {
    held.as_ref().is_some_and(|held| held.ends_at > now + TOKEN_LEFT_MIN)
}

fn label(failure: EdgeFailure) -> call_labels::EdgeFailure {
    match failure {
        EdgeFailure::Unreachable => call_labels::EdgeFailure::Unreachable,
        EdgeFailure::NoCredentials => call_labels::EdgeFailure::NoCredentials,
        EdgeFailure::OutOfPorts => call_labels::EdgeFailure::OutOfPorts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn relay(edge: usize) -> SocketAddr {
        SocketAddr::from(([10, 20, 0, edge as u8], 3478))
    }

    fn token(name: &str, secs: u64) -> Token {
        Token {
            credentials: ClientCredentials::new(name, "secret"),
            lifetime: Duration::from_secs(secs),
            relays: Vec::new(),
        }
    }

    /// Gives tokens until nothing is needed; how many.
    fn satisfy(state: &mut State, edge: usize, now: Instant) -> usize {
        let mut given = 0;
        while let Need::Now { seat, shared_id } = state.need(edge, now) {
            state.on_token(edge, seat, token(&shared_id, 100), now, 0.0);
            given += 1;
            assert!(given < 100, "the same token is wanted again and again");
        }
        given
    }

    fn running(edges: usize, now: Instant) -> State {
        let mut state = State::new((0..edges).map(|edge| format!("edge{edge}")).collect());
        for edge in 0..edges {
            state.on_relays(edge, Vec::new(), vec![relay(edge)], now);
            assert_eq!(satisfy(&mut state, edge, now), TOKENS_READY);
        }
        state
    }

    fn named(state: &State, call: &str, now: Instant) -> Vec<u16> {
        state.servers(call, now).iter().map(|server| server.id.0).collect()
    }

    #[test]
    fn a_call_finds_a_token_ready_and_another_takes_its_place() {
        let now = Instant::now();
        let mut state = running(2, now);
        assert!(state.seat("one", now) && state.seat("two", now));
        assert_eq!(named(&state, "one", now), [0, 1]);
        assert_ne!(state.shared_id("one"), state.shared_id("two"));
        assert_eq!(state.servers("one", now)[0].server, relay(0));
        assert_eq!((satisfy(&mut state, 0, now), satisfy(&mut state, 1, now)), (2, 2));
        assert!(state.seat("one", now));
        assert_eq!(satisfy(&mut state, 0, now), 0, "a call has one seat, however often it asks");
    }

    #[test]
    fn a_dead_edge_is_skipped_at_once_and_taken_again_when_it_answers() {
        let now = Instant::now();
        let mut state = running(2, now);
        state.seat("call", now);
        state.on_failed_call(0, EdgeFailure::Unreachable, now);
        assert_eq!(named(&state, "call", now), [1]);
        assert_eq!(state.health(now)[0].failures, [EdgeFailure::Unreachable]);
        state.on_probe(0, true, now + SECOND);
        assert_eq!(named(&state, "call", now), [1], "it answered probes when it failed the call, too");
        state.on_probe(0, true, now + FAILED_FOR);
        assert_eq!(named(&state, "call", now), [0, 1]);
    }

    #[test]
    fn probes_without_answer_make_an_edge_dead_and_are_spaced_out() {
        let now = Instant::now();
        let mut state = running(1, now);
        assert_eq!(state.probe(0), (Some(relay(0)), PROBE_IDLE.0));
        state.on_probe(0, false, now);
        assert!(state.health(now)[0].usable, "one probe may be lost");
        state.on_probe(0, false, now);
        assert!(!state.health(now)[0].usable);
        let rests: Vec<u64> = (0..6)
            .map(|_| {
                state.on_probe(0, false, now);
                state.probe(0).1.as_secs()
            })
            .collect();
        assert_eq!(rests, [8, 16, 30, 30, 30, 30]);
        state.seat("call", now);
        assert_eq!(state.probe(0).1, PROBE_IN_USE);
        state.on_probe(0, true, now + FAILED_FOR);
        assert!(state.health(now)[0].usable);
    }

    #[test]
    fn an_edge_that_is_short_of_something_is_asked_last_for_a_while() {
        let now = Instant::now();
        let mut state = running(2, now);
        state.seat("call", now);
        for failure in [EdgeFailure::OutOfPorts, EdgeFailure::NoCredentials] {
            state.on_failed_call(0, failure, now);
            assert_eq!(named(&state, "call", now), [1, 0]);
            assert_eq!(state.health(now)[0].failures, [failure]);
            assert_eq!(named(&state, "call", now + IMPAIRED_FOR), [0, 1]);
            state.on_served_call(0);
            assert!(state.health(now)[0].failures.is_empty());
        }
    }

    #[test]
    fn refused_tokens_that_wait_are_exchanged_once_they_have_some_age() {
        let now = Instant::now();
        let mut state = running(1, now);
        state.on_failed_call(0, EdgeFailure::NoCredentials, now + SECOND);
        assert_eq!(satisfy(&mut state, 0, now + SECOND), 0);
        let later = now + IMPAIRED_FOR;
        state.on_failed_call(0, EdgeFailure::NoCredentials, later);
        assert_eq!(satisfy(&mut state, 0, later), TOKENS_READY);
    }

    #[test]
    fn tokens_are_renewed_before_they_end_and_told_to_the_call() {
        let now = Instant::now();
        let mut state = running(1, now);
        state.seat("heard", now);
        state.seat("deaf", now);
        let (push, mut credentials) = mpsc::channel(2);
        state.watch("heard", push);
        satisfy(&mut state, 0, now);
        let Need::Later(at) = state.need(0, now + 49 * SECOND) else { panic!("nothing is due before the half") };
        assert_eq!(at, now + 50 * SECOND);
        let renewed = satisfy(&mut state, 0, at);
        assert_eq!(renewed, TOKENS_READY + 1, "those that wait, and that of the call that hears of it");
        let (edge, fresh) = credentials.try_recv().unwrap();
        assert_eq!((edge, fresh), (EdgeId(0), ClientCredentials::new(state.shared_id("heard").unwrap(), "secret")));
        assert_eq!(named(&state, "deaf", now + 99 * SECOND), [0]);
        assert!(named(&state, "deaf", now + 100 * SECOND).is_empty(), "a token that ended is of no use");
        assert_eq!(named(&state, "heard", now + 100 * SECOND), [0]);
    }

    #[test]
    fn a_call_that_is_over_is_forgotten() {
        let now = Instant::now();
        let mut state = running(1, now);
        let (push, credentials) = mpsc::channel(2);
        state.seat("heard", now);
        state.watch("heard", push);
        state.seat("deaf", now);
        satisfy(&mut state, 0, now);
        drop(credentials);
        state.need(0, now);
        assert_eq!((state.shared_id("heard"), state.calls.len()), (None, 1));
        state.need(0, now + 101 * SECOND);
        assert_eq!((state.calls.len(), state.seats.len()), (0, TOKENS_READY));
    }

    #[test]
    fn the_number_of_calls_with_tokens_is_bounded() {
        let now = Instant::now();
        let mut state = running(1, now);
        for call in 0..CALLS_WITH_TOKENS_MAX {
            assert!(state.seat(&call.to_string(), now));
        }
        assert!(!state.seat("one more", now));
        assert!(state.servers("one more", now).is_empty());
        assert!(state.seat("one more", now + IMPAIRED_FOR + SECOND), "calls that never got a token have left");
    }

    #[test]
    fn a_service_without_tokens_is_no_hope_and_a_failure_is_counted_once() {
        let now = Instant::now();
        let mut state = running(1, now);
        let cells = WorkerCells::default();
        let gauge = |cells: &WorkerCells| cells.edges_failing.value(call_labels::EdgeFailure::NoCredentials);
        assert!(state.is_hopeful());
        for _ in 0..3 {
            state.on_token_failed(0, &TokenError::Malformed("no token"));
            state.publish(&cells, now);
        }
        assert!(!state.is_hopeful());
        assert_eq!(gauge(&cells), 1);
        assert_eq!(cells.edge_failures.value(call_labels::EdgeFailure::NoCredentials), 1);
        assert_eq!(cells.edges_usable.value(()), Some(0));
        state.seat("call", now);
        assert_eq!(named(&state, "call", now), [0], "a token that waits is as good as before");
        satisfy(&mut state, 0, now);
        state.publish(&cells, now);
        assert_eq!((gauge(&cells), cells.edges_usable.value(())), (0, Some(1)));
    }

    #[test]
    fn an_edge_that_names_no_relay_is_misconfigured() {
        let now = Instant::now();
        let mut state = running(2, now);
        state.on_relays(0, vec!["turns:edge:443".into()], Vec::new(), now);
        state.seat("call", now);
        assert_eq!(named(&state, "call", now), [1]);
        assert_eq!(state.health(now)[0].failures, [EdgeFailure::Unreachable]);
        assert!(state.wants_relays(0, &[], now));
        assert!(!state.wants_relays(0, &["turns:edge:443".into()], now));
        assert!(state.wants_relays(0, &["turns:edge:443".into()], now + RELAYS_AGE_MAX + SECOND));
    }
}
