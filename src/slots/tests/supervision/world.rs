//! Two slots with workers that behave as the contract says, unless a test makes them misbehave.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use postern_slots::limits::{HEARTBEAT, VERSION};
use postern_slots::{
    Action, CallKey, Cause, Contacts, Door, Event, FromWorker, NamedPort, Options, OrderId, OrderReport, OrderState,
    Progress, Readiness, Refused, Slot, Slots, State, Status, ToWorker,
};

pub const LONGEST_CALL: Duration = Duration::from_secs(600);
pub const RECYCLE_INTERVAL: Duration = Duration::from_secs(60);
/// A worker listens, and is ready, so long after its start.
const BOOT: Duration = Duration::from_millis(200);
const WARM_UP: Duration = Duration::from_millis(800);

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn call(number: u32) -> CallKey {
    CallKey::of(&format!("call-{number}"))
}

/// What a worker process has, whoever watches it.
#[derive(Clone, Debug)]
pub struct Process {
    pub slot: Slot,
    pub generation: u64,
    pub version: u32,
    pub calls: BTreeSet<CallKey>,
    /// Outgoing calls, those that are over among them.
    pub orders: BTreeMap<OrderId, OrderReport>,
    /// Orders that it was told to hang up.
    pub hung_up: Vec<OrderId>,
    pub hung: bool,
    /// Never ready, whatever time passes.
    pub broken: bool,
    pub memory_bytes: u64,
    pub draining_since: Option<Instant>,
    pub elsewhere: Contacts,
    pub connected: bool,
    pub calls_max: u32,
    born: Instant,
    next_status: Option<Instant>,
}

impl Process {
    fn status(&self, now: Instant) -> Status {
        let ready = !self.broken && now >= self.born + WARM_UP;
        let base = 5065 + 2 * self.slot.index() as u16;
        Status {
            ready: Readiness { prompts_loaded: ready, ..Readiness::ALL },
            calls: self.calls.len() as u32,
            memory_bytes: self.memory_bytes,
            age_secs: now.duration_since(self.born).as_secs(),
            draining_secs: self.draining_since.map(|since| now.duration_since(since).as_secs()),
            contacts: Contacts {
                tcp: vec![([10, 20, 0, 20], base).into()],
                tls: Some(NamedPort { host: "um.example.test".into(), port: base + 1 }),
            },
        }
    }
}

pub struct World {
    pub slots: Slots,
    pub now: Instant,
    pub processes: [Option<Process>; 2],
    pub events: Vec<Event>,
    /// Starts, with their times.
    pub starts: Vec<(Instant, Slot)>,
    /// So many of the next starts fail at once.
    pub failing_starts: u32,
    /// Processes that end, to be told of.
    ended: VecDeque<Slot>,
}

pub fn options() -> Options {
    Options {
        calls_max: 100,
        longest_call: LONGEST_CALL,
        recycle_age: None,
        recycle_memory_bytes: None,
        recycle_interval: RECYCLE_INTERVAL,
    }
}

impl World {
    /// Nobody lives in either slot.
    pub fn empty(options: Options) -> Self {
        Self::around(options, [None, None], Instant::now())
    }

    /// Started and settled: A and B are there.
    pub fn settled(options: Options) -> Self {
        let mut world = Self::empty(options);
        world.advance(secs(2));
        assert_eq!(world.states(), [State::Active, State::Standby]);
        world
    }

    /// A new UM service among these workers.
    pub fn around(options: Options, mut processes: [Option<Process>; 2], now: Instant) -> Self {
        processes.iter_mut().flatten().for_each(|process| (process.connected, process.next_status) = (false, None));
        let slots = Slots::new(options, now);
        let mut world = Self {
            slots,
            now,
            processes,
            events: Vec::new(),
            starts: Vec::new(),
            failing_starts: 0,
            ended: VecDeque::new(),
        };
        for slot in Slot::BOTH {
            match world.processes[slot.index()] {
                None => world.slots.handle_nobody(slot, now),
                Some(_) => world.connect(slot),
            }
            world.perform();
        }
        world
    }

    /// The UM service dies; a new one starts after this time.
    pub fn die_and_return(self, after: Duration, options: Options) -> Self {
        Self::around(options, self.processes, self.now + after)
    }

    pub fn process(&mut self, slot: Slot) -> &mut Process {
        self.processes[slot.index()].as_mut().expect("a worker lives here")
    }

    pub fn states(&self) -> [State; 2] {
        Slot::BOTH.map(|slot| self.slots.state(slot))
    }

    /// Forgets what happened so far.
    pub fn forget(&mut self) {
        self.events.clear();
        self.starts.clear();
    }

    pub fn reserve(&mut self, number: u32) -> Result<Slot, Refused> {
        let slot = self.slots.reserve(&call(number), Door::Tcp, self.now);
        self.perform();
        slot
    }

    /// A call is redirected and reaches its worker, which redirects it once more when it drains.
    pub fn place(&mut self, number: u32) -> Result<Slot, Refused> {
        let slot = self.reserve(number)?;
        self.begin(number, slot);
        Ok(slot)
    }

    /// A call reaches the worker of this slot.
    pub fn begin(&mut self, number: u32, slot: Slot) {
        let process = self.process(slot);
        assert!(process.draining_since.is_none(), "a draining worker takes no call");
        process.calls.insert(call(number));
        if process.connected && !process.hung {
            self.say(slot, FromWorker::CallBegan { call: call(number) });
        }
    }

    pub fn hang_up(&mut self, number: u32) {
        let of = |process: &&mut Process| process.calls.contains(&call(number));
        let Some(process) = self.processes.iter_mut().flatten().find(of) else { return };
        process.calls.remove(&call(number));
        let (slot, heard) = (process.slot, process.connected && !process.hung);
        if heard {
            self.say(slot, FromWorker::CallEnded { call: call(number) });
            self.report(slot);
        }
    }

    pub fn kill(&mut self, slot: Slot) {
        if self.processes[slot.index()].take().is_some() {
            self.ended.push_back(slot);
        }
        self.perform();
    }

    pub fn disconnect(&mut self, slot: Slot) {
        let process = self.process(slot);
        process.connected = false;
        process.next_status = None;
        self.slots.handle_disconnected(slot, self.now);
        self.perform();
    }

    pub fn connect(&mut self, slot: Slot) {
        self.process(slot).connected = true;
        self.slots.handle_connected(slot, self.now);
        self.perform();
    }

    /// A stopped process goes on.
    pub fn wake(&mut self, slot: Slot) {
        self.process(slot).hung = false;
        self.report(slot);
    }

    pub fn say(&mut self, slot: Slot, message: FromWorker) {
        self.slots.handle_message(slot, message, self.now);
        self.perform();
    }

    pub fn report(&mut self, slot: Slot) {
        let now = self.now;
        let process = self.process(slot);
        process.next_status = Some(now + HEARTBEAT);
        let status = process.status(now);
        self.say(slot, FromWorker::Status(status));
    }

    /// A worker tells how an outgoing call is; one that is over is a call no more.
    pub fn report_order(&mut self, slot: Slot, report: OrderReport) {
        let process = self.process(slot);
        process.orders.insert(report.order, report.clone());
        if !process.connected || process.hung {
            return;
        }
        let is_over = report.progress.is_over();
        self.say(slot, FromWorker::Order(report.clone()));
        if is_over {
            let call = report.order.call_key();
            self.process(slot).calls.remove(&call);
            self.say(slot, FromWorker::CallEnded { call });
            self.report(slot);
        }
    }

    pub fn recycle(&mut self, cause: Cause) {
        self.slots.recycle(cause, self.now);
        self.perform();
    }

    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.next_moment().filter(|at| *at <= end) {
            assert!(at >= self.now, "a moment in the past would come again and again");
            self.now = at;
            for slot in Slot::BOTH {
                self.live(slot);
            }
            self.slots.handle_timeout(self.now);
            self.perform();
            assert!(self.slots.next_timeout().is_none_or(|at| at > self.now), "what is due is done at once");
        }
        self.now = end;
    }

    /// What a worker does by itself.
    fn live(&mut self, slot: Slot) {
        let now = self.now;
        let Some(process) = &mut self.processes[slot.index()] else { return };
        if process.hung {
            return;
        }
        if !process.connected && process.born + BOOT <= now && process.next_status.is_none() {
            process.next_status = Some(now);
            return self.connect(slot);
        }
        if process.connected && process.next_status.is_some_and(|at| at <= now) {
            self.report(slot);
        }
    }

    fn next_moment(&self) -> Option<Instant> {
        let alive = self.processes.iter().flatten().filter(|process| !process.hung);
        let workers = alive.map(|process| match (process.connected, process.next_status) {
            (true, Some(at)) => at,
            _ => (process.born + BOOT).max(self.now),
        });
        workers.chain(self.slots.next_timeout()).min()
    }

    /// Carries out what is asked for, to the end.
    pub fn perform(&mut self) {
        loop {
            while let Some(event) = self.slots.poll_event() {
                self.events.push(event);
            }
            if let Some(action) = self.slots.poll_action() {
                self.carry_out(action);
            } else if let Some(slot) = self.ended.pop_front() {
                self.slots.handle_ended(slot, self.now);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::Start { slot, generation } => {
                assert!(
                    self.processes[slot.index()].is_none(),
                    "a worker is started into slot {slot}, where one lives"
                );
                assert!(!self.ended.contains(&slot));
                self.starts.push((now, slot));
                if self.failing_starts > 0 {
                    self.failing_starts -= 1;
                    return self.ended.push_back(slot);
                }
                self.processes[slot.index()] = Some(Process {
                    slot,
                    generation,
                    version: VERSION,
                    calls: BTreeSet::new(),
                    orders: BTreeMap::new(),
                    hung_up: Vec::new(),
                    hung: false,
                    broken: false,
                    memory_bytes: 0,
                    draining_since: None,
                    elsewhere: Contacts::default(),
                    connected: false,
                    calls_max: 0,
                    born: now,
                    next_status: None,
                });
            }
            Action::Send { slot, message } => self.hear(slot, message),
            Action::Kill { slot } => {
                self.processes[slot.index()] = None;
                self.ended.push_back(slot);
            }
            Action::Terminate { slot } => {
                let Some(process) = &mut self.processes[slot.index()] else { return };
                if process.hung {
                    return;
                }
                process.draining_since.get_or_insert(now);
                if process.calls.is_empty() {
                    self.processes[slot.index()] = None;
                    self.ended.push_back(slot);
                }
            }
        }
    }

    fn hear(&mut self, slot: Slot, message: ToWorker) {
        let now = self.now;
        let Some(process) = self.processes[slot.index()].as_mut().filter(|process| process.connected) else { return };
        if process.hung {
            return;
        }
        match message {
            ToWorker::Hello { calls_max, .. } => {
                process.calls_max = calls_max;
                let (version, generation) = (process.version, process.generation);
                let mut said = vec![FromWorker::Hello { version, slot, generation, pid: generation as u32 }];
                said.extend(process.calls.iter().map(|call| FromWorker::CallBegan { call: call.clone() }));
                said.extend(process.orders.values().map(|report| FromWorker::Order(report.clone())));
                for message in said {
                    self.slots.handle_message(slot, message, now);
                }
                self.report(slot);
            }
            ToWorker::Drain { elsewhere } => {
                process.elsewhere = elsewhere;
                process.draining_since.get_or_insert(now);
                self.report(slot);
            }
            ToWorker::Resume => {
                process.draining_since = None;
                self.report(slot);
            }
            ToWorker::Retire => {
                self.processes[slot.index()] = None;
                self.ended.push_back(slot);
            }
            ToWorker::Place(order) => {
                let call = order.id.call_key();
                process.calls.insert(call.clone());
                self.slots.handle_message(slot, FromWorker::CallBegan { call }, now);
                let progress = Progress { state: OrderState::Connecting, ..Progress::default() };
                let report =
                    OrderReport { order: order.id, mailbox: order.mailbox, age_secs: 0, over_secs: 0, progress };
                self.report_order(slot, report);
            }
            ToWorker::HangUp { order } => process.hung_up.push(order),
            ToWorker::Story { .. } | ToWorker::RecentCalls { .. } => {}
        }
    }
}
