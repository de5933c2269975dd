//! Ranges of bytes (RFC 9110 section 14.1.2): one at a time; several, or another unit, are as none.

/// What of a body is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Whole,
    /// From the first byte up to, and without, the second.
    Part(u64, u64),
    /// Nothing of it is there.
    Nothing,
}

/// What the Range header `asked` wants of `length` bytes.
pub(crate) fn wanted(asked: Option<&str>, length: u64) -> Wanted {
    let Some((unit, ranges)) = asked.and_then(|asked| asked.split_once('=')) else { return Wanted::Whole };
    let Some((first, last)) = ranges.trim().split_once('-') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Wanted::Whole;
    }
    match (number(first), number(last)) {
        (Number::Absent, Number::Is(count)) => match count.min(length) {
            0 => Wanted::Nothing,
            count => Wanted::Part(length - count, length),
        },
        (Number::Is(first), Number::Absent) if first < length => Wanted::Part(first, length),
        (Number::Is(first), Number::Absent) if first >= length => Wanted::Nothing,
        (Number::Is(first), Number::Is(last)) if first > last => Wanted::Whole,
        (Number::Is(first), Number::Is(_)) if first >= length => Wanted::Nothing,
        (Number::Is(first), Number::Is(last)) => Wanted::Part(first, last.saturating_add(1).min(length)),
        _ => Wanted::Whole,
    }
}

enum Number {
    Absent,
    Is(u64),
    Malformed,
}

fn number(text: &str) -> Number {
    match text.trim() {
        "" => Number::Absent,
        digits if !digits.bytes().all(|byte| byte.is_ascii_digit()) => Number::Malformed,
        // More digits than a number has are beyond every end.
        digits => Number::Is(digits.parse().unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_there_is_and_a_bad_one_is_as_none() {
        for (asked, is) in [
            ("bytes=0-0", Wanted::Part(0, 1)),
            ("bytes=10-", Wanted::Part(10, 100)),
            ("bytes=10-19", Wanted::Part(10, 20)),
            ("bytes=90-1000", Wanted::Part(90, 100)),
            ("bytes=-10", Wanted::Part(90, 100)),
            ("bytes=-1000", Wanted::Part(0, 100)),
            ("Bytes = 5 - 6", Wanted::Part(5, 7)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0, 100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=100-200", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=20-10", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=x-", Wanted::Whole),
            ("samples=0-1", Wanted::Whole),
            ("bytes", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(asked), 100), is, "{asked}");
        }
        assert_eq!(wanted(None, 100), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
    }
}
