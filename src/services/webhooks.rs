//! Webhooks: messages delivered to HTTP receivers (contract, section 10).
//!
//! Invariant: only the call that creates a webhook returns its secret.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::Error;
use super::audit::Audit;
use super::calls::Call;
use crate::access::{Needs, Principal};
use crate::clock::Clock;
use crate::limits::WEBHOOK_LOOKUP_TIMEOUT;
use crate::message::{ObjectReader, SubjectPattern, format_micros};
use crate::webhooks::{Guard, NewWebhook, Registry, Secret, WebhookStatus};

/// A webhook, as the API shows it. Only the response to its creation has the secret.
#[derive(Serialize)]
pub struct Webhook {
    /// The id of the webhook.
    pub id: Uuid,
    url: String,
    filter: String,
    state: &'static str,
    reason: Option<String>,
    created_at: String,
    failures: u32,
    failing_since: Option<String>,
    last_success: Option<String>,
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl Webhook {
    fn without_secret(known: WebhookStatus) -> Self {
        let reason = known.paused().map(str::to_owned);
        let webhook = known.webhook;
        let time = |time: Option<DateTime<Utc>>| time.map(format_micros);
        Self {
            id: webhook.id,
            url: webhook.url,
            filter: webhook.filter,
            state: if reason.is_some() { "paused" } else { "active" },
            reason,
            created_at: format_micros(webhook.created_at),
            failures: webhook.failures,
            failing_since: time(webhook.failing_since),
            last_success: time(webhook.last_success),
            last_error: webhook.last_error,
            secret: None,
        }
    }
}

/// Creates and controls the webhooks of a deployment.
pub struct Webhooks {
    pub(super) registry: Registry,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
}

impl Webhooks {
    /// Creates a webhook from JSON: `{url, filter?, secret?}`.
    ///
    /// # Errors
    /// All invalid members together, which includes a host that is not public; `too_many_webhooks`; the
    /// store or the bus is unavailable.
    pub async fn create(&self, principal: &Principal, json: &[u8]) -> Result<Webhook, Error> {
        Call::CreateWebhook.check(principal)?;
        if principal.has_token() {
            // A webhook delivers what its maker may read, and the bearer of a token is unknown once it is gone.
            return Err(
                Needs("a key of this deployment: a webhook outlives a token".to_owned()).into()
            );
        }
        let mut new = parse(json, self.registry.guard()).await?;
        new.key_id = principal.key().map(|key| key.id.to_string());
        let made = self.registry.create(new, self.clock.now()).await?;
        let detail = json!({ "url": made.webhook.url });
        let id = made.webhook.id.to_string();
        self.audit.done(principal, "webhook.create", &id, detail).await;
        let secret = Some(made.webhook.secret.clone());
        Ok(Webhook { secret, ..Webhook::without_secret(made) })
    }

    /// All webhooks, oldest first.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn all(&self, principal: &Principal) -> Result<Vec<Webhook>, Error> {
        Call::ListWebhooks.check(principal)?;
        let all = self.registry.all().await?;
        Ok(all.into_iter().map(Webhook::without_secret).collect())
    }

    /// One webhook by its id.
    ///
    /// # Errors
    /// The webhook does not exist; the store is unavailable.
    pub async fn one(&self, principal: &Principal, id: Uuid) -> Result<Webhook, Error> {
        Call::ReadWebhook.check(principal)?;
        let known = self.registry.one(id).await?.ok_or_else(Self::missing)?;
        Ok(Webhook::without_secret(known))
    }

    /// Pauses deliveries, or resumes them where they stopped.
    ///
    /// # Errors
    /// The webhook does not exist; the store is unavailable.
    pub async fn set_paused(
        &self,
        principal: &Principal,
        id: Uuid,
        pause: bool,
    ) -> Result<Webhook, Error> {
        Call::ChangeWebhook.check(principal)?;
        let (action, changed) = match pause {
            true => ("webhook.pause", self.registry.pause(id).await?),
            false => ("webhook.resume", self.registry.resume(id).await?),
        };
        let changed = changed.ok_or_else(Self::missing)?;
        self.audit.done(principal, action, &id.to_string(), json!({})).await;
        Ok(Webhook::without_secret(changed))
    }

    /// Deletes a webhook, with the messages that wait for it.
    ///
    /// # Errors
    /// The webhook does not exist; the store is unavailable.
    pub async fn remove(&self, principal: &Principal, id: Uuid) -> Result<(), Error> {
        Call::RemoveWebhook.check(principal)?;
        if !self.registry.remove(id).await? {
            return Err(Self::missing());
        }
        self.audit.done(principal, "webhook.remove", &id.to_string(), json!({})).await;
        Ok(())
    }

    /// The error for a webhook that does not exist.
    #[must_use]
    pub fn missing() -> Error {
        Error::not_found("there is no webhook with this id")
    }
}

/// Parses a new webhook. Resolves its host too, so that an error in it is reported together with all others.
async fn parse(json: &[u8], guard: Guard) -> Result<NewWebhook, Error> {
    let mut form = ObjectReader::parse(json).map_err(Error::unreadable_body)?;
    if !form.has("url") {
        form.fail("url", "is required");
    }
    let url = form.text("url", |text| guard.parse(text));
    let filter = form.text("filter", str::parse::<SubjectPattern>);
    let secret = form.text("secret", str::parse::<Secret>);
    if let Some(url) = &url
        && let Err(refused) = guard.check_name(url, WEBHOOK_LOOKUP_TIMEOUT).await
    {
        form.fail("url", format!("must be public: {refused}"));
    }
    let url = form.finish("this body", url).map_err(Error::unreadable_body)?;
    Ok(NewWebhook { url, filter, secret, key_id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report<T: std::fmt::Debug>(refused: Result<T, Error>) -> String {
        serde_json::to_string(&refused.expect_err("refused").report).expect("JSON")
    }

    #[tokio::test]
    async fn every_fault_of_a_webhook_is_named_at_once() {
        let guard = Guard { allow_private: false };
        let body = br#"{"url":"http://localhost:1/","filter":"a..b","secret":"hunter2","id":"x"}"#;
        let report_text = report(parse(body, guard).await);
        for pointer in ["/url", "/filter", "/secret", "/id"] {
            assert!(report_text.contains(&format!("\"pointer\":\"{pointer}\"")), "{report_text}");
        }
        assert!(!report_text.contains("hunter2"));
        assert!(report(parse(b"{}", guard).await).contains("/url"));
        assert!(report(parse(br#"{"url":7}"#, guard).await).contains("must be a string"));
        let open = Guard { allow_private: true };
        assert!(parse(br#"{"url":"http://localhost:1/"}"#, open).await.is_ok());
    }
}
