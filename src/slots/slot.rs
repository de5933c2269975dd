//! The two slots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place for one worker process, with ports of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    /// Both, in order.
    pub const BOTH: [Slot; 2] = [Slot::A, Slot::B];

    /// The one that this is not.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// 0 for A, 1 for B.
    pub fn index(self) -> usize {
        self as usize
    }

    /// `A` or `B`.
    pub fn name(self) -> &'static str {
        match self {
            Slot::A => "A",
            Slot::B => "B",
        }
    }

    /// Name of the socket on which the slot's worker listens, inside the runtime directory.
    pub fn socket_name(self) -> &'static str {
        match self {
            Slot::A => "slot-a.sock",
            Slot::B => "slot-b.sock",
        }
    }

    /// Name of the file that the slot's worker holds locked while it lives, with its process id inside.
    pub fn lock_name(self) -> &'static str {
        match self {
            Slot::A => "slot-a.lock",
            Slot::B => "slot-b.lock",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What names no slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no slot {0}; the slots are A and B")]
pub struct NoSuchSlot(String);

impl FromStr for Slot {
    type Err = NoSuchSlot;

    fn from_str(text: &str) -> Result<Self, NoSuchSlot> {
        match text {
            "A" | "a" => Ok(Slot::A),
            "B" | "b" => Ok(Slot::B),
            _ => Err(NoSuchSlot(text.to_owned())),
        }
    }
}
