"""The compose files. No container engine runs here: what they name is compared with what is there."""

import re

import pytest
import yaml

from conftest import ROOT

FILES = ["docker-compose.nats.yml", "deploy/compose.tenants.yml"]
SETTINGS = set(re.findall(r"^([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def services(file: str) -> dict:
    return yaml.safe_load((ROOT / file).read_text())["services"]


@pytest.mark.parametrize("file", FILES)
def test_settings_and_files_exist(file: str) -> None:
    for name, service in services(file).items():
        if "build" in service:
            assert set(service["environment"]) <= SETTINGS, name
            assert ((ROOT / file).parent / service["build"] / "Dockerfile").is_file()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or ((ROOT / file).parent / source).exists(), source


def test_tenants_share_no_secret() -> None:
    tenants = services("deploy/compose.tenants.yml")
    red, blue = (set(re.findall(r"\$\{(\w+)", str(tenants[name]))) for name in ("red", "blue"))
    assert red == {"RED_NATS_PASSWORD", "RED_POSTGRES_PASSWORD"}
    assert blue == {"BLUE_NATS_PASSWORD", "BLUE_POSTGRES_PASSWORD"}
    given = set(tenants["nats"]["environment"]) | set(tenants["postgres"]["environment"])
    assert red | blue < given
    assert not any("volumes" in tenants[name] for name in ("red", "blue"))
    used = (ROOT / "deploy/tenants/nats.conf").read_text() + (ROOT / "deploy/tenants/databases.sql").read_text()
    assert all(secret in used for secret in red | blue)
