# shellcheck shell=bash
# Checks and tests the Python client. Needs say.sh, debian.sh and tools.sh.

readonly PYTHON_CLIENT_ENV=$TOOLS/python-client

# Lints, checks types, and tests the client against AGENTBUS_BIN. Caches and the environment are in target/tools.
check_python_client() {
    local bin
    bin=$(need python_client "an environment for the Python client (made when Python has venv and pip; Debian: \
python3-venv)") || exit 1
    find_node >/dev/null || install_node || die "missing: Node.js with npm, which pyright runs on (Debian: nodejs npm)"
    say "Python client: ruff, mypy, pyright, pytest"
    (
        cd clients/python
        # pyright looks for the package with the Python in PATH.
        export PATH=$bin:$PATH
        export PYRIGHT_PYTHON_CACHE_DIR=$PWD/../../$TOOLS/pyright PYRIGHT_PYTHON_IGNORE_WARNINGS=1
        export PYTHONDONTWRITEBYTECODE=1
        ruff format --check --quiet
        ruff check --quiet
        mypy
        pyright
        pyright --verifytypes agentbus --ignoreexternal >/dev/null || die "a public name has no complete type: \
pyright --verifytypes agentbus"
        # The tests wait most of the time.
        pytest --quiet --numprocesses $((2 * $(nproc)))
    )
}

# The folder of the programs of the environment, if that has the versions that requirements.txt asks for.
find_python_client() {
    cmp -s clients/python/requirements.txt "$PYTHON_CLIENT_ENV/requirements.txt" && printf '%s\n' "$PWD/$PYTHON_CLIENT_ENV/bin"
}

install_python_client() {
    local python
    python=$(find_python_with_venv) || { apt_install python3 python3-venv && python=$(find_python_with_venv); } || return 1
    say "installing the packages of clients/python/requirements.txt from PyPI"
    rm -rf "$PYTHON_CLIENT_ENV"
    "$python" -m venv "$PYTHON_CLIENT_ENV" >&2 || return 1
    local -a install=("$PYTHON_CLIENT_ENV/bin/pip" --quiet --disable-pip-version-check install)
    "${install[@]}" --requirement clients/python/requirements.txt >&2 || return 1
    "${install[@]}" --no-build-isolation --no-deps --editable clients/python >&2 || return 1
    cp clients/python/requirements.txt "$PYTHON_CLIENT_ENV/requirements.txt"
}

find_python_with_venv() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            printf '%s\n' "$python"
            return
        fi
    done
    return 1
}
