//! The sources of settings. Flags override the environment, which overrides `.env`, which overrides a TOML
//! file.
//!
//! Invariant: the environment of the process is read only here, and never changed. An unknown name is an
//! error in flags and in the file, where it can only be a typing error.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::str::FromStr;

use super::names::NAMES;

/// Settings by name, from the strongest layer to the weakest.
#[derive(Default)]
pub struct Source {
    layers: Vec<(&'static str, HashMap<String, String>)>,
}

impl Source {
    /// A source with only these values, for tests.
    #[must_use]
    pub fn of(values: &[(&str, &str)]) -> Self {
        let map = values.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Self { layers: vec![("test", map.collect())] }
    }

    /// The sources of a process: `flags`, the environment, `.env` in the current folder, and the TOML
    /// file if one is named.
    ///
    /// # Errors
    /// The files that cannot be read, and unknown names in flags and file.
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

    /// The text of a setting. An empty value counts as not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(NAMES.contains(&name), "{name} must stand in NAMES");
        self.layers
            .iter()
            .find_map(|(_, values)| values.get(name))
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The parsed value of a setting, or its default. The error for an invalid value names the setting.
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

/// Parses a `.env` file. Errors name a line only by its number, since the line may contain a secret.
fn dotenv(path: &Path) -> Result<HashMap<String, String>, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(format!(".env: {error}")),
    };
    let (lines, mut values) = (Cell::new(0), HashMap::new());
    for value in dotenvy::from_read_iter(LineByLine { rest: &text, given: &lines }) {
        let Ok((name, value)) = value else {
            return Err(format!(".env: line {} cannot be read as NAME=VALUE", lines.get()));
        };
        values.insert(name, value);
    }
    Ok(values)
}

/// A reader that returns one line at a time and counts the lines, since the parser reports no numbers.
struct LineByLine<'a> {
    rest: &'a [u8],
    given: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let line = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
        let length = line.min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest = &self.rest[length..];
        // A line that is longer than the buffer is returned in pieces.
        if length > 0 && (buffer[length - 1] == b'\n' || self.rest.is_empty()) {
            self.given.set(self.given.get() + 1);
        }
        Ok(length)
    }
}

/// Parses a TOML file. Errors name only the line, since the parser's own text would quote it.
fn toml_file(path: &Path) -> Result<HashMap<String, String>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + memchr::memchr_iter(b'\n', &text.as_bytes()[..start]).count();
        format!("{name}: line {line} is no valid TOML")
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("agentbus-source-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, text).expect("the file is written");
        path
    }

    #[test]
    fn a_line_that_cannot_be_read_is_told_by_its_number() {
        for (text, line) in [
            ("DRAIN_S=5\n# a comment\n\nNATS_PASSWORD hunter2\n", 4),
            ("NATS_PASSWORD=hunter2 hunter2\n", 1),
            ("A='two\nlines'\nNATS_TOKEN='hunter2\n", 3),
            (&format!("A={}\nhunter2", "x".repeat(20_000)), 2),
        ] {
            let path = file(text);
            let error = dotenv(&path).expect_err("malformed");
            assert_eq!(error, format!(".env: line {line} cannot be read as NAME=VALUE"));
            std::fs::remove_file(path).expect("the file goes");
        }
    }

    #[test]
    fn good_lines_are_read_and_a_missing_file_is_empty() {
        let path = file("A=1\nexport B='two\nlines'\n#C=3\n");
        let values = dotenv(&path).expect("well formed");
        let value = |name: &str| values.get(name).map(String::as_str);
        assert_eq!((value("A"), value("B"), value("C")), (Some("1"), Some("two\nlines"), None));
        std::fs::remove_file(&path).expect("the file goes");
        assert_eq!(dotenv(&path), Ok(HashMap::new()));
    }

    #[test]
    fn a_toml_file_that_cannot_be_read_is_told_by_its_line() {
        let path = file("drain_s = 5\nnats_password = hunter2\n");
        let error = toml_file(&path).expect_err("malformed");
        assert!(error.ends_with("line 2 is no valid TOML"), "{error}");
        std::fs::remove_file(path).expect("the file goes");
    }
}
