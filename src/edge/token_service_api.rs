//! What the token service says over HTTP: one request that makes a token, its errors, and the document that describes both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use postern_telemetry::AUDIT_TARGET;
use postern_token::{Claims, Issuer, Token, TokenForm, parse_peer};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::{OpenApi, ToSchema};

use crate::token_service::{TokenMeter, TokenServiceLimits, TokenServiceState};
use crate::token_service_caller::Caller;
use crate::token_service_request::{Location, Refusal, RefusalBody, TokenRequest};

/// What every request is answered with.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) state: Arc<ArcSwap<TokenServiceState>>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) meter: Arc<dyn TokenMeter>,
    pub(crate) limits: TokenServiceLimits,
}

/// The name on the allow-list that a request came under.
#[derive(Clone)]
struct AllowedName(Arc<str>);

/// A token and where to use it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenAnswer {
    /// Goes into USERNAME.
    #[schema(example = "1700003600:alice")]
    username: String,
    /// Password of the long-term credential mechanism.
    #[schema(example = "NGXwaE2SX0ffZOzMzR//l09v56w=")]
    password: String,
    #[schema(example = "example.test")]
    realm: String,
    /// How long the token is good for, from now; less than was asked for when the edge's limit is lower.
    lifetime_secs: u64,
    /// At this second it is no longer valid.
    expires_unix_secs: u64,
    /// URIs of the relays for the location asked for (RFC 7065).
    #[schema(example = json!(["turn:edge.example.test:3478?transport=udp"]))]
    relays: Vec<String>,
    /// The same for `RTCPeerConnection`.
    #[serde(rename = "iceServers")]
    ice_servers: Vec<IceServer>,
}

/// One entry of a browser's `RTCConfiguration.iceServers`.
#[derive(Serialize, ToSchema)]
struct IceServer {
    urls: Vec<String>,
    username: String,
    credential: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Postern A/V authentication service",
        description = "Issues short-lived tokens for the media relay. Callers show a client certificate whose DNS name is on the edge's allow-list."
    ),
    paths(issue_token, openapi_document)
)]
struct ApiDocument;

/// All routes. Each request must carry its [`Caller`] as an extension.
pub(crate) fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/tokens", post(issue_token))
        .route("/openapi.json", get(openapi_document))
        .fallback(|| async { (&Refusal::not_found()).into_response() })
        .method_not_allowed_fallback(|| async { (&Refusal::method_not_allowed()).into_response() })
        .layer(from_fn_with_state(service.clone(), admit))
        .with_state(service)
}

/// Lets those on the allow-list through, at their rate.
async fn admit(
    State(service): State<Service>,
    Extension(caller): Extension<Arc<Caller>>,
    mut request: Request,
    next: Next,
) -> Response {
    match allowed_name(&service.state.load(), &caller) {
        Ok(name) => {
            request.extensions_mut().insert(name);
            next.run(request).await
        }
        Err(refusal) => {
            // An answer before the end of a request may be lost with the connection.
            let _ = take_body(request, &service.limits).await;
            refuse(&service, &refusal)
        }
    }
}

fn allowed_name(state: &TokenServiceState, caller: &Caller) -> Result<AllowedName, Refusal> {
    let name = state.allowed(&caller.names);
    state.check_rate(name).map_err(Refusal::rate_limited)?;
    if name.is_none() {
        tracing::warn!(target: AUDIT_TARGET, remote = %caller.remote, names = ?caller.names, "token refused: no name of the certificate is allowed");
    }
    name.map(|name| AllowedName(name.into())).ok_or_else(Refusal::name_not_allowed)
}

fn refuse(service: &Service, refusal: &Refusal) -> Response {
    if let Some(reason) = refusal.reason {
        service.meter.refused(reason);
    }
    refusal.into_response()
}

/// Issue a token
///
/// The token is a classic one (`expiry:identity`), or an extended one when `peers`, `allocations`, `bitrate_bps` or `call_id` is given.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    request_body = TokenRequest,
    responses(
        (status = 200, description = "A token", body = TokenAnswer),
        (status = 400, description = "The request is not understood", body = RefusalBody),
        (status = 403, description = "No DNS name of the client certificate is on the allow-list", body = RefusalBody),
        (status = 413, description = "The request is too long", body = RefusalBody),
        (status = 415, description = "The request is not application/json", body = RefusalBody),
        (status = 429, description = "Too many requests of this caller; Retry-After says when to come again", body = RefusalBody),
        (status = 503, description = "The edge drains and knows no other; ask another edge", body = RefusalBody),
    )
)]
async fn issue_token(
    State(service): State<Service>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(name): Extension<AllowedName>,
    request: Request,
) -> Response {
    let issued = match read_body(request, &service.limits).await {
        Ok(body) => TokenRequest::decode(&body)
            .and_then(|wish| issue(&service, &wish).map(|(token, answer)| (wish, token, answer))),
        Err(refusal) => Err(refusal),
    };
    let (wish, token, answer) = match issued {
        Ok(issued) => issued,
        Err(refusal) => {
            tracing::warn!(target: AUDIT_TARGET, caller = %name.0, remote = %caller.remote, why = %refusal, "token refused");
            return refuse(&service, &refusal);
        }
    };
    service.meter.issued(wish.location.label());
    tracing::info!(
        target: AUDIT_TARGET,
        caller = %name.0,
        remote = %caller.remote,
        identity = %wish.identity,
        location = wish.location.as_str(),
        lifetime_secs = answer.lifetime_secs,
        expires_unix_secs = answer.expires_unix_secs,
        key = %token.key_id,
        form = match token.form { TokenForm::Classic => "classic", TokenForm::Extended => "extended" },
        call_id = wish.call_id.as_deref().unwrap_or_default(),
        "token issued"
    );
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer)).into_response()
}

/// The OpenAPI document of this service
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This document", content_type = "application/json")))]
async fn openapi_document() -> Response {
    Json(ApiDocument::openapi()).into_response()
}

async fn read_body(request: Request, limits: &TokenServiceLimits) -> Result<Vec<u8>, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A browser sends no application/json across origins without asking first.
    let is_json = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    let body = take_body(request, limits).await?;
    if is_json { Ok(body) } else { Err(Refusal::unsupported_media_type()) }
}

async fn take_body(request: Request, limits: &TokenServiceLimits) -> Result<Vec<u8>, Refusal> {
    let body = axum::body::to_bytes(request.into_body(), limits.body_bytes_max);
    match timeout(limits.body, body).await {
        Ok(Ok(body)) => Ok(body.into()),
        Ok(Err(_)) => Err(Refusal::too_long(limits.body_bytes_max)),
        Err(_) => Err(Refusal::too_slow()),
    }
}

fn issue(service: &Service, wish: &TokenRequest) -> Result<(Token, TokenAnswer), Refusal> {
    let state = service.state.load();
    let now_unix_secs = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| Refusal::internal("the clock of the edge stands before 1970"))?
        .as_secs();
    if wish.allocations.is_some_and(|allocations| allocations > state.allocations_max) {
        return Err(Refusal::too_many_allocations(state.allocations_max));
    }
    let relays = match service.draining.load(Ordering::Relaxed) {
        false if wish.location == Location::Intranet => &state.intranet,
        false => &state.internet,
        true if state.alternates.is_empty() => return Err(Refusal::draining()),
        true => &state.alternates,
    };
    let lifetime_secs = wish.duration_secs.min(state.token_lifetime_max_secs);
    let token = sign(&state.issuer, wish, now_unix_secs.saturating_add(lifetime_secs))?;
    let answer = TokenAnswer {
        username: token.username.clone(),
        password: token.password().to_owned(),
        realm: state.realm.clone(),
        lifetime_secs,
        expires_unix_secs: token.expires_unix_secs,
        relays: relays.clone(),
        ice_servers: vec![IceServer {
            urls: relays.clone(),
            username: token.username.clone(),
            credential: token.password().to_owned(),
        }],
    };
    Ok((token, answer))
}

/// A classic token where it can say everything, since every TURN server knows that form.
fn sign(issuer: &Issuer, wish: &TokenRequest, expires_unix_secs: u64) -> Result<Token, Refusal> {
    let is_narrowed =
        wish.peers.is_some() || wish.allocations.is_some() || wish.bitrate_bps.is_some() || wish.call_id.is_some();
    let issued = if is_narrowed {
        let peers =
            wish.peers.as_ref().map(|peers| peers.iter().map(|text| parse_peer(text)).collect::<Result<Vec<_>, _>>());
        issuer.issue_extended(&Claims {
            identity: wish.identity.clone(),
            expires_unix_secs,
            call_id: wish.call_id.clone(),
            peers: peers.transpose().map_err(Refusal::claims)?,
            bitrate_bps: wish.bitrate_bps,
            allocations: wish.allocations,
        })
    } else {
        issuer.issue_classic(Some(&wish.identity), expires_unix_secs)
    };
    issued.map_err(Refusal::claims)
}
