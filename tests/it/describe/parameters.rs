//! Parameters: the description and the parsers know the same ones.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Operation, operations};
use crate::support::described::resolve;
use crate::support::keys::Secured;
use crate::support::{Http, Mode};

/// The words in the sources of the parsers that could be names of parameters.
fn words() -> BTreeSet<&'static str> {
    let sources = [
        include_str!("../../../src/http/params.rs"),
        include_str!("../../../crates/message/src/filter.rs"),
    ];
    let quoted = sources.into_iter().flat_map(|source| source.split('"').skip(1).step_by(2));
    let is_name = |word: &&str| {
        (1..=32).contains(&word.len())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    // A ticket is a credential, and replaces the filters.
    quoted.filter(is_name).filter(|word| *word != "ticket").collect()
}

/// The names of the query parameters that an operation describes.
fn described(operation: &Operation) -> BTreeSet<&'static str> {
    let parameters = operation.value["parameters"].as_array();
    let parameters =
        parameters.into_iter().flatten().map(|p| resolve(agentbus::http::openapi(), p));
    parameters
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| parameter["name"].as_str())
        .collect()
}

/// The parameters that the server does not know on this route.
async fn unknown(http: &Http, operation: &Operation, asked: &[&str]) -> BTreeSet<String> {
    let query: Vec<String> = asked.iter().map(|name| format!("{name}=~")).collect();
    let path = operation.path.replace("{queue}", "q").replace("{kind}", "task");
    let path = path.replace("{action}", "ack").replace("{type}", "t").replace("{id}", &id());
    let path =
        format!("{}?{}", path.replace("{name}", "n").replace("{token}", "t"), query.join("&"));
    let method = operation.method.parse().expect("a method");
    let json = [("content-type", "application/json")];
    let body = if operation.value["requestBody"].is_object() { "{}" } else { "" };
    let headers = if body.is_empty() { &[][..] } else { &json[..] };
    let answer = http.request(method, &path, headers, body).await.expect("an answer");
    assert_eq!(answer.status, 422, "{path}: {}", answer.text());
    let is_unknown = |error: &&Value| error["detail"] == "is not a parameter of this route";
    let body = answer.json();
    let errors = body["errors"].as_array().expect("errors").iter();
    let name = |error: &Value| error["parameter"].as_str().expect("a name").to_owned();
    errors.filter(is_unknown).map(name).collect()
}

fn id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[tokio::test]
async fn a_route_takes_the_parameters_that_it_describes_and_no_others() {
    let secured = Secured::start(Mode::MemorySqlite).await;
    let words = words();
    let mut all = BTreeSet::new();
    for operation in operations() {
        let ignores_query = ["/livez", "/metrics"].contains(&operation.path);
        let described = described(&operation);
        all.extend(described.clone());
        if ignores_query {
            assert!(described.is_empty());
            continue;
        }
        let mut unknown_words = BTreeSet::new();
        // Fewer than the errors that one response names.
        for some in words.iter().copied().collect::<Vec<_>>().chunks(40) {
            let mut asked = some.to_vec();
            asked.push("never-known");
            unknown_words.extend(unknown(&secured.root, &operation, &asked).await);
        }
        let known: BTreeSet<&str> =
            words.iter().copied().filter(|word| !unknown_words.contains(*word)).collect();
        let described: BTreeSet<&str> =
            described.into_iter().filter(|name| *name != "ticket").collect();
        assert_eq!(known, described, "{} {}", operation.method, operation.path);
    }
    all.remove("ticket");
    assert!(all.is_subset(&words), "not in the sources of the parsers: {all:?}");
}
