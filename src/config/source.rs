//! Where settings come from: flags over environment over `.env` over a TOML file.
//!
//! Invariant: the process's environment is read here and nowhere else, and
//! never written. A name that no setting has is an error where a person wrote
//! it for us (flags, file), since it is a slip of the pen.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use super::NAMES;

/// Settings by name, from the strongest layer to the weakest.
#[derive(Default)]
pub struct Source {
    layers: Vec<(&'static str, HashMap<String, String>)>,
}

impl Source {
    /// Only these values: for tests.
    #[must_use]
    pub fn of(values: &[(&str, &str)]) -> Self {
        let map = values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Self { layers: vec![("test", map.collect())] }
    }

    /// The layers of a process: `flags`, the environment, `.env` in the current
    /// folder, and the TOML file if one is named.
    ///
    /// # Errors
    /// What cannot be read, and unknown names in flags and file.
    pub fn of_process(
        flags: Vec<(String, String)>,
        file: Option<&Path>,
    ) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let flags: HashMap<_, _> = flags.into_iter().collect();
        refuse_unknown("flag", &flags, &mut errors);
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut layers = vec![("flag", flags), ("environment", environment)];
        match dotenv(Path::new(".env")) {
            Ok(values) => layers.push((".env", values)),
            Err(error) => errors.push(error),
        }
        if let Some(path) = file {
            match toml_file(path) {
                Ok(values) => {
                    refuse_unknown("file", &values, &mut errors);
                    layers.push(("file", values));
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { layers }) } else { Err(errors) }
    }

    /// A setting's text. An empty value counts as not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(NAMES.contains(&name), "{name} must stand in NAMES");
        self.layers
            .iter()
            .find_map(|(_, values)| values.get(name))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A setting parsed, or its default; a bad value is told by its name.
    pub fn parse<T: FromStr>(
        &self,
        name: &str,
        default: T,
        rule: &str,
        errors: &mut Vec<String>,
    ) -> T {
        match self.get(name).map(str::parse) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                errors.push(format!("{name} must be {rule}"));
                default
            }
        }
    }
}

fn refuse_unknown(layer: &str, values: &HashMap<String, String>, errors: &mut Vec<String>) {
    let mut unknown: Vec<_> =
        values.keys().filter(|name| !NAMES.contains(&name.as_str())).collect();
    unknown.sort();
    errors.extend(unknown.iter().map(|name| format!("{name} ({layer}) is no setting of agentbus")));
}

fn dotenv(path: &Path) -> Result<HashMap<String, String>, String> {
    match dotenvy::from_path_iter(path) {
        Ok(values) => values.collect::<Result<_, _>>().map_err(|e| format!(".env: {e}")),
        Err(error) if error.not_found() => Ok(HashMap::new()),
        Err(error) => Err(format!(".env: {error}")),
    }
}

fn toml_file(path: &Path) -> Result<HashMap<String, String>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    let table: toml::Table = text.parse().map_err(|e| format!("{name}: {e}"))?;
    table
        .into_iter()
        .map(|(key, value)| match value {
            toml::Value::String(text) => Ok((key.to_uppercase(), text)),
            toml::Value::Integer(number) => Ok((key.to_uppercase(), number.to_string())),
            toml::Value::Boolean(flag) => Ok((key.to_uppercase(), flag.to_string())),
            _ => Err(format!("{name}: {key} must be a text, a whole number, or true or false")),
        })
        .collect()
}
