//! How soon a service that is gone gets no more calls.

use std::time::Duration;

use crate::harness::*;

#[tokio::test]
async fn a_dead_service_is_out_within_a_second() {
    let um = Service::start(Manner::free(5));
    let router = Router::with(&[um.address], "health_interval_ms = 500").await;
    router.until_options_say(200).await;
    um.kill();
    assert!(router.until_options_say(503).await < Duration::from_secs(1));
}

#[tokio::test]
async fn a_hung_service_is_out_within_four_seconds_and_comes_back() {
    let um = Service::start(Manner::free(5));
    let router = Router::with(&[um.address], "health_interval_ms = 500").await;
    router.until_options_say(200).await;
    um.manner.lock().expect("alone").hung = true;
    assert!(router.until_options_say(503).await < Duration::from_secs(4));
    um.manner.lock().expect("alone").hung = false;
    assert!(router.until_options_say(200).await < Duration::from_secs(4));
}
