//! English.

use jiff::ToSpan;
use jiff::civil::{Date, Time, Weekday};

use crate::english_recordings::RECORDINGS;
use crate::io::Digit;
use crate::language::Language;
use crate::phrase::Phrase;

/// English as spoken in the United States: 12 hours, month before day.
pub(crate) struct English;

const UNITS: [&str; 20] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19"];
const TENS: [&str; 10] = ["0", "10", "20", "30", "40", "50", "60", "70", "80", "90"];
const ORDINALS: [&str; 20] = [
    "1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th", "11th", "12th", "13th", "14th", "15th",
    "16th", "17th", "18th", "19th", "20th",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// The words of sentences that hold a number, a date or a key.
const WORDS: [&str; 24] = [
    "hundred",
    "oh",
    "30th",
    "a-m",
    "p-m",
    "at",
    "today",
    "yesterday",
    "on",
    "received",
    "from",
    "you-have",
    "and",
    "no",
    "new-message-one",
    "new-messages",
    "saved-message-one",
    "saved-messages",
    "at-least",
    "digits",
    "press",
    "star",
    "pound",
    "thousand",
];

impl Language for English {
    fn tag(&self) -> &'static str {
        "en"
    }

    fn recordings(&self) -> &'static [(&'static str, &'static [u8])] {
        RECORDINGS
    }

    fn names(&self) -> Vec<&'static str> {
        let phrases = Phrase::ALL.iter().map(|phrase| phrase.name());
        let words = [&UNITS[..], &TENS[2..], &ORDINALS, &MONTHS, &WEEKDAYS, &WORDS];
        phrases.chain(words.into_iter().flatten().copied()).collect()
    }

    fn phrase(&self, phrase: Phrase, words: &mut Vec<&'static str>) {
        words.push(phrase.name());
    }

    fn digits(&self, digits: &str, words: &mut Vec<&'static str>) {
        words.extend(digits.bytes().filter(u8::is_ascii_digit).map(|digit| UNITS[usize::from(digit - b'0')]));
    }

    fn from(&self, digits: &str, words: &mut Vec<&'static str>) {
        words.push("from");
        self.digits(digits, words);
    }

    fn counts(&self, new: usize, saved: usize, words: &mut Vec<&'static str>) {
        words.push("you-have");
        count(new, "new-message-one", "new-messages", words);
        words.push("and");
        count(saved, "saved-message-one", "saved-messages", words);
    }

    fn received(&self, date: Date, time: Time, today: Date, words: &mut Vec<&'static str>) {
        words.push("received");
        let days = today.since(date).map_or(i32::MAX, |span| span.get_days());
        match days {
            0 => words.push("today"),
            1 => words.push("yesterday"),
            2..=6 => words.extend(["on", weekday(date.weekday())]),
            _ => {
                words.push("on");
                words.push(MONTHS[month_index(date)]);
                ordinal(date.day().unsigned_abs().into(), words);
                // A date of another year needs it, unless it is plain which one is meant.
                if date.checked_add(6.months()).is_ok_and(|later| later < today) {
                    year(date.year().unsigned_abs().into(), words);
                }
            }
        }
        words.push("at");
        clock(time, words);
    }

    fn digits_at_least(&self, at_least: usize, words: &mut Vec<&'static str>) {
        words.push("at-least");
        number(at_least, words);
        words.push("digits");
    }

    fn press(&self, choice: Phrase, keys: &[Digit], words: &mut Vec<&'static str>) {
        words.extend([choice.name(), "press"]);
        for key in keys {
            match key.key() {
                '*' => words.push("star"),
                '#' => words.push("pound"),
                digit => self.digits(digit.encode_utf8(&mut [0; 4]), words),
            }
        }
    }
}

/// 0 to 999,999; what is greater is said as the greatest of them.
fn number(value: usize, words: &mut Vec<&'static str>) {
    let value = value.min(999_999);
    if value >= 1000 {
        number(value / 1000, words);
        words.push("thousand");
        if value.is_multiple_of(1000) {
            return;
        }
        return number(value % 1000, words);
    }
    if value >= 100 {
        words.extend([UNITS[value / 100], "hundred"]);
        if value.is_multiple_of(100) {
            return;
        }
    }
    match value % 100 {
        small @ 0..20 => words.push(UNITS[small]),
        large => {
            words.push(TENS[large / 10]);
            if large % 10 > 0 {
                words.push(UNITS[large % 10]);
            }
        }
    }
}

fn count(number_of: usize, one: &'static str, several: &'static str, words: &mut Vec<&'static str>) {
    match number_of {
        0 => words.push("no"),
        more => number(more, words),
    }
    words.push(if number_of == 1 { one } else { several });
}

/// A day of a month: 1 to 31.
fn ordinal(day: usize, words: &mut Vec<&'static str>) {
    match day {
        1..=20 => words.push(ORDINALS[day - 1]),
        30 => words.push("30th"),
        _ => words.extend([TENS[day / 10 % 10], ORDINALS[(day % 10).max(1) - 1]]),
    }
}

/// "20 26", "2 thousand 5", "19 hundred".
fn year(year: usize, words: &mut Vec<&'static str>) {
    match (year / 100, year % 100) {
        (20, 0..10) => number(year, words),
        (century, 0) => {
            number(century, words);
            words.push("hundred");
        }
        (century, rest) => {
            number(century, words);
            if rest < 10 {
                words.push("oh");
            }
            number(rest, words);
        }
    }
}

fn clock(time: Time, words: &mut Vec<&'static str>) {
    let (hour, minute) = (time.hour().unsigned_abs(), usize::from(time.minute().unsigned_abs()));
    number(usize::from((hour + 11) % 12 + 1), words);
    match minute {
        0 => {}
        1..10 => {
            words.push("oh");
            number(minute, words);
        }
        _ => number(minute, words),
    }
    words.push(if hour < 12 { "a-m" } else { "p-m" });
}

fn weekday(day: Weekday) -> &'static str {
    WEEKDAYS[usize::from(day.to_monday_zero_offset().unsigned_abs())]
}

fn month_index(date: Date) -> usize {
    usize::from(date.month().unsigned_abs()) - 1
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};

    use super::*;

    fn said(say: impl FnOnce(&mut Vec<&'static str>)) -> String {
        let mut words = Vec::new();
        say(&mut words);
        words.join(" ")
    }

    #[test]
    fn numbers_are_said_as_english_says_them() {
        for (value, words) in [
            (0, "0"),
            (7, "7"),
            (19, "19"),
            (20, "20"),
            (42, "40 2"),
            (99, "90 9"),
            (100, "1 hundred"),
            (101, "1 hundred 1"),
            (230, "2 hundred 30"),
            (999, "9 hundred 90 9"),
            (2005, "2 thousand 5"),
            (10_000, "10 thousand"),
        ] {
            assert_eq!(said(|w| number(value, w)), words);
        }
    }

    #[test]
    fn counts_agree_in_number() {
        assert_eq!(said(|w| English.counts(0, 0, w)), "you-have no new-messages and no saved-messages");
        assert_eq!(said(|w| English.counts(1, 21, w)), "you-have 1 new-message-one and 20 1 saved-messages");
        assert_eq!(said(|w| English.counts(2, 1, w)), "you-have 2 new-messages and 1 saved-message-one");
    }

    #[test]
    fn a_date_is_as_short_as_it_can_be() {
        let today = date(2026, 10, 20);
        let said = |date, time| said(|w| English.received(date, time, today, w));
        assert_eq!(said(today, time(0, 0, 0, 0)), "received today at 12 a-m");
        assert_eq!(said(date(2026, 10, 19), time(12, 5, 0, 0)), "received yesterday at 12 oh 5 p-m");
        assert_eq!(said(date(2026, 10, 14), time(15, 15, 0, 0)), "received on wednesday at 3 15 p-m");
        assert_eq!(said(date(2026, 10, 13), time(9, 30, 0, 0)), "received on october 13th at 9 30 a-m");
        assert_eq!(said(date(2026, 8, 31), time(23, 59, 0, 0)), "received on august 30 1st at 11 50 9 p-m");
        assert_eq!(said(date(2025, 12, 30), time(1, 0, 0, 0)), "received on december 30th 20 20 5 at 1 a-m");
        assert_eq!(said(date(2009, 2, 22), time(1, 0, 0, 0)), "received on february 20 2nd 2 thousand 9 at 1 a-m");
        assert_eq!(said(date(1900, 2, 20), time(1, 0, 0, 0)), "received on february 20th 19 hundred at 1 a-m");
    }

    #[test]
    fn a_message_from_the_future_has_a_plain_date() {
        let said = said(|w| English.received(date(2026, 10, 21), time(8, 0, 0, 0), date(2026, 10, 20), w));
        assert_eq!(said, "received on october 20 1st at 8 a-m");
    }

    #[test]
    fn a_choice_names_its_keys() {
        let keys: Vec<Digit> = "0*#".chars().map(|key| Digit::new(key).unwrap()).collect();
        assert_eq!(said(|w| English.press(Phrase::ToEnd, &keys, w)), "to-end press 0 star pound");
    }

    #[test]
    fn every_word_of_every_date_and_number_has_a_name() {
        let names = English.names();
        let mut words = Vec::new();
        (0..1000).for_each(|value| number(value, &mut words));
        let mut day = date(2004, 1, 1);
        for minute in 0..1440_i16 {
            let time = time((minute / 60) as i8, (minute % 60) as i8, 0, 0);
            English.received(day, time, date(2006, 1, 1), &mut words);
            day = day.tomorrow().unwrap();
        }
        (1900..2100).for_each(|value| year(value, &mut words));
        words.sort_unstable();
        words.dedup();
        assert!(words.iter().all(|word| names.contains(word)), "{words:?}");
    }
}
