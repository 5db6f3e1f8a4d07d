//! Limits of the bus on NATS.

use std::time::Duration;

/// The most publishes to NATS that await their acks at once: eight full batches. This is far below the 65,536
/// replies that the client's subscription holds before it drops any.
pub const NATS_MAX_IN_FLIGHT: usize = 8_192;
/// The most publishes that one call sends ahead of their acks: one full batch of the contract, so that eight
/// calls can be in flight and none can starve the others.
pub const NATS_MAX_PIPELINED: usize = 1_000;
/// The most commands queued between this process and one NATS connection: no more than may be in flight.
pub const NATS_CLIENT_QUEUE: usize = 8_192;
/// The most messages queued between the senders and the client's own queue: those of one call.
pub const NATS_SEND_QUEUE: usize = NATS_MAX_PIPELINED;
/// Time limit for one ack: the default of the NATS clients. A healthy server needs milliseconds.
pub const NATS_ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The most messages of one atomic batch: the server's own limit, and all messages of one call.
pub const NATS_BATCH_MESSAGES: usize = NATS_MAX_PIPELINED;
/// The most bytes of one atomic batch. The server writes each message of it twice, and no other message
/// meanwhile.
pub const NATS_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes of a message's headers in a batch: those of agentbus, and the batch's id, number and
/// commit.
pub const NATS_BATCH_HEADERS: usize = 512;
/// The fewest messages of a batch. On a server that syncs each message, setting up a batch costs as much as
/// some fifteen single messages, and several times that when others sync on the same disk.
pub const NATS_BATCH_LEAST: usize = 32;
/// How long after the end of a batch the next one may wait until it has half of the recent number of
/// messages.
pub const NATS_BATCH_LINGER: Duration = Duration::from_millis(3);
/// The fewest clients' ids that are remembered, so that a repeat is kept out of a batch: a few seconds of
/// publishing. The store finds older ids; an id that neither knows costs one refused batch.
pub const NATS_BATCH_RECENT_IDS: usize = 16_384;
/// The most attempts of one conditional publish, each with another expected sequence: the one that this
/// server knows, the one that the stream has instead, and 0 for no message.
pub const NATS_EXPECTATIONS: usize = 3;
/// Pause before a retry while JetStream has no leader. An election takes about a second.
pub const NATS_REPEAT_DELAY: Duration = Duration::from_millis(100);
/// How long a call waits for acks after a reconnect before it sends its failed tail again. Commands queued at
/// the break go out first, and a tail sent between them would not be in input order.
pub const NATS_RECONNECT_GRACE: Duration = Duration::from_millis(250);
/// Time limit for a reply of the JetStream API: longer than an election, shorter than a user waits.
pub const NATS_API_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for TCP, TLS and the handshake with one NATS server.
pub const NATS_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a stream must be gone before it is created again. nats-server removes its name first, then its
/// consumers, then its files, which takes milliseconds, or tenths of a second on a loaded machine.
pub const NATS_STREAM_GONE: Duration = Duration::from_secs(2);
/// Pause between pings. The client drops a peer that leaves two pings unanswered, so a dead peer is found
/// within 15 s (3 min with the client's own default).
pub const NATS_PING_INTERVAL: Duration = Duration::from_secs(5);
/// Silence after which a connection that is up tries another server of the cluster: longer than an election,
/// about as long as a publish may take.
pub const NATS_FAILOVER_AFTER: Duration = Duration::from_secs(5);
/// First pause of the circuit breaker: about as long as a client's shortest retry.
pub const NATS_BREAKER_FIRST: Duration = Duration::from_millis(250);
/// Longest pause of the circuit breaker, and so the longest time that a healed bus goes unnoticed.
pub const NATS_BREAKER_LONGEST: Duration = Duration::from_secs(4);
/// Messages asked for by one pull: enough to hide a round trip of 5 ms at 100,000 messages a second.
pub const NATS_PULL_MESSAGES: usize = 500;
/// Bytes asked for by one pull. A reader has two pulls in flight, so it holds at most twice this.
pub const NATS_PULL_BYTES: usize = 4 * 1024 * 1024;
/// How long the server keeps one pull open: the default of the NATS clients.
pub const NATS_PULL_EXPIRES: Duration = Duration::from_secs(30);
/// How often the server sends a heartbeat on an idle pull. Missing heartbeats reveal a consumer that is gone,
/// and deliveries that were lost.
pub const NATS_PULL_HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a reader considers its consumer lost: two heartbeats and some slack.
pub const NATS_PULL_SILENCE: Duration = Duration::from_secs(5);
/// How long a reader is idle before it asks the stream itself whether there is more.
pub const NATS_READER_CHECK: Duration = Duration::from_secs(5);
/// The most entries that a reader returns at once: one batch for the projector's transaction.
pub const NATS_READ_MESSAGES: usize = 1_000;
/// The most bytes that a reader returns at once. Its last entry may exceed this by at most one message.
pub const NATS_READ_BYTES: usize = 4 * 1024 * 1024;
/// How long the server keeps a consumer that nobody pulls from, such as that of a dropped reader.
pub const NATS_CONSUMER_IDLE: Duration = Duration::from_secs(30);
/// First pause before a reader tries again; it doubles up to [`NATS_READER_RETRY_LONGEST`].
pub const NATS_READER_RETRY_FIRST: Duration = Duration::from_millis(50);
/// Longest pause before a reader tries again, and so the longest time that a healed bus goes unread.
pub const NATS_READER_RETRY_LONGEST: Duration = Duration::from_secs(1);
/// Entries that are fetched one by one after a connection broke, since one of them may have broken it, and so
/// may its neighbours of the same publisher. More would make catching up after a restart slow.
pub const NATS_STEPS_AFTER_BREAK: u32 = 256;
/// How often the view of the stream is refreshed, and so its greatest age, for which the contract's gate at
/// 80 % allows. After a refused atomic batch no other is sent for at most this long.
pub const NATS_VIEW_REFRESH: Duration = Duration::from_secs(1);
/// Denials that may wait for a task that ends requests. More than a start's requests at once; a lost one costs its request
/// a time-out.
pub const NATS_DENIALS: usize = 256;
/// How long the check of permissions waits for denials of subscriptions, which nothing else answers. They are on their way
/// before the replies to later requests.
pub const NATS_DENIAL_GRACE: Duration = Duration::from_millis(100);
