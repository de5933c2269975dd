//! A UM service over loopback, with processes that stand in for workers: redirects, failures, adoption, recycles; message waiting.

#[path = "../../../transport/tests/loopback/authority.rs"]
mod authority;
mod calls;
mod lab;
mod lives;
mod secured;
mod stand_in;
mod waiting;

/// Not a test of its own: a worker's process runs the rest of its life in here. Without being asked to, it only shows that
/// nobody asked.
#[test]
fn a_worker_stands_in_when_it_is_asked_to() {
    match stand_in::StandIn::asked_for() {
        Some(stand_in) => stand_in.live(),
        None => assert!(std::env::var_os(stand_in::SOCKET_VARIABLE).is_none()),
    }
}
