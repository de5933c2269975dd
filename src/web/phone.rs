//! Play on Phone: calls that the owner of a mailbox asks for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::body::{Body, present};
use crate::calls::{CallId, CallInfo, CallPurpose, CallState, Calls};
use crate::desk::Desk;
use crate::greetings::kind_of;
use crate::limits::DIAL_STRING_CHARS_MAX;
use crate::messages;
use crate::problem::Problem;
use crate::signed::{Signed, Within};

/// How a call stands, as browsers are told.
#[derive(Serialize)]
pub(crate) struct Shown {
    id: String,
    state: &'static str,
    cause: Option<&'static str>,
    sip_status: Option<u16>,
}

impl Shown {
    pub(crate) fn of(id: CallId, info: CallInfo) -> Self {
        Self {
            id: id.to_string(),
            state: info.state.name(),
            cause: info.cause.map(|cause| cause.name()),
            sip_status: info.sip_status,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    #[serde(default, deserialize_with = "present")]
    play: Option<Play>,
    #[serde(default, deserialize_with = "present")]
    record: Option<Record>,
    #[serde(default, deserialize_with = "present")]
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Play {
    Message(String),
    Greeting(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    greeting: String,
}

/// POST /calls
pub(crate) async fn place(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Body(wish): Body<Wish>,
) -> Result<Response, Problem> {
    let calls = calls_of(&desk)?;
    let purpose = purpose(&desk, &signed, wish.play, wish.record).await?;
    let to = match wish.to {
        Some(to) => to,
        None => desk.store.phone_number(signed.mailbox).await?.ok_or_else(|| {
            Problem::BadRequest("it names no number: give one as to, or set one in the options".into())
        })?,
    };
    check_dial_string(&to)?;
    let id = calls.place(signed.mailbox, purpose, to).await?;
    // A call that is over already is known a while longer; one that is not known is about to be.
    let begun = CallInfo { state: CallState::Idle, cause: None, sip_status: None };
    let info = calls.info(signed.mailbox, id).await.unwrap_or(begun);
    Ok((StatusCode::CREATED, Json(Shown::of(id, info))).into_response())
}

/// GET /calls/{id}
pub(crate) async fn show(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Within(id): Within<String>,
) -> Result<Response, Problem> {
    let id: CallId = id.parse().map_err(|_| Problem::NotFound)?;
    let calls = desk.calls.as_ref().ok_or(Problem::NotFound)?;
    let info = calls.info(signed.mailbox, id).await.ok_or(Problem::NotFound)?;
    Ok(Json(Shown::of(id, info)).into_response())
}

/// DELETE /calls/{id}
pub(crate) async fn hang_up(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Within(id): Within<String>,
) -> Result<StatusCode, Problem> {
    let id: CallId = id.parse().map_err(|_| Problem::NotFound)?;
    let calls = desk.calls.as_ref().ok_or(Problem::NotFound)?;
    if calls.hang_up(signed.mailbox, id).await { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::NotFound) }
}

/// What cannot be dialled by anybody. Which numbers may be called, the dialling rules say.
pub(crate) fn check_dial_string(text: &str) -> Result<(), Problem> {
    let chars = text.chars().count();
    if chars == 0 || chars > DIAL_STRING_CHARS_MAX || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let what = format!("a number has 1 to {DIAL_STRING_CHARS_MAX} characters, all of them printable ASCII");
        return Err(Problem::BadRequest(what));
    }
    Ok(())
}

fn calls_of(desk: &Desk) -> Result<&Arc<dyn Calls>, Problem> {
    desk.calls.as_ref().ok_or(Problem::Unavailable)
}

async fn purpose(
    desk: &Desk,
    signed: &Signed,
    play: Option<Play>,
    record: Option<Record>,
) -> Result<CallPurpose, Problem> {
    let greeting = |name: &str| {
        kind_of(name).ok_or_else(|| Problem::BadRequest("a greeting is own, out-of-office or name".into()))
    };
    match (play, record) {
        (Some(Play::Message(id)), None) => Ok(CallPurpose::PlayMessage(messages::found(desk, signed, &id).await?.id)),
        (Some(Play::Greeting(name)), None) => {
            let kind = greeting(&name)?;
            let mailbox = desk.mailbox(signed.mailbox).await?;
            mailbox.recorded(kind).map(|_| CallPurpose::PlayGreeting(kind)).ok_or(Problem::NotFound)
        }
        (None, Some(record)) => Ok(CallPurpose::RecordGreeting(greeting(&record.greeting)?)),
        _ => Err(Problem::BadRequest("it says either play or record".into())),
    }
}
