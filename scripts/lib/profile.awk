# Groups the stacks of `perf script --fields ip,sym` by what the time was spent on. A stack counts for the innermost
# frame that matches a rule below, so that time in the kernel or the allocator counts for the caller.
# Variable: total, the processor time for one message in microseconds.

BEGIN {
    rule("NATS client: write to the socket", "async_nats::connection::Connection::poll_write")
    rule("NATS client: read and parse", "async_nats::connection::Connection::(poll_)?read")
    rule("NATS client: put messages into the buffer, and its loop", "async_nats::(connection|connect_with|ConnectionHandler)|ConnectionHandler")
    rule("publish: headers, subject, send to the client", "nats::requester::Requester::send|nats::publish.*::send|async_nats::(client|header)")
    rule("publish: wait for the ack and read it", "nats::publish.*(collect|read_ack)|nats::requester")
    rule("publish: breaker, permits, retries", "agentbus::bus::nats::(publish|NatsBus|breaker)|bus::Bus>::publish")
    rule("HTTP handler: read the body", "agentbus::http::body")
    rule("HTTP handler: parse and check the message", "agentbus::message::(draft|json)")
    rule("log reader: deliveries to entries", "agentbus::bus::nats::(reader|entry)")
    rule("decode an entry, once for streams and store", "agentbus::message::decode")
    rule("ring and frames", "agentbus::broadcast")
    rule("ingest: encode the envelope", "agentbus::message::encode|uuid::v7")
    rule("ingest: known ids, gate, receipt", "agentbus::ingest")
    rule("HTTP handler: write the response", "agentbus::http::messages::(respond|json_bytes)|format_micros")
    rule("projector: columns and statement", "agentbus::(store|projector)|sqlx")
    rule("HTTP: write to the socket", "hyper::.*poll_flush")
    rule("HTTP: read from the socket", "hyper::.*poll_read_from_io")
    rule("HTTP: parse and write heads (hyper)", "hyper")
    rule("HTTP: routes, the layer around them, extractors (axum)", "axum|tower|agentbus::http|http::(header|extensions|request)")
    rule("tokio: park and wait for events", "park|epoll|io::driver|Driver::turn")
    rule("tokio: timers", "tokio::(runtime::)?time")
    rule("tokio: tasks and their queues", "tokio::(runtime::(task|scheduler|context|coop|blocking)|task|sync)|task_tracker")
}

function rule(name, pattern) {
    names[++rules] = name
    patterns[rules] = pattern
}

# The first rule that matches a symbol, 0 if none. Cached, since there are far fewer symbols than frames.
function rule_of(symbol, i) {
    if (!(symbol in known)) {
        known[symbol] = 0
        for (i = 1; i <= rules; i++) {
            if (symbol ~ patterns[i]) {
                known[symbol] = i
                break
            }
        }
    }
    return known[symbol]
}

function close_stack() {
    if (open) {
        samples++
        count[found]++
    }
    open = found = 0
}

/^[ \t]*$/ {
    close_stack()
    next
}

{
    open = 1
    if (!found) {
        symbol = $0
        sub(/^[ \t]*[0-9a-f]+ /, "", symbol)
        found = rule_of(symbol)
    }
}

END {
    close_stack()
    if (!samples) {
        print "no stacks: perf may lack the permission to sample them"
        exit 1
    }
    names[0] = "other"
    for (i = 0; i <= rules; i++)
        if (count[i])
            printf "%5.1f %%  %6.2f µs  %s\n", 100 * count[i] / samples, total * count[i] / samples, names[i] | "sort -rn"
    close("sort -rn")
}
