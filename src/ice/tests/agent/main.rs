//! Agents against each other through translators and edges, in virtual time.

#[path = "../../../turn/tests/client/edge.rs"]
mod edge;
mod life;
mod nat;
mod puppet;
mod reach;
mod restart;
mod strangers;
mod world;
