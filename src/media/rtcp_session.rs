//! When reports are due and what they say (RFC 3550 section 6.3), for a session of two.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::limits;
use crate::reception::Reception;
use crate::rtcp::{Compound, NtpTime, ReportBlock, SenderInfo};
use crate::sender::Sender;

/// RTCP of one stream.
pub struct RtcpSession {
    cname: String,
    unix_origin: (Instant, Duration),
    next: Instant,
    packets_reported: u64,
    /// Middle bits of the peer's last sender report, and when it came.
    last_sender_report: Option<(u32, Instant)>,
    round_trip: Option<Duration>,
    remote_loss: Option<f32>,
}

impl RtcpSession {
    /// The first report comes after half an interval.
    pub fn new(cname: String, unix_origin: (Instant, Duration), now: Instant, random: &mut ChaCha8Rng) -> Self {
        Self {
            cname,
            unix_origin,
            next: now + interval(random) / 2,
            packets_reported: 0,
            last_sender_report: None,
            round_trip: None,
            remote_loss: None,
        }
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub fn remote_loss(&self) -> Option<f32> {
        self.remote_loss
    }

    /// Whether a report is due; draws the time of the next.
    pub fn is_due(&mut self, now: Instant, random: &mut ChaCha8Rng) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + interval(random);
        }
        due
    }

    /// Another source: its reports have nothing to do with the former's.
    pub fn new_source(&mut self) {
        self.last_sender_report = None;
    }

    /// Writes a compound packet.
    pub fn write(
        &mut self,
        sender: &Sender,
        reception: Option<&mut Reception>,
        bye: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let sending = sender.packets() > self.packets_reported;
        self.packets_reported = sender.packets();
        let info = SenderInfo {
            ntp: self.ntp(now),
            rtp_timestamp: sender.timestamp(),
            packets: sender.packets() as u32,
            bytes: sender.bytes() as u32,
        };
        let (last_sender_report, delay) = match self.last_sender_report {
            Some((middle, came)) => (middle, units(now.saturating_duration_since(came))),
            None => (0, 0),
        };
        let block = reception.map(|reception| ReportBlock {
            ssrc: reception.ssrc(),
            fraction_lost: reception.take_fraction_lost(),
            cumulative_lost: reception.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            extended_highest_sequence: reception.extended_highest(),
            jitter: reception.jitter(),
            last_sender_report,
            delay_since_last_sender_report: delay,
        });
        let compound =
            Compound { ssrc: sender.ssrc(), sender: sending.then_some(info), block, cname: &self.cname, bye };
        compound.write(out);
    }

    /// The peer's sender report.
    pub fn handle_sender(&mut self, info: SenderInfo, now: Instant) {
        self.last_sender_report = Some((info.ntp.middle(), now));
    }

    /// What the peer says of how it hears us.
    pub fn handle_block(&mut self, block: ReportBlock, sender: &Sender, now: Instant) {
        let expected = sender.packets().max(1) as f32;
        self.remote_loss = Some((block.cumulative_lost.max(0) as f32 / expected).min(1.0));
        if block.last_sender_report == 0 {
            return;
        }
        let round_trip = self
            .ntp(now)
            .middle()
            .wrapping_sub(block.last_sender_report)
            .wrapping_sub(block.delay_since_last_sender_report);
        // A clock that lies by a little makes it negative, by much makes it huge.
        if round_trip < limits::ROUND_TRIP_SECS_MAX << 16 {
            self.round_trip = Some(Duration::from_nanos((u64::from(round_trip) * 1_000_000_000) >> 16));
        } else if (round_trip as i32) < 0 {
            self.round_trip = Some(Duration::ZERO);
        }
    }

    fn ntp(&self, now: Instant) -> NtpTime {
        let (instant, unix) = self.unix_origin;
        NtpTime::from_unix(unix + now.saturating_duration_since(instant))
    }
}

/// Five seconds, give or take a half.
fn interval(random: &mut ChaCha8Rng) -> Duration {
    limits::RTCP_INTERVAL / 2 + limits::RTCP_INTERVAL * (random.next_u32() >> 16) / 0x1_0000
}

/// 1/65536 s.
fn units(duration: Duration) -> u32 {
    (duration.as_nanos() * 65_536 / 1_000_000_000).min(u128::from(u32::MAX)) as u32
}
