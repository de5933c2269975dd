//! Header fields that are neither addresses nor lists of tokens.

use std::fmt;

use crate::limits::CSEQ_MAX;
use crate::method::Method;
use crate::params::Params;
use crate::text::{is_token, parse_u32, push_quoted, trim};

/// CSeq (RFC 3261 section 20.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2^31.
    pub number: u32,
    pub method: Method,
}

impl CSeq {
    pub fn parse(text: &str) -> Option<CSeq> {
        let (number, method) = trim(text).split_once([' ', '\t'])?;
        let number = parse_u32(number).filter(|number| *number <= CSEQ_MAX)?;
        Some(CSeq { number, method: Method::parse(trim(method))? })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// RAck (RFC 3262 section 7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RAck {
    pub rseq: u32,
    pub cseq: CSeq,
}

impl RAck {
    pub fn parse(text: &str) -> Option<RAck> {
        let (rseq, cseq) = trim(text).split_once([' ', '\t'])?;
        Some(RAck { rseq: parse_u32(rseq)?, cseq: CSeq::parse(cseq)? })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rseq, self.cseq)
    }
}

/// Who refreshes a session (RFC 4028 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    Uac,
    Uas,
}

/// Session-Expires (RFC 4028 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    pub secs: u32,
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    pub fn parse(text: &str) -> Option<SessionExpires> {
        let (secs, params) = with_params(text)?;
        let refresher = match params.value("refresher") {
            Some(word) if word.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(word) if word.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        };
        Some(SessionExpires { secs: parse_u32(secs)?, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refresher = match self.refresher {
            Some(Refresher::Uac) => ";refresher=uac",
            Some(Refresher::Uas) => ";refresher=uas",
            None => "",
        };
        write!(f, "{}{refresher}", self.secs)
    }
}

/// Reason (RFC 3326).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `SIP`, `Q.850` or another.
    pub protocol: String,
    pub cause: Option<u16>,
    pub text: Option<String>,
}

impl Reason {
    /// Reads one value.
    pub fn parse(text: &str) -> Option<Reason> {
        let (protocol, params) = with_params(text)?;
        let cause = params.value("cause").and_then(parse_u32).and_then(|cause| u16::try_from(cause).ok());
        let text = params.value("text").map(str::to_owned);
        is_token(protocol).then(|| Reason { protocol: protocol.to_owned(), cause, text })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        if let Some(text) = &self.text {
            let mut quoted = String::new();
            push_quoted(&mut quoted, text);
            write!(f, ";text={quoted}")?;
        }
        Ok(())
    }
}

/// Event (RFC 6665 section 8.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPackage {
    /// In lower case, with templates (`presence.winfo`).
    pub package: String,
    pub id: Option<String>,
}

impl EventPackage {
    pub fn parse(text: &str) -> Option<EventPackage> {
        let (package, params) = with_params(text)?;
        let id = params.value("id").map(str::to_owned);
        is_token(package).then(|| EventPackage { package: package.to_ascii_lowercase(), id })
    }
}

impl fmt::Display for EventPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        match &self.id {
            Some(id) => write!(f, ";id={id}"),
            None => Ok(()),
        }
    }
}

/// Content-Type (RFC 3261 section 20.15). Type and subtype in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    pub kind: String,
    pub subtype: String,
    pub params: Params,
}

impl ContentType {
    pub fn parse(text: &str) -> Option<ContentType> {
        let (range, params) = with_params(text)?;
        let (kind, subtype) = range.split_once('/')?;
        let (kind, subtype) = (trim(kind), trim(subtype));
        (is_token(kind) && is_token(subtype)).then(|| ContentType {
            kind: kind.to_ascii_lowercase(),
            subtype: subtype.to_ascii_lowercase(),
            params,
        })
    }

    /// Whether it is this `type/subtype`, given in lower case.
    pub fn is(&self, kind_and_subtype: &str) -> bool {
        kind_and_subtype.split_once('/') == Some((&self.kind, &self.subtype))
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut params = String::new();
        self.params.push_header(&mut params);
        write!(f, "{}/{}{params}", self.kind, self.subtype)
    }
}

/// Retry-After in seconds (RFC 3261 section 20.33); a comment and parameters are passed over.
pub(crate) fn parse_retry_after(text: &str) -> Option<u32> {
    parse_u32(text.split([' ', '\t', ';', '(']).next()?)
}

/// A value and the parameters behind it.
fn with_params(text: &str) -> Option<(&str, Params)> {
    let text = trim(text);
    let end = text.find(';').unwrap_or(text.len());
    Some((trim(&text[..end]), Params::parse_header(&text[end..], &["to-tag", "from-tag"])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cseq_number_stays_below_two_to_the_31st() {
        assert_eq!(CSeq::parse("2147483647 INVITE").unwrap().number, CSEQ_MAX);
        assert_eq!(CSeq::parse("2147483648 INVITE"), None);
        assert_eq!(CSeq::parse("1"), None);
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let rack = RAck::parse("776656 1 INVITE").unwrap();
        assert_eq!(RAck::parse(&rack.to_string()), Some(rack));
        let expires = SessionExpires::parse("1800 ; Refresher=UAS").unwrap();
        assert_eq!(expires, SessionExpires { secs: 1800, refresher: Some(Refresher::Uas) });
        assert_eq!(expires.to_string(), "1800;refresher=uas");
        let reason = Reason::parse("Q.850 ;cause=16;text=\"Normal; clearing\"").unwrap();
        assert_eq!(Reason::parse(&reason.to_string()), Some(reason));
        let content = ContentType::parse("Multipart / Mixed;boundary=\"a b\"").unwrap();
        assert!(content.is("multipart/mixed"));
        assert_eq!(ContentType::parse(&content.to_string()), Some(content));
        let event = EventPackage::parse("Refer;id=7").unwrap();
        assert_eq!(event.to_string(), "refer;id=7");
    }

    #[test]
    fn a_retry_after_may_carry_a_comment() {
        assert_eq!(parse_retry_after("18000;duration=3600"), Some(18000));
        assert_eq!(parse_retry_after("120 (I'm in a meeting)"), Some(120));
        assert_eq!(parse_retry_after("soon"), None);
    }
}
