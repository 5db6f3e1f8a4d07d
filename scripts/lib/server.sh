# shellcheck shell=bash
# The server that clients and examples are tested with. Needs say.sh.

# Makes AGENTBUS_BIN an absolute path.
find_server() {
    AGENTBUS_BIN=$(realpath -m "${AGENTBUS_BIN:-target/debug/agentbus}")
    export AGENTBUS_BIN
    [[ -x $AGENTBUS_BIN ]] || die "no server at $AGENTBUS_BIN: cargo build, or set AGENTBUS_BIN"
}
