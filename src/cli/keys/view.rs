//! How keys are shown to people.

use agentbus_client::{Grants, Key, KeyLimits};

use crate::cli::terminal::{local_time, plain};

/// The titles of the list.
pub const TITLES: &[&str] = &["ID", "NAME", "KIND", "EXPIRES", "LAST USED", "GRANTS"];
/// How many values of a grant the list shows.
const SHOWN_VALUES: usize = 2;

/// A key as a row of the list.
pub fn row(key: Key) -> Vec<String> {
    let time = |time: Option<String>, none: &str| {
        time.map_or_else(|| none.to_owned(), |time| local_time(&time, true))
    };
    let (expires, used) = (time(key.expires_at, "never"), time(key.last_used_at, "never"));
    let expires = if key.disabled { "disabled".to_owned() } else { expires };
    vec![key.id, key.name, key.kind, expires, used, short(&key.grants)]
}

/// A key with everything about it but its secret.
pub fn details(key: &Key) -> String {
    let time = |time: &Option<String>| {
        time.as_ref().map_or_else(|| "never".to_owned(), |time| local_time(time, true))
    };
    let mut lines = vec![
        ("id", key.id.clone()),
        ("name", key.name.clone()),
        ("kind", key.kind.clone()),
        ("made", local_time(&key.created_at, true)),
        ("made by", key.created_by.clone().unwrap_or_else(|| "the command line".to_owned())),
        ("expires", time(&key.expires_at)),
        ("last used", time(&key.last_used_at)),
    ];
    if key.disabled {
        lines.push(("disabled", format!("by a restore; agentbus keys enable {}", key.id)));
    }
    lines.extend(
        key.old_secret_until.as_ref().map(|end| ("old secret ends", local_time(end, true))),
    );
    let all = lists(&key.grants);
    let given = all.iter().filter(|(_, values)| !values.is_empty());
    lines.extend(given.map(|(name, values)| (*name, values.join(" "))));
    lines.extend(limits(&key.limits));
    lines.iter().map(|(name, value)| format!("{name:<16} {}\n", plain(value))).collect()
}

/// The grants in a few words.
fn short(grants: &Grants) -> String {
    let lists = lists(grants);
    let given = lists.iter().filter(|(_, values)| !values.is_empty());
    let texts: Vec<String> = given
        .map(|(name, values)| {
            let shown = values[..values.len().min(SHOWN_VALUES)].join(" ");
            match values.len().saturating_sub(SHOWN_VALUES) {
                0 => format!("{name} {shown}"),
                more => format!("{name} {shown} +{more}"),
            }
        })
        .collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn lists(grants: &Grants) -> [(&'static str, &[String]); 6] {
    [
        ("as", &grants.senders),
        ("publish", &grants.publish),
        ("read", &grants.read),
        ("enqueue", &grants.enqueue),
        ("work", &grants.work),
        ("can", &grants.can),
    ]
}

fn limits(limits: &KeyLimits) -> impl Iterator<Item = (&'static str, String)> {
    let KeyLimits { requests_per_s, messages_per_s, bytes_per_day, streams } = *limits;
    let all = [
        ("requests/s", requests_per_s),
        ("messages/s", messages_per_s),
        ("bytes/day", bytes_per_day),
        ("streams", streams),
    ];
    all.into_iter().filter_map(|(name, limit)| Some((name, limit?.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> Key {
        serde_json::from_str(json).expect("a key")
    }

    #[test]
    fn a_row_shows_the_begin_of_each_grant() {
        let json = r#"{"id":"k1","name":"ann's","kind":"agent","grants":{"as":["ann"],
            "publish":["a","b","c"],"enqueue":["*"]},"expires_at":null,"key":"ab_k1_hunter2"}"#;
        let grants = "as ann, publish a b +1, enqueue *";
        assert_eq!(row(key(json)), ["k1", "ann's", "agent", "never", "never", grants]);
        assert_eq!(row(key(r#"{"grants":{}}"#))[5], "none");
        assert_eq!(row(key(r#"{"disabled":true}"#))[3], "disabled");
    }

    #[test]
    fn details_show_all_but_the_secret() {
        let json = r#"{"id":"k1","name":"a\u001b[2J","kind":"agent","grants":{"publish":["a","b","c"]},
            "limits":{"streams":3},"key":"ab_k1_hunter2"}"#;
        let text = details(&key(json));
        for part in
            ["publish          a b c\n", "streams          3\n", "a␛[2J", "the command line"]
        {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
        assert!(!text.contains("hunter2"));
    }
}
