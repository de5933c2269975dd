//! Greetings that the owner of a mailbox recorded.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use postern_mailbox::{AudioId, GreetingKind};
use serde::Serialize;

use crate::audio;
use crate::desk::Desk;
use crate::problem::Problem;
use crate::signed::{Signed, Within};
use crate::waveform::size_of;

#[derive(Serialize)]
struct Shown {
    kind: &'static str,
    recorded: bool,
    duration_secs: Option<f64>,
}

/// GET /greetings
pub(crate) async fn list(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Problem> {
    let mailbox = desk.mailbox(signed.mailbox).await?;
    let mut greetings = Vec::new();
    for kind in GreetingKind::ALL {
        let id = mailbox.recorded(kind);
        let duration_secs = match id {
            Some(id) => match size_of(&desk, id).await {
                Ok(size) => Some((size.samples * 1000 / u64::from(size.rate_hz.max(1))) as f64 / 1000.0),
                // Replaced or lost meanwhile: the list is not worth less for it.
                Err(Problem::NotFound) => None,
                Err(problem) => return Err(problem),
            },
            None => None,
        };
        greetings.push(Shown { kind: kind.name(), recorded: id.is_some(), duration_secs });
    }
    Ok(Json(serde_json::json!({ "greetings": greetings })).into_response())
}

/// GET /greetings/{kind}/audio
pub(crate) async fn listen(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Within(kind): Within<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kind = kind_of(&kind).ok_or(Problem::NotFound)?;
    let id = desk.mailbox(signed.mailbox).await?.recorded(kind).ok_or(Problem::NotFound)?;
    let size = size_of(&desk, id).await?;
    audio::answer(&desk.store, AudioId::Greeting(id), size, &id.to_string(), &headers)
}

pub(crate) fn kind_of(name: &str) -> Option<GreetingKind> {
    GreetingKind::ALL.into_iter().find(|kind| kind.name() == name)
}
