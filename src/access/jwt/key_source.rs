//! Where an issuer's keys come from: a secret, or a JWKS that a task of its own fetches.
//!
//! Invariants: a fetch has limits of time and size, follows no redirect and uses no proxy. The last good keys count while
//! the server of the JWKS is away. An unknown `kid` makes it fetch at most once in [`JWKS_UNKNOWN_KEY`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::Algorithm;
use parking_lot::{Mutex, RwLock};
use reqwest::{Client, Url};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::key_set::KeySet;
use crate::limits::{JWKS_REFRESH, JWKS_RETRY, JWKS_TIMEOUT, JWKS_UNKNOWN_KEY, MAX_JWKS_BYTES};
use crate::tls;

/// The keys of an issuer as this server has them.
pub(super) struct KeySource {
    keys: RwLock<Option<Arc<KeySet>>>,
    /// Changes with the keys, so that what was verified with others is verified again.
    generation: AtomicU64,
    jwks: Option<Jwks>,
}

struct Jwks {
    /// The name of the issuer.
    name: String,
    url: Url,
    algorithm: Algorithm,
    http: Client,
    /// Counts the fetches that have ended.
    fetched: watch::Sender<u64>,
    wanted: Notify,
    /// When a fetch was last wanted for an unknown `kid`, and the fetches that had ended then.
    asked: Mutex<Option<(Instant, u64)>>,
}

impl KeySource {
    /// Keys that never change.
    pub(super) fn fixed(keys: KeySet) -> Self {
        let keys = RwLock::new(Some(Arc::new(keys)));
        Self { keys, generation: AtomicU64::new(1), jwks: None }
    }

    /// The keys at this URL, for the issuer with this name.
    ///
    /// # Errors
    /// There is no TLS.
    pub(super) fn fetched(name: &str, url: Url, algorithm: Algorithm) -> Result<Self, String> {
        let http = tls::http_client()?
            .timeout(JWKS_TIMEOUT)
            .build()
            .map_err(|error| format!("no HTTP client for a JWKS: {error}"))?;
        let (name, fetched) = (name.to_owned(), watch::Sender::new(0));
        let (wanted, asked) = (Notify::new(), Mutex::default());
        let jwks = Jwks { name, url, algorithm, http, fetched, wanted, asked };
        Ok(Self { keys: RwLock::default(), generation: AtomicU64::new(0), jwks: Some(jwks) })
    }

    /// The keys; `None` if they were not fetched yet.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.read().clone()
    }

    /// Changes with the keys.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits for a fetch on behalf of a `kid` that is unknown. Returns whether there was one: not if another was fetched
    /// for a moment ago. Cancel safe.
    pub(super) async fn refresh(&self) -> bool {
        let Some(jwks) = &self.jwks else { return false };
        let mut fetched = jwks.fetched.subscribe();
        {
            let mut asked = jwks.asked.lock();
            let ended = *fetched.borrow_and_update();
            match *asked {
                Some((at, before)) if at.elapsed() < JWKS_UNKNOWN_KEY => {
                    if ended > before {
                        return false;
                    }
                }
                _ => {
                    *asked = Some((Instant::now(), ended));
                    jwks.wanted.notify_one();
                }
            }
        }
        timeout(JWKS_TIMEOUT, fetched.changed()).await.is_ok()
    }

    /// Fetches the keys again and again until cancelled.
    pub(super) async fn keep(&self, cancel: CancellationToken) {
        let Some(jwks) = &self.jwks else { return };
        let mut last_good = Instant::now();
        let mut is_away = false;
        loop {
            let Some(fetched) = cancel.run_until_cancelled(jwks.fetch()).await else { return };
            let result = fetched.map(|keys| self.put(keys, jwks));
            if result.is_ok() {
                last_good = Instant::now();
            }
            jwks.report(&result, &mut is_away);
            metrics::gauge!("agentbus_jwks_age_seconds", "issuer" => jwks.name.clone())
                .set(last_good.elapsed().as_secs_f64());
            jwks.fetched.send_modify(|count| *count += 1);
            let pause = if is_away { JWKS_RETRY } else { JWKS_REFRESH };
            let paused = timeout(pause, jwks.wanted.notified());
            if cancel.run_until_cancelled(paused).await.is_none() {
                return;
            }
        }
    }

    /// Fetches the keys once; returns how many there are.
    ///
    /// # Errors
    /// They cannot be fetched.
    pub(super) async fn check(&self) -> Result<usize, String> {
        match &self.jwks {
            Some(jwks) => jwks.fetch().await.map(|keys| keys.len()),
            None => Ok(self.keys().map_or(0, |keys| keys.len())),
        }
    }

    fn put(&self, keys: KeySet, jwks: &Jwks) {
        if keys.len() == 0 {
            tracing::warn!(
                issuer = jwks.name,
                "the JWKS has no key that fits {:?}: no token of this issuer is accepted",
                jwks.algorithm
            );
        }
        *self.keys.write() = Some(Arc::new(keys));
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl Jwks {
    async fn fetch(&self) -> Result<KeySet, String> {
        let no_answer = |error: reqwest::Error| {
            let error = error.without_url();
            match error.is_timeout() {
                true => format!("no whole answer within {} s", JWKS_TIMEOUT.as_secs()),
                false => format!("no answer: {}", tls::root_cause(&error)),
            }
        };
        let mut response = self.http.get(self.url.clone()).send().await.map_err(no_answer)?;
        if !response.status().is_success() {
            return Err(format!("the answer is {}", response.status()));
        }
        let too_large = || format!("it is larger than {MAX_JWKS_BYTES} bytes");
        if response.content_length().is_some_and(|length| length > MAX_JWKS_BYTES as u64) {
            return Err(too_large());
        }
        let mut json = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if json.len() + chunk.len() > MAX_JWKS_BYTES {
                return Err(too_large());
            }
            json.extend_from_slice(&chunk);
        }
        KeySet::parse(&json, self.algorithm)
    }

    /// Logs once that the keys cannot be fetched, and once that they can again.
    fn report(&self, result: &Result<(), String>, is_away: &mut bool) {
        match result {
            Err(error) if !*is_away => tracing::warn!(
                issuer = self.name,
                error,
                "the JWKS cannot be fetched: the last known keys count until it can"
            ),
            Ok(()) if *is_away => tracing::info!(issuer = self.name, "the JWKS is fetched again"),
            _ => {}
        }
        *is_away = result.is_err();
    }
}
