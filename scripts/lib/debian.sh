# shellcheck shell=bash
# Installs Debian packages without prompts.

# apt_install PACKAGE...: fails without apt-get, or without root or password-less sudo.
apt_install() {
    command -v apt-get >/dev/null || return 1
    local -a root=()
    if [[ $(id -u) -ne 0 ]]; then
        sudo -n true 2>/dev/null || return 1
        root=(sudo -n)
    fi
    say "installing Debian packages: $*"
    # Another apt-get may be running: wait for it. Package lists may be missing or old: then fetch them.
    local -a install=(env DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 -qq install --yes --no-install-recommends "$@")
    "${root[@]}" "${install[@]}" >/dev/null 2>&1 && return
    "${root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update >&2 || return 1
    "${root[@]}" "${install[@]}" >&2
}
