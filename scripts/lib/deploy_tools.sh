# shellcheck shell=bash
# The programs that make and check packages and manifests. Needs say.sh, debian.sh, tools.sh and python_client.sh.

readonly DEPLOY_ENV=$TOOLS/deploy

# The folder of the programs of the environment, if that has the versions that deploy/requirements.txt asks for.
find_deploy() {
    cmp -s deploy/requirements.txt "$DEPLOY_ENV/requirements.txt" && printf '%s\n' "$PWD/$DEPLOY_ENV/bin"
}

install_deploy() {
    local python
    python=$(find_python_with_venv) || { apt_install python3 python3-venv && python=$(find_python_with_venv); } || return 1
    say "installing the packages of deploy/requirements.txt from PyPI"
    rm -rf "$DEPLOY_ENV"
    "$python" -m venv "$DEPLOY_ENV" >&2 || return 1
    "$DEPLOY_ENV/bin/pip" --quiet --disable-pip-version-check install --requirement deploy/requirements.txt >&2 || return 1
    cp deploy/requirements.txt "$DEPLOY_ENV/requirements.txt"
}

find_dpkg() {
    command -v dpkg-deb
}

install_dpkg() {
    apt_install dpkg
}

find_kubectl() {
    command -v kubectl
}

# Debian's is 1.20, which has Kustomize 2.
install_kubectl() {
    apt_install kubernetes-client
}

find_systemd() {
    command -v systemd-analyze
}

install_systemd() {
    apt_install systemd
}

find_machine() {
    command -v debootstrap >/dev/null && command -v systemd-nspawn
}

install_machine() {
    apt_install debootstrap systemd-container
}
