# shellcheck shell=bash
# Checks and runs the examples. Needs say.sh, debian.sh, tools.sh and python_client.sh.

readonly EXAMPLES_ENV=$TOOLS/examples
readonly EXAMPLES_REQUIREMENTS=(examples/requirements.txt examples/langgraph/requirements.txt examples/openai_agents/requirements.txt)

# Runs every example as its README says, against AGENTBUS_BIN.
check_examples() {
    local bin
    bin=$(need examples "an environment for the examples (made when Python has venv and pip; Debian: python3-venv)") || exit 1
    CHROMIUM_BIN=$(need chromium "Chromium (Debian: chromium)" CHROMIUM_BIN) || exit 1
    CHROMEDRIVER_BIN=$(need chromedriver "chromedriver (Debian: chromium-driver)" CHROMEDRIVER_BIN) || exit 1
    export CHROMIUM_BIN CHROMEDRIVER_BIN
    say "examples: ruff, pytest"
    (
        cd examples
        export PYTHONDONTWRITEBYTECODE=1
        "$bin/ruff" format --check --quiet
        "$bin/ruff" check --quiet
        # They wait most of the time.
        "$bin/pytest" --quiet -p no:cacheprovider --timeout 100 --numprocesses $((2 * $(nproc)))
    )
}

# The folder of the programs of the environment, if that has the versions that the requirements ask for.
find_examples() {
    cat "${EXAMPLES_REQUIREMENTS[@]}" | cmp -s - "$EXAMPLES_ENV/requirements.txt" && printf '%s\n' "$PWD/$EXAMPLES_ENV/bin"
}

install_examples() {
    local python
    python=$(find_python_with_venv) || { apt_install python3 python3-venv && python=$(find_python_with_venv); } || return 1
    say "installing the packages of examples/requirements.txt from PyPI"
    rm -rf "$EXAMPLES_ENV"
    "$python" -m venv "$EXAMPLES_ENV" >&2 || return 1
    local -a install=("$EXAMPLES_ENV/bin/pip" --quiet --disable-pip-version-check install)
    # pip refuses files whose versions contradict each other.
    "${install[@]}" "${EXAMPLES_REQUIREMENTS[@]/#/--requirement=}" >&2 || return 1
    "${install[@]}" --no-build-isolation --no-deps --editable clients/python >&2 || return 1
    cat "${EXAMPLES_REQUIREMENTS[@]}" >"$EXAMPLES_ENV/requirements.txt"
}
