//! What people run beside the roles, or in place of all of them: a doctor, `up`, mailboxes, calls, checks, certificates,
//! firewall rules, tokens.

#[cfg(feature = "call")]
pub mod call;
pub mod certs;
pub mod check;
#[cfg(any(feature = "call", feature = "mailbox"))]
mod configuration;
pub mod doctor;
mod doctor_client;
mod doctor_failure;
mod doctor_leg;
mod doctor_local;
mod doctor_media;
mod doctor_message;
mod doctor_nat;
mod doctor_report;
mod doctor_rtp;
mod doctor_session;
mod doctor_target;
#[cfg(test)]
mod doctor_tests;
mod doctor_tls;
mod doctor_token;
mod doctor_turn;
mod doctor_wire;
pub mod firewall;
#[cfg(feature = "mailbox")]
pub mod mail;
#[cfg(feature = "mailbox")]
mod mail_listing;
#[cfg(feature = "mailbox")]
pub mod mailbox;
#[cfg(feature = "mailbox")]
mod mailbox_desk;
#[cfg(feature = "mailbox")]
mod mailbox_export;
#[cfg(feature = "mailbox")]
mod mailbox_listing;
#[cfg(feature = "mailbox")]
mod mailbox_pin;
pub mod output;
#[cfg(feature = "up")]
pub mod phone;
#[cfg(feature = "up")]
mod phone_media;
#[cfg(feature = "up")]
mod phone_sound;
#[cfg(any(test, feature = "up"))]
mod scratch;
pub mod token;
#[cfg(feature = "up")]
mod try_steps;
#[cfg(feature = "up")]
mod try_story;
#[cfg(feature = "up")]
mod try_verdict;
#[cfg(feature = "up")]
pub mod up;
#[cfg(feature = "up")]
mod up_mailboxes;
#[cfg(feature = "up")]
mod up_metrics;
#[cfg(feature = "up")]
mod up_ports;
#[cfg(feature = "up")]
mod up_premises;
#[cfg(feature = "up")]
mod up_roles;
#[cfg(feature = "up")]
mod up_text;
