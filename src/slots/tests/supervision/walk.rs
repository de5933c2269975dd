//! Random misfortune, and what holds through all of it.

use postern_slots::limits::{RESERVATION, SILENCE_MAX};
use postern_slots::{Cause, Slot, State};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::world::{LONGEST_CALL, RECYCLE_INTERVAL, World, millis, options, secs};

struct Walk {
    world: World,
    dice: ChaCha8Rng,
    calls: u32,
    /// Since when a worker has been hung.
    hung_since: [Option<std::time::Instant>; 2],
}

impl Walk {
    fn draw(&mut self, below: u64) -> u64 {
        self.dice.next_u64() % below
    }

    fn step(&mut self) {
        let slot = if self.draw(2) == 0 { Slot::A } else { Slot::B };
        let lives = self.world.processes[slot.index()].is_some();
        match self.draw(24) {
            0 => self.world.kill(slot),
            1 if lives => self.world.process(slot).hung = true,
            2 | 3 if lives && self.world.process(slot).connected => self.world.wake(slot),
            4 if lives && self.world.process(slot).connected => self.world.disconnect(slot),
            5 => self.world.recycle(Cause::ALL[(self.dice.next_u64() % 5) as usize]),
            6 => self.world.failing_starts = self.dice.next_u32() % 3,
            7 if lives => self.world.process(slot).broken ^= true,
            8 if self.draw(4) == 0 => {
                let hollow = World::empty(options());
                let world = std::mem::replace(&mut self.world, hollow);
                self.world = world.die_and_return(millis(self.dice.next_u64() % 3_000), options());
            }
            9..=16 => self.place(),
            _ => {
                let number = self.draw(u64::from(self.calls) + 1) as u32;
                self.world.hang_up(number);
            }
        }
        let by = millis(self.draw(1_500));
        self.world.advance(by);
    }

    fn place(&mut self) {
        self.calls += 1;
        let Ok(slot) = self.world.reserve(self.calls) else { return };
        let number = self.calls;
        let process = self.world.processes[slot.index()].as_ref().expect("no call goes to a dead worker");
        assert!(process.draining_since.is_none(), "no call goes to a draining worker");
        let hung_for = self.hung_since[slot.index()].map(|since| self.world.now - since);
        assert!(hung_for.is_none_or(|time| time < SILENCE_MAX), "no call goes to a silent worker");
        if self.draw(8) != 0 && !process_hung(&self.world, slot) {
            self.world.begin(number, slot);
        }
    }

    fn watch(&mut self) {
        let states = self.world.states();
        assert!(states.iter().filter(|state| **state == State::Active).count() <= 1);
        for slot in Slot::BOTH {
            let hung = process_hung(&self.world, slot);
            let since = &mut self.hung_since[slot.index()];
            *since = hung.then(|| since.unwrap_or(self.world.now));
        }
        let active = self.world.slots.active();
        assert_eq!(active.is_some(), states.contains(&State::Active));
    }
}

fn process_hung(world: &World, slot: Slot) -> bool {
    world.processes[slot.index()].as_ref().is_some_and(|process| process.hung)
}

fn walk(seed: u64) {
    let dice = ChaCha8Rng::seed_from_u64(seed);
    let mut walk = Walk { world: World::empty(options()), dice, calls: 0, hung_since: [None; 2] };
    for _ in 0..300 {
        walk.step();
        walk.watch();
    }
    // The storm is over: what is hung is found out, what is broken is mended.
    walk.world.failing_starts = 0;
    walk.world.processes.iter_mut().flatten().for_each(|process| process.broken = false);
    walk.world.advance(secs(60));
    assert!(walk.world.slots.active().is_some(), "seed {seed} does not recover: {:?}", walk.world.states());
    // A recycle that waits for a drain, and drains in its turn.
    walk.world.advance((LONGEST_CALL + RECYCLE_INTERVAL) * 3);
    let mut states = walk.world.states();
    states.sort();
    assert_eq!(states, [State::Standby, State::Active], "seed {seed}");
    for number in 0..=walk.calls {
        walk.world.hang_up(number);
    }
    walk.world.advance(RESERVATION);
    assert_eq!(walk.world.slots.free_calls(), options().calls_max, "seed {seed} loses count");
}

#[test]
fn whatever_happens_calls_go_to_living_workers_only_and_all_recovers() {
    (0..400).for_each(walk);
}
