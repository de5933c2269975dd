//! Finding the session description in a message's body, alone or in a multipart one (RFC 2046, RFC 5621).

use crate::fields::ContentType;
use crate::header_name::HeaderName;
use crate::headers::Headers;
use crate::limits::BODY_PARTS_MAX;
use crate::sdp::{SdpError, SessionDescription};
use crate::text::trim;

/// What a body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "read and taken apart at once, never stored")]
pub enum Body {
    /// Nothing that a session could be described by.
    Empty,
    Session(SessionDescription),
    /// A type that we cannot do without and do not know: 415.
    Unsupported,
    /// A session description that cannot be read: 400.
    Malformed(SdpError),
}

impl Body {
    /// The session description of a message with these headers. Of several alternatives the last is the best (RFC 2046
    /// section 5.1.4), but for one that its sender marks as made for its elders.
    pub fn of(headers: &Headers, body: &[u8]) -> Body {
        if trim_bytes(body).is_empty() {
            return Body::Empty;
        }
        match headers.content_type() {
            Ok(Some(content_type)) => Body::read(&content_type, headers, body),
            // Without a type: RFC 3261 section 7.4.1 wants one, older peers leave it out.
            Ok(None) if body.starts_with(b"v=0") => Body::session(body),
            Ok(None) | Err(_) => Body::Unsupported,
        }
    }

    fn read(content_type: &ContentType, headers: &Headers, body: &[u8]) -> Body {
        if content_type.is("application/sdp") {
            return Body::session(body);
        }
        if content_type.kind == "multipart" {
            return content_type.params.value("boundary").map_or(Body::Unsupported, |boundary| {
                read_multipart(body, boundary, content_type.subtype == "alternative")
            });
        }
        let disposition = headers.value(HeaderName::ContentDisposition).unwrap_or_default().to_ascii_lowercase();
        let optional = disposition.contains("handling=optional");
        if optional { Body::Empty } else { Body::Unsupported }
    }

    fn session(body: &[u8]) -> Body {
        SessionDescription::parse(body).map_or_else(Body::Malformed, Body::Session)
    }
}

/// Whether the sender of an INVITE takes a session description at all (RFC 3261 section 20.1).
pub(crate) fn is_accepted_by(headers: &Headers) -> bool {
    if !headers.contains(HeaderName::Accept) {
        return true;
    }
    // An empty Accept takes nothing.
    headers.list(HeaderName::Accept).is_ok_and(|ranges| {
        ranges.iter().any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            matches!(range.as_str(), "application/sdp" | "application/*" | "*/*")
                // One of the parts of such a body is it.
                || range.starts_with("multipart/")
        })
    })
}

fn read_multipart(body: &[u8], boundary: &str, alternative: bool) -> Body {
    let delimiter = format!("--{boundary}");
    let text = String::from_utf8_lossy(body);
    let mut best = Body::Empty;
    let mut missing = false;
    for part in text.split(delimiter.as_str()).skip(1).take(BODY_PARTS_MAX) {
        if part.starts_with("--") {
            break;
        }
        let part = part.trim_start_matches([' ', '\t']);
        let part = part.strip_prefix("\r\n").or(part.strip_prefix('\n')).unwrap_or(part);
        // A part may have no headers at all: then it is plain text, which no session needs.
        let Some((head, content)) = part.split_once("\r\n\r\n").or(part.split_once("\n\n")) else { continue };
        let lines: Vec<(String, &str)> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), trim(value)))
            .collect();
        let of = |name: &str| lines.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let is_sdp = of("content-type").and_then(ContentType::parse).is_some_and(|kind| kind.is("application/sdp"));
        let disposition = of("content-disposition").unwrap_or_default().to_ascii_lowercase();
        if is_sdp {
            let for_elders = disposition.contains("ms-proxy-2007fallback");
            match Body::session(content.as_bytes()) {
                Body::Session(_) if for_elders && matches!(best, Body::Session(_)) => {}
                session => best = session,
            }
        } else if !disposition.contains("handling=optional") && !alternative {
            missing = true;
        }
    }
    // A mixed body of which we understand the session only: what travels beside it (ISUP, location) is often left
    // without handling=optional, and no caller is helped by a refusal.
    if missing && matches!(best, Body::Empty) { Body::Unsupported } else { best }
}

fn trim_bytes(body: &[u8]) -> &[u8] {
    body.trim_ascii()
}
