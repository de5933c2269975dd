//! What an administrator does by the web: all mailboxes, PINs shown once, links, locks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use postern_mailbox::{Mailbox, PlanName, Store};
use postern_store::WebListed;
use serde::Serialize;

use crate::desk::Desk;
use crate::pin::made_up;
use crate::problem::Problem;
use crate::signed::{Administrator, Within};

#[derive(Serialize)]
struct Shown {
    plan: String,
    addresses: Vec<String>,
    name: String,
    new: u32,
    saved: u32,
    phone_locked: bool,
    has_password: bool,
    web_locked_until: Option<String>,
}

/// GET /admin/mailboxes
pub(crate) async fn list(State(desk): State<Arc<Desk>>, _: Administrator) -> Result<Response, Problem> {
    let attempts_max = desk.options.load().pin_policy.attempts_max;
    let shown = |web: WebListed| Shown {
        plan: web.listed.mailbox.plan.0,
        addresses: web.listed.mailbox.addresses.iter().map(ToString::to_string).collect(),
        name: web.listed.mailbox.name,
        new: web.listed.new,
        saved: web.listed.saved,
        phone_locked: web.listed.wrong_pins >= attempts_max,
        has_password: web.has_password,
        web_locked_until: web.locked_until.map(|until| until.to_string()),
    };
    let mailboxes: Vec<Shown> = desk.store.web_mailboxes(desk.now()).await?.into_iter().map(shown).collect();
    Ok(Json(serde_json::json!({ "mailboxes": mailboxes })).into_response())
}

/// POST /admin/mailboxes/{plan}/{address}/pin
pub(crate) async fn reset_pin(
    State(desk): State<Arc<Desk>>,
    _: Administrator,
    Within(of): Within<(String, String)>,
) -> Result<Response, Problem> {
    let mailbox = named(&desk, of).await?;
    let pin = made_up(&desk.options.load().pin_policy, &mailbox)?;
    desk.store.reset_pin(mailbox.id, pin.clone(), true).await?;
    tracing::info!(mailbox = %mailbox.id, "an administrator gave a mailbox another PIN");
    Ok(Json(serde_json::json!({ "pin": pin.digits() })).into_response())
}

/// POST /admin/mailboxes/{plan}/{address}/link
pub(crate) async fn make_link(
    State(desk): State<Arc<Desk>>,
    _: Administrator,
    Within(of): Within<(String, String)>,
) -> Result<Response, Problem> {
    let mailbox = named(&desk, of).await?;
    let link = desk.link(mailbox.id).await?;
    tracing::info!(mailbox = %mailbox.id, "an administrator made a link that sets a password");
    Ok(Json(serde_json::json!({ "link": link })).into_response())
}

/// POST /admin/mailboxes/{plan}/{address}/unlock-web
pub(crate) async fn unlock(
    State(desk): State<Arc<Desk>>,
    _: Administrator,
    Within(of): Within<(String, String)>,
) -> Result<StatusCode, Problem> {
    let mailbox = named(&desk, of).await?;
    desk.store.unlock_web(mailbox.id).await?;
    tracing::info!(mailbox = %mailbox.id, "an administrator unlocked a mailbox on the web");
    Ok(StatusCode::NO_CONTENT)
}

async fn named(desk: &Desk, (plan, address): (String, String)) -> Result<Mailbox, Problem> {
    let address = address.parse().map_err(|_| Problem::NotFound)?;
    desk.store.find_mailbox(&PlanName(plan), &address).await?.ok_or(Problem::NotFound)
}
