//! Signing in and out, and passwords.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_mailbox::{MailboxId, PlanName, language};
use postern_store::limits::SESSION_LIFETIME;
use postern_store::{Password, PasswordVerdict, Proven, SessionToken, WebName};
use postern_telemetry::call_labels::WebSignIn;
use serde::{Deserialize, Serialize};

use crate::body::{Body, present};
use crate::desk::Desk;
use crate::events::News;
use crate::limits::NAME_CHARS_MAX;
use crate::new_password::judge;
use crate::problem::Problem;
use crate::signed::{COOKIE, Signed, Stranger, Within, csrf_of, token_of};

/// Who is signed in, and what can be done for him.
#[derive(Serialize)]
struct Session {
    mailbox: Owner,
    csrf: String,
    play_on_phone: bool,
    mail: bool,
}

#[derive(Serialize)]
struct Owner {
    address: String,
    name: String,
    plan: String,
    language: &'static str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    mailbox: String,
    #[serde(default, deserialize_with = "present")]
    plan: Option<String>,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedPassword {
    old: String,
    new: String,
}

/// POST /session
pub(crate) async fn sign_in(
    State(desk): State<Arc<Desk>>,
    stranger: Stranger,
    headers: HeaderMap,
    Body(wish): Body<SignIn>,
) -> Result<Response, Problem> {
    let name = WebName { plan: wish.plan.map(PlanName), address: wish.mailbox.trim().to_owned() };
    let plan = name.plan.as_ref().map_or("", |plan| plan.0.as_str());
    if name.address.chars().count() > NAME_CHARS_MAX || plan.chars().count() > NAME_CHARS_MAX {
        return Err(Problem::BadRequest(format!("mailbox and plan have at most {NAME_CHARS_MAX} characters")));
    }
    let now = desk.now();
    let verdict = desk.store.verify_password(&name, Password::new(wish.password), now).await?;
    let proven = judged(&desk, verdict).inspect_err(|problem| {
        tracing::debug!(source = %stranger.source, %problem, "nobody is signed in");
    })?;
    if let Some(former) = token_of(&headers) {
        desk.store.end_session(&former).await?;
    }
    let mailbox = proven.mailbox;
    // None: another password was set while this one was compared.
    let token = desk.store.begin_session(&proven, now).await?.ok_or(Problem::Wrong)?;
    tracing::debug!(source = %stranger.source, %mailbox, "signed in");
    let cookie = cookie(&token.reveal(), SESSION_LIFETIME.as_secs())?;
    Ok(([(header::SET_COOKIE, cookie)], Json(session_of(&desk, mailbox, &token).await?)).into_response())
}

/// GET /session
pub(crate) async fn session(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Problem> {
    Ok(Json(session_of(&desk, signed.mailbox, &signed.token).await?).into_response())
}

/// DELETE /session
pub(crate) async fn sign_out(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Problem> {
    desk.store.end_session(&signed.token).await?;
    desk.tell(News::Sessions(signed.mailbox));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0)?)]).into_response())
}

/// POST /links/{token}/password
pub(crate) async fn set_password(
    State(desk): State<Arc<Desk>>,
    _stranger: Stranger,
    Within(link): Within<String>,
    Body(wish): Body<NewPassword>,
) -> Result<StatusCode, Problem> {
    let link: SessionToken = link.parse().map_err(|_| Problem::UsedOrExpired)?;
    let now = desk.now();
    let mailbox = desk.store.mailbox_of_link(&link, now).await?.ok_or(Problem::UsedOrExpired)?;
    judge(&wish.password, &desk.mailbox(mailbox).await?)?;
    if !desk.store.use_link(mailbox, &link, Password::new(wish.password), now).await? {
        return Err(Problem::UsedOrExpired);
    }
    desk.tell(News::Sessions(mailbox));
    tracing::debug!(%mailbox, "a password was set by a link");
    Ok(StatusCode::NO_CONTENT)
}

/// PUT /password
pub(crate) async fn change_password(
    State(desk): State<Arc<Desk>>,
    signed: Signed,
    Body(wish): Body<ChangedPassword>,
) -> Result<Response, Problem> {
    judge(&wish.new, &desk.mailbox(signed.mailbox).await?)?;
    let verdict = desk.store.verify_password_of(signed.mailbox, Password::new(wish.old), desk.now()).await?;
    judged(&desk, verdict)?;
    desk.store.set_password(signed.mailbox, Password::new(wish.new)).await?;
    // This session ended with all others.
    desk.tell(News::Sessions(signed.mailbox));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0)?)]).into_response())
}

fn judged(desk: &Desk, verdict: PasswordVerdict) -> Result<Proven, Problem> {
    let (label, judged) = match verdict {
        PasswordVerdict::Right(proven) => (WebSignIn::Right, Ok(proven)),
        PasswordVerdict::Wrong => (WebSignIn::Wrong, Err(Problem::Wrong)),
        PasswordVerdict::Locked { until } => {
            let left = until.duration_since(desk.now()).unsigned_abs();
            (WebSignIn::Locked, Err(Problem::Locked { secs: left.as_secs() + 1 }))
        }
    };
    desk.cells.web_sign_ins.add(label, 1);
    judged
}

async fn session_of(desk: &Desk, mailbox: MailboxId, token: &SessionToken) -> Result<Session, Problem> {
    let mailbox = desk.mailbox(mailbox).await?;
    let mail = desk.store.has_mail(mailbox.id).await?;
    Ok(Session {
        mailbox: Owner {
            address: mailbox.addresses.first().map(ToString::to_string).unwrap_or_default(),
            plan: mailbox.plan.0,
            language: language(&mailbox.language).tag(),
            name: mailbox.name,
        },
        csrf: csrf_of(token),
        play_on_phone: desk.calls.is_some(),
        mail,
    })
}

fn cookie(value: &str, age_secs: u64) -> Result<HeaderValue, Problem> {
    let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={age_secs}; Secure; HttpOnly; SameSite=Strict");
    HeaderValue::try_from(cookie).map_err(|_| Problem::Unavailable)
}
