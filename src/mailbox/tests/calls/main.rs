//! Whole calls as tables in virtual time, with a store in memory; and calls at random.

mod access;
mod answering;
mod placed;
mod random_walk;
mod store;
mod talk;
