//! The JSON that requests bring: bounded in bytes and time, and without surprises.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use tokio::time::timeout;

use crate::desk::Desk;
use crate::limits::{BODY, BODY_BYTES_MAX};
use crate::problem::Problem;

/// A request's body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Desk>) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // A browser sends no application/json across origins without asking first.
        let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        let is_json = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
        let bytes = match timeout(BODY, axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(Problem::TooLarge),
            Err(_) => return Err(Problem::BadRequest("its body did not come in time".into())),
        };
        if !is_json {
            return Err(Problem::Unsupported);
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Problem::BadRequest(without_values(&error)))
    }
}

/// Where the JSON is wrong. What stands there may be a password.
fn without_values(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field is missing, unknown or of another kind",
        _ => "it is no JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// A field that may be absent, but is no null where its type has none.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
