//! Supervision in virtual time: workers that start, fall silent, die, drain and are found alive.

mod adoption;
mod calls;
mod failures;
mod outcalls;
mod recycles;
mod stopping;
mod walk;
mod world;
