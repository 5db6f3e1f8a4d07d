# shellcheck shell=bash
# The independent tools that check the description of the interface. Needs say.sh, debian.sh, tools.sh and python_client.sh.

readonly INTERFACE_ENV=$TOOLS/interface

# The folder of the tools, if they have the pinned versions.
find_interface() {
    local candidate=${INTERFACE_TOOLS_DIR:-$PWD/$INTERFACE_ENV} name
    for name in requirements.txt package-lock.json; do
        [[ -n ${INTERFACE_TOOLS_DIR:-} ]] || cmp -s "tests/interface/$name" "$candidate/$name" || return 1
    done
    [[ -d $candidate/node_modules/@redocly && -x $candidate/venv/bin/schemathesis ]] && printf '%s\n' "$candidate"
}

install_interface() {
    local python
    find_node >/dev/null || install_node || return 1
    python=$(find_python_with_venv) || { apt_install python3 python3-venv && python=$(find_python_with_venv); } || return 1
    say "installing the packages of tests/interface from PyPI and npm"
    rm -rf "$INTERFACE_ENV"
    "$python" -m venv "$INTERFACE_ENV/venv" >&2 || return 1
    "$INTERFACE_ENV/venv/bin/pip" --quiet --disable-pip-version-check install \
        --requirement tests/interface/requirements.txt >&2 || return 1
    cp tests/interface/package.json tests/interface/package-lock.json "$INTERFACE_ENV/" || return 1
    (cd "$INTERFACE_ENV" && npm ci --no-audit --no-fund --ignore-scripts --silent) >&2 || return 1
    cp tests/interface/requirements.txt "$INTERFACE_ENV/requirements.txt"
}
