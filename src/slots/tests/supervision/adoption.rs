//! A new UM service among workers that live.

use postern_slots::limits::{HUNG_MAX, START_TIME};
use postern_slots::{Cause, Event, Options, Slot, Slots, State};

use crate::world::{LONGEST_CALL, World, millis, options, secs};

#[test]
fn living_workers_are_adopted_with_their_calls_and_none_is_started() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.place(2).unwrap();
    let mut world = world.die_and_return(secs(3), options());
    assert_eq!(world.starts, []);
    assert_eq!(world.slots.calls(Slot::A), 2);
    assert_eq!(world.events[0], Event::Adopted { slot: Slot::A, generation: 1, calls: 2 });
    assert_eq!(world.reserve(3), Ok(Slot::A));
    world.hang_up(1);
    assert_eq!(world.slots.calls(Slot::A), 1);
}

#[test]
fn calls_that_began_and_ended_meanwhile_are_counted_right() {
    let world = World::settled(options());
    let mut processes = world.processes;
    let calls = &mut processes[1].as_mut().unwrap().calls;
    calls.insert(crate::world::call(7));
    let world = World::around(options(), processes, world.now + secs(60));
    assert_eq!((world.slots.calls(Slot::A), world.slots.calls(Slot::B)), (0, 1));
}

#[test]
fn an_empty_slot_beside_a_living_one_is_filled_by_a_younger_generation() {
    let mut world = World::settled(options());
    world.recycle(Cause::Asked);
    world.advance(secs(5));
    let old = world.slots.generation(Slot::B).unwrap();
    let [_, b] = world.processes;
    let mut world = World::around(options(), [None, b], world.now);
    assert_eq!(world.starts, [(world.now, Slot::A)]);
    world.advance(secs(2));
    assert_eq!(world.states(), [State::Standby, State::Active]);
    world.kill(Slot::A);
    assert!(world.slots.generation(Slot::A).unwrap() > old);
}

#[test]
fn a_draining_worker_is_adopted_as_such_with_the_time_it_has_left() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.recycle(Cause::Asked);
    world.advance(secs(100));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    let mut world = world.die_and_return(secs(1), options());
    assert_eq!(world.slots.active(), Some(Slot::B));
    world.advance(LONGEST_CALL - secs(103));
    assert_eq!(world.states(), [State::Draining, State::Active]);
    world.advance(secs(4));
    assert_eq!(world.states()[1], State::Active);
    assert!(world.events.contains(&Event::CutOff { slot: Slot::A, calls: 1 }));
}

#[test]
fn a_draining_worker_whose_successor_is_hung_takes_calls_again() {
    let mut world = World::settled(options());
    world.place(1).unwrap();
    world.recycle(Cause::Asked);
    world.advance(secs(100));
    world.process(Slot::B).hung = true;
    let mut world = world.die_and_return(secs(1), options());
    assert_eq!(world.slots.active(), None);
    world.advance(secs(2));
    assert_eq!(world.slots.active(), Some(Slot::A));
    world.advance(secs(30));
    assert!(world.starts.iter().all(|(_, slot)| *slot == Slot::B));
}

#[test]
fn a_hung_worker_found_at_the_start_is_killed_and_replaced() {
    let mut world = World::settled(options());
    world.process(Slot::B).hung = true;
    let mut world = world.die_and_return(secs(1), options());
    assert_eq!(world.slots.active(), Some(Slot::A));
    assert_eq!(world.starts, []);
    world.advance(HUNG_MAX + secs(1));
    assert!(world.events.contains(&Event::Killed { slot: Slot::B, calls: 0 }));
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn nothing_is_started_into_a_slot_that_nobody_has_looked_into() {
    let now = std::time::Instant::now();
    let mut slots = Slots::new(options(), now);
    slots.handle_timeout(now + START_TIME - millis(1));
    assert_eq!(slots.poll_action(), None);
    slots.handle_timeout(now + START_TIME);
    let actions: Vec<_> = std::iter::from_fn(|| slots.poll_action()).collect();
    let kills = [Slot::A, Slot::B].map(|slot| postern_slots::Action::Kill { slot });
    assert_eq!(actions, kills, "who holds a slot and does not listen is in the way");
    slots.handle_ended(Slot::A, now + START_TIME);
    assert!(matches!(slots.poll_action(), Some(postern_slots::Action::Start { slot: Slot::A, .. })));
}

#[test]
fn an_adopted_worker_has_the_age_that_it_says() {
    let world = World::settled(options());
    let options = Options { recycle_age: Some(secs(600)), ..options() };
    let mut world = world.die_and_return(secs(700), options);
    world.advance(secs(3));
    assert!(world.events.contains(&Event::RecycleBegan { cause: Cause::Age }));
    assert_eq!(world.slots.active(), Some(Slot::B));
}
