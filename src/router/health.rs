//! Asks the UM services by OPTIONS how they are. A dead one is noticed at the next question, a hung one when its answer
//! is overdue.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use postern_config::SipTarget;
use postern_dialplan::ServiceStatus;
use postern_sip::user_agent_io::{PingFault, PingHandle, Pong};
use postern_sip::{CallEvent, StatusCode, Target, UserAgent};
use postern_transport::{TlsIdentity, Transport};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::contact::uri_of;
use crate::generation::HealthTimes;
use crate::services::Condition;

/// Whom to ask, and as whom.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) targets: Vec<SipTarget>,
    pub(crate) times: HealthTimes,
    pub(crate) tls: Option<TlsIdentity>,
}

/// How a service is.
pub(crate) struct News {
    pub(crate) target: SipTarget,
    pub(crate) condition: Condition,
    /// How long the answer took; `None` without one.
    pub(crate) took: Option<Duration>,
    /// Why it is not healthy; empty when it is.
    pub(crate) why: String,
}

/// A question that is open.
struct Open {
    target: SipTarget,
    asked: Instant,
    /// It was told that the answer is overdue.
    told: bool,
}

/// Asks until `wanted` is dropped or nobody hears `news`.
pub(crate) async fn ask(
    mut transport: Transport,
    mut agent: UserAgent,
    mut wanted: watch::Receiver<Wanted>,
    news: mpsc::Sender<News>,
) {
    let mut open: HashMap<PingHandle, Open> = HashMap::new();
    let mut now_wanted = wanted.borrow_and_update().clone();
    let mut tick = ticker(now_wanted.times);
    loop {
        let mut told = Vec::new();
        tokio::select! {
            () = transport.drive(&mut agent) => {}
            _ = tick.tick() => told = ask_all(&mut agent, &now_wanted, &mut open),
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                now_wanted = wanted.borrow_and_update().clone();
                tick = ticker(now_wanted.times);
                if let Some(identity) = &now_wanted.tls
                    && let Err(error) = transport.set_tls(identity)
                {
                    tracing::error!(%error, "UM services are asked under the former certificate");
                }
            }
        }
        while let Some(event) = agent.poll_event() {
            if let CallEvent::Pong { ping, outcome } = event
                && let Some(question) = open.remove(&ping)
            {
                told.push(judge(question.target, outcome));
            }
        }
        for one in told {
            if news.send(one).await.is_err() {
                return;
            }
        }
    }
}

fn ticker(times: HealthTimes) -> tokio::time::Interval {
    let mut tick = tokio::time::interval(times.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// Asks each service that has no open question, and tells those whose answers are overdue.
fn ask_all(agent: &mut UserAgent, wanted: &Wanted, open: &mut HashMap<PingHandle, Open>) -> Vec<News> {
    let now = Instant::now();
    let mut told = Vec::new();
    for question in open.values_mut() {
        let waited = now.saturating_duration_since(question.asked);
        if waited >= wanted.times.timeout && !std::mem::replace(&mut question.told, true) {
            told.push(dead(question.target.clone(), format!("it did not answer within {} ms", waited.as_millis())));
        }
    }
    for target in &wanted.targets {
        if open.values().any(|question| question.target == *target) {
            continue;
        }
        let Some(uri) = uri_of(target) else { continue };
        let hop = Target::new(uri).answered_within(wanted.times.timeout);
        let hop = if target.transport == postern_config::SipTransport::Tls { hop.secured() } else { hop };
        match agent.ping(hop, &[], now) {
            Ok(ping) => {
                open.insert(ping, Open { target: target.clone(), asked: now, told: false });
            }
            Err(error) => told.push(dead(target.clone(), error.to_string())),
        }
    }
    told
}

fn judge(target: SipTarget, outcome: Result<Pong, PingFault>) -> News {
    let pong = match outcome {
        Ok(pong) => pong,
        Err(fault) => return dead(target, fault.cause.to_string()),
    };
    let status = pong.response.status;
    let (condition, why) = match status {
        // One that tells nothing of its calls may have room.
        status if status.is_success() => {
            let unknown = ServiceStatus { free_calls: 1, workers: Vec::new() };
            (Condition::Healthy(ServiceStatus::read_from(&pong.response.headers).unwrap_or(unknown)), String::new())
        }
        StatusCode::FORBIDDEN => (Condition::Refusing, "it answers 403: name this router in um.routers".to_string()),
        status => (Condition::Refusing, format!("it answers {status}")),
    };
    News { target, condition, took: Some(pong.round_trip), why }
}

fn dead(target: SipTarget, why: String) -> News {
    News { target, condition: Condition::Dead, took: None, why }
}
