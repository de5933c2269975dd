//! What a stream tells its owner, and what it gives him to send and to record.

use std::net::SocketAddr;
use std::time::Duration;

use crate::digit::Digit;
use crate::session::Component;

/// Something that happened; drained by [`Stream::poll_event`](crate::Stream::poll_event).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key went down (first packet of a telephone-event).
    DigitBegan { digit: Digit },
    /// The key is up again, or its end packets were lost. Each key press is told once.
    Digit { digit: Digit, duration: Duration },
    /// A digit of ours was sent to its end.
    DigitSent { digit: Digit },
    /// The first packet of audio was taken.
    FirstAudio,
    /// It has been silent for this long: told at each whole second of continuous silence, also while nothing comes.
    Silence { duration: Duration },
    /// Speech again after [`Silence`](Self::Silence).
    TalkResumed,
    /// The source that media is taken from and sent to from now on.
    Pinned { source: SocketAddr, ssrc: u32 },
    /// The pinned source was quiet too long: the next that satisfies the rule is pinned.
    Unpinned,
    /// The DTLS handshake of all components is done and its fingerprint matched: media flows.
    DtlsConnected,
    /// DTLS cannot succeed any more: the certificate is not the described one, or the peer never finished.
    DtlsFailed(DtlsFailure),
    /// The peer left by RTCP BYE.
    RtcpBye,
    /// Nothing believable came from the peer for the inactivity limit. Told again after media came back and stopped.
    Timeout,
    /// The play queue ran empty: all of it was handed out for sending.
    PlayFinished,
}

/// Why a DTLS handshake ended without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DtlsFailure {
    /// The certificate's hash is none of the described ones (RFC 5763 section 5).
    Fingerprint,
    /// No SRTP protection profile in common (RFC 5764 section 4.1.2).
    NoProfile,
    /// Any other fault of the handshake, an alert by the peer included.
    Handshake,
    /// The peer stopped answering.
    Timeout,
}

/// A packet to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    pub component: Component,
    pub destination: Destination,
    pub bytes: &'a [u8],
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// From the component's own socket to this address.
    Address(SocketAddr),
    /// Over the pair that the ICE agent selected for the component.
    IcePair,
}

/// What a frame's samples are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Decoded from the peer's packets.
    Audio,
    /// Lost or late packets, made up from what came before.
    Concealed,
    /// The peer is silent on purpose: comfort noise, or a pause between talk spurts.
    ComfortNoise,
    /// Nothing has come yet, or nothing comes any more.
    Nothing,
}

/// 20 ms of received audio; exactly one for every 20 ms of the stream's life, but none while on hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// [`Stream::pcm_rate`](crate::Stream::pcm_rate) / 50 samples.
    pub pcm: &'a [i16],
    pub kind: FrameKind,
    /// Below the silence level.
    pub silent: bool,
    /// Samples at the end of `pcm` for which nothing has come so far: lost or only late, as the next packet will tell.
    pub unsettled: usize,
    /// Of the samples that were unsettled until now, how many stood for nothing: their packets were only late. Whoever
    /// listens had to wait for as long; whoever records leaves them out.
    pub superfluous: usize,
}
