//! Recycling: the fresh worker first, then the old one drains.

use postern_slots::{Cause, Event, FromWorker, Options, Slot, State};

use crate::world::{LONGEST_CALL, RECYCLE_INTERVAL, World, millis, options, secs};

#[test]
fn a_recycle_warms_the_second_slot_before_the_first_drains() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.forget();
    world.recycle(Cause::Asked);
    assert_eq!(world.starts, [(world.now, Slot::B)], "the idle one makes room for a fresh one");
    world.advance(millis(300));
    assert_eq!(world.reserve(2), Ok(Slot::A), "calls are taken all the while");
    world.begin(2, Slot::A);
    world.advance(secs(1));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    assert_eq!(world.reserve(3), Ok(Slot::B));
    let contacts = world.slots.contacts(Slot::B).cloned().unwrap();
    assert_eq!(world.process(Slot::A).elsewhere, contacts, "it knows where to send late calls");
    world.hang_up(1);
    world.advance(secs(30));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    world.hang_up(2);
    assert_eq!(world.states(), [State::Starting, State::Active], "ended with its last call, and replaced");
    world.advance(secs(2));
    assert_eq!(world.states(), [State::Standby, State::Active]);
    assert!(world.slots.generation(Slot::A) > world.slots.generation(Slot::B));
    assert!(world.events.contains(&Event::RecycleDone { cause: Cause::Asked }));
    assert!(!world.events.iter().any(|event| matches!(event, Event::Died { .. } | Event::Killed { .. })));
}

#[test]
fn a_draining_worker_waits_for_calls_that_are_on_their_way_to_it() {
    let mut world = World::settled(options());
    world.recycle(Cause::Asked);
    world.advance(millis(600));
    world.reserve(1).unwrap();
    world.advance(millis(600));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    world.begin(1, Slot::B);
    world.advance(millis(500));
    assert_eq!(world.starts.last().map(|(_, slot)| *slot), Some(Slot::A), "the call was redirected once more");
}

#[test]
fn a_draining_worker_is_given_the_longest_call_and_no_more() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.recycle(Cause::Certificate);
    world.advance(secs(2));
    world.advance(LONGEST_CALL - secs(2));
    assert_eq!(world.states()[0], State::Draining);
    world.forget();
    world.advance(secs(2));
    assert!(world.events.contains(&Event::CutOff { slot: Slot::A, calls: 1 }));
    assert!(world.events.contains(&Event::Ended { slot: Slot::A }));
}

#[test]
fn a_recycle_asked_for_meanwhile_waits_for_the_drain_and_then_comes() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.recycle(Cause::Asked);
    world.advance(secs(2));
    world.recycle(Cause::Certificate);
    world.recycle(Cause::Binary);
    world.forget();
    world.advance(RECYCLE_INTERVAL * 2);
    assert_eq!(world.states(), [State::Draining, State::Active]);
    assert_eq!(world.starts, []);
    world.hang_up(1);
    world.advance(secs(4));
    assert_eq!(world.slots.active(), Some(Slot::A));
    let began: Vec<_> = world.events.iter().filter(|event| matches!(event, Event::RecycleBegan { .. })).collect();
    assert_eq!(began, [&Event::RecycleBegan { cause: Cause::Certificate }], "those that wait are one");
}

#[test]
fn recycles_keep_their_distance() {
    let mut world = World::settled(options());
    world.recycle(Cause::Asked);
    world.advance(secs(5));
    assert_eq!(world.slots.active(), Some(Slot::B));
    world.recycle(Cause::Asked);
    world.advance(RECYCLE_INTERVAL - secs(6));
    assert_eq!(world.slots.active(), Some(Slot::B));
    world.advance(secs(4));
    assert_eq!(world.slots.active(), Some(Slot::A));
}

#[test]
fn an_old_worker_is_recycled() {
    let mut world = World::settled(Options { recycle_age: Some(secs(3600)), ..options() });
    world.forget();
    world.advance(secs(3590));
    assert_eq!(world.starts, []);
    world.advance(secs(15));
    assert_eq!(world.slots.active(), Some(Slot::B));
    assert!(world.events.contains(&Event::RecycleBegan { cause: Cause::Age }));
    world.forget();
    world.advance(secs(3000));
    assert_eq!(world.starts, [], "the fresh one is young");
}

#[test]
fn a_worker_that_grew_too_large_is_recycled() {
    let mut world = World::settled(Options { recycle_memory_bytes: Some(1 << 30), ..options() });
    world.process(Slot::A).memory_bytes = 1 << 30;
    world.advance(secs(2));
    assert_eq!(world.slots.active(), Some(Slot::A));
    world.process(Slot::A).memory_bytes += 1;
    world.advance(secs(3));
    assert_eq!(world.slots.active(), Some(Slot::B));
}

#[test]
fn a_fresh_worker_that_does_not_get_ready_leaves_the_old_one_at_work() {
    let mut world = World::settled(options());
    world.recycle(Cause::Binary);
    world.process(Slot::B).broken = true;
    world.advance(secs(600));
    assert_eq!(world.states(), [State::Active, State::Unready]);
    world.process(Slot::B).broken = false;
    world.advance(secs(2));
    assert_eq!(world.slots.active(), Some(Slot::B));
}

#[test]
fn a_fresh_worker_that_dies_is_started_again_until_it_takes_over() {
    let mut world = World::settled(options());
    world.recycle(Cause::Binary);
    for _ in 0..3 {
        world.advance(millis(400));
        world.kill(Slot::B);
    }
    assert_eq!(world.slots.active(), Some(Slot::A));
    world.advance(secs(10));
    assert_eq!(world.slots.active(), Some(Slot::B));
    assert_eq!(world.states()[0], State::Standby, "the old one was idle, and is fresh too");
}

#[test]
fn a_draining_worker_takes_calls_again_when_the_fresh_one_dies() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.recycle(Cause::Binary);
    world.advance(secs(2));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    world.kill(Slot::B);
    assert_eq!(world.reserve(2), Ok(Slot::A));
    assert!(world.events.contains(&Event::Resumed { slot: Slot::A }));
    world.forget();
    world.advance(RECYCLE_INTERVAL + secs(4));
    assert!(world.events.contains(&Event::RecycleBegan { cause: Cause::Binary }), "it is made up for later");
    assert_eq!(world.states(), [State::Draining, State::Active]);
}

#[test]
fn a_resumed_worker_is_not_confused_by_what_it_said_before() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.recycle(Cause::Binary);
    world.advance(secs(2));
    let stale = world.slots.status(Slot::A).cloned().unwrap();
    world.kill(Slot::B);
    world.say(Slot::A, FromWorker::Status(stale));
    assert_eq!(world.reserve(2), Ok(Slot::A));
}

#[test]
fn an_active_worker_that_dies_while_the_fresh_one_warms_is_replaced_by_it() {
    let mut world = World::settled(options());
    world.recycle(Cause::Asked);
    world.advance(millis(300));
    world.kill(Slot::A);
    world.advance(secs(2));
    assert_eq!(world.states(), [State::Standby, State::Active]);
    assert!(world.events.contains(&Event::RecycleDone { cause: Cause::Asked }));
}

#[test]
fn a_worker_told_to_drain_by_somebody_else_hands_over() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.process(Slot::A).draining_since = Some(world.now);
    world.advance(secs(1));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    world.hang_up(1);
    world.advance(secs(2));
    assert_eq!(world.states(), [State::Standby, State::Active]);
}
