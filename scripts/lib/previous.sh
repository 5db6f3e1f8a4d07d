# shellcheck shell=bash
# Builds agentbus of the previous version, which the tests of upgrades start from. Needs say.sh and tools.sh.

# The commit of that version.
previous_commit() {
    cat tests/faults/previous
}

# The program: AGENTBUS_PREVIOUS_BIN, or the one that was built from this commit.
find_previous() {
    local candidate
    candidate=${AGENTBUS_PREVIOUS_BIN:-$PWD/$TOOLS/previous/agentbus-$(previous_commit)}
    [[ -x $candidate ]] && printf '%s\n' "$candidate"
}

# Whether the checkout has the commit. A shallow clone or an archive of the sources has not.
has_previous() {
    git cat-file -e "$(previous_commit)^{commit}" 2>/dev/null
}

# Builds into the same target folder, so that the crates both versions use are compiled once. Cargo then has this version's
# program under the name of the current one; it is removed, and the next build puts the current one there again.
install_previous() {
    local commit source=$TOOLS/previous/source
    commit=$(previous_commit)
    has_previous || return 1
    say "building agentbus of the previous version, ${commit:0:12}, into $TOOLS/previous"
    rm -rf "$TOOLS/previous"
    mkdir -p "$source" || return 1
    git archive "$commit" | tar -x -C "$source" || return 1
    CARGO_TARGET_DIR=$PWD/target cargo build --quiet --locked --manifest-path "$source/Cargo.toml" --bin agentbus >&2 || return 1
    cp target/debug/agentbus "$TOOLS/previous/agentbus-$commit" || return 1
    rm -rf target/debug/agentbus "$source"
}
