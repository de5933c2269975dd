//! Calls judged by gateways, plans and what their messages say.

mod addresses;
mod admission;
mod any_message;
mod dialling;
mod mailbox;
mod seals;
mod support;
