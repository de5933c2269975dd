//! Keys pressed, as INFO carries them: `application/dtmf-relay` and `application/dtmf`.

use std::time::Duration;

use crate::headers::Headers;
use crate::user_agent_io::Digit;

/// What the body of an INFO says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Info {
    Digit(Digit, Option<Duration>),
    /// Nothing that we act upon: no body, or a hook flash.
    Nothing,
    /// 415.
    Unsupported,
    /// 400.
    Malformed,
}

impl Info {
    pub fn of(headers: &Headers, body: &[u8]) -> Info {
        let text = String::from_utf8_lossy(body);
        match headers.content_type() {
            Ok(Some(content_type)) if content_type.is("application/dtmf-relay") => relay(&text),
            Ok(Some(content_type)) if content_type.is("application/dtmf") => plain(text.trim()),
            _ if text.trim().is_empty() => Info::Nothing,
            _ => Info::Unsupported,
        }
    }
}

/// `Signal=5` and `Duration=160` (milliseconds), a line each.
fn relay(text: &str) -> Info {
    let of = |name: &str| {
        let mut lines = text.split(['\r', '\n']).filter_map(|line| line.split_once('='));
        lines.find(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let Some(signal) = of("Signal") else { return Info::Malformed };
    let duration = of("Duration").and_then(|text| text.parse().ok()).map(Duration::from_millis);
    digit(signal).map_or(Info::Malformed, |digit| digit.map_or(Info::Nothing, |digit| Info::Digit(digit, duration)))
}

/// The key alone; some write the lines of the other form here.
fn plain(text: &str) -> Info {
    if text.contains('=') {
        return relay(text);
    }
    digit(text).map_or(Info::Malformed, |digit| digit.map_or(Info::Nothing, |digit| Info::Digit(digit, None)))
}

/// A key by its name or its event number (RFC 4733 section 3.2); `Some(None)` is a hook flash.
fn digit(text: &str) -> Option<Option<Digit>> {
    let key = match text {
        "10" => '*',
        "11" => '#',
        "12" => 'A',
        "13" => 'B',
        "14" => 'C',
        "15" => 'D',
        "16" | "!" | "hf" | "flash" => return Some(None),
        _ => {
            let mut chars = text.chars();
            let key = chars.next()?.to_ascii_uppercase();
            let known = key.is_ascii_digit() || "*#ABCD".contains(key);
            (known && chars.next().is_none()).then_some(key)?
        }
    };
    Some(Some(Digit(key)))
}
