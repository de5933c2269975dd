//! Who asks: the session of a request's cookie, and the proof that it was our page that sent it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use postern_mailbox::MailboxId;
use postern_store::SessionToken;
use postern_telemetry::call_labels::WebSignIn;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use crate::desk::Desk;
use crate::problem::Problem;
use crate::service::Source;

/// The session's cookie. Its prefix has browsers insist on Secure, our very host, and the whole path.
pub(crate) const COOKIE: &str = "__Host-postern";

/// Where the page proves that it is ours.
pub(crate) const CSRF: &str = "x-csrf-token";

/// A request of somebody who is signed in. Anything but a reading has shown the session's CSRF token besides.
pub(crate) struct Signed {
    pub(crate) mailbox: MailboxId,
    pub(crate) token: SessionToken,
}

impl FromRequestParts<Arc<Desk>> for Signed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let token = token_of(&parts.headers).ok_or(Problem::SignedOut)?;
        let session = desk.store.session(&token, desk.now()).await?.ok_or(Problem::SignedOut)?;
        if parts.method != Method::GET && parts.method != Method::HEAD {
            check_origin(&parts.headers, &desk.options.load().url)?;
            let shown = parts.headers.get(CSRF).map_or(&b""[..], |value| value.as_bytes());
            if !bool::from(shown.ct_eq(csrf_of(&token).as_bytes())) {
                return Err(Problem::Csrf);
            }
        }
        Ok(Self { mailbox: session.mailbox, token })
    }
}

/// A request of an administrator. No cookie is looked at, so that no page can ride on it.
pub(crate) struct Administrator;

impl FromRequestParts<Arc<Desk>> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Some(shown) = parts.headers.get(header::AUTHORIZATION) else { return Err(Problem::NoAdministrator) };
        // Only wrong ones count: administrators' programs may ask often. Beyond the limit none is compared.
        let source = source_of(parts);
        limited(desk, desk.strangers.look(source, desk.now()))?;
        let token = shown.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        if token.is_some_and(|(_, token)| desk.options.load().admin_tokens.are(token)) {
            return Ok(Self);
        }
        admit(desk, source)?;
        tracing::debug!(%source, "a wrong administrator's token");
        Err(Problem::NoAdministrator)
    }
}

/// A request of a stranger who wants to prove something: from our own page, and not too often.
pub(crate) struct Stranger {
    pub(crate) source: IpAddr,
}

impl FromRequestParts<Arc<Desk>> for Stranger {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        check_origin(&parts.headers, &desk.options.load().url)?;
        let source = source_of(parts);
        admit(desk, source).map(|()| Self { source })
    }
}

/// Parameters of a path. What is none is not there.
pub(crate) struct Within<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Desk>> for Within<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Problem> {
        let Path(found) = Path::<T>::from_request_parts(parts, desk).await.map_err(|_| Problem::NotFound)?;
        Ok(Self(found))
    }
}

/// The CSRF token of a session: only who can read our answers knows it.
pub(crate) fn csrf_of(token: &SessionToken) -> String {
    token.derived("csrf")
}

fn admit(desk: &Desk, source: IpAddr) -> Result<(), Problem> {
    limited(desk, desk.strangers.admit(source, desk.now()))
}

fn limited(desk: &Desk, admitted: Result<(), Duration>) -> Result<(), Problem> {
    admitted.map_err(|left| {
        desk.cells.web_sign_ins.add(WebSignIn::Limited, 1);
        Problem::TooMany { secs: left.as_secs() + 1 }
    })
}

fn source_of(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Source>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |source| source.0)
}

/// Browsers send Origin with all that changes something; other programs need none. Ours is the host that the request
/// names, or `url`, where something before us gives it another.
fn check_origin(headers: &HeaderMap, url: &str) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).map_or(&b""[..], |host| host.as_bytes());
    let is_own = origin.as_bytes().strip_prefix(b"https://").is_some_and(|own| own.eq_ignore_ascii_case(host));
    if is_own || origin.as_bytes() == url.as_bytes() { Ok(()) } else { Err(Problem::Csrf) }
}

pub(crate) fn token_of(headers: &HeaderMap) -> Option<SessionToken> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).find_map(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_our_own_origin_is_ours() {
        let judge = |origin: &'static str| {
            check_origin(&headers(&[("host", "voice.example.test:8443"), ("origin", origin)]), "https://voice.test")
        };
        assert_eq!(judge("https://voice.example.test:8443"), Ok(()));
        assert_eq!(judge("https://voice.test"), Ok(()), "as the operator says");
        for origin in ["null", "https://voice.example.test", "http://voice.example.test:8443", "https://evil.test", ""]
        {
            assert_eq!(judge(origin), Err(Problem::Csrf), "{origin}");
        }
        assert_eq!(check_origin(&headers(&[("host", "voice.example.test")]), ""), Ok(()));
    }

    #[test]
    fn the_cookie_is_found_among_others_by_its_whole_name() {
        const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let found = |cookie: String| {
            let mut headers = HeaderMap::new();
            headers.insert("cookie", cookie.parse().unwrap());
            token_of(&headers).is_some()
        };
        assert!(found(format!("a=b; __Host-postern={TOKEN}; c=d")));
        assert!(!found(format!("postern={TOKEN}")) && !found(format!("x__Host-postern={TOKEN}")));
        assert!(!found("__Host-postern=short".into()));
    }
}
