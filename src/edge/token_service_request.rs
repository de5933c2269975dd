//! A request for a token, decoded strictly, and every way to say no to it: what is wrong, where, and what to do.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_telemetry::labels::{self, TokenRefusal};
use postern_token::limits::{CALL_ID_BYTES_MAX, CLAIM_PEERS_MAX, IDENTITY_BYTES_MAX};
use postern_token::{ClaimsError, IssueError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller asks for. Fields that are not named here are refused: a misspelt narrowing must not pass for none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// Whom quotas count: 1 to 128 bytes without control characters.
    #[schema(min_length = 1, max_length = 128, example = "alice")]
    pub(crate) identity: String,
    /// Where the token will be used, which decides the relays named.
    pub(crate) location: Location,
    /// Cut to the edge's limit; the answer says to what.
    #[schema(minimum = 1, example = 3600)]
    pub(crate) duration_secs: u64,
    /// Networks or addresses that may be peers, within what the edge allows; an empty list is none at all.
    #[schema(max_items = 16, example = json!(["10.20.0.0/24"]))]
    pub(crate) peers: Option<Vec<String>>,
    /// Allocations at once instead of the edge's default.
    #[schema(minimum = 1)]
    pub(crate) allocations: Option<u32>,
    /// Relayed bits per second, both directions together.
    #[schema(minimum = 1)]
    pub(crate) bitrate_bps: Option<u64>,
    /// Reaches logs and records: 1 to 64 bytes without control characters.
    #[schema(min_length = 1, max_length = 64)]
    pub(crate) call_id: Option<String>,
}

/// On which side of the perimeter a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Location {
    Intranet,
    Internet,
}

impl Location {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Intranet => "intranet",
            Self::Internet => "internet",
        }
    }

    pub(crate) fn label(self) -> labels::Location {
        match self {
            Self::Intranet => labels::Location::Intranet,
            Self::Internet => labels::Location::Internet,
        }
    }
}

impl TokenRequest {
    /// # Errors
    /// The caller's fault; names the first field that is wrong.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Refusal> {
        // serde would also take the values by position, in an array.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Refusal::invalid(None, "the body is no JSON object", REMEDY_OBJECT));
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let request: Self =
            serde_path_to_error::deserialize(&mut json).map_err(|error| Refusal::not_decoded(&error))?;
        json.end().map_err(|_| Refusal::invalid(None, "something follows the JSON object", REMEDY_OBJECT))?;
        if request.duration_secs == 0 {
            return Err(Refusal::field("duration_secs", "0 would be no token at all"));
        }
        Ok(request)
    }
}

const REMEDY_OBJECT: &str = "send one JSON object, as /openapi.json describes it";

/// What to do about a field that is wrong.
fn remedy(field: &str) -> String {
    match field.split('[').next().unwrap_or_default() {
        "identity" => format!("give 1 to {IDENTITY_BYTES_MAX} bytes of text without control characters"),
        "location" => "give \"intranet\" or \"internet\"".to_owned(),
        "duration_secs" => "give a whole number of seconds, 1 or more".to_owned(),
        "peers" => {
            format!("give a list of at most {CLAIM_PEERS_MAX} networks such as \"10.20.0.0/24\", or leave it out")
        }
        "allocations" => "give a whole number, 1 or more, or leave it out".to_owned(),
        "bitrate_bps" => "give a whole number of bits per second, 1 or more, or leave it out".to_owned(),
        "call_id" => format!("give 1 to {CALL_ID_BYTES_MAX} bytes of text without control characters, or leave it out"),
        _ => "leave it out; identity, location, duration_secs, peers, allocations, bitrate_bps and call_id are known"
            .to_owned(),
    }
}

/// An error as JSON.
#[derive(Serialize, ToSchema)]
pub(crate) struct RefusalBody {
    /// For programs.
    #[schema(example = "invalid_request")]
    error: &'static str,
    /// The field at fault, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "duration_secs")]
    field: Option<String>,
    /// What is wrong.
    detail: String,
    /// What to do about it.
    remedy: String,
}

/// A request that gets no token.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: &'static str,
    field: Option<String>,
    detail: String,
    remedy: String,
    retry_after_secs: Option<u64>,
    /// What it counts as; `None` for what was no request for a token.
    pub(crate) reason: Option<TokenRefusal>,
}

impl Refusal {
    fn new(
        status: StatusCode,
        error: &'static str,
        reason: Option<TokenRefusal>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error,
            field: None,
            detail: detail.into(),
            remedy: remedy.into(),
            retry_after_secs: None,
            reason,
        }
    }

    fn invalid(field: Option<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let refusal =
            Self::new(StatusCode::BAD_REQUEST, "invalid_request", Some(TokenRefusal::InvalidRequest), detail, remedy);
        Self { field, ..refusal }
    }

    fn field(field: &str, detail: impl Into<String>) -> Self {
        Self::invalid(Some(field.to_owned()), detail, remedy(field))
    }

    fn not_decoded(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let detail = error.inner().to_string();
        if !error.inner().is_data() {
            return Self::invalid(None, format!("the body is no JSON: {detail}"), REMEDY_OBJECT);
        }
        // Of a field that is unknown, missing or there twice only the text knows the name, between backticks.
        let quoted = || detail.split('`').nth(1).map(str::to_owned);
        let field = match error.path().to_string() {
            path if path == "." || path == "?" || detail.starts_with("unknown field") => quoted(),
            path => Some(path),
        };
        let remedy = match &field {
            Some(field) if detail.starts_with("missing field") => {
                format!("add it: {}", remedy(field))
            }
            Some(field) if detail.starts_with("duplicate field") => format!("give {field} once"),
            Some(field) => remedy(field),
            None => REMEDY_OBJECT.to_owned(),
        };
        Self::invalid(field, detail, remedy)
    }

    /// What the issuer will not sign.
    pub(crate) fn claims(error: IssueError) -> Self {
        let field = match &error {
            IssueError::Peer { .. } | IssueError::Claims(ClaimsError::Peers) => "peers",
            IssueError::Claims(ClaimsError::Identity) => "identity",
            IssueError::Claims(ClaimsError::CallId) => "call_id",
            IssueError::Claims(ClaimsError::Bitrate) => "bitrate_bps",
            IssueError::Claims(ClaimsError::Allocations) => "allocations",
            IssueError::TooLong { .. } => {
                return Self::invalid(None, error.to_string(), "shorten identity or call_id, or name fewer peers");
            }
            IssueError::Claims(ClaimsError::NotBase64 | ClaimsError::NotJson(_)) => {
                return Self::internal(&error.to_string());
            }
        };
        Self::field(field, error.to_string())
    }

    pub(crate) fn too_many_allocations(max: u32) -> Self {
        let detail = format!("this edge lets no token hold more than {max} allocations");
        Self::invalid(
            Some("allocations".to_owned()),
            detail,
            format!("ask for at most {max}, or raise edge.auth.allocations_max"),
        )
    }

    pub(crate) fn name_not_allowed() -> Self {
        let remedy =
            "add one of its DNS names (subjectAltName; the common name does not count) to edge.tokens.allowed_names";
        let detail = "no name of your certificate is on the allow-list";
        Self::new(StatusCode::FORBIDDEN, "name_not_allowed", Some(TokenRefusal::NameNotAllowed), detail, remedy)
    }

    pub(crate) fn rate_limited(wait: Duration) -> Self {
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let remedy =
            "wait as long as Retry-After says, and keep a token for its lifetime instead of asking for each call";
        let refusal = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            Some(TokenRefusal::RateLimited),
            "more requests than edge.tokens.requests_per_caller_per_sec allows",
            remedy,
        );
        Self { retry_after_secs: Some(secs.max(1)), ..refusal }
    }

    pub(crate) fn draining() -> Self {
        let detail = "this edge drains, and edge.drain.alternate names no other";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", Some(TokenRefusal::Draining), detail, "ask another edge")
    }

    pub(crate) fn internal(detail: &str) -> Self {
        let remedy = "tell the operator of this edge";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", Some(TokenRefusal::Internal), detail, remedy)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let (detail, remedy) =
            ("the body is not application/json", "send it with the header Content-Type: application/json");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", Some(TokenRefusal::InvalidRequest), detail, remedy)
    }

    pub(crate) fn too_long(bytes_max: usize) -> Self {
        let detail = format!("the body is longer than {bytes_max} bytes, or ended early");
        let remedy = "name networks in peers instead of single addresses";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", Some(TokenRefusal::InvalidRequest), detail, remedy)
    }

    pub(crate) fn too_slow() -> Self {
        let detail = "the body did not arrive in time";
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            Some(TokenRefusal::InvalidRequest),
            detail,
            "send the body with its header",
        )
    }

    pub(crate) fn not_found() -> Self {
        let remedy = "POST /v1/tokens makes a token, GET /openapi.json describes it";
        Self::new(StatusCode::NOT_FOUND, "not_found", None, "there is nothing under this path", remedy)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let remedy = "POST /v1/tokens makes a token, GET /openapi.json describes it";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", None, "this path has no such method", remedy)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{}: {field}: {}", self.error, self.detail),
            None => write!(f, "{}: {}", self.error, self.detail),
        }
    }
}

impl IntoResponse for &Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody {
            error: self.error,
            field: self.field.clone(),
            detail: self.detail.clone(),
            remedy: self.remedy.clone(),
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(secs) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
