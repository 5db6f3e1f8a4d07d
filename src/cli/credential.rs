//! The key that a command sends to its server.
//!
//! Invariant: a key is never an argument, since a list of processes shows arguments, and no message shows it.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;

/// The variable that contains the key.
const VARIABLE: &str = "AGENTBUS_KEY";

/// The flag that names the file with the key.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Server")]
pub struct CredentialArgs {
    /// File with the key to send; without it, the key in AGENTBUS_KEY, if any
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

impl CredentialArgs {
    /// The key of the file or, without one, of the environment.
    ///
    /// # Errors
    /// The file cannot be read, or what it contains is not one word.
    pub fn key(&self) -> Result<Option<String>, Failure> {
        let (text, origin) = match &self.key_file {
            None => (std::env::var(VARIABLE).unwrap_or_default(), VARIABLE.to_owned()),
            Some(path) => {
                let origin = path.display().to_string();
                let text = std::fs::read_to_string(path);
                (text.map_err(|error| Failure::io(&origin, &error))?, origin)
            }
        };
        let key = text.trim();
        if key.is_empty() {
            // An empty variable is one that is not set; an empty file is a mistake.
            return match self.key_file {
                None => Ok(None),
                Some(_) => Err(Failure::Failed(format!("{origin} is empty"))),
            };
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::Failed(format!("{origin} does not contain one key")));
        }
        Ok(Some(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(text: &str) -> Result<Option<String>, Failure> {
        let path = std::env::temp_dir().join(format!("agentbus-key-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, text).expect("the file is written");
        let key = CredentialArgs { key_file: Some(path.clone()) }.key();
        std::fs::remove_file(path).expect("the file goes");
        key
    }

    #[test]
    fn a_key_is_the_one_word_of_its_file() {
        assert_eq!(of_file(" hunter2\n"), Ok(Some("hunter2".to_owned())));
        for wrong in ["", "\n", "hunter2 hunter3", "hunter2\nhunter3\n", "hunter2\u{e9}"] {
            let Err(Failure::Failed(text)) = of_file(wrong) else { panic!("{wrong:?} is refused") };
            assert!(!text.contains("hunter"), "{text}");
        }
        let missing = CredentialArgs { key_file: Some("/does/not/exist".into()) };
        assert!(missing.key().is_err());
    }
}
