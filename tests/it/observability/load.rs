//! Gives a server everything that metrics count: messages, jobs, a consumer, a webhook, streams, refusals.

use std::time::Duration;

use crate::support::receiver::Receiver;
use crate::support::{Agentbus, Http, exec, jobs};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

const MESSAGES: &str = "/v1/messages";
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(50);

/// Load on a server. It ends with this value.
pub struct Load {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Load {
    /// Makes what stays (a webhook, jobs, a dead letter, an inbox, a message against its schema), then posts messages,
    /// and reads streams on all these servers.
    pub async fn start(http: &Http, servers: &[&Agentbus], receiver: &Receiver) -> Self {
        http.post_json("/v1/webhooks", &json!({"url": receiver.url()})).await.expect(201);
        let schema =
            json!({"schema": {"properties": {"content": {"pattern": "^x$"}}}, "mode": "warn"});
        http.put_json("/v1/schemas/task/note", &schema).await.expect(201);
        exec::post(http, "bad").await;
        let to_bob = json!({"kind": "message", "type": "note", "sender_id": "bob", "recipient_id": "bob", "content": "hello"});
        http.post_json(MESSAGES, &to_bob).await.expect(201);
        // Few messages are published one by one, many in an atomic batch.
        http.post_json("/v1/messages/batch", &json!(vec![to_bob; 100])).await.expect(200);
        for n in 0..3 {
            jobs::enqueue(http, "mail", &jobs::job(n)).await;
        }
        jobs::one(http, "mail").await;
        let mut tasks = vec![spawn(post(http.clone()))];
        for server in servers {
            tasks.push(spawn(read(server.http())));
        }
        Self { _tasks: tasks }
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

async fn post(http: Http) {
    loop {
        exec::post(&http, "good").await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(http: Http) {
    let mut stream = http.stream("", None).await;
    while stream.try_next(Duration::from_secs(60)).await.is_ok() {}
}
