//! RTP, RTCP, SRTP, jitter buffer, codecs, DTMF, tones and WAV, without sockets or clock.
//!
//! [`Stream`] is one call's audio: packets, time and samples go in; packets, frames and events are polled out.

pub mod codec;
pub mod coder;
pub mod comfort_noise;
pub mod compare;
pub mod conceal;
pub mod digit;
pub mod dtls;
pub mod event;
pub mod fingerprint;
pub mod g711;
pub mod jitter_buffer;
pub mod level;
pub mod limits;
pub mod mos;
pub mod mux;
mod outbox;
pub mod pin;
pub mod playout;
mod protection;
mod receiver;
mod reception;
pub mod report;
pub mod resample;
pub mod rtcp;
mod rtcp_session;
pub mod rtp;
mod sender;
pub mod session;
pub mod srtp;
pub mod srtp_profile;
pub mod stream;
pub mod telephone_event;
pub mod tone;
mod verdict;
pub mod wav;

pub use stream::Stream;
