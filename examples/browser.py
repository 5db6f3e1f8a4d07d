"""Headless Chromium, by chromedriver, for the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from types import TracebackType
from typing import Any

import httpx
from typing_extensions import Self

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
]
# Without these Chromium looks for hosts of its own.
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


class Browser:
    """A browser with a profile of its own. `CHROMIUM_BIN` and `CHROMEDRIVER_BIN` name the programs."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="browser-")
        driver = os.environ.get("CHROMEDRIVER_BIN", "chromedriver")
        # Port 0: it takes a free one and prints it.
        self._process = subprocess.Popen(
            [driver, "--port=0"], env={**os.environ, "HOME": self._folder}, stdout=subprocess.PIPE, text=True
        )
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port()}", timeout=60, trust_env=False)
        self._session = ""

    def __enter__(self) -> Self:
        binary = os.environ.get("CHROMIUM_BIN") or shutil.which("chromium") or "chromium"
        options = {"binary": binary, "args": [*FLAGS, *QUIET, f"--user-data-dir={self._folder}/profile"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        self._session = "/session/" + self._post("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.delete(self._session)
        self._http.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, url: str) -> None:
        """Opens an address, and waits until the page has loaded."""
        self._post(f"{self._session}/url", {"url": url})

    def texts(self, selector: str) -> list[str]:
        """The texts of the elements that a CSS selector finds."""
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
        texts: list[str] = self._post(f"{self._session}/execute/sync", {"script": script, "args": [selector]})
        return texts

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]

    def _port(self) -> int:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "on port" in line and line.rstrip().endswith("."):
                return int(line.rstrip(".\n").rpartition(" ")[2])
        raise AssertionError("chromedriver did not start")
