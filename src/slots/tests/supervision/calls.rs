//! Which calls are taken, and how they count.

use postern_slots::limits::RESERVATION;
use postern_slots::{Door, Options, Refused, Slot, State};

use crate::world::{World, call, millis, options, secs};

#[test]
fn two_workers_start_at_once_and_one_is_active_when_it_is_ready() {
    let mut world = World::empty(options());
    assert_eq!(world.starts.len(), 2);
    assert_eq!(world.states(), [State::Starting, State::Starting]);
    assert_eq!(world.reserve(1), Err(Refused::Unavailable));
    world.advance(millis(500));
    assert_eq!(world.states(), [State::Unready, State::Unready]);
    world.advance(millis(1_000));
    assert_eq!(world.states(), [State::Active, State::Standby]);
    assert_eq!(world.reserve(1), Ok(Slot::A));
}

#[test]
fn a_call_counts_from_its_redirect_until_its_worker_reports_the_end() {
    let mut world = World::settled(options());
    world.reserve(1).unwrap();
    assert_eq!((world.slots.reserved(Slot::A), world.slots.free_calls()), (1, 99));
    world.begin(1, Slot::A);
    world.advance(RESERVATION * 3);
    assert_eq!((world.slots.reserved(Slot::A), world.slots.calls(Slot::A), world.slots.free_calls()), (0, 1, 99));
    world.hang_up(1);
    assert_eq!(world.slots.free_calls(), 100);
}

#[test]
fn a_call_that_never_reaches_its_worker_counts_for_ten_seconds() {
    let mut world = World::settled(options());
    world.reserve(1).unwrap();
    world.advance(RESERVATION - millis(1));
    assert_eq!(world.slots.free_calls(), 99);
    world.advance(millis(1));
    assert_eq!(world.slots.free_calls(), 100);
}

#[test]
fn one_call_more_than_may_be_is_refused_as_full() {
    let mut world = World::settled(Options { calls_max: 2, ..options() });
    world.place(1).unwrap();
    world.reserve(2).unwrap();
    assert_eq!(world.reserve(3), Err(Refused::Full));
    assert_eq!(world.reserve(2), Ok(Slot::A));
    world.hang_up(1);
    assert_eq!(world.reserve(3), Ok(Slot::A));
    world.slots.set_options(Options { calls_max: 3, ..options() }, world.now);
    world.perform();
    assert_eq!(world.process(Slot::A).calls_max, 3);
    assert_eq!(world.reserve(4), Ok(Slot::A));
}

#[test]
fn a_call_that_begins_at_the_other_worker_counts_there() {
    let mut world = World::settled(options());
    world.reserve(1).unwrap();
    world.begin(1, Slot::B);
    assert_eq!((world.slots.reserved(Slot::A), world.slots.calls(Slot::B)), (0, 1));
}

#[test]
fn a_call_by_tls_is_not_sent_to_a_worker_without_tls() {
    let mut world = World::settled(options());
    let mut status = world.slots.status(Slot::A).unwrap().clone();
    status.contacts.tls = None;
    world.say(Slot::A, postern_slots::FromWorker::Status(status));
    assert_eq!(world.slots.reserve(&call(1), Door::Tls, world.now), Err(Refused::Unavailable));
    assert_eq!(world.slots.reserve(&call(1), Door::Tcp, world.now), Ok(Slot::A));
}

#[test]
fn a_worker_that_lacks_something_gets_no_calls_until_it_has_it() {
    let mut world = World::settled(options());
    world.process(Slot::A).broken = true;
    world.advance(secs(1));
    assert_eq!(world.states(), [State::Unready, State::Active]);
    assert_eq!(world.reserve(1), Ok(Slot::B));
    world.process(Slot::A).broken = false;
    world.advance(secs(1));
    assert_eq!(world.states(), [State::Standby, State::Active]);
}
