//! Workers that die, hang or cannot start.

use postern_slots::limits::{BACK_OFF_MAX, HUNG_MAX, SILENCE_MAX, START_TIME};
use postern_slots::{Event, FromWorker, Refused, Slot, State};

use crate::world::{World, millis, options, secs};

#[test]
fn the_other_slot_replaces_a_dead_worker_at_once() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.forget();
    world.kill(Slot::A);
    assert_eq!(world.reserve(2), Ok(Slot::B));
    assert_eq!(world.slots.calls(Slot::A), 0, "calls of a dead worker are lost");
    assert_eq!(world.starts, [(world.now, Slot::A)]);
    assert_eq!(world.events[0], Event::Died { slot: Slot::A, calls: 1, wait: millis(0) });
    world.advance(secs(2));
    assert_eq!(world.states(), [State::Standby, State::Active]);
}

#[test]
fn a_worker_silent_for_two_seconds_gets_no_more_calls() {
    let mut world = World::settled(options());
    let spoke = world.now;
    world.report(Slot::A);
    world.process(Slot::A).hung = true;
    world.advance(SILENCE_MAX - millis(1));
    assert_eq!(world.reserve(1), Ok(Slot::A));
    world.advance(millis(1));
    assert_eq!(world.now - spoke, SILENCE_MAX);
    assert_eq!(world.reserve(2), Ok(Slot::B));
    assert_eq!(world.states(), [State::Silent, State::Active]);
}

#[test]
fn a_worker_that_was_silent_for_a_while_becomes_the_standby() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.process(Slot::A).hung = true;
    world.advance(secs(4));
    world.wake(Slot::A);
    assert_eq!(world.states(), [State::Standby, State::Active]);
    assert_eq!(world.slots.calls(Slot::A), 1, "it kept its calls");
    assert!(world.events.contains(&Event::Heard { slot: Slot::A }));
}

#[test]
fn a_hung_worker_is_killed_before_another_is_started_into_its_slot() {
    let mut world = World::settled(options());
    world.report(Slot::A);
    world.process(Slot::A).hung = true;
    world.forget();
    world.advance(HUNG_MAX - millis(1));
    assert_eq!(world.starts, []);
    world.advance(millis(1));
    assert!(world.events.contains(&Event::Killed { slot: Slot::A, calls: 0 }));
    assert_eq!(world.starts, [(world.now, Slot::A)]);
}

#[test]
fn a_worker_that_never_says_a_word_is_killed() {
    let mut world = World::empty(options());
    world.process(Slot::A).hung = true;
    world.advance(START_TIME);
    assert!(world.events.contains(&Event::Killed { slot: Slot::A, calls: 0 }));
    assert_eq!(world.slots.active(), Some(Slot::B));
}

#[test]
fn workers_that_fail_again_and_again_are_started_ever_later() {
    let mut world = World::empty(options());
    world.kill(Slot::B);
    world.forget();
    world.failing_starts = 12;
    world.kill(Slot::A);
    world.advance(secs(300));
    let mut of_a: Vec<_> = world.starts.iter().filter(|(_, slot)| *slot == Slot::A).map(|(at, _)| *at).collect();
    of_a.dedup();
    let waits: Vec<_> = of_a.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.len() > 3, "{waits:?}");
    assert!(waits.windows(2).all(|pair| pair[1] == (pair[0] * 2).min(BACK_OFF_MAX)), "{waits:?}");
    assert!(world.slots.active().is_some(), "in the end they start");
}

#[test]
fn a_worker_that_lived_long_is_replaced_without_delay() {
    let mut world = World::empty(options());
    world.failing_starts = 0;
    for _ in 0..3 {
        world.kill(Slot::A);
    }
    world.advance(secs(90));
    world.forget();
    world.kill(Slot::A);
    assert_eq!(world.starts, [(world.now, Slot::A)]);
}

#[test]
fn without_any_worker_calls_are_refused_as_unavailable_until_one_is_ready() {
    let mut world = World::settled(options());
    world.kill(Slot::A);
    world.kill(Slot::B);
    assert_eq!(world.reserve(1), Err(Refused::Unavailable));
    assert_eq!(world.slots.free_calls(), 0);
    world.advance(secs(2));
    assert!(world.reserve(1).is_ok(), "replaced within two seconds");
}

#[test]
fn a_lost_connection_alone_costs_no_call() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.disconnect(Slot::A);
    assert_eq!(world.reserve(2), Ok(Slot::A));
    world.process(Slot::A).calls.clear();
    world.begin(3, Slot::A);
    world.advance(millis(100));
    world.connect(Slot::A);
    assert_eq!(world.slots.calls(Slot::A), 1, "it is told everything anew");
    assert_eq!(world.slots.active(), Some(Slot::A));
}

#[test]
fn one_that_speaks_another_version_is_drained_by_signal_and_replaced() {
    let mut world = World::settled(options());
    world.begin(1, Slot::B);
    let hello = FromWorker::Hello { version: 99, slot: Slot::B, generation: 2, pid: 2 };
    world.say(Slot::B, hello);
    assert_eq!(world.states(), [State::Active, State::Draining]);
    assert!(world.process(Slot::B).draining_since.is_some());
    world.kill(Slot::B);
    world.advance(secs(2));
    assert_eq!(world.states(), [State::Active, State::Standby]);
}

#[test]
fn one_that_takes_itself_for_the_other_slot_is_of_no_use() {
    let mut world = World::settled(options());
    world.forget();
    world.say(Slot::A, FromWorker::Hello { version: 1, slot: Slot::B, generation: 2, pid: 2 });
    assert!(world.events.contains(&Event::Unusable { slot: Slot::A }));
    assert_eq!(world.slots.active(), Some(Slot::B));
    world.advance(secs(2));
    world.slots.handle_unusable(Slot::B, world.now);
    world.perform();
    assert_eq!(world.slots.active(), Some(Slot::A));
}
