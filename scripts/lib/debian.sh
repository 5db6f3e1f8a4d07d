# shellcheck shell=bash
# Installing Debian's packages, where that is possible without asking anybody.

# apt_install PACKAGE...: false where there is no apt-get, or no right to use it.
apt_install() {
    command -v apt-get >/dev/null || return 1
    local -a root=()
    if [[ $(id -u) -ne 0 ]]; then
        sudo -n true 2>/dev/null || return 1
        root=(sudo -n)
    fi
    say "installing Debian's $*"
    # Another apt-get may be running: wait for it. Package lists may be missing or old: then fetch them.
    local -a install=(env DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 -qq install --yes --no-install-recommends "$@")
    "${root[@]}" "${install[@]}" >/dev/null 2>&1 && return
    "${root[@]}" apt-get -o DPkg::Lock::Timeout=300 -qq update >&2 || return 1
    "${root[@]}" "${install[@]}" >&2
}
