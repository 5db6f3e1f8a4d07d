"""The Debian package in a new Debian 12 with systemd, in a container of systemd-nspawn, which needs root."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, run

MACHINE = ROOT / "deploy/tests/machine"
DEBIAN = ROOT / "target/tools/debian-12"


@pytest.mark.skipif("AGENTBUS_LONG" not in os.environ, reason="scripts/test --long: it installs a Debian")
@pytest.mark.timeout(600)
def test_systemd_runs_the_package(only: Callable[[str], Path], tmp_path: Path) -> None:
    if not DEBIAN.exists():
        new = DEBIAN.with_name("debian-12.new")
        packages = "adduser,ca-certificates,dbus,libgcc-s1,procps,systemd,systemd-sysv"
        run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", new, limit=500)
        new.rename(DEBIAN)
    out = tmp_path / "out"
    out.mkdir()
    run(
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--ephemeral", f"--directory={DEBIAN}"),
        *(f"--bind-ro={MACHINE}:/test", f"--bind-ro={MACHINE}/probe.service:/etc/systemd/system/probe.service"),
        *(f"--bind-ro={only('*.deb')}:/package.deb", f"--bind={out}:/out", "--boot", "--", "--unit=probe.service"),
        stdin=subprocess.DEVNULL,
    )
    result = dict(line.split("=", 1) for line in (out / "result").read_text().splitlines())
    assert result == {
        "enabled_by_the_package": "disabled",
        "key": "ab_",
        "ready": "0",
        "message": "0",
        "capabilities": "0000000000000000",
        "system_calls_filtered": "2",
        "user": "agentbus",
        "data": "agentbus 700",
        "ready_after_upgrade": "0",
        "restarted_by_upgrade": "0",
        "kept": "1",
        "worker": "active",
        "servers_after_purge": "0",
        "data_after_purge": "agentbus 600",
        "stopped": "2",
    }, (out / "log").read_text()
