"""The image. No container engine runs here: its parts are tried one by one."""

import re
import subprocess

from conftest import ROOT

TEXT = (ROOT / "Dockerfile").read_text()


def test_the_health_check_passes_on_a_server_that_is_ready_and_fails_without_one(server: str) -> None:
    found = re.search(r"^HEALTHCHECK (?:.*\\\n)*\s+CMD (.*)$", TEXT, re.MULTILINE)
    assert found
    check = found[1]
    assert "8080" in check
    port = server.rsplit(":", 1)[1]

    def code(port: str) -> int:
        shell = ["sh", "-c", check.replace("8080", port)]
        return subprocess.run(shell, check=False, capture_output=True, timeout=10).returncode

    assert code(port) == 0
    assert code("1") != 0


def test_everything_that_is_compiled_in_is_copied() -> None:
    copied = {
        word.rstrip("/") for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.MULTILINE) for word in line.split()
    }
    assert {"Cargo.toml", "Cargo.lock", "src", "crates"} <= copied
    for source in [*ROOT.glob("src/**/*.rs"), *ROOT.glob("crates/*/src/**/*.rs")]:
        for path in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text().split("#[cfg(test)]")[0]):
            inside = (source.parent / path).resolve().relative_to(ROOT).parts[0]
            assert inside in copied, f"{source}: {path}"
