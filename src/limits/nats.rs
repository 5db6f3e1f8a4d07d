//! Caps of the bus on NATS.

use std::time::Duration;

/// Publishes to NATS that may await their acks at once: eight full batches, far below the
/// 65,536 replies that the client's subscription holds before it drops any.
pub const NATS_MAX_IN_FLIGHT: usize = 8_192;
/// Publishes sent ahead of their acks within one call: one full batch of the contract, so that
/// eight calls can be in flight and none can starve the others.
pub const NATS_MAX_PIPELINED: usize = 1_000;
/// Commands queued between this process and one NATS connection: no more than may be in flight.
pub const NATS_CLIENT_QUEUE: usize = 8_192;
/// Messages between those who send and the client's own queue: those of one call.
pub const NATS_SEND_QUEUE: usize = NATS_MAX_PIPELINED;
/// Longest wait for one ack, the default of the NATS clients; a healthy server needs milliseconds.
pub const NATS_ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages of one atomic batch: the server's own limit, and all of one call.
pub const NATS_BATCH_MESSAGES: usize = NATS_MAX_PIPELINED;
/// Bytes of one atomic batch: the server writes each twice, and no other message meanwhile.
pub const NATS_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of a message's headers in a batch: ours, and the batch's id, number and commit.
pub const NATS_BATCH_HEADERS: usize = 512;
/// Fewest messages of a batch: to set one up costs a server that syncs each message as much as some fifteen single
/// messages, and several times that when others sync on the same disk.
pub const NATS_BATCH_LEAST: usize = 32;
/// How long a batch waits, after the one before it, for half of the recent number of messages.
pub const NATS_BATCH_LINGER: Duration = Duration::from_millis(3);
/// Clients' ids that are remembered at least, to keep a repeat out of a batch: a few seconds of publishing. The store
/// finds older ones, or they cost one refused batch.
pub const NATS_BATCH_RECENT_IDS: usize = 16_384;
/// Attempts of one conditional publish, each with another expected sequence: what we know, what the stream has instead,
/// and 0 for nothing.
pub const NATS_EXPECTATIONS: usize = 3;
/// Wait before a retry when JetStream has no leader yet: an election takes about a second.
pub const NATS_REPEAT_DELAY: Duration = Duration::from_millis(100);
/// Time that acks get after a reconnect before a call's failed tail is sent again: commands queued at
/// the break go out first, and a tail sent between them would not be in input order.
pub const NATS_RECONNECT_GRACE: Duration = Duration::from_millis(250);
/// Longest wait for a reply of the JetStream API: longer than an election, shorter than a user waits.
pub const NATS_API_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for TCP, TLS and the handshake with one NATS server.
pub const NATS_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a stream must be gone before it is created again: nats-server takes away its name first, then its
/// consumers, then its files, which is milliseconds, and tenths of a second on a loaded machine.
pub const NATS_STREAM_GONE: Duration = Duration::from_secs(2);
/// Pause between pings; the client drops a peer that leaves two unanswered, so a dead one is
/// found within 15 s (the client's own default makes it 3 min).
pub const NATS_PING_INTERVAL: Duration = Duration::from_secs(5);
/// Silence after which a connection that is up tries another server of the cluster: longer than
/// an election, about as long as a publish may take.
pub const NATS_FAILOVER_AFTER: Duration = Duration::from_secs(5);
/// First pause of the circuit breaker: about a client's shortest retry.
pub const NATS_BREAKER_FIRST: Duration = Duration::from_millis(250);
/// Longest pause of the circuit breaker: how long a healed bus may go unnoticed.
pub const NATS_BREAKER_LONGEST: Duration = Duration::from_secs(4);
/// Messages asked for by one pull: hides a round trip of 5 ms at 100,000 messages a second.
pub const NATS_PULL_MESSAGES: usize = 500;
/// Bytes asked for by one pull: with two of them in flight, what one reader can hold.
pub const NATS_PULL_BYTES: usize = 4 * 1024 * 1024;
/// How long the server keeps one pull open, the default of the NATS clients.
pub const NATS_PULL_EXPIRES: Duration = Duration::from_secs(30);
/// Heartbeats of an idle pull: finds a consumer that is gone, and deliveries that were lost.
pub const NATS_PULL_HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which a reader takes its consumer for lost: two heartbeats and some slack.
pub const NATS_PULL_SILENCE: Duration = Duration::from_secs(5);
/// Idleness after which a reader asks the stream itself whether there is more.
pub const NATS_READER_CHECK: Duration = Duration::from_secs(5);
/// Entries handed on at once by a reader: one batch for the projector's transaction.
pub const NATS_READ_MESSAGES: usize = 1_000;
/// Bytes handed on at once by a reader, in its last entry at most one message more.
pub const NATS_READ_BYTES: usize = 4 * 1024 * 1024;
/// How long the server keeps a consumer nobody pulls from: what a dropped reader leaves behind.
pub const NATS_CONSUMER_IDLE: Duration = Duration::from_secs(30);
/// First pause before a reader tries again; it doubles up to [`NATS_READER_RETRY_LONGEST`].
pub const NATS_READER_RETRY_FIRST: Duration = Duration::from_millis(50);
/// Longest pause before a reader tries again: how long a healed bus may go unread.
pub const NATS_READER_RETRY_LONGEST: Duration = Duration::from_secs(1);
/// Entries fetched one by one after a broken connection: one of them may be what broke it, and
/// its neighbours of the same publisher too. More would make catching up after a restart slow.
pub const NATS_STEPS_AFTER_BREAK: u32 = 256;
/// Age of what is known of the stream: the contract's gate at 80 % allows for it. After a refused atomic batch none is
/// sent for as long at most.
pub const NATS_VIEW_REFRESH: Duration = Duration::from_secs(1);
