//! What the owner of a mailbox chooses.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use postern_mailbox::{GreetingInUse, MailboxId, Store, language};
use serde::{Deserialize, Serialize};

use crate::body::{Body, present};
use crate::desk::Desk;
use crate::phone::check_dial_string;
use crate::problem::Problem;
use crate::signed::Signed;

/// Tags of the languages that there are prompts and texts in.
const LANGUAGES: [&str; 1] = ["en"];

#[derive(Serialize)]
struct Shown {
    greeting: &'static str,
    missed_call_mail: bool,
    play_on_phone_number: Option<String>,
    language: &'static str,
    languages: [&'static str; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Changes {
    #[serde(default, deserialize_with = "present")]
    greeting: Option<String>,
    #[serde(default, deserialize_with = "present")]
    missed_call_mail: Option<bool>,
    /// `null` forgets the number.
    #[serde(default, deserialize_with = "present")]
    play_on_phone_number: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    language: Option<String>,
}

/// GET /options
pub(crate) async fn show(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Problem> {
    Ok(Json(shown(&desk, signed.mailbox).await?).into_response())
}

/// PATCH /options
pub(crate) async fn change(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Body(wish): Body<Changes>,
) -> Result<Response, Problem> {
    // All is judged before anything is set.
    let greeting = wish.greeting.as_deref().map(greeting_of).transpose()?;
    if let Some(tag) = &wish.language
        && !LANGUAGES.contains(&tag.as_str())
    {
        return Err(Problem::BadRequest(format!("language is one of {}", LANGUAGES.join(", "))));
    }
    if let Some(Some(number)) = &wish.play_on_phone_number {
        check_dial_string(number)?;
    }
    let mailbox = signed.mailbox;
    if let Some(wanted) = wish.missed_call_mail {
        match &desk.letters {
            Some(letters) => letters.set_missed_calls(mailbox, wanted).await?,
            // Nothing is sent already.
            None if !wanted => {}
            None => return Err(Problem::NoMail),
        }
    }
    if let Some(greeting) = greeting {
        desk.store.use_greeting(mailbox, greeting).await?;
    }
    if let Some(number) = &wish.play_on_phone_number {
        desk.store.set_phone_number(mailbox, number.as_deref()).await?;
    }
    if let Some(tag) = &wish.language {
        desk.store.set_language(mailbox, tag).await?;
    }
    Ok(Json(shown(&desk, mailbox).await?).into_response())
}

fn greeting_of(name: &str) -> Result<GreetingInUse, Problem> {
    GreetingInUse::ALL
        .into_iter()
        .find(|greeting| greeting.name() == name)
        .ok_or_else(|| Problem::BadRequest("greeting is standard, own or out-of-office".into()))
}

async fn shown(desk: &Desk, mailbox: MailboxId) -> Result<Shown, Problem> {
    let play_on_phone_number = desk.store.phone_number(mailbox).await?;
    let missed_call_mail = match &desk.letters {
        Some(letters) => letters.choice(mailbox).await?.missed_calls,
        None => false,
    };
    let mailbox = desk.mailbox(mailbox).await?;
    Ok(Shown {
        greeting: mailbox.greeting.name(),
        missed_call_mail,
        play_on_phone_number,
        language: language(&mailbox.language).tag(),
        languages: LANGUAGES,
    })
}
