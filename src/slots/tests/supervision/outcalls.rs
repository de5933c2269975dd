//! Outgoing calls: who may place one, who has it, and how its state outlives workers and UM services.

use postern_slots::limits::{ORDER_TAKEN_TIME, OUTCALL_HOUR, OUTCALL_MEMORY, OUTCALLS_MAX};
use postern_slots::{
    Cause, NotPlaced, Options, Order, OrderCause, OrderId, OrderPurpose, OrderReport, OrderState, OrderTarget,
    Progress, Slot, State,
};

use crate::world::{World, options, secs};

const PER_HOUR: u32 = 20;

fn id(number: u32) -> OrderId {
    OrderId::new(u128::from(number).to_be_bytes())
}

fn order(number: u32, mailbox: &str) -> Order {
    Order {
        id: id(number),
        mailbox: mailbox.into(),
        plan: "office".into(),
        number: "1001".into(),
        purpose: OrderPurpose::PlayMessage { message: "m".into() },
        target: OrderTarget::Number("2002".into()),
        dialled: "2002".into(),
        gateways: vec!["gw".into()],
    }
}

fn progress(state: OrderState, sip_status: u16) -> Progress {
    Progress { state, cause: None, sip_status: Some(sip_status) }
}

impl World {
    fn order(&mut self, number: u32, mailbox: &str) -> Result<(), NotPlaced> {
        let placed = self.slots.place(order(number, mailbox), PER_HOUR, self.now);
        self.perform();
        placed
    }

    fn tell(&mut self, slot: Slot, number: u32, progress: Progress) {
        let known = self.process(slot).orders[&id(number)].clone();
        self.report_order(slot, OrderReport { progress, ..known });
    }

    fn end(&mut self, slot: Slot, number: u32) {
        self.tell(slot, number, Progress::over(OrderCause::None, Some(200)));
    }

    fn progress(&self, number: u32) -> Progress {
        self.slots.outcall(id(number)).expect("the call is known").progress
    }

    /// Calls that changed since this was asked last.
    fn changed(&mut self) -> Vec<OrderId> {
        std::iter::from_fn(|| self.slots.poll_outcall()).collect()
    }
}

#[test]
fn an_outgoing_call_goes_through_its_states_at_the_active_worker_and_counts_as_a_call() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    assert_eq!(world.progress(1).state, OrderState::Connecting);
    assert_eq!((world.slots.calls(Slot::A), world.slots.free_calls(), world.slots.outcalls()), (1, 99, 1));
    for told in [progress(OrderState::Alerted, 180), progress(OrderState::Connected, 200)] {
        world.tell(Slot::A, 1, told);
        assert_eq!(world.progress(1), told);
    }
    world.tell(Slot::A, 1, progress(OrderState::Alerted, 183));
    assert_eq!(world.progress(1).state, OrderState::Connected, "a state never goes back");
    world.end(Slot::A, 1);
    assert_eq!(world.progress(1), Progress::over(OrderCause::None, Some(200)));
    assert_eq!((world.slots.free_calls(), world.slots.outcalls()), (100, 0));
    // Placed, taken, alerted, connected, over.
    assert_eq!(world.changed(), [id(1); 5]);
}

#[test]
fn a_mailbox_has_one_call_at_a_time_and_others_theirs() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    assert_eq!(world.order(2, "alice"), Err(NotPlaced::Busy));
    world.order(3, "bob").unwrap();
    world.end(Slot::A, 1);
    world.order(4, "alice").unwrap();
}

#[test]
fn a_mailbox_places_no_more_calls_within_an_hour_than_it_may() {
    let mut world = World::settled(options());
    for number in 0..PER_HOUR {
        world.order(number, "alice").unwrap();
        world.end(Slot::A, number);
        world.advance(secs(60));
    }
    assert_eq!(world.order(100, "alice"), Err(NotPlaced::TooMany));
    world.order(101, "bob").unwrap();
    world.advance(OUTCALL_HOUR - secs(60 * u64::from(PER_HOUR)));
    world.order(102, "alice").unwrap();
    world.end(Slot::A, 102);
    assert_eq!(world.order(103, "alice"), Err(NotPlaced::TooMany), "the second of the hour has not lapsed");
}

#[test]
fn nothing_is_placed_without_an_active_worker_beyond_all_calls_or_too_long() {
    let mut world = World::empty(options());
    assert_eq!(world.order(1, "alice"), Err(NotPlaced::Unavailable));
    let mut world = World::settled(Options { calls_max: 1, ..options() });
    let long = Order { dialled: "1".repeat(10_000), ..order(1, "alice") };
    assert_eq!(world.slots.place(long, PER_HOUR, world.now), Err(NotPlaced::Unavailable));
    world.place(1).unwrap();
    assert_eq!(world.order(2, "alice"), Err(NotPlaced::Unavailable));
    world.hang_up(1);
    world.order(3, "alice").unwrap();
}

#[test]
fn an_order_that_no_worker_takes_is_given_up_and_hung_up_should_it_be_taken_late() {
    let mut world = World::settled(options());
    world.process(Slot::A).hung = true;
    world.order(1, "alice").unwrap();
    assert_eq!(world.progress(1).state, OrderState::Idle);
    // A hung worker takes nothing in; this one reads its socket late.
    world.process(Slot::A).hung = false;
    world.advance(ORDER_TAKEN_TIME);
    assert_eq!(world.progress(1), Progress::over(OrderCause::Unavailable, None));
    assert_eq!(world.process(Slot::A).hung_up, [id(1)]);
    world.order(2, "alice").unwrap();
}

#[test]
fn a_call_of_a_worker_that_dies_is_over_and_unavailable() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    world.tell(Slot::A, 1, progress(OrderState::Connected, 200));
    world.kill(Slot::A);
    assert_eq!(world.progress(1), Progress::over(OrderCause::Unavailable, Some(200)));
    assert_eq!(world.slots.active(), Some(Slot::B));
    world.order(2, "alice").unwrap();
    assert_eq!(world.slots.calls(Slot::B), 1);
}

#[test]
fn a_draining_worker_keeps_its_outgoing_calls_and_new_ones_go_to_the_other() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    world.recycle(Cause::Asked);
    world.advance(secs(5));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    world.order(2, "bob").unwrap();
    assert!(world.process(Slot::B).orders.contains_key(&id(2)));
    world.tell(Slot::A, 1, progress(OrderState::Connected, 200));
    assert_eq!(world.progress(1).state, OrderState::Connected);
    assert!(world.slots.hang_up(id(1)));
    world.perform();
    assert_eq!(world.process(Slot::A).hung_up, [id(1)], "the order to hang up goes to who has the call");
    world.end(Slot::A, 1);
    world.advance(secs(5));
    assert_ne!(world.states()[0], State::Draining, "it ended after its last call");
    assert_eq!(world.progress(1), Progress::over(OrderCause::None, Some(200)), "and the call is remembered");
}

#[test]
fn whoever_hangs_up_is_told_no_other_cause() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    assert!(world.slots.hang_up(id(1)));
    world.tell(Slot::A, 1, Progress::over(OrderCause::Other, Some(487)));
    assert_eq!(world.progress(1), Progress::over(OrderCause::None, Some(487)));
    assert!(!world.slots.hang_up(id(1)), "it is over");
    assert!(!world.slots.hang_up(id(9)), "there is none");
}

#[test]
fn a_new_um_service_learns_every_call_state_of_the_workers_it_finds() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    world.tell(Slot::A, 1, progress(OrderState::Alerted, 180));
    world.order(2, "bob").unwrap();
    world.tell(Slot::A, 2, Progress::over(OrderCause::Busy, Some(486)));
    for (number, at) in (0..).zip([Slot::A; 19]) {
        let report = OrderReport {
            order: id(100 + number),
            mailbox: "carol".into(),
            age_secs: 90,
            over_secs: 80,
            progress: Progress::over(OrderCause::NoAnswer, Some(480)),
        };
        world.process(at).orders.insert(id(100 + number), report);
    }
    let mut world = world.die_and_return(secs(1), options());
    world.advance(secs(2));
    assert_eq!(world.progress(1), progress(OrderState::Alerted, 180));
    assert_eq!(world.progress(2), Progress::over(OrderCause::Busy, Some(486)));
    assert_eq!(world.order(3, "alice"), Err(NotPlaced::Busy), "its mailbox still has it");
    assert!(world.slots.hang_up(id(1)));
    world.perform();
    assert_eq!(world.process(Slot::A).hung_up, [id(1)]);
    world.order(4, "carol").unwrap();
    world.end(Slot::A, 4);
    assert_eq!(world.order(5, "carol"), Err(NotPlaced::TooMany), "what was placed before counts on");
}

#[test]
fn what_a_worker_no_longer_names_after_a_broken_connection_is_lost() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    world.order(2, "bob").unwrap();
    world.disconnect(Slot::A);
    let process = world.process(Slot::A);
    process.orders.remove(&id(1));
    process.calls.remove(&id(1).call_key());
    world.connect(Slot::A);
    assert_eq!(world.progress(1), Progress::over(OrderCause::Unavailable, None));
    assert_eq!(world.progress(2).state, OrderState::Connecting);
}

#[test]
fn a_hang_up_that_a_broken_connection_swallowed_is_said_again_and_nothing_is_placed_meanwhile() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    world.disconnect(Slot::A);
    assert!(world.slots.hang_up(id(1)));
    world.perform();
    assert_eq!(world.process(Slot::A).hung_up, [], "it hears nothing");
    assert_eq!(world.order(2, "bob"), Err(NotPlaced::Unavailable));
    assert_eq!((world.slots.outcall(id(2)), world.slots.outcalls()), (None, 1));
    world.connect(Slot::A);
    assert_eq!(world.process(Slot::A).hung_up, [id(1)]);
    world.tell(Slot::A, 1, Progress::over(OrderCause::Other, Some(487)));
    assert_eq!(world.process(Slot::A).hung_up, [id(1)], "one that is over is not hung up");
    world.order(2, "bob").unwrap();
}

#[test]
fn a_call_that_was_given_up_and_is_alive_after_all_is_hung_up() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    let known = world.process(Slot::A).orders.remove(&id(1)).unwrap();
    world.disconnect(Slot::A);
    world.connect(Slot::A);
    assert_eq!(world.progress(1), Progress::over(OrderCause::Unavailable, None));
    world.report_order(Slot::A, known);
    assert_eq!(world.process(Slot::A).hung_up, [id(1)]);
    assert!(world.progress(1).is_over(), "a call that is over stays so");
}

#[test]
fn a_call_is_forgotten_some_time_after_its_end_and_no_worker_brings_it_back() {
    let mut world = World::settled(options());
    world.order(1, "alice").unwrap();
    world.end(Slot::A, 1);
    world.advance(OUTCALL_MEMORY - secs(1));
    assert!(world.slots.outcall(id(1)).is_some());
    world.advance(secs(1));
    assert_eq!(world.slots.outcall(id(1)), None);
    let known = world.process(Slot::A).orders[&id(1)].clone();
    let over_secs = OUTCALL_MEMORY.as_secs();
    world.report_order(Slot::A, OrderReport { over_secs, ..known });
    assert_eq!(world.slots.outcall(id(1)), None);
}

#[test]
fn no_more_calls_are_remembered_than_may_be_and_the_oldest_that_is_over_goes_first() {
    let mut world = World::settled(Options { calls_max: 10, ..options() });
    world.order(0, "keeper").unwrap();
    for number in 1..=OUTCALLS_MAX as u32 {
        world.order(number, &format!("m{number}")).unwrap();
        world.end(Slot::A, number);
    }
    assert!(world.slots.outcall(id(0)).is_some(), "it is under way");
    assert_eq!(world.slots.outcall(id(1)), None);
    assert!(world.slots.outcall(id(2)).is_some());
}
