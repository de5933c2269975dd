//! The OpenAPI document: kept by hand as the contract, and held against the routes by a test.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The document, JSON in UTF-8.
pub const DOCUMENT: &str = include_str!("openapi.json");

/// GET /openapi.json
pub(crate) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
