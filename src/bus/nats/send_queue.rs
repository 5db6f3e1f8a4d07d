//! Messages between those who send them and the NATS client, handed over in bunches.
//!
//! tokio runs a task that was woken right after the one that woke it. So the client would write what one task
//! sends before the next task has sent anything, and the server would read, store and answer message by
//! message. Here, one task lets all others run that can, and then hands over what they sent. Invariant:
//! messages leave in the order in which they came, and none waits for anything but tasks that are ready to run,
//! or for room in the client's queue.

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::limits::NATS_SEND_QUEUE;

/// A message to be sent.
pub(super) struct OutboundMessage {
    pub subject: Subject,
    /// Where the answer is to go, and the number under which it is waited for.
    pub reply: Option<(Subject, u64)>,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

/// The way to the client.
pub(super) struct SendQueue {
    queue: mpsc::Sender<OutboundMessage>,
    _task: AbortOnDropHandle<()>,
}

impl SendQueue {
    /// `unsent` is told the number of each message that the client did not take.
    pub(super) fn start(client: Client, unsent: impl Fn(u64) + Send + 'static) -> Self {
        let (queue, outgoing) = mpsc::channel(NATS_SEND_QUEUE);
        let task = tokio::spawn(hand_over(client, outgoing, unsent));
        Self { queue, _task: AbortOnDropHandle::new(task) }
    }

    /// Puts a message in, once there is room.
    pub(super) async fn put(&self, message: OutboundMessage) {
        // The task ends with us alone.
        let _ = self.queue.send(message).await;
    }
}

async fn hand_over(
    client: Client,
    mut outgoing: mpsc::Receiver<OutboundMessage>,
    unsent: impl Fn(u64) + Send,
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
                tracing::warn!(%error, "the NATS client did not take a message");
                if let Some(token) = token {
                    unsent(token);
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
    /// Reads that bring them: one or two bunches, where one by one they would be as many as messages.
    const READS: usize = 4;

    /// A server that takes whatever comes; its address, and the numbers of the messages that each read brought.
    fn server() -> (String, mpsc::Receiver<Vec<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("nats://{}", listener.local_addr().expect("an address"));
        let (tell, reads) = mpsc::channel();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let info = r#"{"server_id":"S","version":"2.12.0","headers":true,"max_payload":1000}"#;
            write!(socket, "INFO {info}\r\n").expect("told");
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(length @ 1..) = socket.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text.contains("PING\r\n") {
                    socket.write_all(b"PONG\r\n").expect("answered");
                }
                let numbers = text.split('#').skip(1).map(|rest| rest[..2].parse().expect("two"));
                let _ = tell.send(numbers.collect());
            }
        });
        (url, reads)
    }

    async fn put(outbox: Arc<SendQueue>, number: usize) {
        let message = OutboundMessage {
            subject: "a".into(),
            reply: None,
            headers: HeaderMap::new(),
            payload: format!("#{number:02}").into(),
        };
        outbox.put(message).await;
    }

    #[test]
    fn what_tasks_send_at_the_same_time_goes_out_together() {
        let (url, reads) = server();
        let one_worker =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = one_worker.expect("a runtime");
        let outbox = runtime.block_on(async {
            let client = async_nats::connect(url).await.expect("connected");
            Arc::new(SendQueue::start(client, |_| ()))
        });
        let sender = outbox.clone();
        // From the worker itself, which goes on to none of them before all are there.
        let all = runtime.spawn(async move {
            join_all((0..MESSAGES).map(|number| tokio::spawn(put(sender.clone(), number)))).await
        });
        runtime.block_on(all).expect("sent");
        let mut bunches = Vec::new();
        while bunches.iter().map(Vec::len).sum::<usize>() < MESSAGES {
            let numbers = reads.recv_timeout(std::time::Duration::from_secs(10)).expect("all come");
            bunches.extend((!numbers.is_empty()).then_some(numbers));
        }
        assert!(bunches.len() <= READS, "{bunches:?}");
        let mut numbers = bunches.concat();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    }
}
