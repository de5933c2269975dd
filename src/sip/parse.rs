//! From bytes to a checked message (RFC 3261 sections 7 and 25).
//!
//! What is read strictly: whatever would let two readers see two messages (lines, lengths, single headers, the start
//! line), and what we answer by. The rest is kept as text and read when asked for.

use std::borrow::Cow;

use crate::fields::CSeq;
use crate::header_name::HeaderName;
use crate::headers::{HeaderError, Headers};
use crate::limits::HEADERS_MAX;
use crate::message::{Message, Request, Response};
use crate::method::Method;
use crate::status::StatusCode;
use crate::text::{is_token, trim};
use crate::uri::Uri;

/// Why bytes are no message; the sender's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, for a log line or a reason phrase.
    pub why: Cow<'static, str>,
    answer: Option<Box<Response>>,
}

impl Malformed {
    fn silent(why: impl Into<Cow<'static, str>>) -> Malformed {
        Malformed { why: why.into(), answer: None }
    }

    /// What to answer a request with, `None` for what was none, for an ACK, and when it does not say by which way an
    /// answer goes.
    pub fn answer(&self) -> Option<&Response> {
        self.answer.as_deref()
    }
}

impl Message {
    /// Reads one message that begins at the first byte. Without Content-Length the body reaches to the end; bytes behind
    /// it are passed over, as in a datagram (RFC 3261 section 18.3). Linear.
    ///
    /// A request has been checked: readable and unrepeated From, To, Call-ID, CSeq with the method's name; readable Via,
    /// Contact, Route, Record-Route, Max-Forwards. A response likewise, but for Contact, Route and Record-Route.
    ///
    /// # Errors
    /// [`Malformed`], with the answer that it deserves, if any.
    pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
        match find(bytes, b"\r\n\r\n") {
            Some(head_end) => Head::read(&bytes[..head_end]).into_message(&bytes[head_end + 4..]),
            None => Err(Head::read(bytes).refuse(StatusCode::BAD_REQUEST, "no end of the headers")),
        }
    }
}

/// A message up to its body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    start: String,
    headers: Headers,
    fault: Option<Cow<'static, str>>,
}

impl Head {
    /// Reads what stands before the empty line.
    pub(crate) fn read(bytes: &[u8]) -> Head {
        let text = String::from_utf8_lossy(bytes);
        let (start, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
        let (headers, fault) = read_headers(rest);
        Head { start: start.to_owned(), headers, fault }
    }

    /// What the body is said to take.
    pub(crate) fn content_length(&self) -> Result<Option<usize>, HeaderError> {
        self.headers.content_length()
    }

    /// The whole message, as [`Message::parse`].
    pub(crate) fn into_message(self, body: &[u8]) -> Result<Message, Malformed> {
        let Head { start, headers, fault } = self;
        if start.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("SIP/")) {
            return read_response(&start, headers, fault, body).map(Message::Response);
        }
        read_request(&start, headers, fault, body).map(Message::Request)
    }

    /// Refuses the message, whatever it is.
    pub(crate) fn refuse(&self, status: StatusCode, why: impl Into<Cow<'static, str>>) -> Malformed {
        reject(&self.start, &self.headers, status, why.into())
    }
}

pub(crate) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The header lines, and the first fault among them.
fn read_headers(text: &str) -> (Headers, Option<Cow<'static, str>>) {
    let mut headers = Headers::new();
    let mut fault = None;
    let mut lines = text.split("\r\n").peekable();
    while let Some(line) = lines.next() {
        let mut line = Cow::Borrowed(line);
        while let Some(more) = lines.next_if(|next| next.starts_with([' ', '\t'])) {
            // RFC 3261 section 7.3.1: a folded line is one line, the fold a space.
            let folded = line.to_mut();
            folded.truncate(folded.trim_end_matches([' ', '\t']).len());
            folded.push(' ');
            folded.push_str(trim(more));
        }
        if line.is_empty() && headers.is_empty() && lines.peek().is_none() {
            break;
        }
        if headers.len() == HEADERS_MAX {
            return (headers, Some("too many headers".into()));
        }
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let whole = !line.contains(['\r', '\n']);
            Some((HeaderName::parse(trim(name))?, trim(value))).filter(|_| whole)
        });
        match parsed {
            Some((name, value)) => headers.push_read(name, value.to_owned()),
            None => fault = fault.or(Some("a header line that is none".into())),
        }
    }
    (headers, fault)
}

fn read_response(
    start: &str,
    headers: Headers,
    fault: Option<Cow<'static, str>>,
    body: &[u8],
) -> Result<Response, Malformed> {
    let (version, rest) = start.split_once(' ').ok_or(Malformed::silent("no status code"))?;
    if !version.eq_ignore_ascii_case("SIP/2.0") || start.contains(['\r', '\n']) {
        return Err(Malformed::silent("not a response of SIP/2.0"));
    }
    let (code, phrase) = rest.split_once(' ').unwrap_or((rest, ""));
    let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    let status = code.parse().ok().filter(|_| digits).and_then(StatusCode::new);
    let status = status.ok_or(Malformed::silent("no status code"))?;
    if let Some(fault) = fault {
        return Err(Malformed::silent(fault));
    }
    let checked = check_common(&headers).and_then(|_| Ok(body_of(&headers, body)?.to_vec()));
    let body = checked.map_err(|fault| Malformed::silent(fault.why()))?;
    Ok(Response { status, phrase: phrase.to_owned(), headers, body })
}

fn read_request(
    start: &str,
    headers: Headers,
    fault: Option<Cow<'static, str>>,
    body: &[u8],
) -> Result<Request, Malformed> {
    let reject = |status: StatusCode, why: Cow<'static, str>| reject(start, &headers, status, why);
    let bad = |why: Cow<'static, str>| reject(StatusCode::BAD_REQUEST, why);
    let mut words = start.split(' ');
    let (Some(method), Some(uri), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad("the request line is not three words".into()));
    };
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        let other = version.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("SIP/"))
            && version[4..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let status = if other { StatusCode::VERSION_NOT_SUPPORTED } else { StatusCode::BAD_REQUEST };
        return Err(reject(status, status.phrase().into()));
    }
    let method = Method::parse(method).ok_or_else(|| bad("the method is no token".into()))?;
    let uri = Uri::parse(uri).ok_or_else(|| bad("the Request-URI cannot be read".into()))?;
    if uri.as_sip().is_some_and(|uri| uri.headers().next().is_some()) {
        // RFC 3261 section 19.1.1: not in a Request-URI.
        return Err(bad("the Request-URI has headers".into()));
    }
    if let Some(fault) = fault {
        return Err(bad(fault));
    }
    let body = check_request(&headers, &method)
        .and_then(|()| Ok(body_of(&headers, body)?.to_vec()))
        .map_err(|fault| bad(fault.why()))?;
    Ok(Request { method, uri, headers, body })
}

/// What is wrong with the headers as a whole.
enum Fault {
    Header(HeaderError),
    Other(&'static str),
}

impl From<HeaderError> for Fault {
    fn from(error: HeaderError) -> Fault {
        Fault::Header(error)
    }
}

impl Fault {
    fn why(&self) -> Cow<'static, str> {
        match self {
            Fault::Header(error) => error.to_string().into(),
            Fault::Other(why) => (*why).into(),
        }
    }
}

fn check_request(headers: &Headers, method: &Method) -> Result<(), Fault> {
    let cseq = check_common(headers)?;
    if cseq.method != *method {
        return Err(Fault::Other("CSeq names another method"));
    }
    headers.max_forwards()?;
    headers.contacts()?;
    headers.routes()?;
    headers.record_routes()?;
    Ok(())
}

fn check_common(headers: &Headers) -> Result<CSeq, Fault> {
    for (index, (name, _)) in headers.iter().enumerate().filter(|(_, (name, _))| name.is_single()) {
        if headers.iter().take(index).any(|(earlier, _)| earlier == name) {
            return Err(Fault::Header(crate::headers::HeaderFault::Repeated.of(name.clone())));
        }
    }
    headers.vias()?;
    headers.from()?;
    headers.to()?;
    headers.call_id()?;
    Ok(headers.cseq()?)
}

fn body_of<'a>(headers: &Headers, rest: &'a [u8]) -> Result<&'a [u8], Fault> {
    match headers.content_length()? {
        Some(bytes) => rest.get(..bytes).ok_or(Fault::Other("the body is shorter than Content-Length")),
        None => Ok(rest),
    }
}

/// An answer for a request that cannot be used, if it says by which way one goes.
fn reject(start: &str, headers: &Headers, status: StatusCode, why: Cow<'static, str>) -> Malformed {
    let method = start.split(' ').next().unwrap_or_default();
    let answerable = is_token(method) && method != Method::Ack.as_str() && headers.top_via().is_ok();
    let answer = answerable.then(|| {
        let mut copied = Headers::new();
        for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
            copied.copy_from(headers, name);
        }
        let phrase = if status == StatusCode::BAD_REQUEST { format!("Bad Request: {why}") } else { why.to_string() };
        Box::new(Response { status, phrase, headers: copied, body: Vec::new() })
    });
    Malformed { why, answer }
}
