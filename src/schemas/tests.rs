//! Schemas that try to be slow, deep or large, and those that people write.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ContentForm, Schema};
use crate::message::FieldError;

/// Checking one message takes at most this, however the schema was made, with the compiler's settings for tests.
const SOON: Duration = Duration::from_secs(2);

fn compile(schema: &Value) -> Result<Schema, Vec<FieldError>> {
    Schema::compile(&schema.to_string(), ContentForm::Text)
}

#[track_caller]
fn refused(schema: &Value) -> FieldError {
    let begun = Instant::now();
    let refused = compile(schema).expect_err("refused").swap_remove(0);
    assert!(begun.elapsed() < SOON, "{:?}: {refused:?}", begun.elapsed());
    refused
}

/// The faults of a message: pointer and text.
fn faults(schema: &Schema, content: &str, metadata: &Value) -> Vec<(String, String)> {
    let checked = schema.prepare(content, &metadata.to_string()).and_then(|it| schema.check(&it));
    let errors = checked.err().map(|violation| violation.errors).unwrap_or_default();
    errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
}

/// The schema may be refused. If it is not, checking the message ends soon.
#[track_caller]
fn ends_soon(name: &str, schema: &Value, content: &str, metadata: &Value) {
    let begun = Instant::now();
    let Ok(compiled) = compile(schema) else {
        return assert!(begun.elapsed() < SOON, "{name}: refused after {:?}", begun.elapsed());
    };
    assert!(begun.elapsed() < SOON, "{name}: compiled in {:?}", begun.elapsed());
    let begun = Instant::now();
    let _ = faults(&compiled, content, metadata);
    assert!(begun.elapsed() < SOON, "{name}: checked in {:?}", begun.elapsed());
}

/// A chain of definitions: each is `step` of the next.
fn chain(length: usize, step: impl Fn(Value) -> Value, last: Value) -> Value {
    let mut defs = serde_json::Map::new();
    for at in 0..length {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        defs.insert(format!("d{at}"), step(next));
    }
    defs.insert(format!("d{length}"), last);
    json!({"$defs": defs, "$ref": "#/$defs/d0"})
}

fn nested(depth: usize, inner: Value) -> Value {
    (0..depth).fold(inner, |value, _| json!({"c": value}))
}

#[test]
fn a_schema_says_where_a_message_is_wrong() {
    let schema = compile(&json!({
        "required": ["metadata"],
        "properties": {
            "content": {"minLength": 3, "pattern": "^[a-z ]+$"},
            "metadata": {
                "type": "object",
                "properties": {"n": {"type": "integer", "minimum": 1}, "tags": {"items": {"type": "string"}}},
                "required": ["n"],
                "additionalProperties": false
            }
        }
    }))
    .expect("a schema");
    assert_eq!(faults(&schema, "good", &json!({"n": 1, "tags": ["a"]})), []);
    let found = faults(&schema, "NO", &json!({"n": 0, "tags": ["a", 7], "x/y": 1}));
    let mut pointers: Vec<&str> = found.iter().map(|(pointer, _)| &**pointer).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        ["/content", "/content", "/metadata", "/metadata/n", "/metadata/tags/1"],
        "{found:?}"
    );
    assert!(found.iter().all(|(_, text)| !text.contains("NO")), "{found:?}");
}

#[test]
fn content_may_be_json_in_a_text() {
    let json = json!({"properties": {"content": {"required": ["id"], "properties": {"id": {"type": "integer"}}}}});
    let schema = Schema::compile(&json.to_string(), ContentForm::Json).expect("a schema");
    assert_eq!(faults(&schema, r#"{"id": 1}"#, &json!({})), []);
    assert_eq!(faults(&schema, r#"{"id": "x"}"#, &json!({}))[0].0, "/content/id");
    for broken in ["", "{", "{} {}", &"[".repeat(200)] {
        assert_eq!(faults(&schema, broken, &json!({}))[0].0, "/content", "{broken}");
    }
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    assert!(faults(&schema, &deep, &json!({}))[0].1.contains("nest at most"));
}

#[test]
fn what_people_write_is_accepted() {
    let text = json!({"type": "string"});
    for schema in [
        json!(true),
        json!({}),
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://a.example/x", "title": "x"}),
        // A tree.
        json!({"$defs": {"n": {"type": "object", "properties": {"c": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}},
            "properties": {"metadata": {"$ref": "#/$defs/n"}}}),
        // A list with any rest.
        json!({"$defs": {"n": {"properties": {"c": {"$ref": "#/$defs/n"}}, "additionalProperties": {"$ref": "#/$defs/n"}}},
            "properties": {"metadata": {"$ref": "#/$defs/n"}}}),
        // An expression with operators of two operands each.
        json!({"$defs": {"e": {"oneOf": [
                {"type": "number"},
                {"properties": {"op": {"const": "add"}, "c": {"$ref": "#/$defs/e"}, "d": {"$ref": "#/$defs/e"}}, "required": ["op", "c", "d"]},
                {"properties": {"op": {"const": "mul"}, "c": {"$ref": "#/$defs/e"}, "d": {"$ref": "#/$defs/e"}}, "required": ["op", "c", "d"]}
            ]}}, "properties": {"metadata": {"properties": {"e": {"$ref": "#/$defs/e"}}}}}),
        // A base that is extended.
        json!({"$defs": {"b": {"properties": {"a": text}}},
            "properties": {"metadata": {"allOf": [{"$ref": "#/$defs/b"}], "properties": {"x": text}, "unevaluatedProperties": false}}}),
        // One of some, told apart by a member.
        json!({"properties": {"metadata": {"oneOf": (0..20).map(|n| json!({"properties": {"k": {"const": n}, "v": text}, "required": ["k"]})).collect::<Vec<_>>()}}}),
        json!({"properties": {"metadata": {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}}}),
        json!({"$defs": {"x": {"$anchor": "name", "type": "object"}}, "properties": {"metadata": {"$ref": "#name"}}}),
    ] {
        let compiled = compile(&schema);
        assert!(compiled.is_ok(), "{schema}: {compiled:?}");
    }
}

#[test]
fn what_leaves_the_document_is_refused() {
    let at = |inner: Value| json!({"properties": {"content": inner}});
    for (inner, keyword) in [
        (json!({"$ref": "http://127.0.0.1:1/x"}), "$ref"),
        (json!({"$ref": "file:///etc/passwd"}), "$ref"),
        (json!({"$ref": "other.json#/a"}), "$ref"),
        (json!({"$ref": "#/nothing"}), "$ref"),
        (json!({"$ref": "#nothing"}), "$ref"),
        (json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}), "$ref"),
        (json!({"$id": "http://a.example/b"}), "$id"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "$schema"),
        (json!({"$dynamicRef": "#x"}), "$dynamicRef"),
        (json!({"pattern": "(?=a)a"}), "pattern"),
        (json!({"pattern": "(a)\\1"}), "pattern"),
        (json!({"dependencies": {}}), "dependencies"),
    ] {
        let fault = refused(&at(inner.clone()));
        assert_eq!(fault.pointer, format!("/properties/content/{keyword}"), "{fault:?}");
    }
    assert_eq!(
        refused(&json!({"$schema": "http://json-schema.org/draft-07/schema#"})).pointer,
        "/$schema"
    );
    assert!(refused(&json!({"type": "text"})).pointer.starts_with("/type"));
    assert!(refused(&json!({"properties": 7})).pointer.starts_with("/properties"));
    assert_eq!(refused(&json!({"not": 7})).pointer, "/not");
}

#[test]
fn what_cannot_end_or_multiplies_is_refused() {
    let text = |schema: Value| refused(&schema).detail;
    // Back to itself without going deeper.
    assert!(text(json!({"$ref": "#"})).contains("back to themselves"));
    assert!(text(json!({"allOf": [{"anyOf": [{"$ref": "#"}]}]})).contains("back to themselves"));
    assert!(text(chain(40, |next| next, json!({}))).contains("more than"));
    // 4^7 and 24^3 looks at one value.
    let four = |next: Value| json!({"allOf": vec![next; 4]});
    assert!(text(chain(7, four, json!({}))).contains("multiply"));
    let three =
        |next: Value| json!({"anyOf": [next.clone(), {"oneOf": [next.clone()]}, {"not": next}]});
    assert!(
        text(chain(3, |next| json!({"allOf": vec![three(next); 8]}), json!({})))
            .contains("multiply")
    );
    // Looked at sixteen times at each level.
    let sixteen: Vec<Value> =
        (0..16).map(|_| json!({"properties": {"c": {"$ref": "#/$defs/n"}}})).collect();
    assert!(text(json!({"$defs": {"n": {"allOf": sixteen}}, "properties": {"metadata": {"$ref": "#/$defs/n"}}})).contains("multiply"));
    // Compiled three times at each level.
    let deep = (0..30).fold(
        json!({}),
        |inner, _| json!({"unevaluatedProperties": false, "additionalProperties": inner}),
    );
    assert!(text(deep).contains("unevaluated"));
    let deep = (0..40).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
    assert!(text(deep).contains("deep"));
    let many: Vec<Value> = (0..2_000).map(|n| json!({"minLength": n})).collect();
    assert!(text(json!({"allOf": many})).contains("schemas in it"));
    assert!(refused(&json!({"title": "x".repeat(70_000)})).detail.contains("bytes"));
}

#[test]
fn how_deep_a_message_may_be_depends_on_the_ways_to_each_value() {
    let at = |times: usize| {
        let inner = json!({"properties": {"c": {"$ref": "#/$defs/n"}}});
        let schema = json!({"$defs": {"n": {"allOf": vec![inner; times]}}, "properties": {"metadata": {"$ref": "#/$defs/n"}}});
        let compiled = compile(&schema).expect("a schema");
        move |depth: usize| faults(&compiled, "", &nested(depth, json!(1))).is_empty()
    };
    let (once, twice, six) = (at(1), at(2), at(6));
    assert!(once(31) && twice(8) && six(3));
    assert!(!twice(31) && !six(12));
}

#[test]
fn hostile_schemas_cost_little() {
    let all = |times: usize, schema: Value| json!({"allOf": vec![schema; times]});
    let numbers: Vec<u64> = (0..100_000).collect();
    let long = "a".repeat(900_000);
    let tree = nested(31, json!(1));
    let wide: Value =
        (0..50_000).map(|n| (format!("m{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
    let on = |inner: Value| json!({"properties": {"metadata": inner}});
    let on_list = |inner: Value| on(json!({"properties": {"l": inner}}));
    let list = json!({"l": numbers});
    let objects = json!({"l": (0..20_000).map(|n| json!({"a": n, "b": [n]})).collect::<Vec<_>>()});
    let recursive = |times: usize| {
        let inner = json!({"properties": {"c": {"$ref": "#/$defs/n"}}});
        json!({"$defs": {"n": all(times, inner)}, "properties": {"metadata": {"$ref": "#/$defs/n"}}})
    };
    for times in 1..8 {
        ends_soon("recursive", &recursive(times), "", &tree);
    }
    let unevaluated = json!({"$defs": {"n": {"anyOf": [{"properties": {"c": {"$ref": "#/$defs/n"}}}], "unevaluatedProperties": false}},
        "properties": {"metadata": {"$ref": "#/$defs/n"}}});
    ends_soon("unevaluated", &unevaluated, "", &tree);
    ends_soon(
        "diamond",
        &chain(14, |next| json!({"properties": {"c": next.clone(), "d": next}}), json!({})),
        "",
        &tree,
    );
    ends_soon("uniqueItems", &on_list(json!({"uniqueItems": true})), "", &list);
    ends_soon(
        "uniqueItems of objects",
        &on_list(json!({"uniqueItems": true, "items": {"uniqueItems": true}})),
        "",
        &objects,
    );
    ends_soon("many uniqueItems", &on_list(all(200, json!({"uniqueItems": true}))), "", &list);
    ends_soon(
        "contains",
        &on_list(all(50, json!({"contains": {"const": -1}, "minContains": 1_000_000}))),
        "",
        &list,
    );
    ends_soon("minItems", &on_list(json!({"minItems": 18_446_744_073_709_551_615_u64})), "", &list);
    let strings: Vec<String> = (0..6_000).map(|n| format!("{n:08}")).collect();
    ends_soon("enum", &on_list(json!({"items": {"enum": strings}})), "", &list);
    let values: Vec<Value> = (0..3_000).map(|n| json!({"a": n, "b": [n + 1]})).collect();
    ends_soon("enum of objects", &on_list(json!({"items": {"enum": values}})), "", &objects);
    ends_soon("faults", &on_list(json!({"items": {"type": "string"}})), "", &list);
    ends_soon(
        "faults of branches",
        &on_list(json!({"items": {"anyOf": vec![json!({"type": "string"}); 5]}})),
        "",
        &list,
    );
    let names: serde_json::Map<_, _> =
        (0..60).map(|n| (format!("^m.*{n}.*$"), json!({"type": "string"}))).collect();
    ends_soon("patternProperties", &on(json!({"patternProperties": names})), "", &wide);
    ends_soon(
        "propertyNames",
        &on(json!({"propertyNames": all(50, json!({"pattern": "^(m|n)*[0-9]+x?$"}))})),
        "",
        &wide,
    );
    ends_soon(
        "dependentRequired",
        &on(
            json!({"dependentRequired": (0..500).map(|n| (format!("m{n}"), json!(vec![format!("m{}", n + 1); 10]))).collect::<serde_json::Map<_, _>>()}),
        ),
        "",
        &wide,
    );
    ends_soon("multipleOf", &on_list(json!({"items": {"multipleOf": 1e-300}})), "", &list);
    for pattern in [
        "^(a+)+$",
        "(a|aa)+$",
        "^(a?){50}a{50}$",
        "(.*a){12}",
        "(a|b|ab)*c",
        "[ab]*a[ab]{12}",
        "(?i)(\\w+\\s?)+$",
    ] {
        let schema = json!({"properties": {"content": {"pattern": pattern}}});
        ends_soon(pattern, &schema, &long, &json!({}));
        ends_soon(pattern, &schema, &"ab".repeat(450_000), &json!({}));
    }
    let patterns: Vec<Value> =
        (0..300).map(|n| json!({"pattern": format!("a[ab]{{{}}}c", n % 100)})).collect();
    ends_soon(
        "many patterns",
        &json!({"properties": {"content": {"allOf": patterns}}}),
        &long,
        &json!({}),
    );
}

/// The deepest message with the longest chains at each level fits in a fraction of the stack of a worker (2 MiB).
#[test]
fn the_deepest_check_fits_in_a_stack() {
    let mut inner = json!({"type": "object", "properties": {"c": {"$ref": "#/$defs/d0"}}});
    for at in 0..13 {
        inner = match at % 3 {
            0 => json!({"allOf": [inner]}),
            1 => json!({"anyOf": [inner, false]}),
            _ => json!({"oneOf": [inner, false]}),
        };
    }
    let schema =
        json!({"$defs": {"d0": inner}, "properties": {"metadata": {"$ref": "#/$defs/d0"}}});
    let run = move || {
        let compiled = compile(&schema).expect("a schema");
        assert_eq!(faults(&compiled, "", &nested(30, json!({"c": {}}))), []);
        assert!(!faults(&compiled, "", &nested(30, json!({"c": 1}))).is_empty());
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(run).expect("a thread");
    thread.join().expect("enough stack");
}
