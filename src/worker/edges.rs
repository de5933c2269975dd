//! The edges that calls take relays from: a token for each call, ready before the call comes and renewed before it
//! ends; and which edges live.
//!
//! A call is given credentials of its own under an identifier that the edge's records hold too
//! ([`shared_id`](Edges::shared_id)). Which edge fails, and in which of three ways, is told by the token services, by
//! probes, and by calls ([`note`](Edges::note)).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_config::WorkerEdgeConfig;
use postern_ice::io::{EdgeId, EdgeServer, Transport};
use postern_telemetry::WorkerCells;
use postern_telemetry::call_labels::TokenResult;
use postern_turn::client::{ClientCredentials, EdgeFailure};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout_at};

use crate::edge_relays;
use crate::edge_state::{Need, State};
use crate::service_limits::{CREDENTIALS_QUEUE, TOKEN_PAUSE, TOKEN_WAIT};
pub use crate::tokens::EdgeConfigError;
use crate::tokens::{TokenClient, TokenError};

/// All edges of a worker. Dropping it ends its tasks; calls keep the credentials that they have.
pub struct Edges {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

/// How an edge is, seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeHealth {
    /// As the configuration names its token service.
    pub host: String,
    /// New calls take relays from it.
    pub usable: bool,
    /// In the order of [`EdgeFailure::ALL`].
    pub failures: Vec<EdgeFailure>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the task that keeps an edge's tokens; by edge.
    wanted: Vec<Notify>,
    /// Wakes the task that probes an edge; by edge.
    doubted: Vec<Notify>,
    /// Counts what changed.
    news: watch::Sender<u64>,
    cells: Arc<WorkerCells>,
}

impl Edges {
    /// Begins to ask for tokens. Must run inside a tokio runtime. Without edges, calls do without.
    ///
    /// # Errors
    /// An edge's certificates cannot be used; nothing is left running.
    pub fn start(configs: &[WorkerEdgeConfig]) -> Result<Self, EdgeConfigError> {
        Self::start_counting(configs, Arc::default())
    }

    /// As [`start`](Self::start); `cells` count tokens and failures.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_counting(configs: &[WorkerEdgeConfig], cells: Arc<WorkerCells>) -> Result<Self, EdgeConfigError> {
        let clients = configs.iter().map(TokenClient::new).collect::<Result<Vec<_>, _>>()?;
        let hosts = configs.iter().map(|config| format!("{}:{}", config.host, config.port)).collect();
        let mut state = State::new(hosts);
        state.publish(&cells, Instant::now());
        let notifies = || configs.iter().map(|_| Notify::new()).collect();
        let (news, _) = watch::channel(0);
        let shared =
            Arc::new(Shared { state: Mutex::new(state), wanted: notifies(), doubted: notifies(), news, cells });
        let mut tasks = Vec::new();
        for (edge, client) in clients.into_iter().enumerate() {
            tasks.push(tokio::spawn(keep_tokens(Arc::clone(&shared), edge, client)).abort_handle());
            tasks.push(tokio::spawn(keep_probing(Arc::clone(&shared), edge)).abort_handle());
        }
        Ok(Self { shared, tasks })
    }

    /// Whether there is any edge to take relays from.
    pub fn is_configured(&self) -> bool {
        !self.shared.wanted.is_empty()
    }

    /// Living edges with credentials for a call of that name, in order of preference; those that are short of something
    /// come last. Ready at once as a rule; a call that finds no token waits half a second at most. Asked again, it
    /// tells how things are then, under the same credentials.
    pub async fn servers(&self, call: &str) -> Vec<EdgeServer> {
        if !self.is_configured() {
            return Vec::new();
        }
        let mut news = self.shared.news.subscribe();
        let give_up = Instant::now() + TOKEN_WAIT;
        loop {
            news.mark_unchanged();
            let (servers, hopeful) = {
                let mut state = self.shared.state();
                let now = Instant::now();
                if !state.seat(call, now) {
                    return Vec::new();
                }
                (state.servers(call, now), state.is_hopeful())
            };
            self.shared.wanted.iter().for_each(Notify::notify_one);
            if !servers.is_empty() || !hopeful || timeout_at(give_up.into(), news.changed()).await.is_err() {
                return servers;
            }
        }
    }

    /// Renewed credentials of a call, for as long as what this gives is kept; dropped, the call is forgotten. A call
    /// that does not ask has those of its beginning, until they end. Only the latest receiver of a call gets any.
    pub fn credentials(&self, call: &str) -> mpsc::Receiver<(EdgeId, ClientCredentials)> {
        let (push, credentials) = mpsc::channel(CREDENTIALS_QUEUE);
        self.shared.state().watch(call, push);
        self.shared.wanted.iter().for_each(Notify::notify_one);
        credentials
    }

    /// The identifier under which the edges' records name a call; `None` when it has no credentials.
    pub fn shared_id(&self, call: &str) -> Option<String> {
        self.shared.state().shared_id(call)
    }

    /// The edge's name for a record.
    pub fn host(&self, edge: EdgeId) -> Option<String> {
        self.shared.state().host(usize::from(edge.0)).map(str::to_owned)
    }

    /// A call was failed by an edge: new calls do without a dead one at once, and ask others first where it is short
    /// of something. It is probed right away.
    pub fn note(&self, edge: EdgeId, why: EdgeFailure) {
        let edge = usize::from(edge.0);
        self.shared.change(|state, now| state.on_failed_call(edge, why, now));
        for notify in [&self.shared.wanted, &self.shared.doubted] {
            if let Some(task) = notify.get(edge) {
                task.notify_one();
            }
        }
    }

    /// A call got its relay from an edge.
    pub fn note_ok(&self, edge: EdgeId) {
        self.shared.change(|state, _| state.on_served_call(usize::from(edge.0)));
    }

    /// Why calls have no relay, when no edge is of use to new ones: of the edge that is preferred.
    pub fn failure(&self) -> Option<EdgeFailure> {
        let health = self.health();
        if health.iter().any(|edge| edge.usable) {
            return None;
        }
        health.iter().find_map(|edge| edge.failures.first().copied())
    }

    /// Every edge, in the order of the configuration.
    pub fn health(&self) -> Vec<EdgeHealth> {
        self.shared.state().health(Instant::now())
    }
}

impl Drop for Edges {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        let mut state = self.state();
        let now = Instant::now();
        change(&mut state, now);
        state.publish(&self.cells, now);
        drop(state);
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Sees that ready seats and calls have tokens of one edge.
async fn keep_tokens(shared: Arc<Shared>, edge: usize, client: TokenClient) {
    let mut failures = 0;
    loop {
        let need = shared.state().need(edge, Instant::now());
        let (seat, shared_id) = match need {
            Need::Now { seat, shared_id } => (seat, shared_id),
            Need::Later(at) => {
                tokio::select! {
                    () = sleep_until(at.into()) => {}
                    () = shared.wanted[edge].notified() => {}
                }
                continue;
            }
        };
        let asked = Instant::now();
        let answer = client.ask(&shared_id).await;
        shared.cells.token_seconds.observe((), asked.elapsed().as_secs_f64());
        shared.cells.tokens.add(result_label(&answer), 1);
        match answer {
            Ok(token) => {
                failures = 0;
                if shared.state().wants_relays(edge, &token.relays, asked) {
                    let addresses = edge_relays::resolve(&token.relays).await;
                    shared.change(|state, now| state.on_relays(edge, token.relays.clone(), addresses, now));
                    shared.doubted[edge].notify_one();
                }
                shared.change(|state, _| state.on_token(edge, seat, token, asked, random_unit()));
            }
            Err(error) => {
                failures += 1;
                shared.change(|state, _| state.on_token_failed(edge, &error));
                tokio::time::sleep(pause(failures, &error, random_unit())).await;
            }
        }
    }
}

fn result_label<T>(answer: &Result<T, TokenError>) -> TokenResult {
    match answer {
        Ok(_) => TokenResult::Issued,
        Err(TokenError::Unreachable(_)) => TokenResult::Unreachable,
        Err(TokenError::Refused { .. }) => TokenResult::Refused,
        Err(TokenError::Malformed(_)) => TokenResult::Malformed,
    }
}

/// How long a service is left in peace after so many failures in a row, `random` of 0..1.
fn pause(failures: u32, error: &TokenError, random: f64) -> Duration {
    let (first, longest) = TOKEN_PAUSE;
    let doubled = first.saturating_mul(1 << (failures - 1).min(16)).min(longest);
    let wished = match error {
        TokenError::Refused { retry_after: Some(after), .. } => (*after).min(longest),
        _ => Duration::ZERO,
    };
    // Workers that lost a service together do not come back together.
    doubled.mul_f64(0.5 + random / 2.0).max(wished)
}

/// Sees whether an edge answers.
async fn keep_probing(shared: Arc<Shared>, edge: usize) {
    loop {
        let (relay, rest) = shared.state().probe(edge);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = shared.doubted[edge].notified() => {}
        }
        let Some(relay) = relay.or_else(|| shared.state().probe(edge).0) else {
            let lost = shared.state().lost_relays(edge);
            if let Some(uris) = lost {
                let addresses = edge_relays::resolve(&uris).await;
                shared.change(|state, now| state.on_relays(edge, uris, addresses, now));
            }
            continue;
        };
        let answered = edge_relays::answers(relay).await;
        shared.change(|state, now| state.on_probe(edge, answered, now));
    }
}

/// 0..1, or its middle when the system gives no random bytes.
fn random_unit() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// A relay over UDP as ICE takes it.
pub(crate) fn server(edge: usize, server: std::net::SocketAddr, credentials: &ClientCredentials) -> EdgeServer {
    EdgeServer {
        id: EdgeId(edge as u16),
        server,
        transport: Transport::Udp,
        credentials: credentials.clone(),
        family: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_edges_a_call_does_without_at_once() {
        let edges = Edges::start(&[]).unwrap();
        assert!(!edges.is_configured());
        assert!(edges.servers("call").await.is_empty());
        assert_eq!((edges.failure(), edges.health().len(), edges.shared_id("call")), (None, 0, None));
        edges.note(EdgeId(7), EdgeFailure::Unreachable);
        assert!(edges.credentials("call").recv().await.is_none());
    }

    #[test]
    fn pauses_double_to_a_minute_and_heed_the_services_wish() {
        let down = TokenError::Unreachable("refused".into());
        let pauses: Vec<u64> = [1, 2, 3, 7, 40].iter().map(|n| pause(*n, &down, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 60, 60]);
        assert_eq!(pause(3, &down, 0.0), Duration::from_secs(2));
        let wait = |secs| TokenError::Refused {
            status: 429,
            detail: String::new(),
            retry_after: Some(Duration::from_secs(secs)),
        };
        assert_eq!(pause(1, &wait(9), 0.0), Duration::from_secs(9));
        assert_eq!(pause(1, &wait(86_400), 0.0), Duration::from_secs(60));
    }
}
