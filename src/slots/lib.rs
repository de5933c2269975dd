//! The two worker slots of a UM service: their state machine and the messages on the socket between.
