//! PINs: what one is, and which ones a policy takes.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::limits::PIN_DIGITS_MAX;
use crate::mailbox::Mailbox;

/// A PIN in clear. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// The PIN of these digits; none if there are none, more than
    /// [`PIN_DIGITS_MAX`], or something else among them.
    pub fn new(digits: &str) -> Option<Self> {
        let good = !digits.is_empty() && digits.len() <= PIN_DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit());
        good.then(|| Self(Zeroizing::new(digits.to_owned())))
    }

    /// The digits, for whoever hashes them.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin")
    }
}

/// What a PIN must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinPolicy {
    /// Fewest digits: 4 to 24.
    pub length_min: usize,
    /// How long one serves; none: for ever.
    pub lifetime: Option<Duration>,
    /// How many of the last ones may not come back, the present one included.
    pub history: u32,
    /// Sequences and repeats are taken. A PIN that ends a number of the mailbox, or is one, never is.
    pub allow_common_patterns: bool,
    /// Wrong PINs in a row, over all calls, that lock the mailbox.
    pub attempts_max: u32,
}

impl Default for PinPolicy {
    /// 6 digits, 60 days, the last 5, no common patterns, 15 attempts.
    fn default() -> Self {
        Self {
            length_min: 6,
            lifetime: Some(Duration::from_secs(60 * 24 * 3600)),
            history: 5,
            allow_common_patterns: false,
            attempts_max: 15,
        }
    }
}

/// Why a policy refuses a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PinRefusal {
    #[error("too short")]
    TooShort,
    #[error("more than {PIN_DIGITS_MAX} digits")]
    TooLong,
    #[error("one digit, a group of digits or a sequence again and again")]
    CommonPattern,
    #[error("part of the mailbox's own number")]
    OwnNumber,
}

impl PinPolicy {
    /// Judges a new PIN for `mailbox`. Whether it was used before, only the store knows.
    ///
    /// # Errors
    /// Why it is refused; the owner's fault.
    pub fn judge(&self, pin: &Pin, mailbox: &Mailbox) -> Result<(), PinRefusal> {
        let digits = pin.digits();
        if digits.len() < self.length_min {
            return Err(PinRefusal::TooShort);
        }
        if mailbox.addresses.iter().filter_map(|address| address.digits()).any(|number| shows(digits, number)) {
            return Err(PinRefusal::OwnNumber);
        }
        if !self.allow_common_patterns && (is_sequence(digits) || is_repeat(digits)) {
            return Err(PinRefusal::CommonPattern);
        }
        Ok(())
    }

    /// Whether a PIN chosen at `chosen` has served its time at `now`.
    pub fn has_expired(&self, chosen: Timestamp, now: Timestamp) -> bool {
        self.lifetime.is_some_and(|lifetime| now.duration_since(chosen).unsigned_abs() >= lifetime && now > chosen)
    }
}

/// Whether the PIN is the number's end, or ends with the whole number. A number of one or two digits ends too many PINs
/// by chance.
fn shows(pin: &str, number: &str) -> bool {
    number.ends_with(pin) || (number.len() > 2 && pin.ends_with(number))
}

/// 123456, 987654, 890123: each digit one above the one before, or one below, with 0 following 9.
fn is_sequence(digits: &str) -> bool {
    let steps = |by: u8| digits.as_bytes().windows(2).all(|pair| (pair[0] - b'0' + by) % 10 == pair[1] - b'0');
    steps(1) || steps(9)
}

/// 111111, 121212, 123123: the same group of at most half the digits, to the end.
fn is_repeat(digits: &str) -> bool {
    let bytes = digits.as_bytes();
    (1..=bytes.len() / 2).any(|group| bytes.iter().zip(&bytes[group..]).all(|(a, b)| a == b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::MailboxId;
    use crate::mailbox::{GreetingInUse, OwnQuota};
    use crate::{Address, PlanName};

    fn mailbox() -> Mailbox {
        Mailbox {
            id: MailboxId::new(1, [1; 10]),
            plan: PlanName("office".into()),
            addresses: vec![Address::Extension("1001".into()), Address::E164("15558675309".into())],
            name: "Alice Ng".into(),
            language: "en".into(),
            time_zone: jiff::tz::TimeZone::UTC,
            operator: None,
            quota: OwnQuota::default(),
            greeting: GreetingInUse::Standard,
            recorded: Vec::new(),
        }
    }

    fn judge(policy: PinPolicy, digits: &str) -> Result<(), PinRefusal> {
        policy.judge(&Pin::new(digits).unwrap(), &mailbox())
    }

    #[test]
    fn a_pin_without_pattern_is_taken() {
        for digits in ["271828", "100200", "135792", "112233", "90125734"] {
            assert_eq!(judge(PinPolicy::default(), digits), Ok(()), "{digits}");
        }
    }

    #[test]
    fn a_pin_that_anybody_would_try_is_refused() {
        for (digits, why) in [
            ("27182", PinRefusal::TooShort),
            ("111111", PinRefusal::CommonPattern),
            ("121212", PinRefusal::CommonPattern),
            ("1231231", PinRefusal::CommonPattern),
            ("123456", PinRefusal::CommonPattern),
            ("987654", PinRefusal::CommonPattern),
            ("789012", PinRefusal::CommonPattern),
            ("675309", PinRefusal::OwnNumber),
            ("721001", PinRefusal::OwnNumber),
        ] {
            assert_eq!(judge(PinPolicy::default(), digits), Err(why), "{digits}");
        }
    }

    #[test]
    fn common_patterns_are_taken_where_allowed_but_never_the_own_number() {
        let policy = PinPolicy { allow_common_patterns: true, ..PinPolicy::default() };
        assert_eq!(judge(policy, "123456"), Ok(()));
        assert_eq!(judge(policy, "675309"), Err(PinRefusal::OwnNumber));
    }

    #[test]
    fn a_pin_expires_after_its_lifetime_and_not_before() {
        let chosen = Timestamp::from_second(1_760_000_000).unwrap();
        let after = |secs: i64| Timestamp::from_second(1_760_000_000 + secs).unwrap();
        let policy = PinPolicy::default();
        assert!(!policy.has_expired(chosen, after(60 * 86_400 - 1)));
        assert!(policy.has_expired(chosen, after(60 * 86_400)));
        assert!(!policy.has_expired(chosen, after(-90 * 86_400)), "a clock that was set back expires nothing");
        assert!(!PinPolicy { lifetime: None, ..policy }.has_expired(chosen, after(999 * 86_400)));
    }

    #[test]
    fn a_pin_and_a_key_are_never_printed() {
        assert_eq!(format!("{:?}", Pin::new("271828").unwrap()), "Pin");
        assert_eq!(format!("{:?}", crate::Digit::new('7').unwrap()), "Digit");
    }

    #[test]
    fn a_pin_is_one_to_24_digits() {
        assert!(Pin::new("").is_none() && Pin::new("12a4").is_none() && Pin::new(&"1".repeat(25)).is_none());
        assert!(Pin::new(&"7".repeat(24)).is_some());
    }
}
