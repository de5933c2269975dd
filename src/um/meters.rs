//! What is counted and logged of calls and workers.

use std::sync::Arc;
use std::time::Duration;

use postern_net::system;
use postern_sip::{Endpoint, Request, Source, Transport};
use postern_slots::{Cause, Event, Slot, Slots, State};
use postern_telemetry::UmCells;
use postern_telemetry::call_labels::{
    self, CallRefusal, RecycleCause, SipMethod, SipResult, SipTransport, SlotState, WorkerEnd,
};
use postern_transport::Report;

use crate::desk::Answer;

/// The service's cells, and what is remembered to fill them.
pub(crate) struct Meters {
    pub(crate) cells: Arc<UmCells>,
    /// How the end of each slot's worker will count, where that is known before.
    end: [Option<WorkerEnd>; 2],
    stopping: bool,
}

impl Meters {
    pub(crate) fn new(cells: Arc<UmCells>) -> Self {
        Self { cells, end: [None; 2], stopping: false }
    }

    /// Workers that end from now on end because the service does.
    pub(crate) fn on_stop(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn on_answer(&self, request: &Request, source: &Source, answer: &Answer, took: Duration) {
        let method = SipMethod::from_name(request.method.as_str());
        self.cells.requests.add((method, SipResult::from_status(answer.status.code())), 1);
        if method == SipMethod::Invite {
            self.cells.answer_seconds.observe((), took.as_secs_f64());
        }
        if let Some(refusal) = answer.refusal {
            if let Some(label) = CallRefusal::named(refusal.name()) {
                self.cells.refusals.add(label, 1);
            }
            tracing::debug!(remote = %source.remote, status = answer.status.code(), "a call is not taken: it {refusal}");
        }
    }

    /// What happened to workers: counted, and told to people.
    pub(crate) fn on_event(&mut self, event: &Event) {
        match event {
            Event::Adopted { slot, generation, calls } => {
                tracing::info!(%slot, generation, calls, "a living worker was found and adopted")
            }
            Event::Active { slot, generation } => tracing::info!(%slot, generation, "calls go to this worker now"),
            Event::NoneActive => tracing::warn!("no worker takes calls; callers get 503"),
            Event::Silent { slot } => tracing::warn!(%slot, "a worker fell silent and gets no more calls"),
            Event::Heard { slot } => tracing::info!(%slot, "a silent worker is heard again"),
            Event::Killed { slot, calls } => {
                self.end[slot.index()] = Some(WorkerEnd::Silent);
                tracing::warn!(%slot, calls, "a worker does not answer, or did not end when told to: killed");
            }
            Event::Died { slot, calls, wait } => {
                self.count_end(*slot, WorkerEnd::Crashed);
                let wait_millis = wait.as_millis() as u64;
                tracing::error!(%slot, calls, wait_millis, "a worker ended unasked; it is started again");
            }
            Event::Ended { slot } => {
                let end = if self.stopping { WorkerEnd::Shutdown } else { WorkerEnd::Drained };
                self.count_end(*slot, end);
                tracing::info!(%slot, "a worker ended as told");
            }
            Event::Draining { slot, calls } => tracing::info!(%slot, calls, "a worker drains"),
            Event::CutOff { slot, calls } => {
                self.end[slot.index()] = Some(WorkerEnd::Overdue);
                tracing::warn!(%slot, calls, "a draining worker has had the time of the longest call; its calls end");
            }
            Event::Resumed { slot } => {
                tracing::warn!(%slot, "a draining worker takes calls again: the fresh one failed")
            }
            Event::Unusable { slot } => {
                tracing::error!(%slot, "a worker speaks another version; it drains and is replaced")
            }
            Event::RecycleWanted { cause } => tracing::info!(cause = cause.name(), "a recycle is wanted"),
            Event::RecycleBegan { cause } => tracing::info!(cause = cause.name(), "a fresh worker is warmed"),
            Event::RecycleDone { cause } => {
                self.cells.recycles.add(cause_label(*cause), 1);
                tracing::info!(cause = cause.name(), "the fresh worker has taken over");
            }
        }
    }

    fn count_end(&mut self, slot: Slot, end: WorkerEnd) {
        let end = self.end[slot.index()].take().unwrap_or(end);
        self.cells.workers_ended.add(end, 1);
    }

    /// Reads the gauges; about four times a second.
    pub(crate) fn read(&self, slots: &Slots, calls_max: u32) {
        self.cells.calls_max.set((), calls_max.into());
        self.cells.outgoing_calls.set((), slots.outcalls() as u64);
        let now_unix_secs = system::unix_secs();
        for slot in Slot::BOTH {
            let label = slot_label(slot);
            self.cells.calls.set(label, u64::from(slots.calls(slot) + slots.reserved(slot)));
            let state = state_label(slots.state(slot));
            for other in SlotState::ALL {
                self.cells.slot_state.set((label, *other), u64::from(*other == state));
            }
            match slots.generation(slot) {
                Some(generation) => self.cells.worker_generation.set(label, generation),
                None => self.cells.worker_generation.clear(label),
            }
            match slots.status(slot) {
                Some(status) => {
                    self.cells.worker_memory.set(label, status.memory_bytes);
                    self.cells.worker_started.set(label, now_unix_secs.saturating_sub(status.age_secs));
                }
                None => {
                    self.cells.worker_memory.clear(label);
                    self.cells.worker_started.clear(label);
                }
            }
        }
    }
}

impl Meters {
    /// Takes over what the endpoint counts.
    pub(crate) fn read_endpoint(&self, endpoint: &Endpoint) {
        for protocol in [Transport::Tcp, Transport::Tls, Transport::Udp] {
            let Some(label) = SipTransport::named(protocol.param()) else { continue };
            self.cells.malformed.store(label, endpoint.counters().malformed_over(protocol));
            if protocol != Transport::Udp {
                self.cells.connections.set(label, endpoint.connections_over(protocol) as u64);
            }
        }
    }
}

/// What happens below SIP: counted where it is a refusal, and logged.
pub(crate) fn on_report(cells: &UmCells, report: &Report) {
    if let Some(label) = report.refused().and_then(|protocol| SipTransport::named(protocol.param())) {
        cells.connections_refused.add(label, 1);
    }
    match report {
        Report::Accepted { .. } | Report::ConnectFailed { .. } => tracing::debug!("{report}"),
        _ => tracing::info!("{report}"),
    }
}

fn slot_label(slot: Slot) -> call_labels::Slot {
    match slot {
        Slot::A => call_labels::Slot::A,
        Slot::B => call_labels::Slot::B,
    }
}

fn state_label(state: State) -> SlotState {
    match state {
        State::Empty => SlotState::Empty,
        State::Starting | State::Unready => SlotState::Starting,
        State::Silent => SlotState::Silent,
        State::Standby => SlotState::Ready,
        State::Active => SlotState::Active,
        State::Draining | State::Ending => SlotState::Draining,
    }
}

fn cause_label(cause: Cause) -> RecycleCause {
    match cause {
        Cause::Age => RecycleCause::Age,
        Cause::Memory => RecycleCause::Memory,
        Cause::Binary => RecycleCause::NewBinary,
        Cause::Certificate => RecycleCause::Certificate,
        Cause::Asked => RecycleCause::Asked,
    }
}
