//! Messages: listed, heard, moved.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use postern_mailbox::{AudioId, Message, MessageId, MessageState, Store};
use postern_store::AudioSize;
use serde::{Deserialize, Serialize};

use crate::audio;
use crate::body::Body;
use crate::desk::Desk;
use crate::problem::Problem;
use crate::signed::{Signed, Within};
use crate::waveform;

#[derive(Serialize)]
struct Shown {
    id: String,
    state: &'static str,
    received: String,
    caller: Caller,
    duration_secs: f64,
    partial: bool,
}

#[derive(Serialize)]
struct Caller {
    number: Option<String>,
    name: Option<String>,
}

impl Shown {
    fn of(message: Message) -> Self {
        Self {
            id: message.id.to_string(),
            state: message.state.name(),
            received: message.received.to_string(),
            caller: Caller { number: message.caller.address, name: message.caller.name },
            duration_secs: message.length.as_millis() as f64 / 1000.0,
            partial: message.partial,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moved {
    state: Standing,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    New,
    Saved,
    Deleted,
}

impl From<Standing> for MessageState {
    fn from(state: Standing) -> Self {
        match state {
            Standing::New => Self::New,
            Standing::Saved => Self::Saved,
            Standing::Deleted => Self::Deleted,
        }
    }
}

/// GET /messages
pub(crate) async fn list(State(desk): State<Arc<Desk>>, signed: Signed, uri: Uri) -> Result<Response, Problem> {
    let mut messages = Vec::new();
    for state in states(uri.query().unwrap_or_default())? {
        messages.extend(desk.store.messages_in(signed.mailbox, state).await?);
    }
    messages.sort_by_key(|message| std::cmp::Reverse((message.received, message.id)));
    let messages: Vec<Shown> = messages.into_iter().map(Shown::of).collect();
    Ok(Json(serde_json::json!({ "messages": messages })).into_response())
}

/// The states that a query asks for.
fn states(query: &str) -> Result<Vec<MessageState>, Problem> {
    let mut states = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let state = pair.strip_prefix("state=");
        let state = state.and_then(|name| MessageState::ALL.into_iter().find(|state| state.name() == name));
        match state {
            Some(state) if states.is_none() => states = Some(vec![state]),
            _ => return Err(Problem::BadRequest("its query may say state=new, saved or deleted, once".into())),
        }
    }
    Ok(states.unwrap_or_else(|| vec![MessageState::New, MessageState::Saved]))
}

/// GET /messages/{id}/audio
pub(crate) async fn listen(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Within(id): Within<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let message = found(&desk, &signed, &id).await?;
    let size = size(&desk, &message).await?;
    audio::answer(&desk.store, AudioId::Message(message.id), size, &message.id.to_string(), &headers)
}

/// GET /messages/{id}/waveform
pub(crate) async fn picture(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Within(id): Within<String>,
) -> Result<Response, Problem> {
    let message = found(&desk, &signed, &id).await?;
    let size = size(&desk, &message).await?;
    let peaks = waveform::peaks(&desk, message.id, size.samples).await?;
    Ok(Json(serde_json::json!({ "peaks": &*peaks })).into_response())
}

/// PATCH /messages/{id}
pub(crate) async fn change(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Within(id): Within<String>,
    Body(wish): Body<Moved>,
) -> Result<Response, Problem> {
    let message = found(&desk, &signed, &id).await?;
    let state = MessageState::from(wish.state);
    // One that was deleted is not kept longer by being deleted again.
    if message.state != state {
        desk.store.set_message_state(signed.mailbox, message.id, state).await?;
    }
    Ok(Json(Shown::of(Message { state, ..message })).into_response())
}

/// DELETE /messages/{id}
pub(crate) async fn delete(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Within(id): Within<String>,
) -> Result<StatusCode, Problem> {
    let message = found(&desk, &signed, &id).await?;
    // Moved once: its time until it is forgotten begins with the first deletion.
    if message.state != MessageState::Deleted {
        desk.store.set_message_state(signed.mailbox, message.id, MessageState::Deleted).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The message of this id, if it is the session's own.
pub(crate) async fn found(desk: &Desk, signed: &Signed, id: &str) -> Result<Message, Problem> {
    let id: MessageId = id.parse().map_err(|_| Problem::NotFound)?;
    desk.store.message(signed.mailbox, id).await?.ok_or(Problem::NotFound)
}

/// The database knows the length; the file is asked for its rate alone.
async fn size(desk: &Desk, message: &Message) -> Result<AudioSize, Problem> {
    let rate_hz = desk.store.read_audio(AudioId::Message(message.id), 0, 0).await?.rate_hz;
    let sample_nanos = 1_000_000_000 / u128::from(rate_hz.max(1));
    let samples = u64::try_from(message.length.as_nanos() / sample_nanos.max(1)).unwrap_or(0);
    Ok(AudioSize { samples, rate_hz })
}
