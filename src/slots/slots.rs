//! The supervision of two worker slots, without processes, sockets or clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::action::{Action, Cause, Door, Event, Options, Refused, State};
use crate::call_key::CallKey;
use crate::ledger::Ledger;
use crate::limits::{CONTACTS_MAX, EVENTS_MAX, HUNG_MAX, SILENCE_MAX, STABLE_TIME, START_TIME, VERSION};
use crate::outcalls::Outcalls;
use crate::recycle::Recycling;
use crate::seat::{Phase, Place, Seat, Worker};
use crate::slot::Slot;
use crate::wire::{Contacts, FromWorker, Status, ToWorker};

/// Two slots: one worker takes the calls, the other one waits to replace it, or drains.
///
/// The shell looks into both slots at birth and says `handle_nobody` or `handle_connected` of each. After each call,
/// drain [`poll_action`](Slots::poll_action) and [`poll_event`](Slots::poll_event), then read
/// [`next_timeout`](Slots::next_timeout) again. `now` never goes back.
pub struct Slots {
    pub(crate) options: Options,
    pub(crate) seats: [Seat; 2],
    pub(crate) active: Option<Slot>,
    pub(crate) ledger: Ledger,
    pub(crate) outcalls: Outcalls,
    pub(crate) recycling: Option<Recycling>,
    /// A recycle that is wanted and has not begun.
    pub(crate) wish: Option<Cause>,
    /// The last one, and when it began.
    pub(crate) last_recycle: Option<(Instant, Cause)>,
    pub(crate) last_generation: u64,
    pub(crate) stopping: bool,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

impl Slots {
    pub fn new(options: Options, now: Instant) -> Self {
        let seat = || Seat { place: Place::Unsearched { until: now + START_TIME }, failures: 0 };
        Self {
            options,
            seats: [seat(), seat()],
            active: None,
            ledger: Ledger::default(),
            outcalls: Outcalls::default(),
            recycling: None,
            wish: None,
            last_recycle: None,
            last_generation: 0,
            stopping: false,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Replaces the options; draining workers keep the time they were given.
    pub fn set_options(&mut self, options: Options, now: Instant) {
        let greet = options.calls_max != self.options.calls_max;
        self.options = options;
        for slot in Slot::BOTH {
            if greet && self.seat(slot).worker().is_some_and(|worker| worker.connected) {
                self.greet(slot);
            }
        }
        self.settle(now);
    }

    /// At birth: no worker lives in the slot.
    pub fn handle_nobody(&mut self, slot: Slot, now: Instant) {
        if let Place::Unsearched { .. } = self.seat(slot).place {
            self.seat_mut(slot).place = Place::Empty { start_at: now };
        }
        self.settle(now);
    }

    /// A connection to the slot's worker stands, for the first time or again.
    pub fn handle_connected(&mut self, slot: Slot, now: Instant) {
        if !matches!(self.seat(slot).place, Place::Held(_)) {
            let phase = Phase::Starting { until: now + START_TIME };
            self.seat_mut(slot).place = Place::Held(Worker::new(phase, 0, true, now));
        }
        if let Some(worker) = self.seat_mut(slot).worker_mut() {
            worker.connected = true;
            worker.told = None;
            let retiring = matches!(worker.phase, Phase::Retiring { .. });
            self.greet(slot);
            if retiring {
                self.act(Action::Send { slot, message: ToWorker::Retire });
            }
        }
        self.settle(now);
    }

    /// The connection is gone; its worker may live.
    pub fn handle_disconnected(&mut self, slot: Slot, now: Instant) {
        if let Some(worker) = self.seat_mut(slot).worker_mut() {
            worker.connected = false;
        }
        self.settle(now);
    }

    /// The slot's worker said this. Stories and lists of calls are for others.
    pub fn handle_message(&mut self, slot: Slot, message: FromWorker, now: Instant) {
        let Some(worker) = self.seat_mut(slot).worker_mut() else { return };
        worker.heard = now;
        if std::mem::take(&mut worker.silent) {
            self.tell(Event::Heard { slot });
        }
        match message {
            FromWorker::Hello { version, slot: said, .. } if version != VERSION || said != slot => {
                self.forgo(slot, now);
            }
            FromWorker::Hello { generation, .. } => {
                self.ledger.begin_naming(slot);
                self.outcalls.begin_naming(slot);
                self.last_generation = self.last_generation.max(generation);
                if let Some(worker) = self.seat_mut(slot).worker_mut() {
                    worker.generation = generation;
                }
            }
            FromWorker::CallBegan { call } => self.ledger.began(call, slot),
            FromWorker::CallEnded { call } => self.ledger.ended(&call, slot),
            FromWorker::Order(report) => self.on_order(slot, report, now),
            FromWorker::Status(status) => self.on_status(slot, status, now),
            FromWorker::Story { .. } | FromWorker::RecentCalls { .. } => {}
        }
        self.settle(now);
    }

    /// What lives in the slot said something that cannot be understood.
    pub fn handle_unusable(&mut self, slot: Slot, now: Instant) {
        self.forgo(slot, now);
        self.settle(now);
    }

    /// The slot's process is gone, or could not be started.
    pub fn handle_ended(&mut self, slot: Slot, now: Instant) {
        let calls = self.ledger.running(slot);
        let stopping = self.stopping;
        let seat = self.seat_mut(slot);
        let (wanted, stable) = match &seat.place {
            Place::Empty { .. } => return,
            Place::Unsearched { .. } => (true, false),
            Place::Held(worker) => {
                let since = |known: Instant| now.saturating_duration_since(known);
                let stable = worker.known_since.is_some_and(|known| since(known) >= STABLE_TIME);
                let wanted = match worker.phase {
                    Phase::Retiring { .. } | Phase::Foreign { .. } => true,
                    Phase::Draining { .. } => calls == 0,
                    Phase::Starting { .. } | Phase::Serving | Phase::Killed => stopping,
                };
                (wanted, stable)
            }
        };
        if stable {
            seat.failures = 0;
        }
        let event = if wanted {
            seat.place = Place::Empty { start_at: now };
            Event::Ended { slot }
        } else {
            let wait = seat.back_off();
            seat.place = Place::Empty { start_at: now + wait };
            Event::Died { slot, calls, wait }
        };
        self.tell(event);
        self.ledger.clear(slot);
        self.outcalls.clear(slot, now);
        self.settle(now);
    }

    /// To be called when [`next_timeout`](Self::next_timeout) has come; harmless at any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
    }

    /// The next moment at which something happens by itself.
    pub fn next_timeout(&self) -> Option<Instant> {
        // When nothing may start any more, an empty slot stays so.
        let waits = |seat: &&Seat| !(self.stopping && matches!(seat.place, Place::Empty { .. }));
        let seats = self.seats.iter().filter(waits).filter_map(Seat::next_timeout);
        let calls = self.ledger.next_timeout().into_iter().chain(self.outcalls.next_timeout());
        seats.chain(calls).chain(self.recycle_due()).min()
    }

    /// Work, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// News, in order; at most [`EVENTS_MAX`] wait, the oldest is lost beyond.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Finds a place for a new call, and counts it from now on for [`RESERVATION`](crate::limits::RESERVATION), or until
    /// its worker says that it has begun and ended.
    ///
    /// # Errors
    /// How the call is to be refused; nothing was counted.
    pub fn reserve(&mut self, call: &CallKey, door: Door, now: Instant) -> Result<Slot, Refused> {
        self.settle(now);
        let slot = self.active.ok_or(Refused::Unavailable)?;
        let contacts = self.contacts(slot).ok_or(Refused::Unavailable)?;
        let open = match door {
            Door::Tcp => !contacts.tcp.is_empty(),
            Door::Tls => contacts.tls.is_some(),
        };
        if !open {
            return Err(Refused::Unavailable);
        }
        self.ledger.reserve(call, slot, self.options.calls_max, now)?;
        Ok(slot)
    }

    /// Takes no more calls; workers drain and end. [`is_over`](Self::is_over) says when they have.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.wish = None;
        self.recycling = None;
        for slot in Slot::BOTH {
            self.drain(slot, now);
        }
        self.settle(now);
    }

    /// As [`stop`](Self::stop), without waiting for calls.
    pub fn stop_at_once(&mut self, now: Instant) {
        self.stop(now);
        for slot in Slot::BOTH {
            if self.seat(slot).worker().is_some_and(|worker| {
                matches!(worker.phase, Phase::Starting { .. } | Phase::Draining { .. } | Phase::Foreign { .. })
            }) {
                self.retire(slot, now);
            }
        }
    }

    /// Whether nothing runs in either slot after [`stop`](Self::stop).
    pub fn is_over(&self) -> bool {
        self.stopping && self.seats.iter().all(|seat| matches!(seat.place, Place::Empty { .. }))
    }

    /// The slot that takes calls.
    pub fn active(&self) -> Option<Slot> {
        self.active
    }

    /// What runs in a slot.
    pub fn state(&self, slot: Slot) -> State {
        self.seat(slot).state(self.active == Some(slot))
    }

    /// Where the slot's worker takes calls, as it last said.
    pub fn contacts(&self, slot: Slot) -> Option<&Contacts> {
        self.status(slot).map(|status| &status.contacts)
    }

    /// How the slot's worker is, as it last said.
    pub fn status(&self, slot: Slot) -> Option<&Status> {
        let worker = self.seat(slot).worker().filter(|worker| worker.known_since.is_some());
        worker.map(|worker| &worker.status)
    }

    /// Which worker runs in a slot, counted from 1 over both.
    pub fn generation(&self, slot: Slot) -> Option<u64> {
        self.seat(slot).worker().map(|worker| worker.generation)
    }

    /// Calls that the slot's worker has.
    pub fn calls(&self, slot: Slot) -> u32 {
        self.ledger.running(slot)
    }

    /// Calls on their way to the slot's worker.
    pub fn reserved(&self, slot: Slot) -> u32 {
        self.ledger.reserved(slot)
    }

    /// Calls that could still be taken; 0 when no worker takes any.
    pub fn free_calls(&self) -> u32 {
        match self.active {
            Some(_) => self.options.calls_max.saturating_sub(self.ledger.total()),
            None => 0,
        }
    }

    pub(crate) fn seat(&self, slot: Slot) -> &Seat {
        &self.seats[slot.index()]
    }

    pub(crate) fn seat_mut(&mut self, slot: Slot) -> &mut Seat {
        &mut self.seats[slot.index()]
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn greet(&mut self, slot: Slot) {
        let message = ToWorker::Hello { version: VERSION, calls_max: self.options.calls_max };
        self.act(Action::Send { slot, message });
    }

    fn on_status(&mut self, slot: Slot, mut status: Status, now: Instant) {
        self.ledger.end_naming(slot);
        self.outcalls.end_naming(slot, now);
        status.contacts.tcp.truncate(CONTACTS_MAX);
        let calls = self.ledger.running(slot);
        let drains_until = status.draining_secs.map(|secs| {
            let spent = Duration::from_secs(secs);
            now + self.options.longest_call.saturating_sub(spent)
        });
        let Some(worker) = self.seat_mut(slot).worker_mut() else { return };
        worker.status = status;
        worker.known_since.get_or_insert(now);
        let generation = worker.generation;
        let starting = matches!(worker.phase, Phase::Starting { .. });
        if starting {
            worker.phase = Phase::Serving;
        }
        // One that drains without our word was told by our predecessor, or by a signal.
        if worker.phase == Phase::Serving
            && let Some(until) = drains_until
        {
            worker.phase = Phase::Draining { until };
        }
        if starting && worker.adopted {
            self.tell(Event::Adopted { slot, generation, calls });
        }
        if starting && self.stopping {
            self.drain(slot, now);
        }
        self.watch_wear(slot, now);
    }

    /// Brings everything into the order that the present state demands; changes nothing when called again.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.ledger.expire(now);
        self.settle_outcalls(now);
        for slot in Slot::BOTH {
            self.settle_time(slot, now);
        }
        self.choose_active(now);
        self.begin_recycle(now);
        self.finish_recycle(now);
        for slot in Slot::BOTH {
            self.settle_drain(slot, now);
            self.start_if_due(slot, now);
        }
    }

    /// What time alone does to a slot.
    fn settle_time(&mut self, slot: Slot, now: Instant) {
        let calls = self.ledger.running(slot);
        let seat = self.seat_mut(slot);
        if let Place::Unsearched { until } = seat.place
            && until <= now
        {
            // Somebody holds the slot and does not listen.
            seat.place = Place::Held(Worker::new(Phase::Starting { until }, 0, true, now));
        }
        let Some(worker) = seat.worker_mut() else { return };
        let mut silent = false;
        let kill = match worker.phase {
            Phase::Starting { until } | Phase::Foreign { until } | Phase::Retiring { until } => until <= now,
            Phase::Serving | Phase::Draining { .. } => {
                silent = !worker.silent && worker.heard + SILENCE_MAX <= now;
                worker.silent |= silent;
                worker.heard + HUNG_MAX <= now
            }
            Phase::Killed => false,
        };
        if kill {
            worker.phase = Phase::Killed;
        }
        if silent {
            self.tell(Event::Silent { slot });
        }
        if kill {
            self.tell(Event::Killed { slot, calls });
            self.act(Action::Kill { slot });
        }
    }

    fn choose_active(&mut self, now: Instant) {
        if self.active.is_some_and(|slot| self.seat(slot).takes_calls()) {
            return;
        }
        let next = Slot::BOTH.into_iter().find(|slot| !self.stopping && self.seat(*slot).takes_calls());
        if next.is_none() && !self.stopping {
            self.resume_one(now);
        }
        if next == self.active {
            return;
        }
        self.active = next;
        let generation = |slot| self.seat(slot).worker().map_or(0, |worker| worker.generation);
        let event = next.map_or(Event::NoneActive, |slot| Event::Active { slot, generation: generation(slot) });
        self.tell(event);
    }

    /// Lets a draining worker take calls again: the one that replaced it has failed.
    fn resume_one(&mut self, now: Instant) {
        // At our start, the one that takes calls may merely not have been heard yet.
        if self.seats.iter().any(|seat| seat.is_unheard(now)) {
            return;
        }
        let can = |slot: &Slot| {
            let worker = self.seat(*slot).worker();
            worker.is_some_and(|worker| {
                matches!(worker.phase, Phase::Draining { .. }) && worker.connected && worker.is_sound()
            })
        };
        let Some(slot) = Slot::BOTH.into_iter().find(can) else { return };
        if let Some(worker) = self.seat_mut(slot).worker_mut() {
            worker.phase = Phase::Serving;
            worker.told = None;
        }
        self.recycling = None;
        // Our predecessor's cause is not known.
        let cause = self.last_recycle.map_or(Cause::Asked, |(_, cause)| cause);
        self.wish.get_or_insert(cause);
        self.act(Action::Send { slot, message: ToWorker::Resume });
        self.tell(Event::Resumed { slot });
    }

    fn start_if_due(&mut self, slot: Slot, now: Instant) {
        let Place::Empty { start_at } = self.seat(slot).place else { return };
        if self.stopping || start_at > now {
            return;
        }
        self.last_generation += 1;
        let generation = self.last_generation;
        let phase = Phase::Starting { until: now + START_TIME };
        self.seat_mut(slot).place = Place::Held(Worker::new(phase, generation, false, now));
        self.act(Action::Start { slot, generation });
    }
}
