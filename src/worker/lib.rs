//! The mailbox worker: answers calls, records and plays, with media through the edge.
