//! One media thread: its own epoll loop over the sockets of its calls, its own timers. Nothing on its packet path is
//! shared with another thread.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use postern_net::{Events, Interest, Reactor, RecvBatch};

use crate::limits;
use crate::media::{MediaId, ToThread};
use crate::media_call::CallMedia;
use crate::monitor::ThreadMeter;

/// Descriptors told of in one wait.
const EVENTS: usize = 1024;

/// How long a thread without work waits at most: it tells that it lives once per turn.
const TURN_MAX: Duration = Duration::from_millis(500);

/// Bits of a token that number the socket of a call.
const SOCKET_BITS: u32 = 8;

pub(crate) struct MediaThread {
    reactor: Reactor,
    commands: Receiver<ToThread>,
    /// How many there are, for whoever looks for the thread with the fewest.
    count: Arc<AtomicUsize>,
    calls: HashMap<MediaId, CallMedia>,
    /// Soonest first.
    deadlines: BTreeSet<(Instant, MediaId)>,
    batch: RecvBatch,
    meter: ThreadMeter,
}

impl MediaThread {
    pub(crate) fn new(
        reactor: Reactor,
        commands: Receiver<ToThread>,
        count: Arc<AtomicUsize>,
        meter: ThreadMeter,
    ) -> Self {
        let batch = RecvBatch::new(limits::DATAGRAMS_PER_TURN);
        Self { reactor, commands, count, calls: HashMap::new(), deadlines: BTreeSet::new(), batch, meter }
    }

    /// Runs until nobody can send commands any more and the last call is closed.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let due = self.deadlines.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
            let wait = due.map_or(TURN_MAX, |due| due.min(TURN_MAX));
            if self.reactor.wait(&mut events, Some(wait)).is_err() {
                // Only a descriptor that is none of epoll's fails for good, and this one is ours.
                continue;
            }
            let now = Instant::now();
            for event in events.iter() {
                let call = MediaId(event.token >> SOCKET_BITS);
                self.on_readable(call, (event.token & ((1 << SOCKET_BITS) - 1)) as usize, now);
            }
            let over = self.take_commands(now);
            self.on_deadlines(now);
            self.meter.turned(now);
            if over && self.calls.is_empty() {
                return;
            }
        }
    }

    fn on_readable(&mut self, id: MediaId, socket: usize, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let former = call.deadline();
        call.on_readable(socket, &mut self.batch, now);
        self.settle(id, former, now);
    }

    /// Whether nobody can send any more.
    fn take_commands(&mut self, now: Instant) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(ToThread::Open(id, opening, events)) => {
                    let call = CallMedia::new(*opening, events, now);
                    for (socket, udp) in call.sockets().enumerate() {
                        let token = id.0 << SOCKET_BITS | socket as u64;
                        if self.reactor.register(udp, token, Interest::READ).is_err() {
                            // Without epoll's memory nothing of this call is heard, which its inactivity limit tells.
                            break;
                        }
                    }
                    self.calls.insert(id, call);
                    self.count_calls();
                    self.settle(id, None, now);
                }
                Ok(ToThread::Ask(id, command)) => {
                    let Some(call) = self.calls.get_mut(&id) else { continue };
                    let former = call.deadline();
                    call.on_command(command, now);
                    self.settle(id, former, now);
                }
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn on_deadlines(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            let Some(call) = self.calls.get_mut(&id) else { continue };
            call.on_timeout(&mut self.batch, now);
            self.settle(id, None, now);
        }
    }

    fn count_calls(&self) {
        self.count.store(self.calls.len(), Ordering::Relaxed);
        self.meter.set_calls(self.calls.len());
    }

    /// Sends what a call has to send, and notes its next deadline in place of the `former` one.
    fn settle(&mut self, id: MediaId, former: Option<Instant>, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.drain(now);
        if let Some(former) = former {
            self.deadlines.remove(&(former, id));
        }
        if call.is_over(now) {
            // Its descriptors leave epoll as they are closed.
            self.calls.remove(&id);
            return self.count_calls();
        }
        let deadline = call.note_deadline(now);
        self.deadlines.insert((deadline, id));
    }
}
