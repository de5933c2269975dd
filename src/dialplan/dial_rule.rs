//! What a dial plan lets its users call: one rule of `dial_plan.allow`.

use std::fmt;
use std::str::FromStr;

use postern_sip::host::Host;

use crate::limits::DIALLED_BYTES_MAX;

/// What may be dialled. Numbers are compared in the plan's own form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DialRule {
    /// This number alone.
    Number(String),
    /// Numbers that begin so, written with `*` at the end; empty is every number.
    Prefix(String),
    /// Anybody at this host, written `sip:*@host`.
    Host(Host),
}

impl FromStr for DialRule {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("sip:") {
            let host = rest.strip_prefix("*@").ok_or("names a user, where sip:*@HOST is meant")?;
            return Host::parse(host).map(Self::Host).ok_or("has no valid host after sip:*@, without a port");
        }
        if text.len() > DIALLED_BYTES_MAX {
            return Err("is too long");
        }
        let number = text.strip_suffix('*').unwrap_or(text);
        let digits = number.strip_prefix('+').unwrap_or(number);
        match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            false => Err("has something other than digits, a + before them and a * at the end"),
            true if text.ends_with('*') => Ok(Self::Prefix(number.into())),
            true if digits.is_empty() => Err("names no number"),
            true => Ok(Self::Number(number.into())),
        }
    }
}

impl fmt::Display for DialRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.write_str(number),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Host(host) => write!(f, "sip:*@{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_printed_as_it_is_written() {
        for text in ["+1*", "9*", "+*", "*", "7000", "+15550100", "sip:*@gw.example.test", "sip:*@[2001:db8::1]"] {
            let rule: DialRule = text.parse().unwrap_or_else(|what| panic!("{text} {what}"));
            assert_eq!(rule.to_string(), text);
        }
        assert_eq!(
            "sip:*@GW.example.test".parse::<DialRule>().map(|rule| rule.to_string()),
            Ok("sip:*@gw.example.test".into())
        );
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, why) in [
            ("", "no number"),
            ("+", "no number"),
            ("1*2", "other than digits"),
            ("1**", "other than digits"),
            ("*97", "other than digits"),
            ("1+2", "other than digits"),
            ("555-0100", "other than digits"),
            ("٣*", "other than digits"),
            ("1\r\n", "other than digits"),
            ("sips:*@gw.example.test", "other than digits"),
            ("sip:alice@gw.example.test", "names a user"),
            ("sip:gw.example.test", "names a user"),
            ("sip:*@", "no valid host"),
            ("sip:*@*", "no valid host"),
            ("sip:*@gw.example.test:5060", "no valid host"),
            ("sip:*@gw.example.test;lr", "no valid host"),
        ] {
            let error = text.parse::<DialRule>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!("1".repeat(65).parse::<DialRule>(), Err("is too long"));
    }
}
