//! Whether the conversation uses each route.

use agentbus::http::ROUTES;
use agentbus::services::calls::Call;
use regex::Regex;

use super::recorder::Recorder;

/// Routes of keys, sessions, tickets and the audit log. What they answer depends on the key: `access::matrix` sends each
/// of them with every kind of credential.
const OF_IDENTITY: [Call; 11] = [
    Call::ListKeys,
    Call::CreateKey,
    Call::ReadKey,
    Call::ChangeKey,
    Call::RevokeKey,
    Call::RotateKey,
    Call::ReadAudit,
    Call::WhoAmI,
    Call::LogIn,
    Call::LogOut,
    Call::MakeTicket,
];

/// The descriptions of the interface: `tests/it/describe` is about them.
const DESCRIPTIONS: [Call; 2] = [Call::ReadOpenApi, Call::ReadAsyncApi];

/// Fails the test unless the conversation uses each method of each other route.
pub fn all_are_in(recorder: &Recorder) {
    let parameter = regex(r"\{[a-z]+\}");
    let is_left_out = |call| OF_IDENTITY.contains(&call) || DESCRIPTIONS.contains(&call);
    let routes = ROUTES.iter().filter(|route| !is_left_out(route.call));
    let missing: Vec<_> = routes
        .filter(|route| {
            let path = format!("^{}$", parameter.replace_all(&route.path, "[^/?]+"));
            !was_asked(recorder, &route.method, &path)
        })
        .collect();
    assert!(missing.is_empty(), "not in the conversation: {missing:?}");
}

fn was_asked(recorder: &Recorder, method: &str, path: &str) -> bool {
    let path = regex(path);
    let at = |asked: &str| path.is_match(asked.split('?').next().unwrap_or_default());
    recorder.asked.iter().any(|(name, asked)| name == method && at(asked))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}
