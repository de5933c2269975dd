//! SIP messages, transactions, dialogs and SDP offer/answer: one state machine without sockets or clock.

pub mod limits;
pub mod offer_answer;
mod offer_answer_build;
pub mod offer_answer_capabilities;
pub mod offer_answer_media;
mod offer_answer_payloads;
mod offer_answer_select;
pub mod sdp;
pub mod sdp_crypto;
pub mod sdp_ice;
pub mod sdp_media;
pub mod sdp_security;
