//! Addresses with a display name and parameters, as From, To, Contact, Route and others carry them (RFC 3261 section 20.10).

use std::fmt;

use crate::params::Params;
use crate::text::{push_quoted, take_quoted, trim};
use crate::uri::Uri;

/// `"display name" <uri>;params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Unquoted; never empty.
    pub display_name: Option<String>,
    pub uri: Uri,
    /// Of the header field, not of the URI.
    pub params: Params,
}

impl NameAddr {
    /// `<uri>`.
    pub fn new(uri: impl Into<Uri>) -> NameAddr {
        NameAddr { display_name: None, uri: uri.into(), params: Params::new() }
    }

    /// With this display name, unless it is empty.
    pub fn with_display_name(mut self, name: &str) -> NameAddr {
        self.display_name = (!name.is_empty()).then(|| name.to_owned());
        self
    }

    /// With this parameter of the header field.
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> NameAddr {
        self.params.set(name, value);
        self
    }

    /// Reads one address. A URI without angle brackets has no parameters of its own, and neither `?` nor `,`
    /// (RFC 3261 section 20.10).
    pub fn parse(text: &str) -> Option<NameAddr> {
        let text = trim(text);
        if let Some((name, rest)) = take_quoted(text) {
            let (uri, params) = parse_bracketed(trim(rest))?;
            return Some(NameAddr { display_name: (!name.is_empty()).then_some(name), uri, params });
        }
        if let Some(open) = text.find('<') {
            let name = trim(&text[..open]);
            // Lenient: display names hold more than tokens. Never what would make one value look like two.
            if name.contains(['"', ',', ';', '>']) {
                return None;
            }
            let (uri, params) = parse_bracketed(&text[open..])?;
            return Some(NameAddr { display_name: (!name.is_empty()).then(|| name.to_owned()), uri, params });
        }
        let uri_end = text.find(';').unwrap_or(text.len());
        let uri = trim(&text[..uri_end]);
        if uri.contains(['?', ',', ' ', '\t']) {
            return None;
        }
        let params = Params::parse_header(&text[uri_end..], &["tag"])?;
        Some(NameAddr { display_name: None, uri: Uri::parse(uri)?, params })
    }

    /// The `tag` parameter of From and To.
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }

    /// The `q` parameter of a Contact in thousandths; 1000 when there is none or none that can be read.
    pub fn q_thousandths(&self) -> u16 {
        let read = |text: &str| {
            let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
            if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let thousandths: u16 = format!("{rest:0<3}").parse().ok()?;
            match whole {
                "0" | "" => Some(thousandths),
                "1" if thousandths == 0 => Some(1000),
                _ => None,
            }
        };
        self.params.value("q").and_then(read).unwrap_or(1000)
    }
}

/// `<uri>` and the parameters behind it.
fn parse_bracketed(text: &str) -> Option<(Uri, Params)> {
    let (uri, rest) = text.strip_prefix('<')?.split_once('>')?;
    Some((Uri::parse(uri)?, Params::parse_header(rest, &["tag"])?))
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        if let Some(name) = &self.display_name {
            push_quoted(&mut out, name);
            out.push(' ');
        }
        out.push_str(&format!("<{}>", self.uri));
        self.params.push_header(&mut out);
        f.write_str(&out)
    }
}
