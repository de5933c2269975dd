//! From an INVITE at the router to the first packet of audio, redirects and all.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use postern_sip::offer_answer_capabilities::OfferKeying;
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
