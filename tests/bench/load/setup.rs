//! From an INVITE at the router to the first packet of audio, redirects and all.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use postern_config::{EdgeLocation, WorkerEdgeConfig};
use postern_sip::offer_answer_capabilities::OfferKeying;
use postern_tools::phone::IdlePhone;
use postern_worker::edges::Edges;
use tokio::time::{sleep, timeout};

use crate::office::{Office, ROUTER, UM, mailbox_number};
use crate::phone::{News, PATIENCE, Phones};

/// Between two calls.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes `calls` calls, one after the other. Returns the times, sorted.
pub async fn inside(office: &Office, calls: usize, mailboxes: usize, cores: &[usize]) -> Result<Vec<Duration>> {
    // The workers are children of the UM service and share its core.
    let um = office.start("um", &cores[0].to_string(), UM)?;
    let router = office.start("router", &cores[0].to_string(), ROUTER)?;
    let mut phones = Phones::new()?;
    let begun = Instant::now();
    while let Err(error) = one(&mut phones, 0).await {
        ensure!(begun.elapsed() < PATIENCE, "no call is answered: {error:#}");
        sleep(Duration::from_millis(200)).await;
    }
    let mut times = Vec::with_capacity(calls);
    for number in 0..calls {
        times.push(one(&mut phones, number % mailboxes).await?);
        sleep(PAUSE).await;
    }
    drop((router, um));
    times.sort_unstable();
    Ok(times)
}

/// As [`inside`], but the phone has nothing but relays of an edge that `postern up` runs with all other roles, on one
/// core. A call ends its time with the first packet of audio that ICE let through.
pub async fn through_the_edge(program: &Path, calls: usize, core: usize) -> Result<Vec<Duration>> {
    let mut up = Up::start(program, core)?;
    let (configuration, uri) = up.read()?;
    let own_addresses = postern_net::system::own_addresses()?;
    let loaded = postern_config::load(&configuration, &own_addresses).map_err(|faults| anyhow!("{faults:?}"))?;
    let worker = loaded.config.worker.context("no [worker]")?;
    let outside = worker.edges.iter().map(|edge| WorkerEdgeConfig { location: EdgeLocation::Internet, ..edge.clone() });
    let edges = Edges::start(&outside.collect::<Vec<_>>())?;
    let mut times = Vec::with_capacity(calls);
    for number in 0..calls {
        // A phone has its relay before its user dials.
        let phone = IdlePhone::with_relay(&edges, &format!("bench-{number}")).await?;
        let begun = Instant::now();
        let mut phone = phone.call("<sip:2002@127.0.0.1>", &uri, |_| {}).await?;
        times.push(phone.audio_began(PATIENCE).await?.saturating_duration_since(begun));
        phone.hang_up().await?;
        sleep(PAUSE).await;
    }
    times.sort_unstable();
    Ok(times)
}

/// A running `postern up`.
struct Up(Child);

impl Up {
    fn start(program: &Path, core: usize) -> Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(program).args(["up", "--log", "error"]);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?))
    }

    /// What it prints: where its configuration lies, and whom to call.
    fn read(&mut self) -> Result<(PathBuf, String)> {
        let mut printed = BufReader::new(self.0.stdout.take().context("its output is read once")?);
        let (mut directory, mut uri, mut line) = (None, None, String::new());
        while printed.read_line(&mut line)? > 0 {
            let words = || line.split_whitespace();
            uri = uri.or_else(|| words().find(|word| word.starts_with("sip:1001@")).map(str::to_owned));
            directory = directory.or_else(|| words().find_map(|word| word.strip_suffix("/ca.pem")).map(PathBuf::from));
            if let (Some(directory), Some(uri)) = (&directory, &uri) {
                let found = (directory.join("postern.toml"), uri.clone());
                // Whoever stops reading ends it.
                self.0.stdout = Some(printed.into_inner());
                return Ok(found);
            }
            line.clear();
        }
        bail!("postern up has ended, or prints something else")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = postern_net::signal::send(self.0.id(), postern_net::signal::Signal::Terminate);
        let _ = self.0.wait();
    }
}

async fn one(phones: &mut Phones, mailbox: usize) -> Result<Duration> {
    let begun = Instant::now();
    let (call, rtp) = phones.call(&mailbox_number(mailbox), ROUTER, OfferKeying::Plain)?;
    let rtp = tokio::net::UdpSocket::from_std(rtp)?;
    let mut packet = [0; 1500];
    let mut kept = None;
    let took = loop {
        tokio::select! {
            received = rtp.recv(&mut packet) => if is_audio(&packet[..received?]) {
                break begun.elapsed();
            },
            news = timeout(PATIENCE, phones.turn()) => for (_, news) in news?? {
                match news {
                    News::Answered(answered) => kept = Some(answered),
                    News::Ended(cause) => bail!("the call ended: {cause:?}"),
                }
            },
        }
    };
    // Audio that overtook the answer: it is still to be read before we can hang up.
    while kept.is_none() {
        for (_, news) in timeout(PATIENCE, phones.turn()).await?? {
            match news {
                News::Answered(answered) => kept = Some(answered),
                News::Ended(cause) => bail!("the call ended: {cause:?}"),
            }
        }
    }
    phones.hang_up(call);
    let begun = Instant::now();
    loop {
        ensure!(begun.elapsed() < PATIENCE, "the BYE is not answered");
        let news = timeout(PATIENCE, phones.turn()).await??;
        if news.iter().any(|(ended, news)| *ended == call && matches!(news, News::Ended(_))) {
            return Ok(took);
        }
    }
}

/// RTP version 2, payload type 0 (PCMU).
fn is_audio(packet: &[u8]) -> bool {
    packet.len() > 12 && packet[0] >> 6 == 2 && packet[1] & 0x7f == 0
}

/// The value below which that share of the sorted times lies.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}
