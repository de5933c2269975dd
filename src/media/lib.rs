//! RTP, RTCP, SRTP, jitter buffer, codecs, DTMF, tones and WAV, without sockets or clock.
//!
//! [`Stream`] is one call's audio: packets, time and samples go in; packets, frames and events are polled out.

pub mod codec;
pub mod digit;
pub mod dtls;
pub mod event;
pub mod fingerprint;
pub mod limits;
pub mod report;
pub mod session;
pub mod srtp_profile;
mod stream;

pub use stream::Stream;
