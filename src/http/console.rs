//! The console: the files of `frontend-stub/`, embedded into the binary, and Swagger UI for the page `/docs`.
//!
//! Invariant: whatever a message contains, a page runs only scripts of this server, connects only to it, and
//! cannot be framed (`POLICY`).

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::state::AppState;

/// One embedded file.
struct File {
    path: &'static str,
    media_type: &'static str,
    bytes: Cow<'static, [u8]>,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($path:literal, $file:literal, $type:expr;)*) => {
        &[$(File {
            path: $path,
            media_type: $type,
            bytes: Cow::Borrowed(include_bytes!(concat!("../../frontend-stub/", $file))),
        }),*]
    };
}

macro_rules! scripts {
    ($($name:literal)*) => {
        &[$(File {
            path: concat!("/js/", $name, ".js"),
            media_type: SCRIPT,
            bytes: Cow::Borrowed(include_bytes!(concat!("../../frontend-stub/js/", $name, ".js"))),
        }),*]
    };
}

static PAGES: &[File] = files! {
    "/", "index.html", HTML;
    "/docs", "docs.html", HTML;
    "/style.css", "style.css", CSS;
    "/pages.css", "pages.css", CSS;
    "/identity.css", "identity.css", CSS;
    "/favicon.svg", "favicon.svg", SVG;
};

static SCRIPTS: &[File] = scripts! {
    "api" "app" "backlog" "compose" "detail" "docs" "dom" "empty" "feed" "filters" "format" "grants" "head"
    "identity" "indicator" "keys" "links" "live" "login" "older" "parts" "permalink" "poll" "presets"
    "problem" "query" "rail" "rate" "replay" "route" "row" "selection" "stream" "strip" "tabs" "tail"
    "toolbar"
    "pages/agents" "pages/ago" "pages/ask" "pages/cells" "pages/choice" "pages/consumers"
    "pages/dead_letters" "pages/keys" "pages/letter" "pages/list" "pages/make_key" "pages/more"
    "pages/page" "pages/put_schema" "pages/queues" "pages/refresher" "pages/schemas" "pages/secret"
    "pages/sources" "pages/table" "pages/tasks" "pages/versions"
};

/// The files of Swagger UI that `docs.html` loads.
static SWAGGER_UI: LazyLock<[File; 2]> = LazyLock::new(|| {
    [
        ("/docs/swagger-ui.css", "swagger-ui.css", CSS),
        ("/docs/swagger-ui-bundle.js", "swagger-ui-bundle.js", SCRIPT),
    ]
    .map(|(path, name, media_type)| {
        let file = utoipa_swagger_ui::serve(name, Arc::default()).ok().flatten();
        let bytes = file.map(|file| file.bytes).unwrap_or_default();
        File { path, media_type, bytes }
    })
});

fn files() -> impl Iterator<Item = &'static File> {
    PAGES.iter().chain(SCRIPTS).chain(&*SWAGGER_UI)
}

/// Whether a file of the console is at this path.
pub(super) fn has(path: &str) -> bool {
    files().any(|file| file.path == path)
}

/// The routes of the console: one for each file.
pub(super) fn routes() -> Router<AppState> {
    files().fold(Router::new(), |router, file| {
        router.route(file.path, get(move |headers: HeaderMap| async move { serve(file, &headers) }))
    })
}

/// Responds with the file, or with 304 if the browser has it. The names of files contain no version, so
/// browsers revalidate each time.
fn serve(file: &'static File, headers: &HeaderMap) -> Response {
    let mut hasher = DefaultHasher::new();
    file.bytes.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known =
        headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (&*file.bytes).into_response()
    };
    let fixed = [
        (header::CONTENT_TYPE, file.media_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        set(&mut response, name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        set(&mut response, header::ETAG, tag);
    }
    response
}

fn set(response: &mut Response, name: HeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_console_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/frontend-stub");
        let count = |path: &str| {
            let entries =
                std::fs::read_dir(format!("{folder}{path}")).expect("the folder is there");
            entries.filter(|e| e.as_ref().is_ok_and(|e| e.path().is_file())).count()
        };
        assert_eq!(count(""), PAGES.len());
        assert_eq!(count("/js") + count("/js/pages"), SCRIPTS.len());
    }
}
