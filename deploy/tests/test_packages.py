"""The packages: each contains the binary's bytes, can be installed, and says what is in it."""

import gzip
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import BINARY, ROOT, get, run, served

Only = Callable[[str], Path]
VERSION = run(BINARY, "--version").split()[1]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_each_checksum_is_that_of_its_file(packages: Path) -> None:
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=packages)
    listed = {line.split("  ")[1] for line in (packages / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in packages.iterdir()} - {"SHA256SUMS"}
    assert len(listed) == 4


def test_the_wheel_installs_the_command_into_an_empty_environment(only: Only, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env/bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--quiet", only("*.whl"))
    command = tmp_path / "env/bin/agentbus"
    assert digest(command) == digest(BINARY)
    assert run(command, "--version").split() == ["agentbus", VERSION]
    (tmp_path / "data").mkdir()
    with served(command, tmp_path / "data") as url:
        assert get(f"{url}/livez")
    run(sys.executable, "-m", "pip", "--python", python, "uninstall", "--yes", "--quiet", "agentbus-server")
    assert not command.exists()


@pytest.mark.skipif("AGENTBUS_LONG" not in os.environ, reason="scripts/test --long: it packages once more")
def test_the_same_binary_gives_the_same_packages(packages: Path, tmp_path: Path) -> None:
    run(ROOT / "scripts/release", "--binary", BINARY, "--out", tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == (packages / "SHA256SUMS").read_text()


def test_the_wheel_does_not_contain_the_client(only: Only) -> None:
    names = zipfile.ZipFile(only("*.whl")).namelist()
    assert not [name for name in names if name.startswith("agentbus/")]


@pytest.fixture(scope="session")
def unpacked(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (deb,) = packages.glob("*.deb")
    folder = tmp_path_factory.mktemp("deb")
    run("dpkg-deb", "--raw-extract", deb, folder)
    return folder


def test_the_debian_package_runs_and_its_checksums_hold(unpacked: Path) -> None:
    assert digest(unpacked / "usr/bin/agentbus") == digest(BINARY)
    assert run(unpacked / "usr/bin/agentbus", "--version").split()[1] == VERSION
    run("md5sum", "--check", "--strict", "--quiet", "DEBIAN/md5sums", cwd=unpacked)
    summed = {line.split("  ")[1] for line in (unpacked / "DEBIAN/md5sums").read_text().splitlines()}
    files = {str(p.relative_to(unpacked)) for p in unpacked.rglob("*") if p.is_file() and "DEBIAN" not in p.parts}
    assert summed == files


def test_the_debian_package_has_owners_modes_and_files_by_debians_policy(only: Only, unpacked: Path) -> None:
    listing = run("dpkg-deb", "--contents", only("*.deb")).splitlines()
    for line in listing:
        mode, owner, *_, name = line.split()
        assert owner == "root/root", line
        executable = name == "./usr/bin/agentbus" or mode.startswith("d")
        expected = "rwxr-xr-x" if executable else "rw-------" if name.startswith("./etc/") else "rw-r--r--"
        assert mode[1:] == expected, line
    control = run("dpkg-deb", "--field", only("*.deb"))
    for field in ("Maintainer", "Section", "Priority", "Description", "Installed-Size"):
        assert f"\n{field}: " in control, control
    assert re.search(r"^Depends: libc6 \(>= 2\.\d+\), libgcc-s1, adduser, ca-certificates$", control, re.MULTILINE)
    assert (unpacked / "DEBIAN/conffiles").read_text() == "/etc/agentbus/agentbus.env\n"
    doc = unpacked / "usr/share/doc/agentbus"
    assert {"copyright", "changelog.gz", "README.Debian", "env.example"} <= {path.name for path in doc.iterdir()}
    pages = [path.name for path in (unpacked / "usr/share/man/man1").iterdir()]
    assert {"agentbus.1.gz", "agentbus-serve.1.gz"} <= set(pages)
    assert all(page.endswith(".gz") for page in pages)
    assert "agentbus" in (unpacked / "usr/share/bash-completion/completions/agentbus").read_text()


def test_the_scripts_of_the_debian_package_make_the_user_and_keep_the_data(unpacked: Path, tmp_path: Path) -> None:
    """Runs them with programs that note how they are called, and no systemd."""
    calls = tmp_path / "calls"
    for name, code in (("getent", 2), ("adduser", 0), ("systemctl", 0), ("deluser", 0), ("rm", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\nexit {code}\n')
        (tmp_path / name).chmod(stat.S_IRWXU)
    calls.touch()
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for script, argument in (("postinst", "configure"), ("prerm", "remove"), ("postrm", "remove"), ("postrm", "purge")):
        run("sh", "-n", unpacked / "DEBIAN" / script)
        run(unpacked / "DEBIAN" / script, argument, "", env=env)
    text = calls.read_text()
    assert "adduser --system --group" in text
    assert "deluser" not in text
    assert "rm " not in text


def test_settings_of_the_debian_package_are_settings(unpacked: Path, settings: set[str]) -> None:
    text = (unpacked / "etc/agentbus/agentbus.env").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    assert "AUTH" in named
    assert named <= settings
    assert "\nAUTH=required\n" in text


def test_the_archive_unpacks_and_runs(only: Only, tmp_path: Path) -> None:
    run("tar", "--extract", "--file", only("*.tar.gz"), "--directory", tmp_path)
    (folder,) = tmp_path.iterdir()
    assert digest(folder / "bin/agentbus") == digest(BINARY)
    assert run(folder / "bin/agentbus", "--version").split()[1] == VERSION
    assert (folder / "lib/systemd/system/agentbus.service").is_file()


def test_the_list_of_crates_has_every_crate_that_the_binary_links(only: Only, unpacked: Path) -> None:
    document = json.loads(only("*.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    listed = {(part["name"], part["version"]) for part in document["components"]}
    root = document["metadata"]["component"]
    assert (root["name"], root["version"]) == ("agentbus", VERSION)
    listed.add((root["name"], root["version"]))
    target = re.search(r"host: (\S+)", run("rustc", "--version", "--verbose"))
    assert target
    tree = run(
        *("cargo", "tree", "--locked", "--package", "agentbus", "--edges", "normal", "--prefix", "none"),
        *("--target", target[1], "--format", "{p}"),
        cwd=ROOT,
    )
    linked = {(name, version) for name, version in re.findall(r"^(\S+) v(\S+)", tree, re.MULTILINE)}
    assert len(linked) > 200
    assert not linked - listed
    # The binary itself names the sources of what can panic.
    strings = subprocess.run(
        ["grep", "-aoE", r"registry/src/[^/]+/[A-Za-z0-9_.+-]+/", BINARY], capture_output=True, check=True
    )
    sources = {line.split(b"/")[3].decode() for line in strings.stdout.splitlines()}
    assert len(sources) > 50
    assert not sources - {f"{name}-{version}" for name, version in listed}
    texts = (unpacked / "usr/share/doc/agentbus/LICENCES.txt.gz").read_bytes()
    named = set(re.findall(r"^(\S+) (\d\S*): \S", gzip.decompress(texts).decode(), re.MULTILINE))
    assert {crate for crate in linked - named if not crate[0].startswith("agentbus")} == set()
    licensed = [part for part in document["components"] if part.get("licenses")]
    assert len(licensed) > 200
