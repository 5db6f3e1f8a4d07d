//! A queue in front of the NATS client. It passes messages on in groups.
//!
//! When a task wakes another one, tokio runs the woken task next. So the client's task would write one
//! message before the next sender has run, and the server would read, store and acknowledge message by
//! message. Here, one task first lets all other ready tasks run, and then passes on what they sent.
//! Invariant: messages leave in the order in which they came. A message waits only for tasks that are ready
//! to run, and for capacity of the client's queue.

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::limits::NATS_SEND_QUEUE;

/// A reply subject, and the token by which the reply is awaited.
type ReplyTo = (Subject, u64);

struct OutboundMessage {
    subject: Subject,
    reply: Option<ReplyTo>,
    headers: HeaderMap,
    payload: Bytes,
}

/// The queue of messages to send.
pub(super) struct SendQueue {
    queue: mpsc::Sender<OutboundMessage>,
    _task: AbortOnDropHandle<()>,
}

impl SendQueue {
    /// Starts the task that passes messages on. It calls `on_unsent` with the token of each message that the
    /// client did not accept.
    pub(super) fn start(client: Client, on_unsent: impl Fn(u64) + Send + 'static) -> Self {
        let (queue, outgoing) = mpsc::channel(NATS_SEND_QUEUE);
        let task = tokio::spawn(pass_on(client, outgoing, on_unsent));
        Self { queue, _task: AbortOnDropHandle::new(task) }
    }

    /// Adds a message, once there is capacity.
    pub(super) async fn send(
        &self,
        subject: Subject,
        reply: Option<ReplyTo>,
        headers: HeaderMap,
        payload: Bytes,
    ) {
        // Cannot fail: the receiver ends only with this queue.
        let _ = self.queue.send(OutboundMessage { subject, reply, headers, payload }).await;
    }
}

async fn pass_on(
    client: Client,
    mut outgoing: mpsc::Receiver<OutboundMessage>,
    on_unsent: impl Fn(u64) + Send,
) {
    while let Some(first) = outgoing.recv().await {
        tokio::task::yield_now().await;
        let mut next = Some(first);
        while let Some(OutboundMessage { subject, reply, headers, payload }) = next {
            let (sent, token) = match reply {
                Some((reply, token)) => {
                    let sent =
                        client.publish_with_reply_and_headers(subject, reply, headers, payload);
                    (sent.await, Some(token))
                }
                None => (client.publish_with_headers(subject, headers, payload).await, None),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, "the NATS client did not take a message; its sender retries");
                if let Some(token) = token {
                    on_unsent(token);
                }
            }
            next = outgoing.try_recv().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use futures_util::future::join_all;

    use super::*;

    const MESSAGES: usize = 60;
    /// The most reads that the server may need: a few groups. One by one, each message would be a read.
    const READS: usize = 4;

    /// A server that accepts anything. Returns its address, and for each read the numbers of the messages in
    /// it.
    fn server() -> (String, mpsc::Receiver<Vec<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("nats://{}", listener.local_addr().expect("an address"));
        let (report, reads) = mpsc::channel();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let info = r#"{"server_id":"S","version":"2.12.0","headers":true,"max_payload":1000}"#;
            write!(socket, "INFO {info}\r\n").expect("sent");
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(length @ 1..) = socket.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.contains("PING\r\n") {
                    socket.write_all(b"PONG\r\n").expect("answered");
                }
                let numbers = text.split('#').skip(1).map(|rest| rest[..2].parse().expect("two"));
                let _ = report.send(numbers.collect());
            }
        });
        (url, reads)
    }

    async fn put(queue: Arc<SendQueue>, number: usize) {
        queue.send("a".into(), None, HeaderMap::new(), format!("#{number:02}").into()).await;
    }

    #[test]
    fn concurrent_tasks_send_in_one_group() {
        let (url, reads) = server();
        let one_worker =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = one_worker.expect("a runtime");
        let queue = runtime.block_on(async {
            let client = async_nats::connect(url).await.expect("connected");
            Arc::new(SendQueue::start(client, |_| ()))
        });
        let sender = queue.clone();
        // Spawned by a worker of the runtime, which runs none of the tasks before all are spawned.
        let all = runtime.spawn(async move {
            join_all((0..MESSAGES).map(|number| tokio::spawn(put(sender.clone(), number)))).await
        });
        runtime.block_on(all).expect("sent");
        let mut groups = Vec::new();
        while groups.iter().map(Vec::len).sum::<usize>() < MESSAGES {
            let numbers = reads.recv_timeout(std::time::Duration::from_secs(10)).expect("all come");
            groups.extend((!numbers.is_empty()).then_some(numbers));
        }
        assert!(groups.len() <= READS, "{groups:?}");
        let mut numbers = groups.concat();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    }
}
