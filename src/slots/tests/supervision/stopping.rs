//! The end.

use postern_slots::limits::HUNG_MAX;
use postern_slots::{Cause, Refused, Slot, State};

use crate::world::{LONGEST_CALL, World, millis, options, secs};

#[test]
fn a_stop_takes_no_more_calls_and_ends_each_worker_with_its_last() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.slots.stop(world.now);
    world.perform();
    assert_eq!(world.reserve(2), Err(Refused::Unavailable));
    assert_eq!(world.states(), [State::Draining, State::Empty]);
    assert!(world.process(Slot::A).elsewhere.is_empty());
    world.advance(secs(30));
    assert!(!world.slots.is_over());
    world.hang_up(1);
    assert!(world.slots.is_over());
    assert_eq!(world.slots.next_timeout(), None);
}

#[test]
fn a_stop_waits_for_the_longest_call_and_no_longer() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.slots.stop(world.now);
    world.perform();
    world.advance(LONGEST_CALL - millis(1));
    assert!(!world.slots.is_over());
    world.advance(millis(1));
    assert!(world.slots.is_over());
}

#[test]
fn a_stop_at_once_ends_calls() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.slots.stop(world.now);
    world.slots.stop_at_once(world.now);
    world.perform();
    assert!(world.slots.is_over());
}

#[test]
fn a_hung_worker_does_not_hold_up_the_stop_for_long() {
    let mut world = World::settled(options());
    world.process(Slot::A).hung = true;
    world.slots.stop(world.now);
    world.perform();
    world.advance(HUNG_MAX);
    assert!(world.slots.is_over());
}

#[test]
fn workers_that_start_while_all_ends_end_too() {
    let mut world = World::empty(options());
    world.slots.stop(world.now);
    world.perform();
    world.advance(secs(2));
    assert!(world.slots.is_over());
    let mut world = World::empty(options());
    world.slots.stop_at_once(world.now);
    world.perform();
    assert!(world.slots.is_over());
}

#[test]
fn nothing_is_recycled_or_started_any_more() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.recycle(Cause::Asked);
    world.slots.stop(world.now);
    world.perform();
    world.forget();
    world.recycle(Cause::Binary);
    world.advance(secs(100));
    assert_eq!(world.starts, []);
    world.kill(Slot::A);
    world.advance(secs(100));
    assert_eq!(world.starts, []);
    assert!(world.slots.is_over());
}
