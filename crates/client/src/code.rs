//! The stable codes of the server's errors (contract, section 3): what [`Error::code`](crate::Error::code) returns.
//! A newer server may have others.

macro_rules! codes {
    ($($name:ident = $code:literal, $what:literal;)*) => {
        $(#[doc = $what] pub const $name: &str = $code;)*

        /// All codes that this version knows.
        pub const ALL: &[&str] = &[$($code),*];
    };
}

codes! {
    MALFORMED_JSON = "malformed_json", "400: the body is not JSON.";
    INCOMPLETE_BODY = "incomplete_body", "400: the connection ended inside the body.";
    MALFORMED_REQUEST = "malformed_request", "400: the request breaks the rules of HTTP.";
    UNAUTHENTICATED = "unauthenticated", "401: no valid credential.";
    FORBIDDEN = "forbidden", "403: the key lacks the grant in `needs`.";
    FORBIDDEN_ORIGIN = "forbidden_origin", "403: a page of another site tried to change something.";
    NOT_FOUND = "not_found", "404: there is no such object.";
    METHOD_NOT_ALLOWED = "method_not_allowed", "405: the path has other methods.";
    REQUEST_TIMEOUT = "request_timeout", "408: the body took too long.";
    IDEMPOTENCY_CONFLICT = "idempotency_conflict", "409: the id belongs to another body.";
    NOT_COMMITTED = "not_committed", "409: the store does not have all of the log yet.";
    SOURCE_GONE = "source_gone", "409: the source of the dead letter no longer exists.";
    REDRIVE_CONFLICT = "redrive_conflict", "409: the id of the redrive was used by another client.";
    QUEUE_NOT_EMPTY = "queue_not_empty", "409: a queue to be deleted holds jobs.";
    QUEUE_LEASED = "queue_leased", "409: a job of a queue to be deleted is leased.";
    TOO_MANY_QUEUES = "too_many_queues", "409: there are as many queues as may be.";
    TOO_MANY_KEYS = "too_many_keys", "409: there are as many keys as may be.";
    TOO_MANY_SCHEMAS = "too_many_schemas", "409: there are as many schemas as may be.";
    TOO_MANY_WEBHOOKS = "too_many_webhooks", "409: there are as many webhooks as may be.";
    LEASE_LOST = "lease_lost", "410: the lease ran out or was ended.";
    PAYLOAD_TOO_LARGE = "payload_too_large", "413: the body, the message or the batch is too large.";
    URI_TOO_LONG = "uri_too_long", "414: the request line is too long.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", "415: another content type is needed.";
    UNKNOWN_HOST = "unknown_host", "421: the `Host` is not a name of the server.";
    INVALID_MESSAGE = "invalid_message", "422: JSON that is no message.";
    INVALID_BODY = "invalid_body", "422: JSON that breaks the rules of another body.";
    INVALID_PARAMETER = "invalid_parameter", "422: a parameter or header is unknown or malformed.";
    SCHEMA_VIOLATION = "schema_violation", "422: the message breaks the schema of its type.";
    INVALID_NAME = "invalid_name", "422: a name in the path is no token.";
    UNDECODABLE_JOB = "undecodable_job", "422: the job of the lease is no job.";
    INVALID_TOKEN = "invalid_token", "422: what was given is no lease token.";
    RATE_LIMITED = "rate_limited", "429: over a limit of the key.";
    HEADERS_TOO_LARGE = "headers_too_large", "431: the request line and headers are too large.";
    INTERNAL_ERROR = "internal_error", "500: a fault inside the server.";
    DELAY_UNSUPPORTED = "delay_unsupported", "501: this NATS server cannot delay jobs.";
    BUS_UNAVAILABLE = "bus_unavailable", "503: the bus did not acknowledge; see `outcome`.";
    STORE_BEHIND = "store_behind", "503: the stream could drop what the store lacks.";
    STORE_UNAVAILABLE = "store_unavailable", "503: history cannot be queried.";
    OVERLOADED = "overloaded", "503: too much at once.";
    DRAINING = "draining", "503: this server is stopping.";
    STARTING = "starting", "503: this server is not up yet.";
    NOT_READY = "not_ready", "503: only from `/readyz`.";
    NO_REPLY = "no_reply", "504: no reply came in time; the message is in the log.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_api_reference_is_known() {
        let page = include_str!("../../../docs/api.md");
        let codes = page.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            cells.next()?.parse::<u16>().ok()?;
            cells.next()?.trim().strip_prefix('`')?.strip_suffix('`')
        });
        let mut found = 0;
        for code in codes {
            assert!(ALL.contains(&code), "{code}");
            found += 1;
        }
        assert!(found > 20, "{found} codes in the table");
    }
}
