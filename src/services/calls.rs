//! What each call needs: one table for all services and surfaces.
//!
//! Invariants: every call of a service is one [`Call`], and has a row. A surface checks the row before it reads the
//! input (contract, section 11, order of checks), and the service checks it again, so no surface can leave it out. What
//! depends on the input (the sender, the subject, the queue) the service alone checks.

use crate::access::{Capability, Needs, Principal};

/// What a call needs before its input is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing, and no credential either.
    Open,
    /// A credential. What the call may do or shows depends on its input and the caller's grants.
    Credential,
    /// Some reading.
    Read,
    /// A capability.
    Can(Capability),
}

macro_rules! calls {
    ($($(#[$doc:meta])* $call:ident: $need:expr;)*) => {
        /// A call of a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Call {
            $($(#[$doc])* $call,)*
        }

        impl Call {
            /// All calls.
            pub const ALL: &[Self] = &[$(Self::$call),*];

            /// What the call needs.
            #[must_use]
            pub const fn need(self) -> Need {
                match self { $(Self::$call => $need,)* }
            }
        }
    };
}

calls! {
    /// Publish a message: `as` its sender, `publish` on its subject.
    Publish: Need::Credential;
    /// Publish messages: each as one message.
    PublishBatch: Need::Credential;
    /// Read a page of history: within the scope.
    ReadHistory: Need::Read;
    /// Read one message: within the scope.
    ReadMessage: Need::Credential;
    /// Erase a message: one that the caller may read.
    EraseMessage: Need::Can(Capability::Erase);
    /// Open a stream: within the scope.
    OpenStream: Need::Read;
    /// Make a ticket for a stream.
    MakeTicket: Need::Read;
    /// List agents.
    ListAgents: Need::Credential;
    /// Read one agent.
    ReadAgent: Need::Credential;
    /// Read an inbox: `as` its owner.
    ReadInbox: Need::Credential;
    /// Acknowledge an inbox: `as` its owner.
    AckInbox: Need::Credential;
    /// List tasks: within the scope.
    ListTasks: Need::Credential;
    /// Read one task: within the scope.
    ReadTask: Need::Credential;
    /// List queues: those that the caller may put into or lease from.
    ListQueues: Need::Credential;
    /// Read one queue: one that the caller may put into or lease from.
    ReadQueue: Need::Credential;
    /// Put jobs into a queue: `enqueue` it.
    Enqueue: Need::Credential;
    /// Put many jobs into a queue: `enqueue` it.
    EnqueueBatch: Need::Credential;
    /// Lease jobs: `work` the queue, `as` the worker.
    Lease: Need::Credential;
    /// End or extend a lease: by the key that got it.
    Settle: Need::Credential;
    /// End or extend leases: each by the key that got it.
    SettleBatch: Need::Credential;
    /// Create a queue or change its configuration.
    PutQueue: Need::Can(Capability::Process);
    /// Delete a queue.
    DeleteQueue: Need::Can(Capability::Process);
    /// List consumers.
    ListConsumers: Need::Can(Capability::Observe);
    /// Pause a consumer.
    PauseConsumer: Need::Can(Capability::Process);
    /// Resume a consumer.
    ResumeConsumer: Need::Can(Capability::Process);
    /// Reset a consumer.
    ResetConsumer: Need::Can(Capability::Process);
    /// List dead letters: those that the caller may read.
    ListDeadLetters: Need::Can(Capability::DeadLetters);
    /// Read one dead letter.
    ReadDeadLetter: Need::Can(Capability::DeadLetters);
    /// Redrive one dead letter.
    RedriveDeadLetter: Need::Can(Capability::DeadLetters);
    /// Redrive dead letters: those that the caller may read.
    RedriveDeadLetters: Need::Can(Capability::DeadLetters);
    /// Discard one dead letter.
    DiscardDeadLetter: Need::Can(Capability::DeadLetters);
    /// List webhooks.
    ListWebhooks: Need::Can(Capability::Webhooks);
    /// Create a webhook: it delivers no more than its maker may read.
    CreateWebhook: Need::Can(Capability::Webhooks);
    /// Read one webhook.
    ReadWebhook: Need::Can(Capability::Webhooks);
    /// Pause or resume a webhook.
    ChangeWebhook: Need::Can(Capability::Webhooks);
    /// Remove a webhook.
    RemoveWebhook: Need::Can(Capability::Webhooks);
    /// Read the counters.
    ReadStats: Need::Can(Capability::Observe);
    /// Read the metrics.
    ReadMetrics: Need::Can(Capability::Observe);
    /// Read version, parts and readiness.
    ReadStatus: Need::Can(Capability::Observe);
    /// Read the description of the interface.
    ReadOpenApi: Need::Credential;
    /// Read the description of messages and events.
    ReadAsyncApi: Need::Credential;
    /// Whether the process runs.
    CheckLife: Need::Open;
    /// Whether the server can publish; which parts cannot: `observe`.
    CheckReadiness: Need::Open;
    /// List payload schemas.
    ListSchemas: Need::Can(Capability::Schemas);
    /// Read a payload schema.
    ReadSchema: Need::Can(Capability::Schemas);
    /// Read the versions of a payload schema.
    ReadSchemaVersions: Need::Can(Capability::Schemas);
    /// Make a version of a payload schema, or try it on messages that the caller may read.
    PutSchema: Need::Can(Capability::Schemas);
    /// Delete a payload schema.
    DeleteSchema: Need::Can(Capability::Schemas);
    /// Create a key: its grants lie within the caller's.
    CreateKey: Need::Can(Capability::Keys);
    /// List keys.
    ListKeys: Need::Can(Capability::Keys);
    /// Read one key.
    ReadKey: Need::Can(Capability::Keys);
    /// Change a key: its grants, before and after, lie within the caller's.
    ChangeKey: Need::Can(Capability::Keys);
    /// Replace the secret of a key whose grants lie within the caller's.
    RotateKey: Need::Can(Capability::Keys);
    /// Revoke a key whose grants lie within the caller's.
    RevokeKey: Need::Can(Capability::Keys);
    /// Read the audit log.
    ReadAudit: Need::Can(Capability::Keys);
    /// Read what the caller is and may do.
    WhoAmI: Need::Credential;
    /// Open a session for a browser.
    LogIn: Need::Credential;
    /// End the session.
    LogOut: Need::Credential;
}

impl Call {
    /// Checks the row of the call.
    ///
    /// # Errors
    /// The grant that the caller lacks.
    pub fn check(self, principal: &Principal) -> Result<(), Needs> {
        match self.need() {
            Need::Open | Need::Credential => Ok(()),
            Need::Read => principal.needs_read(),
            Need::Can(capability) => principal.needs(capability),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The source of the services without tests.
    fn sources() -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/services");
        let mut all = String::new();
        for entry in std::fs::read_dir(folder).expect("the services") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("calls.rs") {
                let source = std::fs::read_to_string(&path).expect("a source");
                all.push_str(source.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
        all
    }

    #[test]
    fn a_service_checks_every_call_that_needs_a_grant() {
        let sources = sources();
        for call in Call::ALL {
            let needs_grant = matches!(call.need(), Need::Read | Need::Can(_));
            let is_checked = sources.contains(&format!("Call::{call:?}.check("));
            assert!(is_checked || !needs_grant, "no service checks {call:?}");
        }
    }
}
