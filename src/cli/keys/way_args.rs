//! Flags that choose the way to the keys.
//!
//! The store is the way for an operator: it needs no key and no server, only the server's settings. So the first key is
//! made there. It is chosen by `--on-store` and by the flags of settings, and when there is no key to send and no `--url`.

use clap::Args;

use super::on_store::StoreKeys;
use super::way::Way;
use crate::cli::address::ServerArgs;
use crate::cli::failure::Failure;
use crate::cli::output::Format;
use crate::cli::serve_args::Overrides;

/// Flags that all commands for keys have.
#[derive(Args, Clone, Debug)]
pub struct WayArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Work on the store of the server's settings, without a server and without a key; so it is too when there is no
    /// key to send and no --url
    #[arg(long, conflicts_with_all = ["url", "key_file", "retry_for"])]
    on_store: bool,

    /// The server.
    #[command(flatten)]
    server: ServerArgs,

    /// The settings of the store.
    #[command(flatten)]
    settings: Overrides,
}

/// What a command does to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Reads or changes what is there.
    Known,
    /// Makes a key: it may be the first thing in the store.
    NewKey,
}

impl WayArgs {
    /// Opens the way.
    ///
    /// # Errors
    /// The flags contradict each other, or the store cannot be opened.
    pub async fn open(&self, use_: Use) -> Result<Way, Failure> {
        if self.is_on_store()? {
            return Ok(Way::Store(StoreKeys::open(&self.settings, use_ == Use::NewKey).await?));
        }
        Ok(Way::Server(self.server.client()?))
    }

    fn is_on_store(&self) -> Result<bool, Failure> {
        let has_settings = self.settings.are_given();
        let has_server = self.server.url.is_some() || self.server.credential.key_file.is_some();
        if has_settings && has_server {
            let text =
                "settings are for the store, --url and --key-file for a server: give one of both";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(self.on_store || has_settings || !has_server && self.server.credential.key()?.is_none())
    }
}
