//! The documents say what is true: their examples run, and the tests that they name exist.
//!
//! A page has fenced blocks alone. `sh`, `python` and `js` are run, in the order of the page. `json`, `http` and `sse` are the response
//! to the command before. `text` is neither, nor is `ts`, which needs the built client: the tests state how many there are.

mod agree;
mod blocks;
mod evidence;
mod examples;
mod servers;

use examples::run;

#[tokio::test]
async fn the_examples_of_the_contract_run() {
    let counts = run(include_str!("../../../docs/api.md")).await;
    assert_eq!((counts.run, counts.compared, counts.text), (29, 23, 3));
}

#[tokio::test]
async fn the_examples_of_the_readme_run() {
    let counts = run(include_str!("../../../README.md")).await;
    assert_eq!((counts.run, counts.compared, counts.text), (10, 1, 5));
}
