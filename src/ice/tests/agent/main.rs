//! Agents against each other through translators and edges, in virtual time.

#[path = "../../../turn/tests/client/edge.rs"]
mod edge;
mod nat;
mod reach;
mod world;
