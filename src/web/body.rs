//! The JSON that requests bring: bounded in bytes and time, and without surprises.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;
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
        // What stands there may be a password: it is not repeated.
        let bad = |what: &str| Problem::BadRequest(what.to_owned());
        let json: Value = serde_json::from_slice(&bytes).map_err(|_| bad("it is no JSON"))?;
        // A struct would be read from one too.
        if has_array(&json) {
            return Err(bad("it has an array where none is meant"));
        }
        serde_json::from_value(json).map(Self).map_err(|_| bad("a field is missing, unknown or of another kind"))
    }
}

/// As deep as the parser lets JSON be.
fn has_array(json: &Value) -> bool {
    match json {
        Value::Array(_) => true,
        Value::Object(fields) => fields.values().any(has_array),
        _ => false,
    }
}

/// A field that may be absent, but is no null where its type has none.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
