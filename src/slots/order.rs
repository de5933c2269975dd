//! An outgoing call as UM service and worker speak of it: what is ordered, and how it goes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::call_key::CallKey;
use crate::limits::{ORDER_GATEWAYS_MAX, ORDER_TEXT_BYTES_MAX};

/// Names an outgoing call for ever: 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderId([u8; 16]);

impl OrderId {
    /// `random` must come from a source that nobody can foretell: whoever guesses an id learns of a call.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// What [`new`](Self::new) was given.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// Its name among the calls of a worker; the Call-ID of its INVITEs.
    pub fn call_key(self) -> CallKey {
        CallKey::of(&self.to_string())
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is no [`OrderId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of an outgoing call is 32 hexadecimal digits")]
pub struct NoOrderId;

impl FromStr for OrderId {
    type Err = NoOrderId;

    fn from_str(text: &str) -> Result<Self, NoOrderId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoOrderId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NoOrderId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<String> for OrderId {
    type Error = NoOrderId;

    fn try_from(text: String) -> Result<Self, NoOrderId> {
        text.parse()
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.to_string()
    }
}

/// Place this call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Order {
    pub id: OrderId,
    /// The mailbox's id in the store.
    pub mailbox: String,
    pub plan: String,
    /// The mailbox's own number, as whom the call is made.
    pub number: String,
    pub purpose: OrderPurpose,
    pub target: OrderTarget,
    /// As it was asked for, for records.
    pub dialled: String,
    /// Labels of the gateways that it may leave by, in the order to be tried.
    pub gateways: Vec<String>,
}

impl Order {
    /// Whether no part is longer than orders may be; a worker does nothing with one that is.
    pub fn is_bounded(&self) -> bool {
        let purpose = match &self.purpose {
            OrderPurpose::PlayMessage { message: text }
            | OrderPurpose::PlayGreeting { greeting: text }
            | OrderPurpose::RecordGreeting { greeting: text } => text,
        };
        let target = match &self.target {
            OrderTarget::Number(text) | OrderTarget::Uri(text) => text,
        };
        let texts = [&self.mailbox, &self.plan, &self.number, &self.dialled, purpose, target];
        self.gateways.len() <= ORDER_GATEWAYS_MAX
            && texts.into_iter().chain(&self.gateways).all(|text| text.len() <= ORDER_TEXT_BYTES_MAX)
    }
}

/// What an outgoing call is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum OrderPurpose {
    /// Play a message, by its id in the store.
    PlayMessage { message: String },
    /// Play a greeting, by the name of its kind.
    PlayGreeting { greeting: String },
    /// Record a greeting.
    RecordGreeting { greeting: String },
}

/// Whom to call. The rules of the dial plan have let it pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderTarget {
    /// The user part of a URI at the gateway's host.
    Number(String),
    /// A whole SIP or SIPS URI, sent to the gateway all the same.
    Uri(String),
}

/// How far an outgoing call has come; it never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderState {
    /// No worker has said yet that it has it.
    #[default]
    Idle,
    Connecting,
    /// It rings there.
    Alerted,
    Connected,
    Disconnected,
}

/// Why an outgoing call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderCause {
    /// It was hung up, by either side, or before it was answered by its owner.
    None,
    Busy,
    NoAnswer,
    /// Nobody is there, no gateway was reached, or the worker died.
    Unavailable,
    Other,
}

/// How an outgoing call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    pub state: OrderState,
    /// There once it is disconnected.
    pub cause: Option<OrderCause>,
    /// The final response to its INVITE, of the last gateway that was tried.
    pub sip_status: Option<u16>,
}

impl Progress {
    /// Over for this reason.
    pub fn over(cause: OrderCause, sip_status: Option<u16>) -> Self {
        Self { state: OrderState::Disconnected, cause: Some(cause), sip_status }
    }

    /// Nothing more will come of it.
    pub fn is_over(&self) -> bool {
        self.state == OrderState::Disconnected
    }
}

/// What a worker says of an outgoing call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OrderReport {
    pub order: OrderId,
    pub mailbox: String,
    /// Since it was ordered.
    pub age_secs: u64,
    /// Since it is over; 0 before.
    pub over_secs: u64,
    pub progress: Progress,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = OrderId::new([0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(id.to_string(), "0f0102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "0f", "+f0102030405060708090a0b0c0d0eff", "0f0102030405060708090a0b0c0d0effff"] {
            assert_eq!(text.parse::<OrderId>(), Err(NoOrderId), "{text}");
        }
    }

    #[test]
    fn an_order_with_a_text_or_a_list_too_long_is_seen() {
        let order = Order {
            id: OrderId::new([1; 16]),
            mailbox: "m".into(),
            plan: "office".into(),
            number: "1001".into(),
            purpose: OrderPurpose::PlayMessage { message: "x".into() },
            target: OrderTarget::Number("2002".into()),
            dialled: "2002".into(),
            gateways: vec!["gw".into(); ORDER_GATEWAYS_MAX],
        };
        assert!(order.is_bounded());
        let long = "1".repeat(ORDER_TEXT_BYTES_MAX + 1);
        assert!(!Order { target: OrderTarget::Uri(long.clone()), ..order.clone() }.is_bounded());
        assert!(!Order { gateways: vec![long], ..order.clone() }.is_bounded());
        assert!(!Order { gateways: vec!["gw".into(); ORDER_GATEWAYS_MAX + 1], ..order }.is_bounded());
    }
}
