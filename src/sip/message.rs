//! Requests and responses, and how they are written (RFC 3261 section 7).

use crate::header_name::HeaderName;
use crate::headers::Headers;
use crate::method::Method;
use crate::status::StatusCode;
use crate::uri::Uri;

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

/// A request. One that was read has been checked: see [`Message::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: StatusCode,
    /// The reason phrase; may be empty.
    pub phrase: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Message {
    pub fn headers(&self) -> &Headers {
        match self {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Message::Request(request) => request.encode(),
            Message::Response(response) => response.encode(),
        }
    }
}

impl Request {
    /// A request without headers.
    pub fn new(method: Method, uri: impl Into<Uri>) -> Request {
        Request { method, uri: uri.into(), headers: Headers::new(), body: Vec::new() }
    }

    /// Gives it a body and says what it is.
    pub fn set_body(&mut self, content_type: &str, body: impl Into<Vec<u8>>) {
        self.headers.set(HeaderName::ContentType, content_type);
        self.body = body.into();
    }

    /// The bytes on the wire; Content-Length is written from the body.
    pub fn encode(&self) -> Vec<u8> {
        encode(&format!("{} {} SIP/2.0", self.method, self.uri), &self.headers, &self.body)
    }

    /// A response to it (RFC 3261 section 8.2.6.2): Via, From, To, Call-ID, CSeq and, for 100, Timestamp are copied, in a 1xx or
    /// 2xx Record-Route too. `to_tag` is added to a To that has no tag, but not in a 100.
    pub fn response(&self, status: StatusCode, to_tag: Option<&str>) -> Response {
        let mut headers = Headers::new();
        for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
            headers.copy_from(&self.headers, name);
        }
        if status == StatusCode::TRYING {
            headers.copy_from(&self.headers, HeaderName::Timestamp);
        } else if let (Some(tag), Ok(to)) = (to_tag, self.headers.to())
            && to.tag().is_none()
        {
            // Behind the text as it came, so that nothing else of it changes.
            let text = self.headers.value(HeaderName::To).unwrap_or_default().trim_end_matches(';');
            headers.set(HeaderName::To, format!("{text};tag={tag}"));
        }
        let in_dialog = status > StatusCode::TRYING && status.code() < 300;
        if in_dialog && matches!(self.method, Method::Invite | Method::Subscribe | Method::Refer | Method::Notify) {
            headers.copy_from(&self.headers, HeaderName::RecordRoute);
        }
        Response { status, phrase: status.phrase().to_owned(), headers, body: Vec::new() }
    }
}

impl Response {
    /// Gives it a body and says what it is.
    pub fn set_body(&mut self, content_type: &str, body: impl Into<Vec<u8>>) {
        self.headers.set(HeaderName::ContentType, content_type);
        self.body = body.into();
    }

    /// With another header line.
    pub fn with(mut self, name: impl Into<HeaderName>, value: impl std::fmt::Display) -> Response {
        self.headers.push(name, value);
        self
    }

    /// The bytes on the wire; Content-Length is written from the body.
    pub fn encode(&self) -> Vec<u8> {
        let phrase = self.phrase.replace(['\r', '\n', '\0'], " ");
        encode(&format!("SIP/2.0 {} {phrase}", self.status), &self.headers, &self.body)
    }
}

fn encode(start_line: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + body.len());
    out.extend_from_slice(start_line.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| **name != HeaderName::ContentLength) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}
