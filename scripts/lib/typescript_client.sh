# shellcheck shell=bash
# Checks and tests the TypeScript client. Needs say.sh, debian.sh and tools.sh.

# Lints, checks types, also against what the server describes, and the package, and tests the client against AGENTBUS_BIN.
check_typescript_client() {
    need node "Node.js 20 or later with npm (Debian: nodejs npm)" >/dev/null || exit 1
    CHROMIUM_BIN=$(need chromium "Chromium (Debian: chromium)" CHROMIUM_BIN) || exit 1
    export CHROMIUM_BIN
    (
        build_typescript_client
        cd clients/typescript
        say "TypeScript client: biome, tsc, publint, attw, node --test"
        npm run --silent check
        npm run --silent types -- --check
        npm run --silent check:package
        npm run --silent test
    )
}

# Builds the client, which the programs of its fault tests use.
build_typescript_client() (
    cd clients/typescript
    install_typescript_client
    npm run --silent build
)

# The packages of the lock file, if node_modules has others.
install_typescript_client() {
    cmp -s package-lock.json node_modules/.installed-lock.json && return
    say "installing the packages of clients/typescript from npm"
    npm ci --no-audit --no-fund --ignore-scripts --silent
    cp package-lock.json node_modules/.installed-lock.json
}
