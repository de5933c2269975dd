//! How many INVITEs a router on one core redirects, asked by SIPp over TCP.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cpu;
use crate::office::{Office, ROUTER, UM};

pub struct Redirects {
    pub calls: u64,
    pub took: Duration,
    pub router: Duration,
}

/// Sends `calls` INVITEs, at most `open` of them at once.
pub async fn measure(office: &Office, calls: u64, open: u32, cores: &[usize]) -> Result<Redirects> {
    let um = office.start("um", &cores[1].to_string(), UM)?;
    let router = office.start("router", &cores[0].to_string(), ROUTER)?;
    wait_until_redirected(office, &cores[1].to_string())?;
    let before = cpu::time_of(router.pid())?;
    let begun = Instant::now();
    sipp(office, calls, open, &cores[1].to_string())?;
    let took = begun.elapsed();
    let router_time = cpu::time_of(router.pid())? - before;
    drop((router, um));
    Ok(Redirects { calls, took, router: router_time })
}

/// The router has asked the UM service, and that has a worker.
fn wait_until_redirected(office: &Office, core: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        match sipp(office, 1, 1, core) {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > Duration::from_secs(30) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Ends well only if every call was redirected.
fn sipp(office: &Office, calls: u64, open: u32, core: &str) -> Result<()> {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/redirect.xml");
    let status = Command::new("taskset")
        .args(["-c", core, "sipp", "-t", "t1", "-nostdin", "-i", "127.0.0.1", "-m", &calls.to_string()])
        .args(["-l", &open.to_string(), "-r", "20000", "-rp", "1000", "-timeout", "120", "-sf"])
        .arg(scenario)
        .arg(format!("127.0.0.1:{ROUTER}"))
        .current_dir(&office.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("sipp cannot be run")?;
    ensure!(status.success(), "sipp saw calls that were not redirected: {status}");
    Ok(())
}
