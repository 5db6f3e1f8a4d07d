# shellcheck shell=bash
# What scripts tell people, on standard error: standard output belongs to the programs they run.

say() {
    printf '==> %s\n' "$*" >&2
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
