# shellcheck shell=bash
# Starts and stops a temporary PostgreSQL, for the unit tests of the store. (The black-box tests start their own.)
# Needs say.sh and PG_BIN.

# Runs a program of PostgreSQL as another user if this one is root, since PostgreSQL refuses to run as root.
as_pg_user() {
    if [[ $(id -u) != 0 ]]; then
        "$@"
    elif id postgres >/dev/null 2>&1; then
        setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
    else
        setpriv --reuid=nobody --regid=nogroup --clear-groups -- "$@"
    fi
}

# Starts the server in a temporary folder and sets AGENTBUS_TEST_PG_URL. The server is stopped when the script ends.
start_postgres() {
    local port
    PG_DIR=$(mktemp -d "${TMPDIR:-/tmp}/agentbus-unit-pg-XXXXXX")
    chmod 755 "$PG_DIR"
    mkdir "$PG_DIR/data"
    if [[ $(id -u) == 0 ]]; then
        chown "$(id postgres >/dev/null 2>&1 && echo postgres || echo nobody)" "$PG_DIR/data"
    fi
    trap stop_postgres EXIT
    as_pg_user "$PG_BIN/initdb" -D "$PG_DIR/data" -U agentbus -A trust -E UTF8 --no-locale >"$PG_DIR/initdb.log" 2>&1 ||
        die "initdb failed: $(tail -n 3 "$PG_DIR/initdb.log")"
    for _ in 1 2 3 4 5; do
        port=$((32000 + RANDOM % 700))
        if as_pg_user "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -w -t 30 -l "$PG_DIR/data/log" \
            -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200" \
            start >/dev/null 2>&1; then
            export AGENTBUS_TEST_PG_URL=postgres://agentbus@127.0.0.1:$port/postgres
            return
        fi
    done
    die "PostgreSQL did not start: $(tail -n 3 "$PG_DIR/data/log")"
}

stop_postgres() {
    as_pg_user "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$PG_DIR"
}
