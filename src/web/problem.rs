//! Every refusal that the web services give, each with its status, its word and its sentence.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_mailbox::StoreError;

use crate::calls::CallRefusal;

/// Why a request is refused. The caller's fault, but for [`Unavailable`](Self::Unavailable).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("The request is not understood: {0}.")]
    BadRequest(String),
    #[error("Mailbox and password do not fit; try again, or ask your administrator for a new link.")]
    Wrong,
    #[error("You are not signed in; sign in first.")]
    SignedOut,
    #[error("This needs a valid administrator's token; give it as Authorization: Bearer.")]
    NoAdministrator,
    #[error("The request does not come from this page; load the page again.")]
    Csrf,
    #[error("The dialling rules of this mailbox do not allow this number; ask your administrator.")]
    NotAllowed,
    #[error("There is no such thing here; load the page again.")]
    NotFound,
    #[error("This cannot be done here with this method; see /api/v1/openapi.json.")]
    MethodNotAllowed,
    #[error("The mailbox has a call already; hang up first.")]
    Busy,
    #[error("No mail can be sent for this mailbox; ask your administrator to reset the PIN.")]
    NoMail,
    #[error("The link was used or is too old; ask your administrator for another.")]
    UsedOrExpired,
    #[error("The request is longer than it may be; shorten it.")]
    TooLarge,
    #[error("The request's body is not application/json; send it as such.")]
    Unsupported,
    #[error("The audio has no such range; its length is {length} bytes.")]
    Range { length: u64 },
    #[error("The password is too weak: {0}.")]
    Weak(&'static str),
    #[error("Too many wrong passwords; try again in {secs} seconds, or ask your administrator.")]
    Locked { secs: u64 },
    #[error("Too many of these at once; try again in {secs} seconds.")]
    TooMany { secs: u64 },
    #[error("This cannot be done now; try again in a moment.")]
    Unavailable,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Wrong | Self::SignedOut | Self::NoAdministrator => StatusCode::UNAUTHORIZED,
            Self::Csrf | Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy | Self::NoMail => StatusCode::CONFLICT,
            Self::UsedOrExpired => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Weak(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Locked { .. } | Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::Wrong | Self::NoAdministrator => "wrong",
            Self::SignedOut => "signed_out",
            Self::Csrf => "csrf",
            Self::NotAllowed => "not_allowed",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Busy => "busy",
            Self::NoMail => "no_mail",
            Self::UsedOrExpired => "used_or_expired",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Range { .. } => "range",
            Self::Weak(_) => "weak",
            Self::Locked { .. } => "locked",
            Self::TooMany { .. } => "too_many",
            Self::Unavailable => "unavailable",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.word(), "message": self.to_string() });
        let mut response = (self.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Locked { secs } | Self::TooMany { secs } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
            }
            Self::NoAdministrator => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Range { length } => {
                if let Ok(value) = HeaderValue::try_from(format!("bytes */{length}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            _ => {}
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Gone => Self::NotFound,
            StoreError::Busy => Self::Unavailable,
            StoreError::DiskFull | StoreError::Unavailable | StoreError::Damaged => {
                tracing::debug!(%error, "the store refuses a request of the web");
                Self::Unavailable
            }
        }
    }
}

impl From<CallRefusal> for Problem {
    fn from(refusal: CallRefusal) -> Self {
        match refusal {
            CallRefusal::NotAllowed => Self::NotAllowed,
            CallRefusal::Busy => Self::Busy,
            // The calls of an hour are the limit; nothing says when the first of them ends to count.
            CallRefusal::TooMany => Self::TooMany { secs: 600 },
            CallRefusal::Unavailable => Self::Unavailable,
        }
    }
}
