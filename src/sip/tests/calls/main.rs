//! User agents against each other in virtual time.

mod answering;
mod challenged;
mod hunting;
mod network;
mod outgoing;
mod proxied;
mod refusing;
mod reliable;
mod room;
mod talking;
mod timers;
mod weather;
