//! Which request goes where, and what every answer says besides.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, patch, post, put};
use postern_telemetry::call_labels::{WebRoute, WebStatus};

use crate::desk::Desk;
use crate::options::{Options, Parts};
use crate::problem::Problem;
use crate::{admin, assets, events, greetings, messages, openapi, phone, pin, settings, sign_in};

/// Where the services lie.
const ROOT: &str = "/api/v1";

/// Nothing but files of ours, nothing inline, in nobody's frame.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The services without a listener. Who puts it behind one tells each request's [`Source`](crate::Source) as an
/// extension; without it all strangers are one.
pub fn router(options: Options, parts: Parts) -> Router {
    routes(Arc::new(Desk::new(options, parts)))
}

pub(crate) fn routes(desk: Arc<Desk>) -> Router {
    let api = Router::new()
        .route("/session", get(sign_in::session).post(sign_in::sign_in).delete(sign_in::sign_out))
        .route("/links/{token}/password", post(sign_in::set_password))
        .route("/password", put(sign_in::change_password))
        .route("/messages", get(messages::list))
        .route("/messages/{id}", patch(messages::change).delete(messages::delete))
        .route("/messages/{id}/audio", get(messages::listen))
        .route("/messages/{id}/waveform", get(messages::picture))
        .route("/options", get(settings::show).patch(settings::change))
        .route("/greetings", get(greetings::list))
        .route("/greetings/{kind}/audio", get(greetings::listen))
        .route("/pin", post(pin::reset))
        .route("/calls", post(phone::place))
        .route("/calls/{id}", get(phone::show).delete(phone::hang_up))
        .route("/events", get(events::follow))
        .route("/admin/mailboxes", get(admin::list))
        .route("/admin/mailboxes/{plan}/{address}/pin", post(admin::reset_pin))
        .route("/admin/mailboxes/{plan}/{address}/link", post(admin::make_link))
        .route("/admin/mailboxes/{plan}/{address}/unlock-web", post(admin::unlock))
        .route("/openapi.json", get(openapi::show));
    Router::new()
        .nest(ROOT, api)
        .route("/", get(assets::show))
        .route("/assets/{name}", get(assets::show))
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&desk), dress))
        .with_state(desk)
}

/// Counts the answer, and adds what keeps browsers from doing more with it than is meant.
async fn dress(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let route = route_of(path);
    let is_api = path.starts_with("/api/");
    let mut response = next.run(request).await;
    desk.cells.web_requests.add((route, WebStatus::of(response.status().as_u16())), 1);
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| say(headers, name, value);
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::REFERRER_POLICY, "no-referrer");
    say(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    say(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    say(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    say(header::CONTENT_SECURITY_POLICY, if is_api { API_POLICY } else { PAGE_POLICY });
    say(header::CACHE_CONTROL, "no-store");
    response
}

/// Sets a header, unless the answer has it.
fn say(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}

fn route_of(path: &str) -> WebRoute {
    let Some(within) = path.strip_prefix(ROOT).and_then(|within| within.strip_prefix('/')) else {
        return if path == "/" || path.starts_with("/assets/") { WebRoute::Page } else { WebRoute::Other };
    };
    match within.split('/').next().unwrap_or_default() {
        "session" | "links" | "password" => WebRoute::SignIn,
        "messages" => WebRoute::Messages,
        "options" | "greetings" | "pin" => WebRoute::Options,
        "calls" => WebRoute::Calls,
        "events" => WebRoute::Events,
        "admin" => WebRoute::Admin,
        _ => WebRoute::Other,
    }
}
