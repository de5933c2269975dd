//! Voice mail call logic as a state machine, and the trait of the store behind it.
