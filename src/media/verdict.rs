//! Why a direction had no audio, told from the counters, and how good the rest was.

use crate::mos;
use crate::report::{DropReason, NoAudio, Report};
use crate::session::Direction;

/// What the counters do not tell.
pub struct Circumstances {
    pub on_hold: bool,
    pub direction: Direction,
    /// DTLS was agreed and is not done.
    pub awaits_dtls: bool,
    /// A packet of audio was taken at some time.
    pub has_audio: bool,
    pub has_destination: bool,
    pub is_ice: bool,
}

/// Fills score and reasons.
pub fn judge(report: &mut Report, circumstances: &Circumstances) {
    report.no_audio_received = no_audio_received(report, circumstances);
    report.no_audio_sent = no_audio_sent(report, circumstances);
    let frames = report.frames_audio + report.frames_concealed;
    if circumstances.has_audio && frames > 0 {
        let loss = report.frames_concealed as f32 / frames as f32;
        report.mos = Some(mos::mos(report.round_trip.unwrap_or_default(), report.jitter, loss));
    }
}

fn no_audio_received(report: &Report, circumstances: &Circumstances) -> Option<NoAudio> {
    if report.frames_loud > 0 {
        return None;
    }
    let drops = |reason| report.drops.of(reason);
    Some(if circumstances.has_audio {
        NoAudio::Silence
    } else if circumstances.on_hold || !circumstances.direction.receives() {
        NoAudio::Hold
    } else if circumstances.awaits_dtls {
        NoAudio::Dtls
    } else if drops(DropReason::PayloadType) > 0 {
        NoAudio::Payload
    } else if drops(DropReason::SrtpAuthentication) > 0 {
        NoAudio::SrtpAuthentication
    } else if drops(DropReason::WrongSource) > 0 {
        NoAudio::WrongSource
    } else if circumstances.is_ice && !circumstances.has_destination {
        NoAudio::Ice
    } else {
        NoAudio::NothingReceived
    })
}

fn no_audio_sent(report: &Report, circumstances: &Circumstances) -> Option<NoAudio> {
    // The peer says that nothing of it arrives.
    let unheard = report.remote_loss.is_some_and(|loss| loss > 0.99);
    if report.frames_loud_sent > 0 && !unheard {
        return None;
    }
    Some(if report.packets_sent > 0 {
        if unheard { NoAudio::NothingReceived } else { NoAudio::Silence }
    } else if circumstances.on_hold || !circumstances.direction.sends() {
        NoAudio::Hold
    } else if circumstances.is_ice && !circumstances.has_destination {
        NoAudio::Ice
    } else if circumstances.awaits_dtls {
        NoAudio::Dtls
    } else {
        NoAudio::Silence
    })
}
