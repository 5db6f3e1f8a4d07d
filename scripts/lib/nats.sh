# shellcheck shell=bash
# Starts and stops temporary NATS servers. Needs say.sh and NATS_SERVER_BIN.

NATS_PIDS=()

# start_nats FOLDER [SETTING...]: starts a server on a free port of loopback, with its files in the folder and the
# settings in its JetStream configuration. Sets NATS_STARTED_URL. stop_nats stops all servers.
start_nats() {
    local folder=$1 port tries
    shift
    mkdir -p "$folder"
    for tries in 1 2 3 4 5; do
        port=$((31000 + RANDOM % 900))
        printf '%s\n' "listen: 127.0.0.1:$port" 'jetstream {' "store_dir: \"$folder/data\"" "$@" '}' \
            >"$folder/nats.conf"
        "$NATS_SERVER_BIN" --config "$folder/nats.conf" >"$folder/log" 2>&1 &
        NATS_PIDS+=($!)
        for _ in $(seq 100); do
            if grep -q 'Server is ready' "$folder/log"; then
                NATS_STARTED_URL=nats://127.0.0.1:$port
                return
            fi
            kill -0 "${NATS_PIDS[-1]}" 2>/dev/null || break
            sleep 0.1
        done
    done
    die "nats-server did not start in $tries tries: $(tail -n 1 "$folder/log")"
}

stop_nats() {
    local pid
    for pid in "${NATS_PIDS[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    NATS_PIDS=()
}
