//! SIP, SIPS and other URIs (RFC 3261 section 19.1).

use std::borrow::Cow;
use std::fmt;

use crate::escape::{IN_HEADER, IN_PARAM, IN_PASSWORD, IN_USER, escape, normalize, unescape};
use crate::host::Host;
use crate::limits::{URI_BYTES_MAX, URI_HEADERS_MAX};
use crate::params::Params;
use crate::tel::TelUri;

/// A URI as requests and addresses carry it. `==` compares the form; [`is_equivalent`](Uri::is_equivalent) the meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` and `sips:`.
    Sip(SipUri),
    /// `tel:` (RFC 3966).
    Tel(TelUri),
    /// Any other scheme, in lower case, and what follows the colon.
    Other { scheme: String, rest: String },
}

/// A `sip:` or `sips:` URI. Its parts hold their escaped form, with nothing escaped that need not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipUri {
    /// `sips:`.
    pub secure: bool,
    user: Option<String>,
    password: Option<String>,
    pub host: Host,
    pub port: Option<u16>,
    params: Params,
    headers: Vec<(String, String)>,
}

impl Uri {
    /// Reads a URI without surroundings. `None` when it is none, or too long.
    pub fn parse(text: &str) -> Option<Uri> {
        if text.len() > URI_BYTES_MAX {
            return None;
        }
        let (scheme, rest) = text.split_once(':')?;
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(in_scheme) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "sip" => SipUri::parse_rest(false, rest).map(Uri::Sip),
            "sips" => SipUri::parse_rest(true, rest).map(Uri::Sip),
            "tel" => TelUri::parse_rest(rest).map(Uri::Tel),
            _ if rest.is_empty() || rest.bytes().any(|byte| byte <= b' ' || b"<>\"\x7f".contains(&byte)) => None,
            _ => Some(Uri::Other { scheme, rest: rest.to_owned() }),
        }
    }

    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Uri::Sip(uri) => Some(uri),
            _ => None,
        }
    }

    /// The user of a SIP URI or the number of a `tel:` one, unescaped.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        match self {
            Uri::Sip(uri) => uri.user(),
            Uri::Tel(uri) => Some(Cow::Borrowed(uri.number())),
            Uri::Other { .. } => None,
        }
    }

    /// Whether both mean the same resource (RFC 3261 section 19.1.4, RFC 3966 section 4).
    pub fn is_equivalent(&self, other: &Uri) -> bool {
        match (self, other) {
            (Uri::Sip(one), Uri::Sip(other)) => one.is_equivalent(other),
            (Uri::Tel(one), Uri::Tel(other)) => one.is_equivalent(other),
            _ => self == other,
        }
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Uri {
        Uri::Sip(uri)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Tel(uri) => uri.fmt(f),
            Uri::Other { scheme, rest } => write!(f, "{scheme}:{rest}"),
        }
    }
}

/// Parameters that, present in one URI only, make two URIs differ (RFC 3261 section 19.1.4).
const DISTINGUISHING: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

impl SipUri {
    /// `sip:host`.
    pub fn new(host: Host) -> SipUri {
        SipUri {
            secure: false,
            user: None,
            password: None,
            host,
            port: None,
            params: Params::new(),
            headers: Vec::new(),
        }
    }

    /// With this user, given unescaped.
    pub fn with_user(mut self, user: &str) -> SipUri {
        self.user = (!user.is_empty()).then(|| escape(user, IN_USER));
        self
    }

    pub fn with_port(mut self, port: Option<u16>) -> SipUri {
        self.port = port;
        self
    }

    /// With this parameter, its value given unescaped.
    pub fn with_param(mut self, name: &str, value: Option<&str>) -> SipUri {
        self.set_param(name, value);
        self
    }

    /// `sips:`.
    pub fn secured(mut self) -> SipUri {
        self.secure = true;
        self
    }

    fn parse_rest(secure: bool, rest: &str) -> Option<SipUri> {
        // A user may hold ';', '?' and '/', but no '@': the first one ends it.
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo {
            Some(userinfo) => parse_userinfo(userinfo)?,
            None => (None, None),
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, parse_headers(headers)?),
            None => (rest, Vec::new()),
        };
        let (hostport, params) = match rest.split_once(';') {
            Some((hostport, params)) => (hostport, parse_params(params)?),
            None => (rest, Params::new()),
        };
        if hostport.contains(char::is_whitespace) {
            return None;
        }
        let (host, port) = Host::parse_with_port(hostport)?;
        Some(SipUri { secure, user, password, host, port, params, headers })
    }

    /// The user part, unescaped.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        self.user.as_deref().map(unescape)
    }

    /// The value of a parameter, unescaped.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params.value(name).map(unescape)
    }

    pub fn has_param(&self, name: &str) -> bool {
        self.params.contains(name)
    }

    /// Sets a parameter; the value is given unescaped.
    pub fn set_param(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(|value| escape(value, IN_PARAM));
        self.params.set(&escape(name, IN_PARAM), value.as_deref());
    }

    pub fn remove_param(&mut self, name: &str) {
        self.params.remove(name);
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Whether a loose router stands here (RFC 3261 section 19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.has_param("lr")
    }

    /// The headers behind `?`, unescaped: `(name, value)`.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.headers.iter().map(|(name, value)| (unescape(name), unescape(value)))
    }

    /// The value of the first header of this name behind `?`, unescaped.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| unescape(value))
    }

    /// Adds a header behind `?`; both are given unescaped.
    pub fn push_header(&mut self, name: &str, value: &str) {
        self.headers.push((escape(name, IN_HEADER), escape(value, IN_HEADER)));
    }

    /// Drops what may not stand in a Request-URI: headers and the `method` parameter (RFC 3261 section 19.1.5).
    pub fn for_request(mut self) -> SipUri {
        self.headers.clear();
        self.params.remove("method");
        self
    }

    /// Whether both mean the same resource (RFC 3261 section 19.1.4). Costs the product of the parameters' numbers.
    pub fn is_equivalent(&self, other: &SipUri) -> bool {
        self.secure == other.secure
            && self.user == other.user
            && self.password == other.password
            && self.host == other.host
            && self.port == other.port
            && self.params_agree(other)
            && other.params_agree(self)
            && self.headers_within(other)
            && other.headers_within(self)
    }

    fn params_agree(&self, other: &SipUri) -> bool {
        self.params.iter().all(|(name, value)| {
            if other.params.contains(name) {
                let other = other.params.value(name).unwrap_or("");
                value.unwrap_or("").eq_ignore_ascii_case(other)
            } else {
                !DISTINGUISHING.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        })
    }

    fn headers_within(&self, other: &SipUri) -> bool {
        self.headers.len() == other.headers.len()
            && self.headers.iter().all(|(name, value)| {
                other.headers.iter().any(|(known, same)| known.eq_ignore_ascii_case(name) && same == value)
            })
    }
}

fn parse_userinfo(text: &str) -> Option<(Option<String>, Option<String>)> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(normalize(password, IN_PASSWORD)?)),
        None => (text, None),
    };
    if user.is_empty() {
        return None;
    }
    // '#' and '[]' stand unescaped in users of clients in the field.
    let user = normalize(user, &[IN_USER, b"#[]^`{}|"].concat())?;
    Some((Some(user), password))
}

fn parse_params(text: &str) -> Option<Params> {
    let mut params = Params::new();
    let text = text.strip_suffix(';').unwrap_or(text);
    for piece in text.split(';') {
        let (name, value) = match piece.split_once('=') {
            Some((name, value)) => (name, Some(normalize(value, &[IN_PARAM, b"=,@\"#^`{}|"].concat())?)),
            None => (piece, None),
        };
        let name = normalize(name, IN_PARAM)?;
        if name.is_empty() {
            return None;
        }
        params.take_in(&name, value.as_deref())?;
    }
    Some(params)
}

fn parse_headers(text: &str) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for piece in text.split('&') {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        let name = normalize(name, IN_HEADER)?;
        if name.is_empty() || headers.len() == URI_HEADERS_MAX {
            return None;
        }
        headers.push((name, normalize(value, &[IN_HEADER, b"=,;@\""].concat())?));
    }
    Some(headers)
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let mut params = String::new();
        self.params.push_uri(&mut params);
        f.write_str(&params)?;
        for (index, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}
