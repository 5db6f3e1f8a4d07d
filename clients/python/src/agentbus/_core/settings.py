"""The address and the key of the server, and what every request carries."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .._version import __version__

DEFAULT_URL = "http://127.0.0.1:8080"
USER_AGENT = f"agentbus-python/{__version__}"


@dataclass(frozen=True)
class Settings:
    """Where the server is, and who asks. Times are in seconds."""

    url: str
    key: str | None = field(repr=False)
    agent: str | None
    timeout: float
    silence: float

    @classmethod
    def of(cls, url: str | None, key: str | None, agent: str | None, timeout: float, silence: float) -> Settings:
        """Settings from arguments, else from `AGENTBUS_URL` and `AGENTBUS_KEY`. ValueError if one is malformed."""
        key = key if key is not None else os.environ.get("AGENTBUS_KEY")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("the key must be of visible ASCII characters")
        address = parse_url(url or os.environ.get("AGENTBUS_URL") or DEFAULT_URL)
        return cls(address, key or None, agent, timeout, silence)

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        headers = {"user-agent": USER_AGENT}
        return {**headers, "authorization": f"Bearer {self.key}"} if self.key else headers

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine. A proxy would look for it on its own machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def parse_url(text: str) -> str:
    """An address, without a slash at its end. The scheme may be missing; a path may precede `/v1`."""
    full = text if "://" in text else f"http://{text}"
    parts = urlsplit(full)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"'{text}' must be an http:// or https:// address")
    if parts.query or parts.fragment:
        raise ValueError(f"'{text}' must end with the path in front of /v1")
    return full.rstrip("/")


def is_other_major(version: str) -> bool:
    """Whether a server of this version may have another contract."""
    return version.partition(".")[0] != __version__.partition(".")[0]
