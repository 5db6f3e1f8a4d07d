# shellcheck shell=bash
# Makes the packages of a release from one binary. Needs say.sh. The variables BINARY, OUT, VERSION, TARGET, SOURCE_DATE_EPOCH and
# DEPLOY_BIN are set by scripts/release.

# The wheel, and the list of the crates in the binary (CycloneDX), which maturin makes; the texts of their licences.
make_wheel() {
    say "wheel"
    (
        cd deploy/wheel
        CARGO=$PWD/built-cargo BUILT_BINARY=$BINARY "$DEPLOY_BIN/maturin" build --quiet --target "$TARGET" --out "$OUT" >&2
    )
    local -a wheels=("$OUT"/*.whl)
    WHEEL=${wheels[0]}
    "$DEPLOY_BIN/python" -m zipfile -e "$WHEEL" "$WORK/wheel"
    SBOM=$OUT/agentbus-$VERSION-$TARGET.cdx.json
    cp "$WORK"/wheel/*.dist-info/sboms/*.cyclonedx.json "$SBOM"
    cargo metadata --format-version 1 --locked | "$DEPLOY_BIN/python" scripts/lib/licences.py "$SBOM" >"$WORK/LICENCES.txt"
}

# What the archive and the Debian package contain: make_tree FOLDER, laid out below a prefix such as /usr/local.
make_tree() {
    local doc=$1/share/doc/agentbus
    mkdir -p "$1/bin" "$doc" "$1/lib/systemd/system" "$1/share/bash-completion/completions" \
        "$1/share/zsh/vendor-completions" "$1/share/fish/vendor_completions.d"
    cp "$BINARY" "$1/bin/agentbus"
    "$BINARY" man --dir "$1/share/man/man1"
    "$BINARY" completions bash >"$1/share/bash-completion/completions/agentbus"
    "$BINARY" completions zsh >"$1/share/zsh/vendor-completions/_agentbus"
    "$BINARY" completions fish >"$1/share/fish/vendor_completions.d/agentbus.fish"
    cp deploy/systemd/*.service "$1/lib/systemd/system/"
    cp .env.example "$doc/env.example"
    cp README.md CHANGELOG.md "$doc/"
    cp "$SBOM" "$doc/agentbus.cdx.json"
    cp "$WORK/LICENCES.txt" "$doc/"
    find "$1" -type d -exec chmod 0755 {} +
    find "$1" -type f -exec chmod 0644 {} +
    chmod 0755 "$1/bin/agentbus"
}

make_archive() {
    local name=agentbus-$VERSION-$TARGET
    say "$name.tar.gz"
    make_tree "$WORK/$name"
    tar --create --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --directory "$WORK" "$name" | gzip --no-name >"$OUT/$name.tar.gz"
}

make_deb() {
    local root=$WORK/deb architecture
    architecture=$(dpkg --print-architecture)
    say "agentbus_${VERSION}_$architecture.deb"
    make_tree "$root/usr"
    printf 'agentbus (%s) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- agentbus <agentbus@localhost>  %s\n' \
        "$VERSION" "$(date --rfc-email --utc --date="@$SOURCE_DATE_EPOCH")" >"$root/usr/share/doc/agentbus/changelog"
    gzip --best --no-name "$root"/usr/share/man/man1/*.1 "$root/usr/share/doc/agentbus/"{changelog,LICENCES.txt}
    install -m 0644 deploy/debian/README.Debian deploy/debian/copyright "$root/usr/share/doc/agentbus/"
    install -D -m 0600 deploy/debian/agentbus.env "$root/etc/agentbus/agentbus.env"
    chmod 0644 "$root"/usr/share/doc/agentbus/*
    chmod 0755 "$root" "$root/etc" "$root/etc/agentbus"
    install -d -m 0755 "$root/DEBIAN"
    install -m 0755 deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$root/DEBIAN/"
    echo /etc/agentbus/agentbus.env >"$root/DEBIAN/conffiles"
    # maturin found the oldest C library that has every symbol, and named the wheel by it.
    local glibc=${WHEEL##*manylinux_}
    glibc=$(cut -d_ -f1,2 <<<"$glibc" | tr _ .)
    sed -e "s/@VERSION@/$VERSION/;s/@ARCHITECTURE@/$architecture/;s/@GLIBC@/$glibc/" \
        -e "s/@SIZE@/$(du --summarize --block-size=1K --apparent-size "$root" | cut -f1)/" \
        deploy/debian/control.in >"$root/DEBIAN/control"
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
    # Higher levels take minutes for a tenth less.
    dpkg-deb --build --root-owner-group -Zxz -z1 "$root" "$OUT/agentbus_${VERSION}_$architecture.deb" >/dev/null
}

make_sums() {
    say "SHA256SUMS"
    (cd "$OUT" && LC_ALL=C sha256sum -- *.whl *.deb *.tar.gz *.cdx.json >SHA256SUMS)
}
