// Every bound of this client, with its reason. Times are in milliseconds.

/** No repeat of a request starts later than this after the first one. */
export const RETRY_FOR = 30_000;
/** The server answers within 6 s, also when the bus is away; `ack=committed` takes up to 5 s. Big bodies need more. */
export const ATTEMPT_TIMEOUT = 15_000;
/** The server sends a heartbeat after 15 s of silence: after three of them the connection is half open. */
export const STREAM_SILENCE = 45_000;
/** The first wait between requests. */
export const FIRST_WAIT = 200;
/** The wait before a stream reconnects, until the server's `retry:` says another. */
export const RECONNECT = 2_000;
/** The longest wait between attempts. */
export const LONGEST_WAIT = 30_000;
/** The most jobs that one request leases. */
export const LEASE_JOBS = 1_000;
/** The time between extensions where the server's clock cannot be read, as in pages of another origin: a third of 30 s. */
export const EXTEND_EVERY = 10_000;
/** How long handlers may go on after a worker was asked to stop. */
export const STOP_WITHIN = 30_000;

/** Messages, and bytes, of one batch (contract, section 3). Some bytes are left for line ends. */
export const BATCH_ITEMS = 1_000;
export const BATCH_BYTES = 8 * 1024 * 1024 - 4 * 1024;
/** An event is a message of at most 1 MiB: beyond this the stream is none of agentbus. In UTF-16 units. */
export const EVENT_UNITS = 4 * 1024 * 1024;
/** The longest wait for a reply that the server accepts, in seconds. */
export const REPLY_WITHIN_S = 60;
/** How long an inbox or a lease waits in one request, in seconds: within the 60 s after which proxies cut. */
export const WAIT_S = 30;
