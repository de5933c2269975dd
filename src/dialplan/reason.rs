//! Why a call reached voice mail.

/// Why a call came, as its record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallReason {
    /// Nobody diverted it.
    #[default]
    Direct,
    /// Diverted whatever happened.
    DivertForward,
    /// The user was busy.
    DivertBusy,
    /// The user did not answer.
    DivertNoAnswer,
}

impl CallReason {
    /// Its word in records and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DivertForward => "forward",
            Self::DivertBusy => "busy",
            Self::DivertNoAnswer => "no-answer",
        }
    }

    /// From the reason of a Diversion (RFC 5806 section 6.2); one that is absent or unknown diverted all the same.
    pub(crate) fn of_diversion(reason: Option<&str>) -> Self {
        match reason.map(str::to_ascii_lowercase).as_deref() {
            Some("user-busy" | "do-not-disturb") => Self::DivertBusy,
            Some("no-answer" | "unavailable" | "out-of-service" | "away") => Self::DivertNoAnswer,
            _ => Self::DivertForward,
        }
    }

    /// From a SIP cause (RFC 4458 section 2.1, and Reason in a History-Info entry).
    pub(crate) fn of_cause(cause: Option<u16>) -> Self {
        match cause {
            Some(486 | 600) => Self::DivertBusy,
            Some(404 | 408 | 480 | 487 | 503) => Self::DivertNoAnswer,
            _ => Self::DivertForward,
        }
    }

    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Direct => 0,
            Self::DivertForward => 1,
            Self::DivertBusy => 2,
            Self::DivertNoAnswer => 3,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Direct, Self::DivertForward, Self::DivertBusy, Self::DivertNoAnswer].get(usize::from(byte)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_the_standards_fall_into_three_kinds() {
        for (reason, kind) in [
            (Some("user-busy"), CallReason::DivertBusy),
            (Some("No-Answer"), CallReason::DivertNoAnswer),
            (Some("unconditional"), CallReason::DivertForward),
            (Some("deflection"), CallReason::DivertForward),
            (Some("follow-me"), CallReason::DivertForward),
            (Some("x-odd"), CallReason::DivertForward),
            (None, CallReason::DivertForward),
        ] {
            assert_eq!(CallReason::of_diversion(reason), kind, "{reason:?}");
        }
        for (cause, kind) in [
            (Some(486), CallReason::DivertBusy),
            (Some(408), CallReason::DivertNoAnswer),
            (Some(302), CallReason::DivertForward),
            (Some(480), CallReason::DivertNoAnswer),
            (None, CallReason::DivertForward),
        ] {
            assert_eq!(CallReason::of_cause(cause), kind, "{cause:?}");
        }
    }

    #[test]
    fn a_reason_survives_its_byte() {
        for byte in 0..4 {
            assert_eq!(CallReason::from_byte(byte).map(CallReason::to_byte), Some(byte));
        }
        assert_eq!(CallReason::from_byte(4), None);
    }
}
