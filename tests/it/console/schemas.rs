//! The page of schemas: put one by pasting it, try it, change its mode, read its versions, delete it.

use crate::support::console::{Desk, Guarded, entry, id, is_shown, message, on_page};
use serde_json::json;

const SCHEMA: &str = "/v1/schemas/message/note";

#[tokio::test]
async fn a_schema_is_put_by_pasting_and_its_versions_are_shown() {
    let desk = Desk::with(&[message("ann", "good day"), message("ann", "BAD")]).await;
    desk.page("schemas").await;
    desk.shows(&on_page("nothing"), "There are no schemas").await;
    desk.browser.click(&on_page("put-schema")).await;
    desk.browser.click(&id("schema-put")).await;
    desk.shows(&id("schema-error"), "Not a type").await;
    desk.browser.fill(&id("schema-type"), "note").await;
    for (text, error) in [("{", "no JSON"), (r#"{"type":"text"}"#, "/schema/type")] {
        desk.browser.fill(&id("schema-text"), text).await;
        desk.browser.click(&id("schema-put")).await;
        desk.shows(&id("schema-error"), error).await;
    }
    let lower =
        json!({"properties": {"content": {"pattern": "^[a-z ]+$", "title": "<img src=x>"}}});
    desk.browser.fill(&id("schema-text"), &lower.to_string()).await;
    desk.browser.click(&id("schema-check")).await;
    desk.shows(&id("schema-checked"), "1 of the last messages do not match").await;
    desk.browser.screenshot("put-schema").await;
    assert_eq!(desk.http.get(SCHEMA).await.status, 404, "only tried");
    desk.browser.click(&id("schema-put")).await;
    desk.shows(&on_page("notice"), "message/note is at version 1").await;
    let row = entry("schema", "message/note");
    desk.cells(&row, &[("Mode", "enforce"), ("Content", "text"), ("Version", "1")]).await;
    desk.http.post_json("/v1/messages", &message("ann", "BAD")).await.expect(422);

    desk.browser.click(&format!("{row} [data-testid=change]")).await;
    desk.shows(&id("put-schema-dialog"), "Schema of message/note").await;
    desk.browser.choose(&id("schema-mode"), "warn").await;
    desk.browser.click(&id("schema-put")).await;
    desk.cells(&row, &[("Mode", "warn"), ("Version", "2")]).await;
    desk.http.post_json("/v1/messages", &message("ann", "BAD")).await.expect(201);
    desk.shows(&on_page("summary"), "1 schema").await;
    desk.browser.screenshot("schemas").await;

    desk.browser.click(&format!("{row} [data-testid=versions]")).await;
    desk.many(&id("version"), 2).await;
    desk.shows(&id("versions-dialog"), "<img src=x>").await;
    desk.browser.screenshot("schema-versions").await;
    assert_eq!(desk.browser.run("return document.querySelectorAll('img').length").await, 0);
    desk.browser.click(&id("versions-close")).await;

    desk.browser.click(&format!("{row} [data-testid=delete]")).await;
    desk.shows(&id("ask"), "All its versions are deleted").await;
    desk.browser.click(&id("ask-confirm")).await;
    desk.shows(&on_page("notice"), "The schema of message/note is deleted").await;
    desk.many(&on_page("schema"), 0).await;
    assert_eq!(desk.http.get(SCHEMA).await.status, 404);
}

#[tokio::test]
async fn the_page_is_there_for_who_may_use_it() {
    for (grants, may) in
        [(json!({"can": ["schemas"]}), true), (json!({"read": ["agent.>"]}), false)]
    {
        let desk = Guarded::with(&[]).await;
        desk.log_in_with("reader", grants).await;
        let tab = "Boolean(document.querySelector('[data-page=schemas]').checkVisibility())";
        assert_eq!(desk.browser.run(&format!("return {tab}")).await, may);
        assert_eq!(desk.browser.run(&format!("return {}", is_shown("me"))).await, true);
    }
}
