"""The units of systemd: valid, hardened, with time enough to stop."""

import re
from pathlib import Path

import pytest

from conftest import BINARY, ROOT, run

UNITS = ROOT / "deploy/systemd"
# docs/deployment.md names it. systemd counts from 0, nothing exposed, to 10.
MOST_EXPOSED = 1.5


@pytest.mark.parametrize("name", ["agentbus.service", "agentbus-worker@.service"])
def test_the_unit_is_valid_and_hardened(name: str, tmp_path: Path) -> None:
    # systemd-analyze looks for the program and for the instance.
    unit = tmp_path / name.replace("@.", "@one.")
    unit.write_text((UNITS / name).read_text().replace("/usr/bin/agentbus", str(BINARY)))
    assert run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit) == ""
    threshold = str(round(MOST_EXPOSED * 10))
    run("systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", unit)


def value(name: str, setting: str) -> str:
    (found,) = re.findall(rf"^{setting}=(.*)$", (UNITS / name).read_text(), re.MULTILINE)
    return str(found)


def default(setting: str) -> int:
    found = re.search(rf"^{setting}=(\d+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def test_the_server_has_time_to_stop_and_files_for_its_connections() -> None:
    assert int(value("agentbus.service", "TimeoutStopSec")) >= default("DRAIN_S") + 10
    assert int(value("agentbus-worker@.service", "TimeoutStopSec")) >= default("DRAIN_S") + 5
    hard = int(value("agentbus.service", "LimitNOFILE").split(":")[1])
    assert hard >= default("MAX_CONNECTIONS") + 1024
