//! Workers that die, hang, are found alive, or are replaced; and the end of the service.

use std::process::Command;
use std::time::{Duration, Instant};

use postern_slots::Slot;
use postern_um::{Stop, UmError};
use tokio::sync::mpsc;

use crate::lab::{Lab, eventually, is_held, slot_of};

/// Sends a worker a signal by name.
fn signal(lab: &Lab, slot: Slot, name: &str) {
    let pid = lab.pid(slot).expect("a worker lives there").to_string();
    assert!(Command::new("kill").args([name, &pid]).status().expect("kill(1)").success());
}

/// Calls until one is redirected to this slot; how long that took.
async fn time_until_calls_go_to(lab: &Lab, slot: Slot) -> Duration {
    let began = Instant::now();
    eventually(async || {
        let answer = lab.invite("1001").await;
        answer.status == 302 && slot_of(answer.port()) == slot
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_worker_replaces_a_killed_one_within_two_seconds() {
    let lab = Lab::new();
    let _service = lab.ready(1000).await;
    let slot = slot_of(lab.invite("1001").await.port());
    let former = lab.pid(slot);
    lab.kill(slot);
    let took = time_until_calls_go_to(&lab, slot.other()).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    // A fresh one waits in the slot of the dead one.
    eventually(async || lab.pid(slot) != former).await;
    lab.until_standby().await;
    assert!(lab.scrape("/metrics").await.contains("postern_um_workers_ended_total{end=\"crashed\"} 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_gets_no_calls_after_two_seconds_and_waits_when_it_goes_on() {
    let lab = Lab::new();
    let _service = lab.ready(1000).await;
    let slot = slot_of(lab.invite("1001").await.port());
    let pid = lab.pid(slot);
    signal(&lab, slot, "-STOP");
    let took = time_until_calls_go_to(&lab, slot.other()).await;
    assert!(took > Duration::from_secs(1) && took < Duration::from_millis(3_500), "{took:?}");
    signal(&lab, slot, "-CONT");
    lab.until_standby().await;
    assert_eq!(lab.pid(slot), pid);
    assert_eq!(slot_of(lab.invite("1001").await.port()), slot.other());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_adopts_living_workers_with_their_calls() {
    let lab = Lab::new();
    let service = lab.ready(3).await;
    let call_id = lab.next_call_id();
    let answer = lab.request("INVITE", "1001", &call_id, std::net::Ipv4Addr::LOCALHOST).await;
    let slot = slot_of(answer.port());
    lab.tell(slot, &format!("begin {call_id}")).await;
    let pids = Slot::BOTH.map(|slot| lab.pid(slot));
    // As if killed: it has no say in its end.
    service.task.abort();
    let _ = service.task.await;
    eventually(async || lab.scrape("/healthz").await.is_empty()).await;
    lab.tell(slot, "begin another").await;

    let _service = lab.ready(3).await;
    assert_eq!(Slot::BOTH.map(|slot| lab.pid(slot)), pids);
    assert_eq!(lab.options().await.header("Postern-Free-Calls"), Some("1"));
    lab.tell(slot, &format!("end {call_id}")).await;
    eventually(async || lab.options().await.header("Postern-Free-Calls") == Some("2")).await;

    // One that is no child of ours is missed all the same.
    lab.kill(slot);
    time_until_calls_go_to(&lab, slot.other()).await;
    eventually(async || lab.pid(slot) != pids[slot.index()]).await;
    lab.until_standby().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_told_to_leave_its_workers_ends_without_them() {
    let lab = Lab::new();
    let service = lab.ready(3).await;
    service.stops.send(Stop::LeaveWorkers).await.expect("it runs");
    service.task.await.expect("no panic").expect("an orderly end");
    for slot in Slot::BOTH {
        assert!(is_held(&lab.run_directory().join(slot.lock_name())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_program_recycles_and_the_old_worker_keeps_its_call() {
    let lab = Lab::new();
    let _service = lab.ready(1000).await;
    let slot = slot_of(lab.invite("1001").await.port());
    lab.tell(slot, "begin long").await;
    let pids = Slot::BOTH.map(|slot| lab.pid(slot));
    let program = lab.launch().program;
    std::fs::copy(&program, program.with_extension("new")).expect("own directory");
    std::fs::rename(program.with_extension("new"), &program).expect("own directory");

    time_until_calls_go_to(&lab, slot.other()).await;
    assert_eq!(lab.pid(slot), pids[slot.index()], "it drains");
    assert_ne!(lab.pid(slot.other()), pids[slot.other().index()], "a fresh one has taken over");
    lab.tell(slot, "end long").await;
    eventually(async || lab.pid(slot) != pids[slot.index()]).await;
    lab.until_standby().await;
    let text = lab.scrape("/metrics").await;
    assert!(text.contains("postern_um_recycles_total{cause=\"new_binary\"} 1\n"), "{text}");
    assert!(text.contains("postern_um_workers_ended_total{end=\"crashed\"} 0\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_calls_end_and_then_everything() {
    let lab = Lab::new();
    let service = lab.ready(10).await;
    let slot = slot_of(lab.invite("1001").await.port());
    lab.tell(slot, "begin last").await;
    service.stops.send(Stop::Drain).await.expect("it runs");
    eventually(async || lab.invite("1002").await.status == 503).await;
    eventually(async || !is_held(&lab.run_directory().join(slot.other().lock_name()))).await;
    assert!(is_held(&lab.run_directory().join(slot.lock_name())), "it has a call");
    lab.tell(slot, "end last").await;
    service.task.await.expect("no panic").expect("an orderly end");
    assert!(!is_held(&lab.run_directory().join(slot.lock_name())));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_left_to_say_so_ends_everything_at_once() {
    let lab = Lab::new();
    let service = lab.ready(10).await;
    let slot = slot_of(lab.invite("1001").await.port());
    lab.tell(slot, "begin last").await;
    drop(service.stops);
    service.task.await.expect("no panic").expect("an orderly end");
    for slot in Slot::BOTH {
        assert!(!is_held(&lab.run_directory().join(slot.lock_name())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_in_the_same_directory_is_refused() {
    let lab = Lab::new();
    let _service = lab.ready(10).await;
    let (_stops, told) = mpsc::channel(1);
    let error = lab.service(10, told, || {}).await.expect_err("the first one runs");
    assert!(matches!(error, UmError::Held { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_that_starts_callers_get_503_and_no_health() {
    let lab = Lab::new();
    std::fs::write(lab.launch().program, "#!/bin/sh\nexit 1\n").expect("own directory");
    let service = lab.start(10).await;
    let answer = lab.invite("1001").await;
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("2")), "{answer:?}");
    assert!(lab.scrape("/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(lab.scrape("/healthz").await.starts_with("HTTP/1.1 200"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let text = lab.scrape("/metrics").await;
    let ended = text.lines().find_map(|line| line.strip_prefix("postern_um_workers_ended_total{end=\"crashed\"} "));
    let ended: u32 = ended.and_then(|count| count.parse().ok()).expect("a count");
    assert!((2..=10).contains(&ended), "{ended} starts in two seconds");
    service.stops.send(Stop::Drain).await.expect("it runs");
    service.task.await.expect("no panic").expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_store_gets_no_calls() {
    let lab = Lab::new();
    let _service = lab.ready(1000).await;
    let slot = slot_of(lab.invite("1001").await.port());
    lab.tell(slot, "unready").await;
    time_until_calls_go_to(&lab, slot.other()).await;
    lab.tell(slot.other(), "unready").await;
    eventually(async || lab.invite("1001").await.status == 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_speaks_rubbish_is_replaced() {
    let lab = Lab::new();
    let _service = lab.ready(1000).await;
    let slot = slot_of(lab.invite("1001").await.port());
    let former = lab.pid(slot);
    lab.tell(slot, "babble").await;
    time_until_calls_go_to(&lab, slot.other()).await;
    eventually(async || lab.pid(slot) != former).await;
    lab.until_standby().await;
}
