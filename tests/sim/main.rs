//! The whole relay in virtual time, by seed: servers, broker, clients, peers, NATs and bad lines, judged after each step
//! by a model that does not ask the server.
//!
//! `POSTERN_SIM_SEEDS=7,8` or `POSTERN_SIM_SEEDS=100..200` runs those seeds, `POSTERN_SIM_SECS=600` runs new seeds for
//! that long, `POSTERN_SIM_LONG=1` does so for five minutes.

mod acting;
mod client;
mod clock;
mod defect;
mod edge;
mod effect;
mod link;
mod model;
mod nat;
mod network;
mod opening;
mod peer;
mod random;
mod rules;
mod scenario;
mod stranger;
mod temper;
mod world;

use defect::Defect;
use world::World;

#[test]
fn first() {
    for seed in 0..3 {
        match World::run(seed, Defect::None) {
            Ok(world) => println!("{seed}: {} steps, {:?}", world.steps, world.model.tally),
            Err(failure) => panic!("{failure:#?}"),
        }
    }
}
