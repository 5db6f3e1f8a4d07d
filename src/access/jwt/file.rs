//! `JWT_ISSUERS_FILE`: whose tokens are accepted, and the most that they may grant.
//!
//! Invariant: a fault is named with file, issuer and member. A secret is in a file that its owner alone may read, and is
//! never shown.

use std::collections::HashSet;
use std::path::Path;

use jsonwebtoken::Algorithm;
use reqwest::Url;

use super::crypto::SUPPORTED;
use super::key_set::KeySet;
use super::key_source::KeySource;
use crate::access::grants::Grants;
use crate::access::limits::KeyLimits;
use crate::access::principal::KeyKind;
use crate::access::secret_file;
use crate::limits::{
    MAX_ISSUER_NAME, MAX_ISSUERS, MAX_ISSUERS_FILE_BYTES, MAX_JWT_SECRET_BYTES,
    MIN_JWT_SECRET_BYTES,
};
use crate::loopback::is_loopback;
use crate::message::{BodyError, ObjectReader};

/// An issuer, as the file has it.
pub(super) struct IssuerSettings {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) algorithm: Algorithm,
    pub(super) keys: KeySource,
    pub(super) kind: KeyKind,
    pub(super) sub_as: bool,
    pub(super) most: Grants,
    pub(super) limits: KeyLimits,
}

/// Where an issuer's keys are.
enum Place {
    Secret(String),
    Jwks(Url),
}

/// Reads the file.
///
/// # Errors
/// All faults, each on a line.
pub(super) fn read(path: &Path) -> Result<Vec<IssuerSettings>, String> {
    let named = |fault: &str| format!("JWT_ISSUERS_FILE={}: {fault}", path.display());
    let size = std::fs::metadata(path).map_err(|error| named(&error.to_string()))?.len();
    if size > MAX_ISSUERS_FILE_BYTES {
        return Err(named(&format!("is longer than {MAX_ISSUERS_FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| named(&error.to_string()))?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    parse(&text, folder)
        .map_err(|faults| faults.iter().map(|fault| named(fault)).collect::<Vec<_>>().join("\n"))
}

/// Parses the file; secrets are looked for in `folder`.
fn parse(text: &str, folder: &Path) -> Result<Vec<IssuerSettings>, Vec<String>> {
    let mut tables: toml::Table =
        toml::from_str(text).map_err(|error| vec![error.to_string().trim().to_owned()])?;
    let issuers = tables.remove("issuers");
    let mut faults: Vec<String> =
        tables.keys().map(|name| format!("{name}: is not a member of this file")).collect();
    let Some(toml::Value::Table(issuers)) = issuers else {
        faults.push("has no table [issuers.NAME]".to_owned());
        return Err(faults);
    };
    if issuers.len() > MAX_ISSUERS {
        faults.push(format!("has more than {MAX_ISSUERS} issuers"));
    }
    let (mut read, mut known) = (Vec::new(), HashSet::new());
    for (name, table) in issuers {
        match issuer(&name, &table, folder) {
            Ok(issuer) if !known.insert(issuer.issuer.clone()) => {
                faults.push(format!("issuer {name}: issuer: another one has it, too"));
            }
            Ok(issuer) => read.push(issuer),
            Err(more) => {
                faults.extend(more.iter().map(|fault| format!("issuer {name}: {fault}")));
            }
        }
    }
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

fn issuer(name: &str, table: &toml::Value, folder: &Path) -> Result<IssuerSettings, Vec<String>> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=MAX_ISSUER_NAME).contains(&name.len()) || !name.bytes().all(is_plain) {
        let fault = format!("its name must be 1 to {MAX_ISSUER_NAME} characters of a-z 0-9 -");
        return Err(vec![fault]);
    }
    // Grants and limits are read as they are in requests, and named by the same rules.
    let json = serde_json::to_vec(table).map_err(|error| vec![error.to_string()])?;
    let faults = |error| match error {
        BodyError::Syntax { detail, .. } => vec![detail],
        BodyError::Invalid(errors) => {
            let fault = |e: crate::message::FieldError| {
                format!("{}: {}", e.pointer.trim_start_matches('/'), e.detail)
            };
            errors.into_iter().map(fault).collect()
        }
    };
    let mut form = ObjectReader::parse(&json).map_err(faults)?;
    let text = |form: &mut ObjectReader<'_>, name| {
        form.required::<String>(name, "must be a text that is not empty").filter(|text| {
            let is_empty = text.is_empty();
            if is_empty {
                form.fail(name, "must be a text that is not empty");
            }
            !is_empty
        })
    };
    let (issuer, audience) = (text(&mut form, "issuer"), text(&mut form, "audience"));
    if !form.has("algorithm") {
        form.fail("algorithm", "is required: HS256, EdDSA, ES256 or RS256");
    }
    let algorithm = form.text("algorithm", algorithm);
    let place = algorithm.and_then(|algorithm| place(&mut form, algorithm));
    if !form.has("most") {
        form.fail("most", "is required: the grants that its tokens may have at most");
    }
    let most = form.object("most", Grants::parse);
    let limits = form.object("limits", KeyLimits::parse).unwrap_or_default();
    let kind = form.text("kind", str::parse).unwrap_or(KeyKind::Agent);
    let sub_as = form.take("sub_as", "must be true or false").unwrap_or(false);
    let read = (|| Some((issuer?, audience?, algorithm?, place?, most?)))();
    let (issuer, audience, algorithm, place, most) =
        form.finish("an issuer", read).map_err(faults)?;
    let keys = place.source(name, algorithm, folder).map_err(|fault| vec![fault])?;
    let name = name.to_owned();
    Ok(IssuerSettings { name, issuer, audience, algorithm, keys, kind, sub_as, most, limits })
}

fn algorithm(text: &str) -> Result<Algorithm, &'static str> {
    let known = SUPPORTED.into_iter().find(|known| format!("{known:?}") == text);
    known.ok_or("must be HS256, EdDSA, ES256 or RS256")
}

/// Reads where the keys are: `secret_file` for HS256, `jwks_url` for all others.
fn place(form: &mut ObjectReader<'_>, algorithm: Algorithm) -> Option<Place> {
    let (wanted, other) = match algorithm {
        Algorithm::HS256 => ("secret_file", "jwks_url"),
        _ => ("jwks_url", "secret_file"),
    };
    if form.raw(other).is_some() {
        form.fail(other, format!("is not for {algorithm:?}, which needs {wanted}"));
    }
    if !form.has(wanted) {
        form.fail(wanted, format!("is required for {algorithm:?}"));
    }
    match algorithm {
        Algorithm::HS256 => form.take(wanted, "must be a path").map(Place::Secret),
        _ => form.text(wanted, jwks_url).map(Place::Jwks),
    }
}

fn jwks_url(text: &str) -> Result<Url, &'static str> {
    const RULE: &str = "must be a URL with https:, or with http: on this machine, without a user";
    let url: Url = text.parse().map_err(|_| RULE)?;
    let is_private = match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    if is_private && !has_user { Ok(url) } else { Err(RULE) }
}

impl Place {
    fn source(self, name: &str, algorithm: Algorithm, folder: &Path) -> Result<KeySource, String> {
        let file = match self {
            Self::Jwks(url) => return KeySource::fetched(name, url, algorithm),
            Self::Secret(file) => folder.join(file),
        };
        let fault = |fault: &str| format!("secret_file={}: {fault}", file.display());
        let read = secret_file::read(&file, MAX_JWT_SECRET_BYTES).map_err(|error| fault(&error))?;
        let secret = read.ok_or_else(|| fault("there is no such file"))?;
        if secret.len() < MIN_JWT_SECRET_BYTES {
            return Err(fault(&format!("the secret has less than {MIN_JWT_SECRET_BYTES} bytes")));
        }
        let keys = KeySet::secret(&secret).ok_or_else(|| fault("holds no secret"))?;
        Ok(KeySource::fixed(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [issuers.corp]
        issuer = "https://login.example.com/"
        audience = "agentbus"
        algorithm = "RS256"
        jwks_url = "https://login.example.com/keys"
        sub_as = true
        kind = "human"
        most = { publish = ["agent.>"], read = ["agent.>"] }
        limits = { streams = 3 }
    "#;

    fn faults(text: &str) -> String {
        parse(text, Path::new("/nowhere")).err().unwrap_or_default().join("\n")
    }

    #[test]
    fn an_issuer_is_read() {
        let read = parse(GOOD, Path::new("")).expect("valid");
        let [corp] = &read[..] else { panic!("one issuer") };
        assert_eq!((&*corp.name, &*corp.audience), ("corp", "agentbus"));
        assert_eq!(
            (corp.algorithm, corp.kind, corp.sub_as),
            (Algorithm::RS256, KeyKind::Human, true)
        );
        assert!(corp.most.publish.is_all() && corp.limits.streams == Some(3));
    }

    #[test]
    fn each_fault_is_named_with_issuer_and_member() {
        for (from, to, fault) in [
            ("corp", "Corp", "issuer Corp: its name must be"),
            ("\"RS256\"", "\"none\"", "issuer corp: algorithm: must be HS256"),
            ("\"RS256\"", "\"HS256\"", "issuer corp: jwks_url: is not for HS256"),
            ("\"RS256\"", "\"RS512\"", "issuer corp: algorithm: must be HS256"),
            ("jwks_url", "secret_file", "issuer corp: jwks_url: is required for RS256"),
            (
                "https://login.example.com/keys",
                "http://login.example.com/",
                "jwks_url: must be a URL",
            ),
            ("https://login.example.com/keys", "https://a:b@login.example.com/", "without a user"),
            ("https://login.example.com/keys", "file:///etc/passwd", "jwks_url: must be a URL"),
            ("https://login.example.com/\"", "\"", "issuer corp: issuer: must be a text"),
            ("audience = \"agentbus\"", "", "issuer corp: audience: is required"),
            ("algorithm = \"RS256\"", "", "issuer corp: algorithm: is required"),
            ("most =", "least =", "issuer corp: least: is not a member of an issuer"),
            ("most =", "least =", "issuer corp: most: is required"),
            ("read =", "reed =", "issuer corp: most/reed: is not a member of most"),
            ("[\"agent.>\"] }", "[\"a b\"] }", "issuer corp: most/read/0: must"),
            ("streams = 3", "streams = 0", "issuer corp: limits/streams: must"),
            ("\"human\"", "\"god\"", "issuer corp: kind: must be agent"),
            ("sub_as = true", "sub_as = \"yes\"", "issuer corp: sub_as: must be true or false"),
            ("[issuers.corp]", "[corp]", "has no table [issuers.NAME]"),
            ("[issuers.corp]", "x = 1\n[issuers.corp]", "x: is not a member of this file"),
            ("[issuers.corp]", "[issuers.corp", "line 2"),
        ] {
            let found = faults(&GOOD.replace(from, to));
            assert!(found.contains(fault), "{to}: {found}");
        }
        let two = format!("{GOOD}{}", GOOD.replace("corp", "corp-2"));
        assert!(
            faults(&two).contains("issuer corp-2: issuer: another one has it"),
            "{}",
            faults(&two)
        );
        assert!(
            parse(
                &GOOD.replace("https://login.example.com/keys", "http://127.0.0.1:1/"),
                Path::new("")
            )
            .is_ok()
        );
        let secret = GOOD.replace("RS256", "HS256");
        let secret =
            secret.replace("jwks_url = \"https://login.example.com/keys\"", "secret_file = \"x\"");
        assert!(faults(&secret).contains("secret_file=/nowhere/x: there is no such file"));
    }
}
