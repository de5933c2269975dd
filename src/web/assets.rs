//! The files of the page, as they lie in the program.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// A file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        asset!(concat!("/assets/", $name), $name, $content_type)
    };
    ($path:expr, $name:literal, $content_type:expr) => {
        Asset { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("page/", $name)) }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", "index.html", HTML),
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("calls.js", SCRIPT),
    asset!("entry.js", SCRIPT),
    asset!("events.js", SCRIPT),
    asset!("greetings.js", SCRIPT),
    asset!("icon.svg", "image/svg+xml"),
    asset!("inbox.js", SCRIPT),
    asset!("notices.js", SCRIPT),
    asset!("options.js", SCRIPT),
    asset!("player.js", SCRIPT),
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("texts.en.json", "application/json"),
    asset!("texts.js", SCRIPT),
];

/// GET / and /assets/{name}
pub(crate) async fn show(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.path == uri.path()).ok_or(Problem::NotFound)?;
    let etag = etag(asset.bytes);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let described = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, described).into_response());
    }
    Ok((described, [(header::CONTENT_TYPE, asset.content_type)], asset.bytes).into_response())
}

fn etag(bytes: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(bytes);
    let text: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_table() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| if name == "index.html" { "/".to_owned() } else { format!("/assets/{name}") })
            .collect();
        files.sort();
        let mut known: Vec<&str> = ASSETS.iter().map(|asset| asset.path).collect();
        known.sort();
        assert_eq!(files, known);
    }
}
