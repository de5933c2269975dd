//! SIP messages, transactions, dialogs and SDP offer/answer: one state machine without sockets or clock.
