//! Values and patterns of the table.

use std::collections::HashMap;

use serde_json::{Map, Value};
use uuid::Uuid;

/// Bound names.
pub type Names = HashMap<String, Value>;

/// Replaces names, and builds arrays and texts.
pub fn substitute(value: &Value, names: &Names) -> Result<Value, String> {
    match value {
        Value::String(text) => text_of(text, names),
        Value::Array(items) => items.iter().map(|item| substitute(item, names)).collect(),
        Value::Object(members) => object_of(members, names),
        other => Ok(other.clone()),
    }
}

fn object_of(members: &Map<String, Value>, names: &Names) -> Result<Value, String> {
    if let (Some(count), Some(item)) = (members.get("$times"), members.get("of")) {
        let mut names = names.clone();
        let items = (0..count.as_u64().ok_or("$times needs a number")?).map(|i| {
            names.insert("i".to_owned(), i.into());
            substitute(item, &names)
        });
        return items.collect();
    }
    if let (Some(text), Some(times)) = (members.get("$text"), members.get("times")) {
        let times = times.as_u64().and_then(|times| usize::try_from(times).ok());
        let text = text.as_str().zip(times).ok_or("$text needs a text and a number")?;
        return Ok(text.0.repeat(text.1).into());
    }
    let replaced =
        members.iter().map(|(name, value)| Ok((name.clone(), substitute(value, names)?)));
    replaced.collect::<Result<Map<_, _>, String>>().map(Value::Object)
}

fn text_of(text: &str, names: &Names) -> Result<Value, String> {
    let mut parts = text.split("${");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').ok_or("a name without its end")?;
        let value = look_up(name, names)?;
        if text.len() == name.len() + 3 {
            return Ok(value);
        }
        match value {
            Value::String(text) => result.push_str(&text),
            other => result.push_str(&other.to_string()),
        }
        result.push_str(rest);
    }
    Ok(result.into())
}

fn look_up(path: &str, names: &Names) -> Result<Value, String> {
    let mut parts = path.split('.');
    let first = parts.next().and_then(|name| names.get(name));
    let found = parts.fold(first, |value, part| match value? {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    });
    found.cloned().ok_or_else(|| format!("{path} is not bound"))
}

/// Whether a value matches a pattern; `None` is a member that is missing.
pub fn matches(pattern: &Value, value: Option<&Value>, bound: &mut Names) -> bool {
    match pattern {
        Value::String(word) if word.starts_with('$') => is(word, value),
        Value::Object(members) if members.keys().any(|name| name.starts_with('$')) => {
            special(members, value, bound)
        }
        Value::Object(members) => {
            let object = value.and_then(Value::as_object);
            object.is_some_and(|object| {
                members.iter().all(|(name, pattern)| matches(pattern, object.get(name), bound))
            })
        }
        Value::Array(patterns) => {
            let items = value.and_then(Value::as_array);
            items.is_some_and(|items| {
                items.len() == patterns.len()
                    && patterns.iter().zip(items).all(|(p, v)| matches(p, Some(v), bound))
            })
        }
        Value::Number(number) => value.and_then(Value::as_f64) == number.as_f64(),
        other => value == Some(other),
    }
}

fn is(word: &str, value: Option<&Value>) -> bool {
    let text = value.and_then(Value::as_str);
    match word {
        "$any" => value.is_some(),
        "$absent" => value.is_none_or(Value::is_null),
        "$string" => text.is_some(),
        "$number" => value.is_some_and(Value::is_number),
        "$object" => value.is_some_and(Value::is_object),
        "$seq" => value.and_then(Value::as_u64).is_some_and(|seq| seq > 0),
        "$uuid" => text.is_some_and(|text| {
            text.parse::<Uuid>().is_ok_and(|uuid| uuid.hyphenated().to_string() == text)
        }),
        "$time" => text.is_some_and(|text| chrono::DateTime::parse_from_rfc3339(text).is_ok()),
        unknown => panic!("there is no pattern {unknown}"),
    }
}

fn special(members: &Map<String, Value>, value: Option<&Value>, bound: &mut Names) -> bool {
    let items = value.and_then(Value::as_array);
    let (name, argument) = members.iter().find(|(name, _)| name.starts_with('$')).expect("one");
    let patterns = || argument.as_array().expect("patterns");
    match name.as_str() {
        "$bind" => {
            let any = "$any".into();
            let matched = matches(members.get("is").unwrap_or(&any), value, bound);
            let name = argument.as_str().expect("a name").to_owned();
            bound.extend(value.map(|value| (name, value.clone())));
            matched
        }
        "$includes" => items.is_some_and(|items| {
            patterns().iter().all(|p| items.iter().any(|v| matches(p, Some(v), bound)))
        }),
        "$excludes" => {
            items.is_some_and(|items| !items.iter().any(|v| matches(argument, Some(v), bound)))
        }
        "$unordered" => items.is_some_and(|items| {
            let mut left: Vec<&Value> = items.iter().collect();
            let all_found = patterns().iter().all(|p| {
                let at = left.iter().position(|v| matches(p, Some(v), bound));
                at.map(|at| left.remove(at)).is_some()
            });
            all_found && left.is_empty()
        }),
        "$length" => items.is_some_and(|items| argument.as_u64() == Some(items.len() as u64)),
        "$has" => {
            let text = value.and_then(Value::as_str);
            text.is_some_and(|text| text.contains(argument.as_str().expect("a text")))
        }
        unknown => panic!("there is no pattern {unknown}"),
    }
}

#[test]
fn patterns_match_what_they_say() {
    use serde_json::json;
    let yes = |pattern: Value, value: Value| matches(&pattern, Some(&value), &mut Names::new());
    assert!(yes(json!({"a": 1, "b": "$absent"}), json!({"a": 1.0, "c": 2})));
    assert!(!yes(json!({"a": 1}), json!({"a": "1"})));
    assert!(!yes(json!({"a": true}), json!({"a": 1})));
    assert!(!yes(json!([1]), json!([1, 2])) && !yes(json!({"$length": 1}), json!([1, 2])));
    assert!(yes(json!({"$unordered": [1, "$string"]}), json!(["x", 1])));
    assert!(!yes(json!({"$unordered": [1, 1]}), json!([1, 2])));
    assert!(yes(json!({"$includes": [2]}), json!([1, 2])));
    assert!(!yes(json!({"$includes": [3]}), json!([1, 2])));
    assert!(!yes(json!({"$excludes": 2}), json!([1, 2])));
    assert!(!yes(json!("$uuid"), json!("4BF92F35-77B3-4DA6-A3CE-929D0E0E4736")));
    assert!(!yes(json!("$seq"), json!(0)) && !yes(json!("$time"), json!("yesterday")));
    assert!(!yes(json!({"a": "$any"}), json!({})) && !yes(json!({"$has": "b"}), json!("ac")));
    let mut names = Names::new();
    assert!(matches(
        &json!({"$bind": "x", "is": {"n": [1, 2]}}),
        Some(&json!({"n": [1, 2]})),
        &mut names
    ));
    assert_eq!(substitute(&json!(["${x.n.1}", "no ${x.n.0}"]), &names), Ok(json!([2, "no 1"])));
    assert_eq!(substitute(&json!({"$times": 2, "of": "${i}"}), &names), Ok(json!([0, 1])));
    assert!(substitute(&json!("${y}"), &names).is_err());
}
