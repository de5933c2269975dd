//! What a user agent looks at in any request before it looks at its method (RFC 3261 section 8.2).

use crate::header_name::HeaderName;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::status::StatusCode;
use crate::uri::Uri;

/// What a user agent can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub methods: Vec<Method>,
    /// Option tags.
    pub extensions: Vec<String>,
    /// `type/subtype` in lower case, of bodies it reads.
    pub content_types: Vec<String>,
    /// Whether a `tel:` Request-URI is understood.
    pub tel: bool,
}

impl Capabilities {
    /// The response to a request that cannot be served by these, `None` for one that can: 501 or 405, 416, 420, 415, 406.
    pub fn refusal(&self, request: &Request, to_tag: Option<&str>) -> Option<Response> {
        let respond = |status| request.response(status, to_tag);
        if !self.methods.contains(&request.method) {
            let known = !matches!(request.method, Method::Other(_));
            let status = if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_IMPLEMENTED };
            return Some(respond(status).with(HeaderName::Allow, self.allow()));
        }
        if !(request.uri.as_sip().is_some() || self.tel && matches!(request.uri, Uri::Tel(_))) {
            return Some(respond(StatusCode::UNSUPPORTED_URI_SCHEME));
        }
        // Neither may be refused for an extension (RFC 3261 section 8.2.2.3).
        if !matches!(request.method, Method::Cancel | Method::Ack) {
            let known = |tag: &str| self.extensions.iter().any(|known| known.eq_ignore_ascii_case(tag));
            let unknown: Vec<_> = request.headers.required().into_iter().filter(|tag| !known(tag)).collect();
            if !unknown.is_empty() {
                return Some(respond(StatusCode::BAD_EXTENSION).with(HeaderName::Unsupported, unknown.join(", ")));
            }
        }
        if !request.body.is_empty() && !self.reads_body_of(request) {
            let refusal = respond(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            return Some(refusal.with(HeaderName::Accept, self.content_types.join(", ")));
        }
        (!self.is_accepted_by(request)).then(|| respond(StatusCode::NOT_ACCEPTABLE))
    }

    /// The value of Allow.
    pub fn allow(&self) -> String {
        self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
    }

    fn reads_body_of(&self, request: &Request) -> bool {
        let headers = &request.headers;
        let optional = headers
            .value(HeaderName::ContentDisposition)
            .is_some_and(|text| text.to_ascii_lowercase().replace(' ', "").contains("handling=optional"));
        let plain = headers.value(HeaderName::ContentEncoding).is_none_or(|text| text.eq_ignore_ascii_case("identity"));
        let known = match headers.content_type() {
            Ok(Some(content)) => self.content_types.iter().any(|known| content.is(known)),
            // A body without a name is what the method usually carries.
            Ok(None) => true,
            Err(_) => false,
        };
        optional || plain && known
    }

    /// Whether the sender takes any body of ours, of the methods whose answers carry one.
    fn is_accepted_by(&self, request: &Request) -> bool {
        if !matches!(request.method, Method::Invite | Method::Options) || !request.headers.contains(HeaderName::Accept)
        {
            return true;
        }
        let Ok(ranges) = request.headers.list(HeaderName::Accept) else { return false };
        // An empty Accept takes nothing.
        ranges.iter().any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let matches = |known: &String| match range.strip_suffix("/*") {
                Some("*") => true,
                Some(kind) => known.split('/').next() == Some(kind),
                None => *known == range,
            };
            self.content_types.iter().any(matches)
        })
    }
}
