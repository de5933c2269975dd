//! Measures the call and prints a table: what was asked for, what was measured, and whether it was reached.

mod cpu;
mod numbered;
mod office;
mod phone;
mod recording;
mod redirects;
mod setup;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use postern_sip::offer_answer_capabilities::OfferKeying;

use crate::office::Office;

/// Measures redirects, recording calls on one core, and the time to first audio
#[derive(Parser)]
struct Arguments {
    /// The program to be measured
    #[arg(long)]
    program: PathBuf,
    /// Recording calls at once
    #[arg(long, default_value_t = 500)]
    calls: usize,
    /// Seconds in which they are measured
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// INVITEs to be redirected
    #[arg(long, default_value_t = 40_000)]
    redirects: u64,
    /// Calls whose time to first audio is taken
    #[arg(long, default_value_t = 300)]
    setups: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    numbered::prove_judge();
    let cores = postern_net::system::cores();
    anyhow::ensure!(cores.len() >= 2, "two cores are needed: one to be measured, one to measure");
    // The phones stay off the measured core; threads begun from here on stay here too.
    postern_net::system::pin_thread(cores[1])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments, &cores))
}

async fn run(arguments: &Arguments, cores: &[usize]) -> Result<ExitCode> {
    let mut reached = true;
    let mut row = |what: &str, measured: String, target: Option<(&str, bool)>| {
        let verdict = match target {
            Some((target, true)) => format!("{target}: reached"),
            Some((target, false)) => {
                reached = false;
                format!("{target}: MISSED")
            }
            None => String::new(),
        };
        println!("{what:<44} {measured:>22}  {verdict}");
    };

    let office = Office::furnish(&arguments.program, 4).await?;
    let redirects = redirects::measure(&office, arguments.redirects, 200, cores).await.context("redirects")?;
    let per_sec = redirects.calls as f64 / redirects.took.as_secs_f64();
    let each = redirects.router.as_secs_f64() / redirects.calls as f64;
    row("redirects per second, router on one core", format!("{per_sec:.0}"), Some(("2000", per_sec >= 2000.0)));
    row("  its processor time per redirect", format!("{:.1} us", each * 1e6), None);
    row("  its share of the core meanwhile", percent(redirects.router, redirects.took), None);

    let times = setup::inside(&office, arguments.setups, 4, cores).await.context("time to first audio")?;
    let (median, slow) = (setup::percentile(&times, 0.5), setup::percentile(&times, 0.99));
    row("INVITE at the router to first audio, p50", millis(median), None);
    let bound = Duration::from_millis(150);
    row("  p99", millis(slow), Some(("150 ms", slow <= bound)));
    drop(office);
    let times = setup::through_the_edge(&arguments.program, arguments.setups.div_ceil(3), cores[0]).await;
    let times = times.context("time to first audio through the edge")?;
    row("  through the edge, p50", millis(setup::percentile(&times, 0.5)), None);
    row("  through the edge, p99", millis(setup::percentile(&times, 0.99)), None);

    for (name, keying) in [("plain RTP", OfferKeying::Plain), ("SRTP (SDES)", OfferKeying::Sdes)] {
        let office = Office::furnish(&arguments.program, arguments.calls.div_ceil(recording::PER_MAILBOX)).await?;
        let window = Duration::from_secs(arguments.seconds);
        let recorded = recording::measure(&office, arguments.calls, keying, window, cores[0]).await.context(name)?;
        let whole = recorded.messages == recorded.calls
            && recorded.proof.missing == 0
            && recorded.proof.misplaced == 0
            && recorded.proof.frames as u64 >= recorded.calls as u64 * arguments.seconds * 50;
        let title = format!("recording calls at once on one core, {name}");
        row(&title, recorded.calls.to_string(), Some(("500, each packet there", whole && recorded.calls >= 500)));
        let counts = format!("{} of {}", recorded.messages, recorded.calls);
        row("  messages that were kept", counts, None);
        let proof = recorded.proof;
        row(
            "  packets found / missing / misplaced",
            format!("{} / {} / {}", proof.frames, proof.missing, proof.misplaced),
            None,
        );
        row("  worker's share of the core", percent(recorded.worker, recorded.window), None);
        let each = recorded.worker.as_secs_f64() / recorded.window.as_secs_f64() / recorded.calls as f64;
        row("  its processor time per call and second", format!("{:.2} ms", each * 1e3), None);
        let memory = recorded.memory.saturating_sub(recorded.memory_before) / recorded.calls as u64;
        row("  its memory per call", format!("{} KiB", memory >> 10), None);
        row("  the phones' share of theirs", percent(recorded.phones, recorded.window), None);
    }
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn percent(used: Duration, of: Duration) -> String {
    format!("{:.1} %", 100.0 * used.as_secs_f64() / of.as_secs_f64())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
