//! Webhooks, by which the server posts messages to receivers.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::Client;
use crate::document::{Document, list};
use crate::error::Error;

/// A webhook.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Webhook {
    /// The webhook's id, a UUID.
    pub id: String,
    /// The URL that messages are posted to.
    pub url: String,
    /// The NATS subjects of the messages that are delivered, with wildcards.
    pub filter: String,
    /// `active` or `paused`.
    pub state: String,
    /// Why the webhook is paused.
    pub reason: Option<String>,
    /// How many deliveries have failed since the last success.
    pub failures: u64,
    /// The error of the last failed delivery.
    pub last_error: Option<String>,
    /// The secret that signs deliveries; only in the response that created the webhook.
    pub secret: Option<String>,
}

/// A webhook to create.
#[derive(Clone, Default, Serialize)]
pub struct NewWebhook {
    /// The URL that messages are posted to.
    pub url: String,
    /// The NATS subjects of the messages to deliver, with wildcards; `None` for `agent.>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The secret: `whsec_` and the Base64 of 24 to 64 bytes. If `None`, the server makes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl Client {
    /// All webhooks.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn webhooks(&self) -> Result<Vec<Document<Webhook>>, Error> {
        list(&self.call(self.get("/v1/webhooks", &[])).await?, "webhooks")
    }

    /// One webhook.
    ///
    /// # Errors
    /// There is no webhook with this id, or the server refuses or cannot be reached.
    pub async fn webhook(&self, id: &str) -> Result<Document<Webhook>, Error> {
        self.call(self.get(&path(id), &[])).await.map(Document::new)
    }

    /// Creates a webhook. It delivers messages that are published from then on. The request has no id, so it is not
    /// repeated when its response is lost: there may be a webhook then.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn create_webhook(&self, webhook: &NewWebhook) -> Result<Document<Webhook>, Error> {
        self.call_once(self.post("/v1/webhooks", webhook)).await.map(Document::new)
    }

    /// Sets the state to `active` or `paused`. A webhook that becomes active again continues where it was
    /// paused.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn set_webhook_state(
        &self,
        id: &str,
        state: &str,
    ) -> Result<Document<Webhook>, Error> {
        let request = self.request(Method::PATCH, &path(id), &[]);
        self.call(request.json(&json!({ "state": state }))).await.map(Document::new)
    }

    /// Deletes a webhook and its pending deliveries; its dead letters stay.
    ///
    /// # Errors
    /// The server refuses or cannot be reached.
    pub async fn delete_webhook(&self, id: &str) -> Result<(), Error> {
        self.call_ending(self.request(Method::DELETE, &path(id), &[]), 404).await.map(drop)
    }
}

fn path(id: &str) -> String {
    format!("/v1/webhooks/{id}")
}
